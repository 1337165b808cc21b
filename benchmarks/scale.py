"""Planted datasets of 1 million to 1 billion users × 500,000 items, made group by group and trained on.

    python benchmarks/scale.py --folder FOLDER [--users 1,10,100,1000] [--picture FILE]

A user rates five or six items, drawn with a popularity after Zipf: 1/1, 1/2, 1/3 … of the most popular. A rating is

    3.3 + b_i + c_j + u_i·v_j + noise      b, c ~ N(0, 0.4²)   u·v of 3 factors ~ N(0, 0.5²)   noise ~ N(0, 0.5²)

rounded to half a point from 0.5 to 5; two per cent are held out. Nothing of it is ever in memory but a group, the
items, and while a dataset is made the numbers of the users of some groups. Datasets stay in FOLDER (about 3 bytes a
rating) and are used again.

Each training is a process of its own on as many processors as threads, whose peak of resident memory the system
tells. Seconds of a sweep are those of the second one. "Floor" is the error of somebody who knows every factor, so that
only noise and rounding are left; with five ratings nobody can know a user that well. "No factors" is the error before
the first sweep, of mean and user biases.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from common import Figure, parser, show
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

import cofactor as cf
from cofactor import kernels
from cofactor.figures import Picture
from cofactor.figures.drawing import ACCENT, GROUPS, draw
from cofactor.scale.dataset import GROUP_RATINGS, Dataset, group_of, read_group
from cofactor.scale.training import train
from cofactor.scale.writing import DatasetWriter

PLANTED, DRAWS, NOISE, HELD = 3, 6, 0.5, 0.02
BOOK = np.arange(0.5, 5.01, 0.5, dtype=np.float32)
AT_ONCE = 1 << 26  # users whose groups are looked up at a time
LIMITS = {"ratings a second": 10e6, "memory": 2.0, "growth": 1.2, "wide": 1.5}


class Planted:
    """The truth: what items are like, and how users are drawn."""

    def __init__(self, n_items: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.n_items, self.seed = n_items, seed
        self.bias = random.normal(0, 0.4, n_items).astype(np.float32)
        self.factors = random.normal(0, 0.5 / PLANTED**0.5, (n_items, PLANTED)).astype(np.float32)

    def group(self, number: int, users: NDArray[np.int64]) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
        """Columns of one group of users (ascending), by user and item; and the squared error of who knows the truth."""
        random = np.random.default_rng((self.seed, number))
        drawn = random.random((len(users), DRAWS), dtype=np.float32)
        items = (np.exp(drawn * np.log(self.n_items + 1)) - 1).astype(np.int32)  # 1/1, 1/2, 1/3, …
        items.clip(0, self.n_items - 1, out=items)
        items.sort(axis=1)
        kept = np.ones(items.shape, bool)
        kept[:, 1:] = items[:, 1:] != items[:, :-1]
        of = np.repeat(np.arange(len(users)), kept.sum(axis=1))
        items = items[kept]
        bias = random.standard_normal(len(users), dtype=np.float32) * np.float32(0.4)
        factors = random.standard_normal((len(users), PLANTED), dtype=np.float32)
        truth = 3.3 + bias[of] + self.bias[items]
        for k in range(PLANTED):
            truth += factors[of, k] * self.factors[items, k]
        noisy = truth + random.standard_normal(len(items), dtype=np.float32) * np.float32(NOISE)
        codes = np.rint(noisy * 2 - 1).clip(0, len(BOOK) - 1).astype(np.uint8)
        held = random.random(len(items), dtype=np.float32) < HELD
        columns = {"users": users[of], "items": items, "ratings": codes, "held": held}
        return columns, ((truth.clip(0.5, 5.0) - BOOK[codes]) ** 2)[held].astype(np.float64)


def users_of_groups(n_users: int, n_groups: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The users 0 … n_users − 1 of each group, ascending; some groups at a time."""
    at_once = max(1, AT_ONCE * n_groups // n_users)
    for first in range(0, n_groups, at_once):
        found: list[list[NDArray[np.int64]]] = [[] for _ in range(min(at_once, n_groups - first))]
        for begin in range(0, n_users, AT_ONCE):
            users = np.arange(begin, min(begin + AT_ONCE, n_users))
            group = group_of(users, n_groups)
            users = users[(group >= first) & (group < first + at_once)]
            group = group_of(users, n_groups) - first
            indptr, order = kernels.group(group.astype(np.int32), len(found))
            for k, mine in enumerate(found):
                mine.append(users[order[indptr[k] : indptr[k + 1]]])
        for k, mine in enumerate(found):
            yield first + k, np.concatenate(mine)


def make(folder: Path, n_users: int, n_items: int) -> float:
    """Write a dataset, unless it is there; returns the floor of its held-out error."""
    about = folder / "planted.json"
    if about.exists():
        return float(json.loads(about.read_text())["floor"])
    shutil.rmtree(folder, ignore_errors=True)
    truth = Planted(n_items, seed=0)
    n_groups = max(1, round(n_users * DRAWS / GROUP_RATINGS))
    writer = DatasetWriter(
        folder,
        n_groups=n_groups,
        item_ids=pa.array(np.arange(n_items)),
        code_book=BOOK,
        user_type=pa.int64(),
        scale=(0.5, 5.0),
        holdout=HELD,
    )
    squares, held, begin = 0.0, 0, time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for number, users in users_of_groups(n_users, n_groups):
            waiting.append((number, pool.submit(truth.group, number, users)))
            while len(waiting) > 2 or (waiting and number == n_groups - 1):
                which, done = waiting.pop(0)
                columns, errors = done.result()
                writer.write_group(which, **columns)
                squares, held = squares + float(errors.sum()), held + len(errors)
    writer.close()
    print(f"{folder}: made in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    floor = (squares / held) ** 0.5
    about.write_text(json.dumps({"floor": floor}))
    return floor


def measure(folder: Path, rank: int, sweeps: int, threads: int, memory: float) -> dict[str, Any]:
    """Train in a process of its own."""
    job = [str(folder), str(rank), str(sweeps), str(threads), str(memory)]
    done = subprocess.run(
        [sys.executable, __file__, "--child", *job], stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def child(folder: str, rank: str, sweeps: str, threads: str, memory: str) -> None:
    """What ``measure`` starts."""
    if hasattr(os, "sched_setaffinity"):  # reading ahead is a thread more
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    moments = [time.perf_counter()]
    dataset = Dataset.open(folder)
    model = cf.ALS(rank=int(rank), sweeps=int(sweeps), reg=1.0, reg_exponent=1.0, threads=int(threads))
    states = []

    def note(state: Any) -> None:
        moments.append(time.perf_counter())
        states.append((state.objective[-1], state.held_rmse[-1]))

    train(dataset, model, memory=int(float(memory) * 2**30), callback=note, progress=False)
    seconds = np.diff(moments).tolist()
    print(
        json.dumps(
            {
                "ratings": dataset.n_ratings,
                "held": dataset.n_held,
                "sweep": seconds[min(1, int(sweeps) - 1)],
                "first": seconds[0],
                "last": seconds[-1],
                "objective": [J for J, _ in states],
                "rmse": [rmse for _, rmse in states],
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                "bytes": sum(f.stat().st_size for f in Path(folder).rglob("*.parquet")),
            }
        )
    )


def in_memory(folder: Path, rank: int, threads: int) -> float:
    """Seconds that a sweep of ``ALS`` takes for each rating, the same exact solver, on a dataset in memory."""
    dataset = Dataset.open(folder)
    users = pa.concat_arrays([read_group(dataset.files(k)).users for k in range(dataset.n_groups)])
    ratings = dataset.ratings_of(users)
    seconds = []
    for sweeps in (1, 3):
        begin = time.perf_counter()
        cf.ALS(rank=rank, reg=1.0, reg_exponent=1.0, sweeps=sweeps, solver="cholesky", threads=threads).fit(
            ratings
        )
        seconds.append(time.perf_counter() - begin)
    return (seconds[1] - seconds[0]) / 2 / len(ratings)


def picture(found: dict[float, dict[str, Any]]) -> Picture:
    """Time for each rating and memory, against users."""
    users = [million * 1e6 for million in found]

    def paint(axes: Any) -> None:
        axes.plot(
            users,
            [its["sweep"] / its["ratings"] * 1e9 for its in found.values()],
            color=ACCENT,
            marker="o",
            label="nanoseconds of a sweep for each rating",
        )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(users))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{million:g} million" for million in found])
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
        axes.set_xlabel("users")
        axes.set_ylabel("ns a rating")
        other = axes.twinx()
        other.plot(
            users,
            [its["peak"] for its in found.values()],
            color=GROUPS[0],
            marker="s",
            label="peak memory, GiB (right)",
        )
        other.set_ylim(0, 1.3 * other.get_ylim()[1])
        other.grid(False)
        other.set_ylabel("GiB")
        lines = axes.get_lines() + other.get_lines()
        axes.legend(lines, [line.get_label() for line in lines], loc="lower left", frameon=False)

    says = "Time for each rating and peak memory stay level from a million users on."
    return Picture.of(draw("scale", says, paint, (760, 340)))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
    options = parser(__doc__)
    options.add_argument(
        "--folder", type=Path, default=Path("build/scale"), help="where datasets are kept [build/scale]"
    )
    options.add_argument("--users", default="1,10,100", help="millions of users [1,10,100]")
    options.add_argument("--items", type=int, default=500_000, help="[500000]")
    options.add_argument("--rank", type=int, default=10, help="[10]")
    options.add_argument("--sweeps", type=int, default=2, help="[2]")
    options.add_argument("--threads", type=int, default=2, help="[2]")
    options.add_argument("--memory", type=float, default=2.0, help="GiB that training may take [2]")
    options.add_argument(
        "--wide", type=float, default=10, help="millions of users of the run at rank 64; 0: none [10]"
    )
    options.add_argument("--picture", type=Path, help="an SVG file for the picture")
    args = options.parse_args()
    if args.quick:
        args.users, args.items, args.wide = "0.1,0.3", 20_000, 0.1
    figures: list[Figure] = []
    found: dict[float, dict[str, Any]] = {}
    for million in (float(part) for part in args.users.split(",")):
        folder = args.folder / f"{million:g}-million-users-{args.items}-items"
        floor = make(folder, round(million * 1e6), args.items)
        its = found[million] = measure(folder, args.rank, args.sweeps, args.threads, args.memory)
        where = f"{million:g} million users, {its['ratings'] / 1e6:.4g} million ratings, rank {args.rank}"
        large = million >= 100 and not args.quick
        figures += [
            Figure(f"{where}, a sweep", its["sweep"], "s"),
            Figure(
                f"{where}, million ratings a second",
                its["ratings"] / its["sweep"] / 1e6,
                "million",
                LIMITS["ratings a second"] / 1e6 if large else None,
                most=False,
            ),
            Figure(f"{where}, peak memory", its["peak"], "GiB", LIMITS["memory"] if large else None),
            Figure(f"{where}, bytes a rating", its["bytes"] / (its["ratings"] + its["held"]), "bytes"),
            Figure(f"{where}, held-out RMSE after {args.sweeps} sweeps", its["rmse"][-1], "points"),
            Figure(f"{where}, held-out RMSE, no factors", its["rmse"][0], "points"),
            Figure(f"{where}, held-out RMSE, floor", floor, "points"),
        ]
    (fewest, first), *_, (most, last) = (*found.items(), *found.items())
    if len(found) > 1 and not args.quick:
        label = f"{most:g} million users / {fewest:g} million users"
        growth = (last["sweep"] / last["ratings"]) / (first["sweep"] / first["ratings"])
        figures += [
            Figure(f"{label}, time for each rating", growth, "times", LIMITS["growth"]),
            Figure(f"{label}, peak memory", last["peak"] / first["peak"], "times", LIMITS["growth"]),
        ]
    if args.wide:
        items, few = 20_000, min(1.0, args.wide)
        folder = args.folder / f"{args.wide:g}-million-users-{items}-items"
        make(folder, round(args.wide * 1e6), items)
        its = measure(folder, 64, 2, args.threads, 2 * args.memory)
        small = args.folder / f"{few:g}-million-users-{items}-items"
        make(small, round(few * 1e6), items)
        inside = in_memory(small, 64, args.threads)
        where = f"{args.wide:g} million users, {items:,} items, rank 64"
        figures += [
            Figure(f"{where}, ns of a sweep for each rating", its["sweep"] / its["ratings"] * 1e9, "ns"),
            Figure(f"{where}, the same of ALS in memory, {few:g} million users", inside * 1e9, "ns"),
            Figure(
                f"{where}, the ratio",
                its["sweep"] / its["ratings"] / inside,
                "times",
                None if args.quick else LIMITS["wide"],
            ),
            Figure(f"{where}, peak memory", its["peak"], "GiB"),
        ]
    if args.picture:
        picture(found).save(args.picture)
    show(figures, args.json, [f"{args.threads} threads"])


if __name__ == "__main__":
    main()
