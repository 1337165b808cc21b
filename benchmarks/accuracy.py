"""Held-out error of every model on MovieLens: five folds of 100K, and a tenth of 1M held out. Then SGD beside LIBMF
(``descent.py``), and the search of cf.tune beside fits from scratch (``tuning.py``).

    python benchmarks/accuracy.py --data FOLDER --libmf PATH/TO/mf-train

The settings were chosen on training parts: see ``--choose``, which repeats the choice. It splits each training
part once more, fits on nine tenths of it, and measures on the rest. The test tenth of 1M is never seen by it. The
folds of 100K overlap: what is test in one is training in the four others, so one setting for all five cannot be
chosen on all of them unseen; ``--choose`` therefore also tells what each training part alone would have chosen.
The settings of CosineNeighbours are its defaults, whose choice ``neighbours.py --choose`` repeats.
"ALS, tuned" is what cf.tune chooses on the training part of 1M.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import descent
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tuning
from common import SCALE, Figure, data_file, parser, show, split_1m

import cofactor as cf
from cofactor.features import Features
from cofactor.ids import IdMap

ALS_100K = cf.ALS(rank=8, reg=1.3, reg_exponent=0.5, sweeps=30)
ALS_1M = cf.ALS(rank=16, reg=1.0, reg_exponent=0.5, sweeps=30)
REGS = (0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 2.0)
DRAWS = {"burn_in": 40, "samples": 400}
SGD_CHOICES = {"reg": (0.18, 0.22, 0.26), "rate": (0.02, 0.03, 0.04)}


def held_out(model: cf.Model, train: cf.Ratings, test: cf.Ratings) -> tuple[float, float]:
    """RMSE and MAE on the test part, predictions kept on the scale."""
    predicted = model.fit(train, progress=False).predict(test.users, test.items, clip=True)
    return cf.rmse(test.values, predicted), cf.mae(test.values, predicted)


def folds_100k(folder) -> list[tuple[cf.Ratings, cf.Ratings]]:
    table = pq.read_table(data_file(folder, "ml-100k.parquet"))
    fold = table["fold"].to_numpy()

    def read(mask):
        return cf.read_ratings(table.filter(pa.array(mask)), scale=SCALE)

    return [(read(fold != k), read(fold == k)) for k in range(1, 6)]


def inside(model: cf.ALS | cf.BayesianMF, test: cf.Ratings) -> float:
    """Share of the test ratings within a fitted model's 90 % interval."""
    _, low, high = model.predict(test.users, test.items, interval=0.9, clip=True)
    return float(((low <= test.values) & (test.values <= high)).mean())


def covered(label: str, share: float) -> list[Figure]:
    """The share, and that it is near enough."""
    return [
        Figure(f"{label}, within the 90 % interval", share, "of all"),
        Figure(f"{label}, how far from 90 %", abs(share - 0.9), "of all", 0.02),
    ]


def bayesian(
    label: str,
    model: cf.BayesianMF,
    pairs: list[tuple[cf.Ratings, cf.Ratings]],
    bound: float | None,
    first: float | None = None,
    **known: Features,
) -> list[Figure]:
    """Error, coverage and likelihood of a Bayesian model, means over the splits; ``known`` goes with ``fit``.

    ``first`` bounds the error on the first of the splits.
    """
    found = []
    for train, test in pairs:
        begin = time.perf_counter()
        model.fit(train, progress=False, **known)
        seconds = time.perf_counter() - begin
        middle = model.predict(test.users, test.items, clip=True)
        error = cf.rmse(test.values, middle), cf.mae(test.values, middle)
        found.append((*error, inside(model, test), surprise(model, test), seconds))
    rmse, mae, share, nll, seconds = (float(value) for value in np.mean(found, axis=0))
    figures = [Figure(f"{label}, RMSE", rmse, "stars", bound), Figure(f"{label}, MAE", mae, "stars")]
    if first is not None:
        figures.insert(0, Figure(f"{label}, the first fold alone, RMSE", float(found[0][0]), "stars", first))
    if isinstance(model, cf.OrdinalMF):  # from one star to another: at least the share
        figures.append(Figure(f"{label}, within the 90 % interval", share, "of all"))
    else:
        figures += covered(label, share)
    return [
        *figures,
        Figure(f"{label}, negative log-likelihood", nll, "nats"),
        Figure(f"{label}, a fit", seconds, "s"),
    ]


def surprise(model: cf.BayesianMF, test: cf.Ratings) -> float:
    """Mean −log of the probability of the star that was given; a normal gives each star what is nearest to it."""
    if isinstance(model, cf.OrdinalMF):
        shares = model.probabilities(test.users, test.items).astype(np.float64)
        at = np.searchsorted(model.levels_, test.values)
        return float(-np.log(shares[np.arange(len(at)), at]).mean())
    middle, std = model.predict(test.users, test.items, return_std=True)
    stars = np.arange(SCALE[0], SCALE[1] + 1)
    edges = np.concatenate([[-np.inf], (stars[1:] + stars[:-1]) / 2, [np.inf]])
    at = np.searchsorted(stars, test.values)
    below, above = (
        np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in ((edges[at + k] - middle) / std).tolist()])
        for k in (0, 1)
    )
    return float(-np.log(np.maximum(above - below, 1e-12)).mean())


def genres_and_years(folder: Path) -> Features:
    """What is known of the items of 100K."""
    table = pq.read_table(data_file(folder, "ml-100k-items.parquet"))
    ids, place = IdMap.encode(table["item"])
    order = np.argsort(place)
    rows = [table.slice(k, 1).to_pylist()[0] for k in order.tolist()]
    years = [re.search(r"\((\d{4})\)", row["title"] or "") for row in rows]
    return Features.of_table(
        ids,
        {
            "genres": ("labels", [row["genres"] for row in rows]),
            "year": ("number", [year and float(year[1]) for year in years]),
        },
    )


def a_draw(train: cf.Ratings, rank: int) -> float:
    """How many times as long a sweep of ``BayesianMF`` takes as an exact one of ``ALS``, medians of five."""

    def seconds(few: cf.Model, many: cf.Model) -> float:
        times = []
        for model in (few, many):
            begin = time.perf_counter()
            model.fit(train, progress=False)
            times.append(time.perf_counter() - begin)
        return times[1] - times[0]

    def sampled(sweeps: int) -> cf.Model:
        return cf.BayesianMF(rank=rank, burn_in=sweeps - 1, samples=1, implicit=None, threads=2)

    def exact(sweeps: int) -> cf.Model:
        return cf.ALS(rank=rank, sweeps=sweeps, solver="cholesky", threads=2)

    pairs = [(seconds(sampled(2), sampled(7)), seconds(exact(2), exact(7))) for _ in range(5)]
    ours, theirs = np.median(pairs, axis=0)
    return float(ours / theirs)


def choose(model: cf.Model, name: str, values: Sequence[Any], trains: list[cf.Ratings]) -> list[str]:
    """The error of each value on a tenth of the training parts, the test ratings unseen."""
    told, errors = [], []
    kind = type(model).__name__
    for value in values:
        one = type(model)(**{**model.get_params(), name: value})
        errors.append([held_out(one, *cf.split(train, 0.1, seed=1, warn=False))[0] for train in trains])
        told.append(f"{kind}, {name} {value:g}: inner RMSE {np.mean(errors[-1]):.4f}")
    alone = ", ".join(f"{values[best]:g}" for best in np.argmin(errors, axis=0))
    return [*told, f"{kind}, least inner RMSE, each training part alone: {name} {alone}"]


def tuned(train: cf.Ratings, threads: int) -> cf.Tuning:
    """What cf.tune chooses for ALS on the training part of 1M."""
    ranks = sorted({min(rank, train.n_items // 2) for rank in (8, 16, 32, 64)})
    return cf.tune(
        cf.ALS(sweeps=30, threads=threads), train, rank=ranks, reg=(0.8, 1.0, 1.2, 1.4), progress=False
    )


def main() -> None:
    options = parser(__doc__)
    descent.add_options(options)
    options.add_argument("--choose", action="store_true", help="repeat the choices on the training parts")
    args = options.parse_args()
    folds = folds_100k(args.data)
    train, test = split_1m(data_file(args.data, "ml-1m.parquet"))
    figures: list[Figure] = []

    def on_100k(label: str, model: cf.Model, bound: float | None = None) -> None:
        rmse, mae = np.mean([held_out(model, *pair) for pair in folds], axis=0)
        figures.append(Figure(f"ML-100K u1..u5, {label}, RMSE", float(rmse), "stars", bound))
        figures.append(Figure(f"ML-100K u1..u5, {label}, MAE", float(mae), "stars"))

    def on_1m(label: str, model: cf.Model, bound: float | None = None) -> None:
        rmse, mae = held_out(model, train, test)
        figures.append(Figure(f"ML-1M, {label}, RMSE", rmse, "stars", bound))
        figures.append(Figure(f"ML-1M, {label}, MAE", mae, "stars"))

    for measure in (on_100k, on_1m):
        for plain in (cf.Baseline(), cf.LineBaseline()):
            measure(type(plain).__name__, plain)
    on_100k("CosineNeighbours on residuals", cf.CosineNeighbours(), 0.93)
    on_1m("CosineNeighbours on residuals", cf.CosineNeighbours(), 0.90)
    on_100k("ALS rank 8", ALS_100K, 0.912)
    on_1m("ALS rank 16", ALS_1M, 0.845)
    draws = {"burn_in": 10, "samples": 20} if args.quick else DRAWS
    alone = cf.BayesianMF(implicit=None, threads=args.threads)
    figures += bayesian("ML-100K u1..u5, BayesianMF, ids only", alone, folds, 0.9056)
    figures += bayesian("ML-1M, BayesianMF, ids only", alone, [(train, test)], 0.838)
    known = genres_and_years(args.data)
    for kind, rank in ((cf.BayesianMF, 8), (cf.OrdinalMF, 12)):
        name = kind.__name__
        model = kind(rank=rank, threads=args.threads, **draws)
        figures += bayesian(f"ML-100K u1..u5, {name}", model, folds, 0.885)
        label = f"ML-100K u1..u5, {name} with genres and years"
        figures += bayesian(label, model, folds, 0.885, 0.8889, items=known)
        model.set_params(rank=min(32, train.n_items))
        figures += bayesian(f"ML-1M, {name}", model, [(train, test)], 0.8227)
    for rank in (r for r in (32, 64) if r <= train.n_items):
        times = a_draw(train, rank)
        figures.append(
            Figure(f"ML-1M, rank {rank}, a sweep of BayesianMF / exact of ALS", times, "times", 1.6)
        )
    shares = [inside(ALS_100K.fit(one, progress=False), other) for one, other in folds]
    figures += covered("ML-100K u1..u5, ALS rank 8", float(np.mean(shares)))
    figures += covered("ML-1M, ALS rank 16", inside(ALS_1M.fit(train, progress=False), test))
    best = tuned(train, args.threads)
    on_1m("ALS, tuned", best.best, 0.8435)
    notes = [f"ALS, tuned on the training part of ML-1M: {best.best_setting.params}"]
    if args.choose:
        notes += choose(ALS_100K, "reg", REGS, [one for one, _ in folds])
        notes += choose(ALS_1M, "reg", REGS, [train])
        notes += choose(cf.LineBaseline(), "reg", (1.0, 2.0, 3.0, 5.0, 8.0), [train])
        for kind in (cf.BayesianMF, cf.OrdinalMF):
            few = kind(burn_in=40, samples=100, threads=args.threads)
            if args.quick:
                few.set_params(burn_in=5, samples=5)
            for ranks, trains in (((8, 12, 16, 24), [one for one, _ in folds]), ((24, 32, 48, 64), [train])):
                fewest = min(one.n_items for one in trains)
                notes += choose(
                    few,
                    "rank",
                    [rank for rank in ranks[: 1 if args.quick else 4] if 2 * rank <= fewest],
                    trains,
                )
        for name, values in SGD_CHOICES.items():
            notes += choose(descent.setting(64, train, args.threads), name, values, [train])
    for more, told in (
        descent.measure(args, train, test),
        tuning.measure(args, cf.read_ratings(data_file(args.data, "ml-100k.parquet"), scale=SCALE)),
    ):
        figures += more
        notes += told
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
