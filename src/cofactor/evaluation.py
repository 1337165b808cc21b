"""How good a fitted model is, on test ratings: errors, ranked lists, strata and calibration, with intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cofactor import metrics as of
from cofactor.errors import BadParameter, NotSupported
from cofactor.models.base import Model, check_whole
from cofactor.models.results import text_table
from cofactor.progress import Progress
from cofactor.ratings import Compressed, Ratings

ERRORS = ("rmse", "mae")
RANKING = ("precision", "recall", "ndcg", "map", "mrr")
LISTS = ("coverage", "novelty", "gini")
METRICS = (*ERRORS, *RANKING, *LISTS)
LEVEL = 0.95  # of the intervals

_BATCH = 4096  # users whose lists are asked for at a time
_BINS = 10  # of predictions, for calibration

Floats = NDArray[np.float64]


class Stratum(NamedTuple):
    """The test ratings of one kind: how many, of how many users, and the metrics over them; None over nothing."""

    n: int
    users: int
    rmse: float | None
    mae: float | None
    recall: float | None
    ndcg: float | None


class Bin(NamedTuple):
    """Predictions from ``low`` up to ``high``: how many, their mean, and that of the ratings given; None of none."""

    low: float
    high: float
    n: int
    predicted: float | None
    given: float | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What ``evaluate`` found. Each metric is an attribute, too, without its ``@k``: ``.rmse``, ``.ndcg``.

    Attributes:
        metrics: value by name, such as ``"rmse"`` and ``"ndcg@10"``; None where there is nothing to measure.
        intervals: (low, high) by the same names, at 95 %; None where there is none.
        strata: ``"known user and item"``, ``"new user"`` (of a known item), ``"new item"`` (of a known user) and
            ``"new user and item"`` share out the test ratings by what the model knows; ``"few ratings"`` and
            ``"many ratings"`` those of known users, who have below, or at least, the median number of ratings
            among the model's users.
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

    ``metrics`` names the ones wanted, as ``"ndcg"`` or ``"ndcg@10"``; all if None. Without any of lists, none are
    asked of the model. ``progress`` shows a bar on stderr, as ``fit`` does.

    Raises ``NotFitted``; ``BadParameter`` for anything out of range, and where the ids of ``test`` are of another
    kind than the model's; ``NotSupported`` where ``rmse`` or ``mae`` is asked by name of a model that only ranks.
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
    k, bootstrap, seed = (
        check_whole("k", k, 1),
        check_whole("bootstrap", bootstrap, 0),
        check_whole("seed", seed, 0),
    )
    wanted = _wanted(metrics, k, model)
    relevant = _threshold(relevant, getattr(model, "scale_", test.scale))
    trial = _Trial(model, test)
    notes = trial.notes()
    sums: dict[
        str, tuple[Floats, Floats]
    ] = {}  # of each metric and user: what is added up, and over how many

    predicted = None
    if model.predicts_ratings and not wanted.isdisjoint(ERRORS):
        predicted = np.asarray(model.predict(test.users, test.items, clip=True), np.float64)
        miss = predicted - test.values
        if not np.isfinite(miss).all():
            raise BadParameter(
                "The model predicts something that is not finite. Fit it anew, with a larger reg."
            )
        counts = test.by_user.counts.astype(np.float64)
        sums["rmse"], sums["mae"] = (trial.by_user(miss**2), counts), (trial.by_user(np.abs(miss)), counts)
    elif not model.predicts_ratings:
        notes.append(f"{type(model).__name__} ranks and predicts no ratings: there is no rmse, no mae.")

    ranked = np.zeros(test.n_users, bool)
    whole: dict[str, float] = {}
    if wanted.intersection(RANKING + LISTS):
        lists = trial.lists(k, progress)
        found, ranked = trial.rank(lists, relevant)
        sums |= found
        whole, informed = trial.describe(lists)
        sums |= informed
        notes += trial.ranking_notes(ranked, relevant)

    drawn = _draw(sums, bootstrap, seed)
    values: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in METRICS:
        if name in wanted:
            key = _key(name, k)
            values[key] = whole[name] if name in whole else _ratio(name, sums)
            intervals[key] = drawn.get(name)
    if test.n_users == 1 and bootstrap:
        notes.append("All test ratings are of one user: there are no intervals.")
    return Evaluation(
        metrics=values,
        intervals=intervals,
        strata=trial.strata(sums, predicted),
        calibration=() if predicted is None else _calibrate(predicted, test),
        notes=tuple(notes),
        model=type(model).__name__,
        k=k,
        relevant=relevant,
        n=len(test),
        users=test.n_users,
        ranked=int(ranked.sum()),
        per_user=_per_user(test, sums, k),
    )


class _Trial:
    """A model, test ratings, and which is which: positions of the model for those of test, −1 where unknown."""

    def __init__(self, model: Model, test: Ratings) -> None:
        self.model, self.test = model, test
        self.users = model.user_ids_.positions(test.user_ids.array, "user")  # (test users,)
        self.items = model.item_ids_.positions(test.item_ids.array, "item")  # (test items,)
        self.known = np.flatnonzero(self.users >= 0)  # test users whom the model knows
        rows = getattr(model, "ratings_", None)
        self.learnt: Compressed | None = rows if isinstance(rows, Compressed) else None

    def by_user(self, values: Any) -> Floats:
        """Sums over the ratings of each test user (test users,)."""
        return np.bincount(self.test.user_positions, values, minlength=self.test.n_users).astype(np.float64)

    def notes(self) -> list[str]:
        """What is to be said before anything is measured."""
        if self.learnt is None or len(self.known) == 0:
            return []
        rows = self.learnt.take(self.users[self.known])
        width = len(self.model.item_ids_)
        pairs = rows.row_numbers().astype(np.int64) * width + rows.indices
        tested = self._pairs(np.arange(len(self.test)), width)
        seen = int(_contained(tested, pairs).sum())
        if not seen:
            return []
        return [
            f"The model learnt from {seen:,} of these {len(self.test):,} pairs of user and item: their errors say "
            f"nothing about new ratings, and these items cannot be listed. Fit on the train side of a split."
        ]

    def _pairs(self, ratings: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        """One number for each rating of a known user and item: place among the known users · width + item."""
        place = np.full(self.test.n_users, -1, np.int64)
        place[self.known] = np.arange(len(self.known))
        users = place[self.test.user_positions[ratings]]
        items = self.items[self.test.by_user.indices[ratings]]
        both = (users >= 0) & (items >= 0)
        return users[both] * width + items[both]

    def lists(self, k: int, progress: bool | None) -> NDArray[np.int32]:
        """The best items of each known test user (known users, k), as positions of the model; −1 behind the last."""
        lists = np.full((len(self.known), k), -1, np.int32)
        place = np.empty(len(self.model.user_ids_), np.int64)
        with Progress(-(-len(lists) // _BATCH), "Ranking", progress) as bar:
            for begin in range(0, len(lists), _BATCH):
                asked = self.users[self.known[begin : begin + _BATCH]]
                place[asked] = np.arange(begin, begin + len(asked))
                found = self.model.recommend(self.model.user_ids_.take(asked), n=k)
                if len(found):
                    row = place[self.model.user_ids_.positions(found.users, "user")]
                    first = np.concatenate([[True], row[1:] != row[:-1]])
                    starts = np.flatnonzero(first)
                    column = np.arange(len(row)) - starts[np.cumsum(first) - 1]
                    lists[row, column] = self.model.item_ids_.positions(found.items, "item")
                bar.advance()
        return lists

    def rank(
        self, lists: NDArray[np.int32], relevant: float
    ) -> tuple[dict[str, tuple[Floats, Floats]], NDArray[np.bool_]]:
        """The metrics of ranking of each test user, and who has any."""
        good = np.flatnonzero(self.test.values >= np.float32(relevant))
        wanted = np.bincount(self.test.user_positions[good], minlength=self.test.n_users)
        ranked = (self.users >= 0) & (wanted > 0)
        rows = np.flatnonzero(ranked[self.known])
        width = len(self.model.item_ids_)
        shown = np.where(lists >= 0, np.arange(len(lists))[:, None] * width + lists, -1)[rows]
        hits = _contained(shown, self._pairs(good, width))
        mine = self.known[rows]
        each = {
            "precision": of.precision(hits),
            "recall": of.recall(hits, wanted[mine]),
            "ndcg": of.ndcg(hits, wanted[mine]),
            "map": of.average_precision(hits, wanted[mine]),
            "mrr": of.reciprocal_rank(hits),
        }
        sums = {}
        for name, values in each.items():
            full = np.zeros(self.test.n_users)
            full[mine] = values
            sums[name] = (full, ranked.astype(np.float64))
        return sums, ranked

    def describe(self, lists: NDArray[np.int32]) -> tuple[dict[str, float], dict[str, tuple[Floats, Floats]]]:
        """Coverage and Gini index of all lists together, and the sums of novelty of each test user."""
        listed = lists >= 0
        if not listed.any():
            return {}, {}
        counts = np.bincount(lists[listed], minlength=len(self.model.item_ids_))
        whole = {"coverage": of.coverage(counts), "gini": of.gini(counts)}
        if self.learnt is None:
            return whole, {}
        raters = np.bincount(self.learnt.indices, minlength=len(self.model.item_ids_))
        each = np.zeros(lists.shape)
        each[listed] = of.novelty(raters[lists[listed]], len(self.learnt))
        total, over = np.zeros(self.test.n_users), np.zeros(self.test.n_users)
        total[self.known], over[self.known] = each.sum(axis=1), listed.sum(axis=1)
        return whole, {"novelty": (total, over)}

    def ranking_notes(self, ranked: NDArray[np.bool_], relevant: float) -> list[str]:
        """Whom the metrics of ranking leave out."""
        total, unknown = self.test.n_users, self.test.n_users - len(self.known)
        without = len(self.known) - int(ranked.sum())
        notes = []
        if unknown:
            notes.append(
                f"{unknown:,} of {total:,} test users are not in the model: no lists are made for them."
            )
        if without:
            notes.append(
                f"{without:,} of {total:,} test users have no rating of {relevant:g} or more in test: they are left "
                f"out of precision, recall, ndcg, map and mrr."
            )
        return notes

    def strata(self, sums: dict[str, tuple[Floats, Floats]], predicted: Floats | None) -> dict[str, Stratum]:
        """See ``Evaluation``."""
        test = self.test
        user = (self.users >= 0)[test.user_positions]
        item = (self.items >= 0)[test.by_user.indices]
        parts = {
            "known user and item": user & item,
            "new user": ~user & item,
            "new item": user & ~item,
            "new user and item": ~user & ~item,
        }
        found = {name: self._stratum(which, predicted) for name, which in parts.items()}
        if self.learnt is not None:
            counts = self.learnt.counts
            few = np.zeros(test.n_users, bool)
            few[self.known] = counts[self.users[self.known]] < np.median(counts)
            for name, who in (("few ratings", few), ("many ratings", (self.users >= 0) & ~few)):
                found[name] = self._stratum(who[test.user_positions], predicted, who, sums)
        return found

    def _stratum(
        self,
        which: NDArray[np.bool_],
        predicted: Floats | None,
        who: NDArray[np.bool_] | None = None,
        sums: dict[str, tuple[Floats, Floats]] | None = None,
    ) -> Stratum:
        n, users = int(which.sum()), len(np.unique(self.test.user_positions[which]))
        errors: list[float | None] = [None, None]
        if predicted is not None and n:
            errors = [measure(self.test.values[which], predicted[which]) for measure in (of.rmse, of.mae)]
        lists: list[float | None] = [None, None]
        if who is not None and sums:
            lists = [_ratio(name, sums, who) for name in ("recall", "ndcg")]
        return Stratum(n, users, *errors, *lists)


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


def _threshold(relevant: Any, scale: tuple[float, float]) -> float:
    if relevant is None:
        low, high = scale
        return low + 0.75 * (high - low)
    good = isinstance(relevant, (int, float, np.integer, np.floating)) and not isinstance(relevant, bool)
    if not good or not np.isfinite(relevant):
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


def _contained(values: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value is one of ``among``, which holds no negative one."""
    among = np.concatenate([np.sort(among), [-2]])  # the end, for what is above all of them
    return np.asarray(among[np.searchsorted(among[:-1], values)] == values)


def _finish(name: str, mean: Any) -> Any:
    return np.sqrt(mean) if name == "rmse" else mean


def _ratio(
    name: str, sums: dict[str, tuple[Floats, Floats]], who: NDArray[np.bool_] | slice = slice(None)
) -> float | None:
    """A metric over some test users; None over nothing."""
    if name not in sums:
        return None
    total, over = (part[who].sum() for part in sums[name])
    return float(_finish(name, total / over)) if over > 0 else None


def _draw(sums: dict[str, tuple[Floats, Floats]], times: int, seed: int) -> dict[str, tuple[float, float]]:
    """Percentile intervals:  Σ w_i total_i / Σ w_i over_i,  with w_i how often user i is drawn. Efron, 1979.

    A draw in which a metric is over nothing is left out of its interval.
    """
    enough = [name for name, (_, over) in sums.items() if np.count_nonzero(over) > 1]
    if not enough or not times:
        return {}
    columns = np.stack([part for name in enough for part in sums[name]], axis=1)  # (users, 2 · metrics)
    users, rng = len(columns), np.random.default_rng(seed)
    drawn = np.empty((times, columns.shape[1]))
    for draw in drawn:
        draw[:] = np.bincount(rng.integers(0, users, users), minlength=users) @ columns
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    intervals = {}
    for at, name in enumerate(enough):
        total, over = drawn[:, 2 * at], drawn[:, 2 * at + 1]
        low, high = np.quantile(_finish(name, total[over > 0] / over[over > 0]), ends)
        intervals[name] = (float(low), float(high))
    return intervals


def _calibrate(predicted: Floats, test: Ratings) -> tuple[Bin, ...]:
    low, high = min(test.scale[0], predicted.min()), max(test.scale[1], predicted.max())
    edges = np.linspace(low, high, _BINS + 1 if high > low else 2)
    at = np.clip(np.searchsorted(edges, predicted, "right") - 1, 0, len(edges) - 2)
    n = np.bincount(at, minlength=len(edges) - 1)
    sums = [np.bincount(at, values, minlength=len(n)) for values in (predicted, test.values)]
    return tuple(
        Bin(
            float(edges[b]),
            float(edges[b + 1]),
            int(n[b]),
            *(float(total[b] / n[b]) if n[b] else None for total in sums),
        )
        for b in range(len(n))
    )


def _per_user(test: Ratings, sums: dict[str, tuple[Floats, Floats]], k: int) -> pa.Table:
    columns: dict[str, Any] = {"user": test.user_ids.array, "n": pa.array(test.by_user.counts)}
    for name, column in (("rmse", "squared_error"), ("mae", "absolute_error")):
        if name in sums:
            columns[column] = pa.array(sums[name][0])
    for name in RANKING:
        if name in sums:
            columns[_key(name, k)] = pa.array(sums[name][0], mask=sums[name][1] == 0)
    return pa.table(columns)
