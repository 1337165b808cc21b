"""Are predictions as sure as they say? Coverage of intervals and likelihood of held-out ratings.

    python benchmarks/calibration.py --data FOLDER [--picture FILE]

MovieLens 1M, a tenth held out at random. ``BayesianMF`` as it is by default and ``ALS`` of rank 16, as in
``accuracy.py``; beside them the same ``ALS`` and ``Baseline`` taken as points: every prediction with one deviation,
the root mean square of the residuals they were fitted to.

"Off by" is the largest difference between an interval's share and the share of ratings in it, of intervals of 50, 80,
90 and 95 %. The likelihood is that of a normal distribution around each prediction, as −log p on average: less is
better, and a prediction that is too sure costs much.
"""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from accuracy import ALS_1M
from common import Figure, data_file, parser, show, split_1m
from numpy.typing import NDArray

import cofactor as cf
from cofactor.figures import Picture
from cofactor.figures.drawing import ACCENT, GROUPS, MUTED, draw

SHARES = (0.5, 0.8, 0.9, 0.95)
FINE = np.linspace(0.05, 0.95, 19)


class Judged:
    """Predictions with a deviation each, and the ratings that were given."""

    def __init__(self, predicted: NDArray[Any], std: NDArray[Any], given: NDArray[Any]) -> None:
        self.distance = np.abs(given - predicted) / std
        self.likelihood = float((0.5 * self.distance**2 + np.log(std) + 0.5 * np.log(2 * np.pi)).mean())

    def covered(self, share: float) -> float:
        """Share of the ratings within the interval of that share."""
        return float((self.distance <= NormalDist().inv_cdf(0.5 + share / 2)).mean())


def as_point(model: Any, train: cf.Ratings, test: cf.Ratings) -> Judged:
    residual = train.values - model.predict(train.users, train.items)
    std = np.full(len(test), float(np.sqrt((residual.astype(np.float64) ** 2).mean())))
    return Judged(model.predict(test.users, test.items), std, test.values)


def picture(found: dict[str, Judged]) -> Picture:
    """By how much more, or less, than promised is in an interval."""

    def paint(axes: Any) -> None:
        axes.axhline(0, color=MUTED, linewidth=1, linestyle="--")
        for (name, judged), colour, marker in zip(found.items(), (ACCENT, *GROUPS[:3]), "oshv"):
            off = [100 * (judged.covered(share) - share) for share in FINE]
            axes.plot(100 * FINE, off, color=colour, marker=marker, markersize=4, label=name)
        axes.set_xlabel("an interval promises to hold, % of the ratings")
        axes.set_ylabel("it holds more or less, %")
        axes.set_xlim(0, 100)
        axes.legend(frameon=False, loc="lower left")

    says = "What intervals hold beyond, or short of, what they promise: near 0 where they are honest."
    return Picture.of(draw("calibration", says, paint, (760, 380)))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--picture", type=Path, help="an SVG file for the picture")
    args = options.parse_args()
    train, test = split_1m(data_file(args.data, "ml-1m.parquet"))
    rank = min(ALS_1M.rank, train.n_items // 2)
    sampled = cf.BayesianMF(rank=min(32, train.n_items // 2), samples=20 if args.quick else 60, threads=2)
    solved = cf.ALS(**{**ALS_1M.get_params(), "rank": rank}).fit(train, progress=False)
    found = {}
    for name, model in (("BayesianMF", sampled.fit(train, progress=False)), ("ALS", solved)):
        predicted, std = model.predict(test.users, test.items, return_std=True)
        found[name] = Judged(predicted, std, test.values)
    found["ALS as a point"] = as_point(solved, train, test)
    found["Baseline as a point"] = as_point(cf.Baseline().fit(train, progress=False), train, test)
    figures = []
    for name, judged in found.items():
        off = max(abs(judged.covered(share) - share) for share in SHARES)
        figures += [
            Figure(f"{name}, within {share:.0%}", judged.covered(share), "of all") for share in SHARES
        ]
        figures.append(Figure(f"{name}, off by", max(off, 1e-9), "of all", None if "point" in name else 0.03))
        figures.append(Figure(f"{name}, −log likelihood", judged.likelihood, "nats"))
    if args.picture:
        picture(found).save(args.picture)
    show(figures, args.json)


if __name__ == "__main__":
    main()
