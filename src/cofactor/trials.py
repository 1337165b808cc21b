"""A model against test ratings: who is known to it, the lists it makes, and what each user adds to each metric."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor import metrics as of
from cofactor.models.base import Model
from cofactor.models.walking import by_round, in_time, rounds
from cofactor.progress import Progress
from cofactor.ratings import Compressed, Ratings

ERRORS = ("rmse", "mae")
RANKING = ("precision", "recall", "ndcg", "map", "mrr")
LISTS = ("coverage", "novelty", "gini")
METRICS = (*ERRORS, *RANKING, *LISTS)
LEVEL = 0.95  # of the intervals

_BATCH = 4096  # users whose lists are asked for at a time
_BINS = 10  # of predictions, for calibration
_DAY = 86_400
_GAPS = (_DAY // 4, _DAY, 7 * _DAY, 28 * _DAY)  # seconds between strata
_GAP_NAMES = ("gap below 6 h", "6 h to 1 day", "1 to 7 days", "7 to 28 days", "28 days or more")

Floats: TypeAlias = NDArray[np.float64]
Sums: TypeAlias = dict[str, tuple[Floats, Floats]]
"""Of a metric, for each test user (test users,): what is added up, and over how many."""


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


class Trial:
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

    def rank(self, lists: NDArray[np.int32], relevant: float) -> tuple[Sums, NDArray[np.bool_]]:
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

    def describe(self, lists: NDArray[np.int32]) -> tuple[dict[str, float], Sums]:
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

    def strata(self, sums: Sums, predicted: Floats | None) -> dict[str, Stratum]:
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

    def strata_of_gaps(self, predicted: Floats | None) -> dict[str, Stratum]:
        """Test ratings by the time since the user's last rating before that second, in test or known to the model."""
        test, users = self.test, self.test.user_positions
        times = in_time(test, "A walk")
        last = np.full(test.n_users, -np.inf)  # of a model that keeps no times only test tells
        known = getattr(self.model, "last_times_", None)
        if known is not None:
            last[self.known] = known[self.users[self.known]]
        gaps = np.empty(len(test))
        for places in by_round(test):
            gaps[places] = times[places] - last[users[places]]
            last[users[places]] = times[places]
        new = (self.users < 0)[users] & (rounds(test) == 0)
        unknown = ~new & ~np.isfinite(gaps)
        found = {"first rating": self._stratum(new, predicted)}
        if unknown.any():
            found["first rating in test"] = self._stratum(unknown, predicted)
        for low, high, name in zip((-np.inf, *_GAPS), (*_GAPS, np.inf), _GAP_NAMES):
            found[name] = self._stratum((low <= gaps) & (gaps < high), predicted)
        return found

    def _stratum(
        self,
        which: NDArray[np.bool_],
        predicted: Floats | None,
        who: NDArray[np.bool_] | None = None,
        sums: Sums | None = None,
    ) -> Stratum:
        n, users = int(which.sum()), len(np.unique(self.test.user_positions[which]))
        errors: list[float | None] = [None, None]
        if predicted is not None and n:
            errors = [measure(self.test.values[which], predicted[which]) for measure in (of.rmse, of.mae)]
        lists: list[float | None] = [None, None]
        if who is not None and sums:
            lists = [value_of(name, sums, who) for name in ("recall", "ndcg")]
        return Stratum(n, users, *errors, *lists)


def draw_intervals(sums: Sums, times: int, seed: int) -> dict[str, tuple[float, float]]:
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
        if over.any():
            low, high = np.quantile(_finish(name, total[over > 0] / over[over > 0]), ends)
            intervals[name] = (float(low), float(high))
    return intervals


def calibrate(predicted: Floats, test: Ratings) -> tuple[Bin, ...]:
    """Predictions (ratings,) in bins of equal width over the scale."""
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


def value_of(name: str, sums: Sums, who: NDArray[np.bool_] | slice = slice(None)) -> float | None:
    """A metric over some test users; None over nothing."""
    if name not in sums:
        return None
    total, over = (part[who].sum() for part in sums[name])
    return float(_finish(name, total / over)) if over > 0 else None


def _finish(name: str, mean: Any) -> Any:
    return np.sqrt(mean) if name == "rmse" else mean


def _contained(values: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value is one of ``among``, which holds no negative one."""
    among = np.concatenate([np.sort(among), [-2]])  # the end, for what is above all of them
    return np.asarray(among[np.searchsorted(among[:-1], values)] == values)
