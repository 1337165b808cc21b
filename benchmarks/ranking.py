"""Seconds to find the best 10 of 500,000 items exactly, at rank 64, beside implicit and NumPy.

    python benchmarks/ranking.py --data FOLDER

Needs the peers: pip install -r benchmarks/requirements.txt. A peer that is missing is left out, and said so.

A thousand users are 2·1000·500,000·64 = 64 billion operations; one user reads 128 MB of item factors. The limits of the
machine are measured in the same run (limits.py).

Catalogues: "random" has normal factors of equal size and no bias, so that no norm rules out any item. "films", with
--data, has the factors of ALS at rank 64 on MovieLens 1M, and its users: each item is a film moved up to 30 % of the
way towards another, bias and all; "films, no bias" leaves the biases away. Peers, which know no biases, take them as
one more factor.

Contenders take turns and have the same threads. implicit either multiplies with as many threads or ranks batches of
users side by side; the faster is meant. NumPy multiplies for 100 users at a time and partitions the scores; the best
are then sorted. The scores of all lists are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import limits
import numpy as np
from common import SCALE, Figure, data_file, parser, show
from numpy.typing import NDArray

import cofactor as cf
from cofactor import kernels

BEST = 10
Answer = NDArray[np.integer]  # (users, BEST), best first


def random_catalogue(items: int) -> tuple[NDArray[np.float32], ...]:
    """U (1000, 64), V (items, 64), c (items,)."""
    rng = np.random.default_rng(0)
    V, U = rng.normal(size=(items, 64)), rng.normal(size=(1000, 64))
    return U.astype(np.float32), V.astype(np.float32), np.zeros(items, np.float32)


def film_catalogue(path: Path, items: int, threads: int) -> tuple[NDArray[np.float32], ...]:
    """The same, of films; fewer factors where there are fewer films."""
    ratings = cf.read_ratings(path, scale=SCALE)
    model = cf.ALS(rank=min(64, ratings.n_items), reg=1.3, threads=threads).fit(ratings)
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, len(model.item_factors_), (2, items))
    way = rng.uniform(0, 0.3, items).astype(np.float32)
    V, c = model.item_factors_, model.item_bias_
    moved = V[one] + way[:, None] * (V[other] - V[one])
    users = rng.integers(0, len(model.user_factors_), 1000)
    return model.user_factors_[users], moved, c[one] + way * (c[other] - c[one])


def contenders(
    U: NDArray[np.float32], V: NDArray[np.float32], c: NDArray[np.float32], threads: int, notes: list[str]
) -> dict[str, Callable[[int], Answer]]:
    """By name: a function that finds the best items of the first so many users."""

    def cofactor(users):
        nothing = np.zeros(users + 1, np.int64), np.empty(0, np.int32)
        return kernels.topk(U[:users], V, c, *nothing, BEST, threads=threads)[0]

    found = {"cofactor": cofactor}
    try:
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        notes.append(f"implicit and NumPy were left out: {error}")
        return found
    queries, catalogue = U, V
    if c.any():
        queries, catalogue = np.column_stack([U, np.ones(len(U), U.dtype)]), np.column_stack([V, c])

    def numpy(users):
        best = []
        with threadpool_limits(threads):
            for begin in range(0, users, 100):
                product = queries[begin : min(users, begin + 100)] @ catalogue.T
                least = np.partition(product, -BEST, axis=1)[:, -BEST]
                for row, bar in zip(product, least):
                    above = np.flatnonzero(row >= bar)
                    best.append(above[np.argsort(-row[above], kind="stable")[:BEST]])
        return np.array(best)

    found["NumPy"] = numpy
    try:
        from implicit.cpu.topk import topk
    except ImportError as error:
        notes.append(f"implicit was left out: {error}")
        return found

    def implicit_multiplying(users):
        with threadpool_limits(threads):
            return topk(catalogue, queries[:users], BEST, num_threads=1)[0]

    def implicit_side_by_side(users):
        with threadpool_limits(1):
            return topk(catalogue, queries[:users], BEST, num_threads=threads)[0]

    return {
        **found,
        "implicit": implicit_multiplying,
        "implicit, users side by side": implicit_side_by_side,
    }


def scores(
    U: NDArray[np.float32], V: NDArray[np.float32], c: NDArray[np.float32], best: Answer
) -> NDArray[np.float64]:
    """Of the listed items (users, BEST), in double precision."""
    products = np.einsum("uk,ubk->ub", U[: len(best)].astype(np.float64), V[best].astype(np.float64))
    return products + c[best]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=2, help="threads for everybody [2]")
    options.add_argument("--repeat", type=int, default=7, help="runs for each median [7]")
    args = options.parse_args()
    items = 50_000 if args.quick else 500_000
    repeat = 2 if args.quick else args.repeat
    figures, notes = [], [f"{args.threads} threads, median of {repeat}, {items:,} items"]

    limit = limits.measure(args.threads)
    if isinstance(limit, str):
        notes.append(f"The limits of the machine are not known: {limit}")
    else:
        figures.append(Figure("limit: multiply-adds", limit.rate, "GFLOP/s"))
        figures.append(Figure("limit: reading", limit.bandwidth, "GB/s"))

    catalogues = {"random": random_catalogue(items)}
    if args.data is None:
        notes.append("The catalogue of films was left out: it needs --data FOLDER or $COFACTOR_DATA")
    else:
        U, V, c = film_catalogue(data_file(args.data, "ml-1m.parquet"), items, args.threads)
        catalogues |= {"films": (U, V, c), "films, no bias": (U, V, 0 * c)}

    for catalogue, (U, V, c) in catalogues.items():
        told: list[str] = []
        asked = contenders(U, V, c, args.threads, told)
        notes += [note for note in told if note not in notes]
        for users in (1, 1000):
            times: dict[str, list[float]] = {name: [] for name in asked}
            answers = {}
            for _ in range(repeat):
                for name, ask in asked.items():
                    time.sleep(0.05)  # threads of the one before may still spin
                    begin = time.perf_counter()
                    answers[name] = ask(users)
                    times[name].append(time.perf_counter() - begin)
            what = f"{catalogue}, {users:,} user{'s' if users > 1 else ''}"
            median = {name: statistics.median(taken) for name, taken in times.items()}
            own, exact = median["cofactor"], scores(U, V, c, answers["cofactor"])
            for name, seconds in median.items():
                bound = 0.010 if (name, users) == ("cofactor", 1) else None
                figures.append(Figure(f"{what}, {name}", seconds, "s", bound))
                # Items may change places whose scores differ by no more than the order of summing makes.
                if not np.allclose(exact, scores(U, V, c, answers[name]), rtol=1e-5, atol=1e-5):
                    notes.append(f"{what}: {name} lists other items")
            if users == 1:
                figures.append(Figure(f"{what}, cofactor reads", V.nbytes / own / 1e9, "GB/s"))
            else:
                rate = 2 * users * V.size / own / 1e9  # more than the machine can do where items are left out
                figures.append(Figure(f"{what}, cofactor, all scores", rate, "GFLOP/s"))
            for peer in ("implicit", "NumPy"):
                runs = [seconds for name, seconds in median.items() if name.startswith(peer)]
                if runs:
                    ratio = min(runs) / own
                    bound = 2.0 if users > 1 else None
                    figures.append(Figure(f"{what}, {peer} / cofactor", ratio, "times", bound, most=False))
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
