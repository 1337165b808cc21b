"""cf.tune over 5 ranks, 6 λ and 5 folds of MovieLens 100K, beside the 150 fits from scratch it stands for.

    python benchmarks/tuning.py --data FOLDER

Both use the same folds and threads and take turns. The fits from scratch use all threads for one fit after another.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from common import SCALE, Figure, data_file, parser, show

import cofactor as cf

RANKS = (4, 8, 16, 32, 64)
REGS = (0.4, 0.7, 1.0, 1.3, 1.8, 2.5)


def from_scratch(ratings: cf.Ratings, ranks: list[int], threads: int) -> dict[tuple[int, float], float]:
    """The mean RMSE of every setting, each fold fitted from scratch."""
    errors: dict[tuple[int, float], list[float]] = {}
    for train, test in cf.folds(ratings, 5, warn=False):
        for rank in ranks:
            for reg in REGS:
                model = cf.ALS(rank=rank, reg=reg, threads=threads).fit(train, progress=False)
                predicted = model.predict(test.users, test.items, clip=True)
                errors.setdefault((rank, reg), []).append(cf.rmse(test.values, predicted))
    return {key: float(np.mean(values)) for key, values in errors.items()}


def measure(args: argparse.Namespace, ratings: cf.Ratings) -> tuple[list[Figure], list[str]]:
    ranks = [rank for rank in RANKS if rank <= ratings.n_items // 2]
    tuned, plain = [], []
    for _ in range(1 if args.quick else args.repeat):
        begin = time.perf_counter()
        found = cf.tune(cf.ALS(threads=args.threads), ratings, rank=ranks, reg=REGS, folds=5, progress=False)
        middle = time.perf_counter()
        errors = from_scratch(ratings, ranks, args.threads)
        tuned.append(middle - begin)
        plain.append(time.perf_counter() - middle)
    best = found.best_setting
    chosen = errors[best.params["rank"], best.params["reg"]]
    ratio = statistics.median(plain) / statistics.median(tuned)
    name = f"ML-100K, cf.tune, {len(ranks)} ranks × {len(REGS)} λ × 5 folds"
    figures = [
        Figure(f"{name}, seconds", statistics.median(tuned), "s", 60.0),
        Figure(f"{name}, seconds of {5 * len(errors)} fits from scratch", statistics.median(plain), "s"),
        Figure(f"{name}, times faster", ratio, "times", 3.0, most=False),
        Figure("ML-100K, cf.tune, RMSE of its best, as it says", best.rmse, "stars"),
        Figure("ML-100K, cf.tune, RMSE of its best, from scratch", chosen, "stars"),
        Figure("ML-100K, least RMSE of all, from scratch", min(errors.values()), "stars"),
    ]
    return figures, [f"cf.tune chose {best.params}; the simplest as good is {found.simplest_setting.params}"]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=2, help="threads [2]")
    options.add_argument("--repeat", type=int, default=5, help="runs for each median [5]")
    args = options.parse_args()
    figures, notes = measure(args, cf.read_ratings(data_file(args.data, "ml-100k.parquet"), scale=SCALE))
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
