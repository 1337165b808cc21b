"""What time adds: ratings predicted as they arrive, from means and biases up to a network in a differential equation.

    python benchmarks/drift.py --data FOLDER

The latest fifth of the ratings is test, in the order of time. "Told": each test rating is predicted from what came
before its second, and then the model is told of it (``cf.evaluate(..., update=True)``). All rungs of ``TasteDrift``
have the same item factors, from the training part alone, for each seed. ``--choose`` tells the error of other ranks and
regularizations on the latest fifth of the training part. Errors are means over the seeds; intervals hold 95 % of what
comes out where users are drawn anew, of the ratio of two errors on the same users, squared errors averaged over seeds.

Then what must hold of the equation itself: gradients through the solver by checkpoints, by the adjoint equation, and by
finite differences, and the order of the solvers.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Figure, data_file, parser, show
from numpy.typing import NDArray

import cofactor as cf

TEST = 0.2
DRAWS = 1000


@dataclass(frozen=True)
class Set:
    """A data set: its name, file, scale, and the settings chosen for it."""

    name: str
    file: str
    scale: tuple[float, float]
    rank: int
    als: tuple[int, float]  # rank and reg
    bound: float | None
    fit_bound: float | None


SETS = (
    Set("ML-100K", "ml-100k.parquet", (1, 5), 16, (8, 1.0), 0.9326, 120),
    Set("ML-1M, first half", "ml-1m-users1-2999.parquet", (1, 5), 16, (16, 1.0), None, 600),
    Set("MovieTweetings", "movietweetings-100k.parquet", (0, 10), 8, (32, 1.8), None, None),
)
CHOICES = {
    "TasteDrift, rank": [{"rank": rank} for rank in (4, 8, 16, 24)],
    "ALS": [{"rank": rank, "reg": reg} for rank in (8, 16, 32) for reg in (0.5, 0.7, 1.0, 1.4)],
}
DRIFTS = ("forgetting", "bins", "none", "linear", "two-scale", "neural", "gru")
PARTS = (
    "known user and item",
    "new user",
    "gap below 6 h",
    "6 h to 1 day",
    "1 to 7 days",
    "7 to 28 days",
    "28 days or more",
)


def capped(rank: int, train: cf.Ratings) -> int:
    return min(rank, max(1, train.n_items // 2))


def ladder(
    data: Set, train: cf.Ratings, seed: int, drifts: list[str], quick: bool
) -> dict[str, tuple[cf.Model, bool]]:
    """Models by name, and whether they are told of the test ratings."""
    rank, reg = data.als
    als = cf.ALS(rank=capped(rank, train), reg=reg, sweeps=30, seed=seed, threads=2)
    bayes = cf.BayesianMF(rank=capped(data.rank, train), seed=seed, threads=2)
    fast: dict[str, Any] = {"epochs": 1, "truncate": 32} if quick else {}
    rank = capped(data.rank, train)

    def drifting(drift: Any, **more: Any) -> cf.TasteDrift:
        return cf.TasteDrift(rank=rank, drift=drift, seed=seed, threads=2, **fast, **more)

    rungs: dict[str, tuple[cf.Model, bool]] = {
        "Baseline, static": (cf.Baseline(threads=2), False),
        "ALS, static": (als, False),
        "BayesianMF, static": (bayes, False),
        "Baseline, told": (cf.Baseline(threads=2), True),
        "ALS, told": (als, True),
        "BayesianMF, told": (bayes, True),
    }
    rungs |= {f"drift: {drift}": (drifting(drift), True) for drift in drifts}
    if "neural" in drifts and not quick:
        rungs["drift: neural, shuffled gaps"] = (drifting("neural", gaps="shuffled"), True)
    return rungs


@dataclass(eq=False)
class Rung:
    """What came out for one model, over the seeds."""

    rmse: list[float]
    squared: NDArray[np.float64]  # (users,), summed over the seeds
    seconds: list[float]
    strata: list[dict[str, Any]]


def climb(
    data: Set, train: cf.Ratings, test: cf.Ratings, seeds: int, drifts: list[str], quick: bool
) -> dict[str, Rung]:
    found: dict[str, Rung] = {}
    for seed in range(seeds):
        for name, (model, told) in ladder(data, train, seed, drifts, quick).items():
            if "Baseline" in name and seed:
                continue  # there is nothing random in it
            begin = time.perf_counter()
            model.fit(train, progress=False)
            seconds = time.perf_counter() - begin
            result = cf.evaluate(model, test, update=told, bootstrap=0, metrics=["rmse"])
            rung = found.setdefault(name, Rung([], np.zeros(test.n_users), [], []))
            rung.rmse.append(float(result.rmse or 0))
            rung.squared += result.per_user["squared_error"].to_numpy()
            rung.seconds.append(seconds)
            print(
                f"{data.name}, seed {seed}, {name}: {result.rmse:.4f}, {seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )
            rung.strata.append({part: of.rmse for part, of in result.strata.items()})
    for rung in found.values():
        rung.squared /= len(rung.rmse)
    return found


def ratio(one: Rung, other: Rung, counts: NDArray[np.int64]) -> tuple[float, float]:
    """The ends of the interval of RMSE of one / RMSE of the other, users drawn anew."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        weight = np.bincount(rng.integers(0, len(counts), len(counts)), minlength=len(counts))
        drawn.append(np.sqrt((weight @ one.squared) / (weight @ other.squared)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def figures_of(data: Set, found: dict[str, Rung], test: cf.Ratings) -> tuple[list[Figure], list[str]]:
    figures = []
    for name, rung in found.items():
        bound = data.bound if name == "drift: two-scale" else None
        figures.append(Figure(f"{data.name}, {name}, RMSE", float(np.mean(rung.rmse)), "points", bound))
    drift, counts = found["drift: two-scale"], test.by_user.counts
    static = min((float(np.mean(r.rmse)) for n, r in found.items() if "static" in n), default=1.0)
    figures.append(
        Figure(
            f"{data.name}, best static / two-scale", static / float(np.mean(drift.rmse)), "times", 1.0, False
        )
    )
    for other, bound in (
        ("ALS, told", 1.0),
        ("BayesianMF, told", None),
        ("drift: none", None),
        ("drift: linear", None),
    ):
        if other in found:
            low, high = ratio(found[other], drift, counts)
            figures.append(Figure(f"{data.name}, {other} / two-scale, low end", low, "times", bound, False))
            figures.append(Figure(f"{data.name}, {other} / two-scale, high end", high, "times"))
    for other in ("drift: two-scale", "drift: gru", "drift: neural, shuffled gaps"):
        if other in found and "drift: neural" in found:
            low, high = ratio(found[other], found["drift: neural"], counts)
            figures.append(Figure(f"{data.name}, {other} / neural, low end", low, "times"))
            figures.append(Figure(f"{data.name}, {other} / neural, high end", high, "times"))
    for name in [name for name in ("drift: two-scale", "drift: neural") if name in found]:
        seconds = max(found[name].seconds)
        figures.append(Figure(f"{data.name}, {name}, a fit", seconds, "s", data.fit_bound))
    notes = []
    for name, rung in found.items():
        parts = {part: [s[part] for s in rung.strata if s.get(part) is not None] for part in PARTS}
        told = ", ".join(f"{part} {np.mean(values):.4f}" for part, values in parts.items() if values)
        notes.append(f"{data.name}, {name}: {told}; seeds {', '.join(f'{x:.4f}' for x in rung.rmse)}")
    return figures, notes


def choose(data: Set, train: cf.Ratings) -> list[str]:
    """The error of each setting on the latest fifth of the training part."""
    early, late = cf.split(train, TEST, by="time")
    spread = 1.8 if data.scale[1] > 5 else 1.0  # λ goes with the size of the ratings
    notes = []
    for what, settings in CHOICES.items():
        for given in settings:
            if what == "ALS":
                model: cf.Model = cf.ALS(sweeps=30, threads=2, **{**given, "reg": given["reg"] * spread})
            else:
                model = cf.TasteDrift(threads=2, **given)
            error = cf.rmse(late.values, np.clip(model.fit(early, progress=False).walk(late), *data.scale))
            notes.append(f"{data.name}, {what} {given}: inner RMSE {error:.4f}")
    return notes


# -- the equation itself ---------------------------------------------------------------------------


def latency(model: cf.TasteDrift) -> float:
    """Milliseconds of one user's scores of all of 10,000 items at one moment, median of 50."""
    repeated = np.arange(10_000) % len(model.item_ids_)
    users, items = np.full(10_000, model.user_ids_.id(0)), model.item_ids_.take(repeated.astype(np.int32))
    moment, taken = model.present_ + 86_400, []
    for _ in range(50):
        begin = time.perf_counter()
        model.predict(users, items, at=moment)
        taken.append(time.perf_counter() - begin)
    return 1000 * float(np.median(taken[5:]))


def of_the_equation() -> list[Figure]:
    """Gradients of a solve by three ways, and orders of the solvers, in double precision."""
    import jax

    from cofactor.models.drifting.checks import gradients, order_of

    with jax.enable_x64(True):
        checkpoint, backsolve, differences = gradients(steps=64)

        def apart(a: NDArray[Any], b: NDArray[Any]) -> float:
            return float(np.linalg.norm(a - b) / np.linalg.norm(b))

        return [
            Figure("gradient, adjoint against checkpoint", apart(backsolve, checkpoint), "relative", 1e-4),
            Figure(
                "gradient, checkpoint against differences", apart(checkpoint, differences), "relative", 1e-3
            ),
            *(
                Figure(
                    f"order of {name}, how far from {wanted}",
                    abs(order_of(name) - wanted) + 1e-9,
                    "of order",
                    0.2,
                )
                for name, wanted in (("euler", 1), ("heun", 2))
            ),
        ]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--choose", action="store_true", help="repeat the choices on the training parts")
    options.add_argument("--seeds", type=int, default=3, help="how often, with other seeds")
    options.add_argument(
        "--drifts", nargs="*", default=list(DRIFTS), help="which rungs; two-scale is always one"
    )
    options.add_argument("--sets", type=int, nargs="*", default=[0, 1, 2], help="which of the three sets")
    args = options.parse_args()
    figures, notes = [], []
    for data in [SETS[0]] if args.quick else [SETS[at] for at in args.sets]:
        ratings = cf.read_ratings(data_file(args.data, data.file), scale=data.scale)
        train, test = cf.split(ratings, TEST, by="time")
        if args.choose:
            notes += choose(data, train)
            continue
        drifts = ["two-scale", "neural"] if args.quick else list(dict.fromkeys([*args.drifts, "two-scale"]))
        found = climb(data, train, test, 1 if args.quick else args.seeds, drifts, args.quick)
        more, told = figures_of(data, found, test)
        figures, notes = figures + more, notes + told
        if data is SETS[0]:
            model = cf.TasteDrift(rank=capped(data.rank, train), epochs=0, threads=2).fit(
                train, progress=False
            )
            figures.append(Figure("one user, one moment, 10,000 items", latency(model), "ms", 5.0))
    show(figures + of_the_equation(), args.json, notes)


if __name__ == "__main__":
    main()
