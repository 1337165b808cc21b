"""How good a model is, on ratings that were held out while it was fitted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter
from cofactor.metrics import mae, rmse
from cofactor.models.base import Model
from cofactor.models.baseline import Baseline
from cofactor.ratings import Ratings
from cofactor.splits import split


@dataclass(frozen=True)
class Errors:
    """Root mean squared and mean absolute error, in units of the ratings."""

    rmse: float
    mae: float

    @classmethod
    def of(cls, model: Model, ratings: Ratings) -> Errors:
        """The errors of a fitted model over ratings, its predictions kept on the scale."""
        predicted = model.predict(ratings.users, ratings.items, clip=True)
        return cls(rmse(ratings.values, predicted), mae(ratings.values, predicted))


@dataclass(frozen=True)
class Sweep:
    """How things stand after a sweep: the objective J, and the RMSE on either side of the split."""

    objective: float
    train_rmse: float
    holdout_rmse: float


@dataclass(frozen=True, eq=False)
class Holdout:
    """What ``measure_holdout`` found.

    Attributes:
        by, seed: how the ratings were split.
        train, test: how many ratings were learnt from, and held out.
        model, baseline: the held-out errors of the model and, beside it, of ``Baseline``.
        sweeps: one entry a sweep, where they were asked for.
        given, predicted: (test,) the held-out ratings and what the model predicted for them.
    """

    by: str
    seed: int
    train: int
    test: int
    model: Errors
    baseline: Errors
    sweeps: tuple[Sweep, ...]
    given: NDArray[np.float32]
    predicted: NDArray[Any]

    @property
    def gain(self) -> float:
        """The share by which the model's RMSE is below the baseline's; negative where it is above."""
        return 1 - self.model.rmse / self.baseline.rmse if self.baseline.rmse > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return {
            "by": self.by,
            "seed": self.seed,
            "train": self.train,
            "test": self.test,
            "model": asdict(self.model),
            "baseline": asdict(self.baseline),
        }


def measure_holdout(
    model: Model,
    ratings: Ratings,
    holdout: float = 0.1,
    by: str = "random",
    seed: int = 0,
    *,
    per_sweep: bool = False,
    progress: bool | None = None,
) -> Holdout:
    """Hold out a share of the ratings, fit a copy of ``model`` on the rest, and measure both it and ``Baseline``.

    ``model`` itself is not fitted. Raises what ``split`` and ``fit`` raise.
    """
    try:
        train, test = split(
            ratings, holdout, by, seed, warn=False
        )  # what is told of it says how it was drawn
    except BadParameter as error:
        raise BadParameter(f"{error} Or fit without measuring: holdout 0.") from None
    fitted = type(model)(**model.get_params())
    sweeps: list[Sweep] = []

    def watch(current: Model, _: int, objective: float) -> None:
        sweeps.append(Sweep(objective, Errors.of(current, train).rmse, Errors.of(current, test).rmse))

    fitted.fit(train, callback=watch if per_sweep else None, progress=progress)
    if sweeps:  # the last sweep as it stands now that the fit has been closed
        objective = float(getattr(fitted, "objective_", [sweeps[-1].objective])[-1])
        sweeps[-1] = Sweep(objective, Errors.of(fitted, train).rmse, Errors.of(fitted, test).rmse)
    predicted = fitted.predict(test.users, test.items, clip=True)
    return Holdout(
        by,
        seed,
        len(train),
        len(test),
        Errors(rmse(test.values, predicted), mae(test.values, predicted)),
        Errors.of(Baseline().fit(train, progress=progress), test),
        tuple(sweeps),
        test.values,
        predicted,
    )
