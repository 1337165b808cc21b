"""Seconds to find the best 10 of 500,000 items exactly, at rank 64, for one user and for a thousand.

    python benchmarks/ranking.py

A thousand users are 2·1000·500,000·64 = 64 billion operations; one user reads 128 MB of item factors.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from common import Figure, parser, show

from cofactor import kernels


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=2, help="threads [2]")
    args = options.parse_args()
    items, rank = (50_000 if args.quick else 500_000), 64
    rng = np.random.default_rng(0)
    V, c = rng.normal(size=(items, rank)).astype(np.float32), rng.normal(size=items).astype(np.float32)
    U, nothing = rng.normal(size=(1000, rank)).astype(np.float32), np.empty(0, np.int32)
    figures = []
    for users in (1, 1000):
        times = []
        for _ in range(2 if args.quick else 5):
            begin = time.perf_counter()
            kernels.topk(U[:users], V, c, np.zeros(users + 1, np.int64), nothing, 10, threads=args.threads)
            times.append(time.perf_counter() - begin)
        seconds = statistics.median(times)
        figures.append(Figure(f"{users:,} users, {items:,} items", seconds, "s"))
        figures.append(Figure(f"{users:,} users, rate", 2 * users * items * rank / seconds / 1e9, "GFLOP/s"))
    show(figures, args.json)


if __name__ == "__main__":
    main()
