"""How near the kernels come to what this machine can do.

    python benchmarks/roofline.py

First the limits, by a small program (limits.cpp): multiply-adds in float32 on one thread and on all asked for, memory
read in order, and rows of 256 bytes read at random. Then each kernel, as a share of the limit that binds it.

A half-sweep of exact solves takes, for a row of n ratings and K factors beside the bias,

    n (K + 1)² + (K + 1)³ / 3     operations: the Gram matrix, of which only half is needed, and its solution

and reads n rows of K numbers. Of conjugate gradients with s steps it takes 4 n K (s + 1): a product with all ratings'
factors and one back, s + 1 times. Rows of 4,000 ratings are nearly all Gram matrix: they stand for its kernel. All
rows have the same length, and their items are drawn at random from 3,700, as many as MovieLens 1M has.

A step of stochastic gradient descent takes 6 K operations (a product and two updates); a score K multiply-adds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import limits
import numpy as np
from common import Figure, parser, show

from cofactor import kernels

ITEMS = 3700
STEPS = 3  # of conjugate gradient
GRAM, HALF_SWEEP = 0.7, 0.5  # wanted shares of the limit


def seconds_of(task: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat + 1):  # the first warms up
        begin = time.perf_counter()
        task()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def half_sweep(
    rank: int, length: int, ratings: int, solver: kernels.Solver, threads: int, repeat: int
) -> float:
    """Seconds to solve rows of ``length`` ratings, about ``ratings`` in all."""
    rng = np.random.default_rng(0)
    rows = max(threads, ratings // length)
    indices = np.sort(rng.integers(0, ITEMS, (rows, length), dtype=np.int32), axis=1).ravel()
    values = rng.integers(1, 6, rows * length).astype(np.float32)
    fixed = rng.normal(0, 0.1, (ITEMS, rank)).astype(np.float32)
    bias, indptr = np.zeros(ITEMS, np.float32), np.arange(rows + 1, dtype=np.int64) * length
    out, out_bias = np.zeros((rows, rank), np.float32), np.zeros(rows, np.float32)

    def solve() -> None:
        kernels.solve_rows(
            indptr,
            indices,
            values,
            fixed,
            bias,
            np.full(rows, 10.0),
            out,
            out_bias,
            mean=3.0,
            solver=solver,
            cg_steps=STEPS,
            threads=threads,
        )

    return seconds_of(solve, repeat) * ratings / (rows * length)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=2, help="threads [2]")
    options.add_argument("--repeat", type=int, default=5, help="measurements for each median [5]")
    args = options.parse_args()
    figures, notes = [], []
    ratings, repeat = (200_000, 1) if args.quick else (2_000_000, args.repeat)
    counts = sorted({1, args.threads})
    measured = {threads: limits.measure(threads) for threads in counts}
    for threads, most in measured.items():
        label = f"{threads} thread{'s'[: threads > 1]}"
        if isinstance(most, str):
            notes.append(f"The limits are not known: {most}.")
            break
        figures.append(Figure(f"limit, {label}, multiply-adds", most.rate, "GFLOP/s"))
        figures.append(Figure(f"limit, {label}, memory in order", most.bandwidth, "GB/s"))
        figures.append(Figure(f"limit, {label}, rows at random from 1 MB", most.gather_near, "GB/s"))
        figures.append(Figure(f"limit, {label}, rows at random from 256 MB", most.gather_far, "GB/s"))
    limit = measured[args.threads]
    for rank in (16, 64, 128):
        for length in (20, 100, 165, 1000, 4000):
            for solver in ("primal", "cg"):
                if solver == "cg" and length > 1000:
                    continue
                seconds = half_sweep(rank, length, ratings, solver, args.threads, repeat)
                unknowns, rows = rank + 1, ratings / length
                if solver == "primal":
                    operations = rows * (length * unknowns**2 + unknowns**3 / 3)
                else:
                    operations = 4.0 * ratings * unknowns * (STEPS + 1)
                name = f"rank {rank}, rows of {length:,}, {'exact' if solver == 'primal' else 'cg'}"
                figures.append(Figure(name, seconds / ratings * 1e9 * args.threads, "ns/rating"))
                if isinstance(limit, str):
                    continue
                share = operations / seconds / 1e9 / limit.rate
                bound = None
                if solver == "primal" and rank >= 64 and length >= 100:
                    bound = GRAM if length == 4000 else HALF_SWEEP
                # a look is too short, and tests use it: no bound is held against it
                figures.append(
                    Figure(f"{name}, share", share, "of limit", None if args.quick else bound, most=False)
                )
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
