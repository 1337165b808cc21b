"""How good a fitted model is, on test ratings: errors, ranked lists, strata and calibration, with intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cofactor.errors import BadParameter, NotSupported
from cofactor.models.base import Model, check_whole
from cofactor.models.results import text_table
from cofactor.ratings import LARGEST_RATING, Ratings
from cofactor.trials import (
    ERRORS,
    LEVEL,
    LISTS,
    METRICS,
    RANKING,
    Bin,
    Stratum,
    Sums,
    Trial,
    calibrate,
    draw_intervals,
    value_of,
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What ``evaluate`` found. Each metric is an attribute, too, without its ``@k``: ``.rmse``, ``.ndcg``.

    Attributes:
        metrics: value by name, such as ``"rmse"`` and ``"ndcg@10"``; None where there is nothing to measure.
        intervals: (low, high) by the same names, at 95 %; None where there is none.
        strata: ``"known user and item"``, ``"new user"`` (of a known item), ``"new item"`` (of a known user) and
            ``"new user and item"`` share out the test ratings by what the model knows; ``"few ratings"`` and
            ``"many ratings"`` those of known users, who have below, or at least, the median number of ratings
            among the model's users. Evaluated with ``update``, also by the time since the user's last rating that the
            model or the test ratings know: ``"first rating"``, ``"gap below 6 h"``, ``"6 h to 1 day"`` and so on.
        calibration: the predictions in bins of equal width over the scale.
        notes: what to know about these figures, in sentences.
        model: the kind of model.
        k: the length of the lists.
        relevant: the rating from which an item counts as relevant.
        n, users, ranked: test ratings; their users; users that the metrics of ranking are means over.
        per_user: a table of the test users: user, n, sums of squared and absolute errors, and the metrics of ranking
            (null of a user who is not ranked): to compare two models pair by pair.
    """

    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None]
    strata: dict[str, Stratum]
    calibration: tuple[Bin, ...]
    notes: tuple[str, ...]
    model: str
    k: int
    relevant: float
    n: int
    users: int
    ranked: int
    per_user: pa.Table

    def __getattr__(self, name: str) -> float | None:
        if name not in METRICS:
            raise AttributeError(f"An evaluation has no {name!r}. Its metrics: {', '.join(METRICS)}.")
        return self.metrics.get(_key(name, self.k))

    @property
    def table(self) -> pa.Table:
        """The metrics that were measured: metric, value, low, high (null where there is no interval)."""
        rows = [
            (name, value, self.intervals[name]) for name, value in self.metrics.items() if value is not None
        ]
        return pa.table(
            {
                "metric": pa.array([name for name, _, _ in rows], pa.string()),
                "value": pa.array([value for _, value, _ in rows], pa.float64()),
                "low": pa.array([ends and ends[0] for _, _, ends in rows], pa.float64()),
                "high": pa.array([ends and ends[1] for _, _, ends in rows], pa.float64()),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """All but ``per_user``, ready for JSON."""
        found = {name: getattr(self, name) for name in ("model", "n", "users", "ranked", "k", "relevant")}
        return found | {
            "metrics": dict(self.metrics),
            "intervals": {name: ends and list(ends) for name, ends in self.intervals.items()},
            "strata": {name: part._asdict() for name, part in self.strata.items()},
            "calibration": [part._asdict() for part in self.calibration],
            "notes": list(self.notes),
        }

    def sections(self) -> list[tuple[str, list[str], list[tuple[str, ...]]]]:
        """What there is to print: titles, each with the header and the rows of a table."""
        title = f"{self.model} on {self.n:,} test ratings of {self.users:,} users"
        if self.ranked:
            title += f"; lists of {self.k}, relevant from {self.relevant:g}"
        rows: list[tuple[str, ...]] = [
            (name, _text(value), _text(self.intervals[name]))
            for name, value in self.metrics.items()
            if value is not None
        ]
        found = [(title, ["metric", "value", f"{LEVEL:.0%} interval"], rows)]
        parts = self.strata.values()
        figures = [
            name for name in Stratum._fields[2:] if any(getattr(part, name) is not None for part in parts)
        ]
        rows = [
            (name, f"{part.n:,}", f"{part.users:,}", *(_text(getattr(part, figure)) for figure in figures))
            for name, part in self.strata.items()
        ]
        header = ["test ratings of", "n", "users", *(_key(figure, self.k) for figure in figures)]
        found.append(("By what the model knows", header, rows))
        if self.calibration:
            rows = [
                (f"{part.low:g} to {part.high:g}", f"{part.n:,}", _text(part.predicted), _text(part.given))
                for part in self.calibration
            ]
            found.append(("Calibration", ["predicted", "n", "mean predicted", "mean given"], rows))
        return found

    def __str__(self) -> str:
        tables = [
            f"{title}\n\n{text_table(header, rows, right=range(1, len(header)))}"
            for title, header, rows in self.sections()
        ]
        return "\n\n".join([*tables, *(f"Note: {note}" for note in self.notes)])

    __repr__ = __str__


def evaluate(
    model: Model,
    test: Ratings,
    k: int = 10,
    relevant: float | None = None,
    metrics: Iterable[str] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: bool | None = None,
    update: bool = False,
) -> Evaluation:
    """How good a fitted model is on ``test``: ratings that it has not learnt from.

    - ``rmse``, ``mae``: over all test ratings, predictions kept on the scale; of a user or item that the model does
      not know, it predicts from what is left.
    - ``precision@k``, ``recall@k``, ``ndcg@k``, ``map@k``, ``mrr@k``: means over the users of test whom the model
      knows and who have a relevant item in test. Each gets the k best of all items the model knows, but for those
      learnt from; nothing is sampled. An item is relevant where its test rating is at least ``relevant``, if not
      given three quarters up the model's scale: 4 on a scale of 1 to 5. A relevant item that the model cannot list
      (it does not know it, or learnt from it) counts all the same among those to be found.
    - ``coverage@k``, ``novelty@k``, ``gini@k``: of the lists of all test users whom the model knows.

    The formulas are in ``cofactor.metrics``. Intervals hold 95 % of what comes out where users are drawn anew, as
    many as there are, ``bootstrap`` times by ``seed``; 0 draws none. The same draws serve every metric, and every
    model tested on the same users. With fewer than two users there is no interval; nor has ``coverage`` or ``gini``
    one, since a list drawn twice adds nothing to them.

    With ``update`` the test ratings are walked in the order of time: each is predicted from what the model has
    learnt and from the user's test ratings of earlier seconds, and then the model is told of it, by folding the user
    in or, of ``TasteDrift``, by the Gaussian update. Ratings that a user gave in the same second are all predicted
    from before it. The model itself stays as it is. There are errors then and no ranked lists, and strata by the time
    since the user's last rating beside the others.

    ``metrics`` names the ones wanted, as ``"ndcg"`` or ``"ndcg@10"``; all if None. Without any of lists, none are
    asked of the model. ``progress`` shows a bar on stderr, as ``fit`` does.

    Raises ``NotFitted``; ``BadParameter`` for anything out of range, and where the ids of ``test`` are of another
    kind than the model's, or where ``update`` meets ratings without times; ``NotSupported`` where ``rmse`` or ``mae``
    is asked by name of a model that only ranks, or ``update`` of one that cannot be told of single ratings.
    """
    if not isinstance(model, Model):
        raise BadParameter(
            f"evaluate takes a fitted model, not {type(model).__name__}. Fit one on the train side."
        )
    model._check_fitted()
    if not isinstance(test, Ratings):
        raise BadParameter(
            f"evaluate takes Ratings, not {type(test).__name__}; make them with cofactor.read_ratings(table)."
        )
    k = check_whole("k", k, 1)
    check_whole("bootstrap", bootstrap, 0)
    check_whole("seed", seed, 0)
    if not isinstance(update, (bool, np.bool_)):
        raise BadParameter(f"update is {update!r}; give True to tell the model of test ratings, or False.")
    wanted = _wanted(metrics, k, model)
    if update:
        wanted = _errors_alone(wanted, metrics)
    relevant = _threshold(relevant, getattr(model, "scale_", test.scale))
    trial = Trial(model, test)
    notes = trial.notes()
    sums: Sums = {}

    predicted = None
    if not wanted.isdisjoint(ERRORS) and not model.predicts_ratings:
        notes.append(f"{type(model).__name__} ranks and predicts no ratings: there is no rmse, no mae.")
    elif not wanted.isdisjoint(ERRORS):
        predicted = (
            np.clip(model.walk(test), *getattr(model, "scale_", test.scale))
            if update
            else np.asarray(model.predict(test.users, test.items, clip=True), np.float64)
        )
        miss = predicted - test.values
        if not np.isfinite(miss).all():
            raise BadParameter(
                "The model predicts something that is not finite. Fit it anew, with a larger reg."
            )
        counts = test.by_user.counts.astype(np.float64)
        sums["rmse"], sums["mae"] = (trial.by_user(miss**2), counts), (trial.by_user(np.abs(miss)), counts)

    ranked = np.zeros(test.n_users, bool)
    whole: dict[str, float] = {}
    if not wanted.isdisjoint(RANKING + LISTS):
        lists = trial.lists(k, progress)
        found, ranked = trial.rank(lists, relevant)
        sums |= found
        whole, informed = trial.describe(lists)
        sums |= informed
        notes += trial.ranking_notes(ranked, relevant)

    drawn = draw_intervals(sums, bootstrap, seed)
    values: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in METRICS:
        if name in wanted:
            key = _key(name, k)
            values[key] = whole[name] if name in whole else value_of(name, sums)
            intervals[key] = drawn.get(name)
    if test.n_users == 1 and bootstrap:
        notes.append("All test ratings are of one user: there are no intervals.")
    return Evaluation(
        metrics=values,
        intervals=intervals,
        strata=trial.strata(sums, predicted) | (trial.strata_of_gaps(predicted) if update else {}),
        calibration=() if predicted is None else calibrate(predicted, test),
        notes=tuple(notes),
        model=type(model).__name__,
        k=k,
        relevant=relevant,
        n=len(test),
        users=test.n_users,
        ranked=int(ranked.sum()),
        per_user=_per_user(test, sums, k),
    )


def _wanted(metrics: Iterable[str] | None, k: int, model: Model) -> set[str]:
    """Bare names of the metrics asked for."""
    if metrics is None:
        return set(METRICS)
    wanted = set()
    for given in [metrics] if isinstance(metrics, str) else metrics:
        name, _, length = str(given).partition("@")
        if name not in METRICS or given not in (name, _key(name, k)):
            if name in METRICS and name not in ERRORS and length.isdigit():
                raise BadParameter(
                    f"metrics has {given!r}, but the lists are of k={k}. Give k={length}, too."
                )
            raise BadParameter(f"metrics has {given!r}; give some of {', '.join(METRICS)}.")
        if name in ERRORS and not model.predicts_ratings:
            raise NotSupported(
                f"{type(model).__name__} ranks and predicts no ratings, so it has no {name}. Ask for "
                f"{', '.join(RANKING)}, or measure another model."
            )
        wanted.add(name)
    if not wanted:
        raise BadParameter(f"metrics is empty; give some of {', '.join(METRICS)}, or None for all.")
    return wanted


def _errors_alone(wanted: set[str], metrics: Any) -> set[str]:
    """What of ``wanted`` there is where the model is told of the test ratings."""
    if metrics is not None and not wanted <= set(ERRORS):
        raise BadParameter(
            f"With update there are {' and '.join(ERRORS)} alone: a list would be of one moment, and the test "
            f"ratings are of many. Leave {', '.join(sorted(wanted - set(ERRORS)))} out, or evaluate without update."
        )
    return wanted & set(ERRORS)


def _threshold(relevant: Any, scale: tuple[float, float]) -> float:
    if relevant is None:
        low, high = scale
        return low + 0.75 * (high - low)
    good = isinstance(relevant, (int, float, np.integer, np.floating)) and not isinstance(relevant, bool)
    if not good or not abs(relevant) <= LARGEST_RATING:
        raise BadParameter(
            f"relevant is {relevant!r}; give the rating from which an item counts as relevant."
        )
    return float(relevant)


def _key(name: str, k: int) -> str:
    """``rmse`` -> ``rmse``, ``ndcg`` -> ``ndcg@10``."""
    return name if name in ERRORS else f"{name}@{k}"


def _text(value: float | tuple[float, float] | None) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:.4f} to {value[1]:.4f}"
    return "-" if value is None else f"{value:.4f}"


def _per_user(test: Ratings, sums: Sums, k: int) -> pa.Table:
    columns: dict[str, Any] = {"user": test.user_ids.array, "n": pa.array(test.by_user.counts)}
    for name, column in (("rmse", "squared_error"), ("mae", "absolute_error")):
        if name in sums:
            columns[column] = pa.array(sums[name][0])
    for name in RANKING:
        if name in sums:
            columns[_key(name, k)] = pa.array(sums[name][0], mask=sums[name][1] == 0)
    return pa.table(columns)
