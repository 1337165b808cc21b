"""Error, seconds and memory of CosineNeighbours: MovieLens, and 100,000 made-up users.

    python benchmarks/neighbours.py --data FOLDER [--choose]

Without the data only the made-up ratings are measured: 100,000 users, 10,000 items, 10,000,000 ratings, of which an
item's share falls as 1/√(its rank). Nothing is kept per pair of rows, so memory is that of the ratings; comparing a
row with all others takes one addition for every two ratings that share its columns.

The defaults of the model were chosen on an inner tenth of training parts: ``--choose`` repeats that.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from accuracy import folds_100k, held_out
from common import Figure, data_file, parser, show, split_1m

import cofactor as cf
from cofactor.ids import IdMap

GIB = 2.0**30


def made_up(users: int, items: int, count: int) -> cf.Ratings:
    """Ratings 1 to 5 of distinct pairs; an item's share falls as 1/√(its rank)."""
    rng = np.random.default_rng(0)
    pairs = np.empty(0, np.int64)
    while len(pairs) < count:
        more = int(1.1 * (count - len(pairs))) + 1000
        item = (items * rng.random(more) ** 2).astype(np.int64)
        pairs = np.union1d(pairs, rng.integers(0, users, more) * items + item)
    pairs = pairs[np.sort(rng.permutation(len(pairs))[:count])]
    user_ids, user_at = IdMap.encode(pairs // items)
    item_ids, item_at = IdMap.encode(pairs % items)
    values = rng.integers(1, 6, count).astype(np.float32)
    return cf.Ratings.from_positions(user_ids, item_ids, user_at, item_at, values)


def seconds(work, *arguments) -> float:
    begin = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begin


def scale_figures(quick: bool, threads: int) -> list[Figure]:
    users, items, count = (10_000, 1_000, 300_000) if quick else (100_000, 10_000, 10_000_000)
    ratings = made_up(users, items, count)
    rng = np.random.default_rng(1)
    pairs = (
        ratings.user_ids.take(rng.integers(0, ratings.n_users, 10_000)),
        ratings.item_ids.take(rng.integers(0, ratings.n_items, 10_000)),
    )
    somebody = ratings.user_ids.id(ratings.n_users // 2)
    figures = []
    for of in ("items", "users"):
        model = cf.CosineNeighbours(of=of, threads=threads)
        what = f"{users:,} users, {items:,} items, {count:,} ratings, of {of}"
        figures.append(Figure(f"{what}, fit", seconds(model.fit, ratings), "s"))
        figures.append(Figure(f"{what}, first answer", seconds(model.recommend, somebody), "s"))
        figures.append(Figure(f"{what}, recommend", seconds(model.recommend, somebody), "s"))
        figures.append(Figure(f"{what}, predict 10,000 pairs", seconds(model.predict, *pairs), "s"))
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    figures.append(Figure("peak memory of all this", kilobytes * 1024 / GIB, "GiB", 4.0))
    return figures


def real_figures(folder, quick: bool, threads: int) -> list[Figure]:
    figures = []
    for of in ("items", "users"):
        model = cf.CosineNeighbours(of=of, threads=threads)
        folds = folds_100k(folder)[: 2 if quick else 5]
        errors = [held_out(model, *fold)[0] for fold in folds]
        bound = 0.93 if of == "items" else None
        figures.append(
            Figure(
                f"MovieLens 100K, {len(folds)} folds, of {of}, RMSE", float(np.mean(errors)), "stars", bound
            )
        )
    train, test = split_1m(data_file(folder, "ml-1m.parquet"))
    for of in ("items", "users"):
        model = cf.CosineNeighbours(of=of, threads=threads)
        figures.append(Figure(f"MovieLens 1M, of {of}, fit", seconds(model.fit, train), "s"))
        took = seconds(model.predict, test.users, test.items)
        figures.append(Figure(f"MovieLens 1M, of {of}, predict {len(test):,} pairs", took, "s"))
        error, bound = held_out(model, train, test)[0], 0.90 if of == "items" else None
        figures.append(Figure(f"MovieLens 1M, of {of}, RMSE", error, "stars", bound))
    return figures


def choose(folder) -> list[str]:
    """Inner RMSE of each setting, the mean over the training parts of three folds of 100K, and that of 1M."""
    parts = [
        [train for train, _ in folds_100k(folder)[:3]],
        [split_1m(data_file(folder, "ml-1m.parquet"))[0]],
    ]
    told = []
    for similarity in ("cosine", "centred", "pearson"):
        for shrinkage in (100.0, 200.0, 400.0, 800.0):
            for damping in (0.01, 0.05, 0.2):
                for k in (20, 30, 50):
                    model = cf.CosineNeighbours(
                        similarity=similarity, shrinkage=shrinkage, damping=damping, k=k
                    )
                    errors = [
                        np.mean([held_out(model, *cf.split(train, holdout=0.1, seed=1))[0] for train in some])
                        for some in parts
                    ]
                    told.append(
                        f"{similarity}, shrinkage {shrinkage:g}, damping {damping:g}, k {k}: inner RMSE "
                        f"{errors[0]:.4f} on 100K, {errors[1]:.4f} on 1M"
                    )
    return told


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=2, help="threads [2]")
    options.add_argument(
        "--choose", action="store_true", help="also the inner errors that chose the defaults"
    )
    args = options.parse_args()
    figures, notes = scale_figures(args.quick, args.threads), []
    if args.data is None:
        notes.append("MovieLens was left out: no --data FOLDER and no $COFACTOR_DATA.")
    else:
        for name in ("ml-100k.parquet", "ml-1m.parquet"):
            data_file(args.data, name)
        figures += real_figures(args.data, args.quick, args.threads)
        notes += choose(args.data) if args.choose else []
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
