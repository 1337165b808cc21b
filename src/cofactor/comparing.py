"""All models beside each other, on one split."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cofactor.errors import BadParameter, NotSupported
from cofactor.evaluation import Evaluation, evaluate
from cofactor.models import MODELS
from cofactor.models.base import Model
from cofactor.models.drift import TasteDrift
from cofactor.models.drifting.dynamics import DRIFTS
from cofactor.models.ordinal import MOST_LEVELS
from cofactor.models.results import text_table
from cofactor.progress import Progress
from cofactor.ratings import Ratings
from cofactor.splits import leak, split

_IN_TIME = ("TasteDrift",)  # models that take part where the split is by time
_SHUFFLED = "drift: neural, shuffled gaps"
_SHOWN = ("rmse", "mae", "ndcg", "recall", "coverage")


@dataclass(frozen=True, eq=False)
class Entry:
    """One model of a comparison.

    Attributes:
        name: what it is called in the table.
        model: fitted on the train side.
        evaluation: on the test side.
        told: on the test side in the order of time, each rating told to the model after it was predicted (``update`` of
            ``evaluate``); None of a split that is not by time, and of a model that cannot be told.
        fit_seconds, test_seconds: of the fit, and of predicting the test ratings and listing for their users.
    """

    name: str
    model: Model
    evaluation: Evaluation
    fit_seconds: float
    test_seconds: float
    told: Evaluation | None = None

    @property
    def rmse(self) -> float | None:
        """What the models are put in order by: that of ``told``, where it was measured."""
        return self.evaluation.rmse if self.told is None else self.told.rmse


@dataclass(frozen=True, eq=False)
class Comparison:
    """What ``compare`` found.

    Attributes:
        entries: the models, least RMSE first, told of the test ratings where the split is by time; those that only rank
            at the end.
        by, seed, k: how the ratings were split, and the length of the lists.
        train, test: how many ratings were learnt from, and held out.
        notes: what to know about these figures, in sentences.
        users, items: of all the ratings.
    """

    entries: tuple[Entry, ...]
    by: str
    seed: int
    k: int
    train: int
    test: int
    users: int
    items: int
    notes: tuple[str, ...]

    @property
    def table(self) -> pa.Table:
        """One row a model: model, fit_seconds, test_seconds, and its metrics (null where it has none)."""
        return pa.Table.from_pylist(
            [
                {
                    "model": entry.name,
                    "fit_seconds": entry.fit_seconds,
                    "test_seconds": entry.test_seconds,
                    **entry.evaluation.metrics,
                    **({"rmse_told": entry.told and entry.told.rmse} if self.by == "time" else {}),
                }
                for entry in self.entries
            ]
        )

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Header and cells of the table for people."""
        lists = [f"{name}@{self.k}" for name in ("NDCG", "recall", "coverage")]
        cells = []
        for entry in self.entries:
            values = [getattr(entry.evaluation, name) for name in _SHOWN]
            figures = ["—" if value is None else f"{value:.4f}" for value in values]
            seconds = [f"{taken:.3f}" for taken in (entry.fit_seconds, entry.test_seconds)]
            if self.by == "time":
                figures.insert(0, "—" if entry.told is None else f"{entry.told.rmse:.4f}")
            cells.append([entry.name, *figures, *seconds])
        told = ["RMSE told"] if self.by == "time" else []
        return ["model", *told, "RMSE", "MAE", *lists, "fit s", "test s"], cells

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "by": self.by,
            "seed": self.seed,
            "train": self.train,
            "test": self.test,
            "notes": list(self.notes),
            "models": [
                {
                    "name": entry.name,
                    "kind": type(entry.model).__name__,
                    "hyperparameters": entry.model.get_params(),
                    "fit_seconds": entry.fit_seconds,
                    "test_seconds": entry.test_seconds,
                    "evaluation": entry.evaluation.to_dict(),
                    "told": entry.told and entry.told.to_dict(),
                }
                for entry in self.entries
            ],
        }

    def __str__(self) -> str:
        header, rows = self.rows()
        return text_table(header, [tuple(row) for row in rows], right=range(1, len(header)))

    __repr__ = __str__


def usual_models(ratings: Ratings) -> dict[str, Model]:
    """One of each kind that goes with the ratings, with settings that do well on most.

    ``ContentMap`` is not among them: without content it is ``ALS``.

    λ of factors goes with the size of the ratings, as u and v go with its square root.
    """
    spread = float(ratings.values.std(dtype=np.float64)) or 1.0
    most = max(1, ratings.n_items // 2)
    given: dict[str, dict[str, Any]] = {
        "ALS": {"rank": min(16, most), "reg": float(f"{1.15 * spread:.2g}")},
        "BayesianMF": {"rank": min(32, most)},
        "OrdinalMF": {"rank": min(32, most)},
        "SGD": {"rank": min(32, most), "reg": float(f"{0.25 * spread:.2g}")},
    }
    left_out = {*_IN_TIME, "ContentMap"} | (
        {"OrdinalMF"} if len(np.unique(ratings.values)) > MOST_LEVELS else set()
    )
    return {name: make(**given.get(name, {})) for name, make in MODELS.items() if name not in left_out}


def models_in_time(ratings: Ratings) -> dict[str, Model]:
    """``usual_models``, and ``TasteDrift`` with all that can drift, from nothing to a network, and their controls.

    Without the extra that it learns with, only the usual ones.
    """
    usual = usual_models(ratings)
    if any(importlib.util.find_spec(name) is None for name in ("jax", "diffrax", "equinox", "optax")):
        return usual
    rank = min(TasteDrift().rank, max(1, ratings.n_items // 2))
    ladder: dict[str, Model] = {f"drift: {drift}": TasteDrift(rank=rank, drift=drift) for drift in DRIFTS}  # type: ignore[arg-type]
    return usual | ladder | {_SHUFFLED: TasteDrift(rank=rank, drift="neural", gaps="shuffled")}


def compare(
    ratings: Ratings,
    models: Mapping[str, Model] | None = None,
    *,
    holdout: float = 0.1,
    by: str = "random",
    seed: int = 0,
    k: int = 10,
    bootstrap: int = 1000,
    progress: bool | None = None,
) -> Comparison:
    """Fit several models on one side of a split, and evaluate all of them on the other.

    ``models`` gives each a name; without any, one of each kind competes, with its usual settings. The models given
    are not fitted themselves. With ``by="time"`` each is also walked along the test ratings and told of them
    (``update`` of ``evaluate``), and ``models_in_time`` compete. ``holdout``, ``by`` and ``seed`` are those of
    ``split``; ``k`` and ``bootstrap`` those of ``evaluate``.

    Raises what ``split``, ``fit`` and ``evaluate`` raise.
    """
    if not isinstance(ratings, Ratings):
        raise BadParameter(
            f"compare takes Ratings, not {type(ratings).__name__}; make them with cofactor.read_ratings(table)."
        )
    train, test = split(ratings, holdout, by, seed, warn=False)
    usual = models_in_time if by == "time" else usual_models
    competing = usual(train) if models is None else models
    if not competing:
        raise BadParameter("There are no models to compare. Give at least one, as {name: model}.")
    entries = []
    with Progress(len(competing), "Comparing", progress) as bar:
        for name, model in competing.items():
            if not isinstance(model, Model):
                raise BadParameter(
                    f"{name!r} is {type(model).__name__}, not a model; give one such as cofactor.ALS()."
                )
            fresh = type(model)(**model.get_params())
            begin = time.perf_counter()
            fresh.fit(train, progress=False)
            fitted = time.perf_counter()
            found = evaluate(fresh, test, k=k, bootstrap=bootstrap, seed=seed, progress=False)
            told = _told(fresh, test, k, bootstrap, seed) if by == "time" else None
            entries.append(Entry(name, fresh, found, fitted - begin, time.perf_counter() - fitted, told))
            bar.advance(name)
    entries.sort(key=lambda entry: np.inf if entry.rmse is None else entry.rmse)
    said = [leak(train.times, test.times), *(note for entry in entries for note in entry.evaluation.notes)]
    return Comparison(
        tuple(entries),
        by,
        seed,
        k,
        len(train),
        len(test),
        ratings.n_users,
        ratings.n_items,
        notes=tuple(dict.fromkeys(filter(None, said))),  # each once
    )


def _told(model: Model, test: Ratings, k: int, bootstrap: int, seed: int) -> Evaluation | None:
    if not model.predicts_ratings:
        return None
    try:
        return evaluate(model, test, k=k, bootstrap=bootstrap, seed=seed, update=True, progress=False)
    except NotSupported:
        return None
