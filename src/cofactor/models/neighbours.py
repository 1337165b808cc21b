"""Neighbourhood prediction: a rating from the ratings of items, or of users, that are alike.

    s(a, b) = Σ v_a v_b / √(Σ v_a² Σ v_b²) · n / (n + shrinkage)        over the n columns that both have
    r̂(a, x) = prior(a, x) + Σ_b s(a, b) v_b(x) / (Σ_b s(a, b) + damping)    over the k rows b nearest to a with x

Rows are items (and columns users) or the other way round; v are ratings or what ``Baseline`` leaves of them.
J. Herlocker et al., "An Algorithmic Framework for Performing Collaborative Filtering", SIGIR 1999 (users, Pearson,
few common ratings count less); B. Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms",
WWW 2001 (items, adjusted cosine); Y. Koren, "Factor in the Neighbors", ACM TKDD 4(1), 2010, section 2.2 (residuals
of a baseline, shrinkage n / (n + λ)).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadParameter
from cofactor.ids import Id, IdMap, id_array
from cofactor.models.base import Callback, Model, check_choice, check_number, check_ratings, check_whole
from cofactor.models.baseline import Baseline
from cofactor.models.folding import merge_users, replace_rows
from cofactor.models.neighbour_state import Folded, check_state, rows_of, rows_state
from cofactor.models.results import Explanation, Neighbour, Part, Recommendations
from cofactor.models.scoring import ScoringModel
from cofactor.ratings import Compressed, Ratings

Of = Literal["items", "users"]
Floats = NDArray[Any]

_PAIRS = 1 << 23  # user-item pairs that are scored at a time: some 100 MB
_TABLE = 1 << 27  # similarities held at a time to score all items for one user: 512 MB


@dataclass(frozen=True, eq=False)
class _Side:
    """The values compared between items, or between users: by row, and by column; and the mean of each row."""

    rows: Compressed
    columns: Compressed
    mean: NDArray[np.float64]

    @cached_property
    def work(self) -> NDArray[np.float64]:
        """Additions (rows,) that comparing each row with all rows takes:  Σ over its columns of their lengths."""
        lengths = self.columns.counts[self.rows.indices]
        rows: NDArray[Any] = np.bincount(self.rows.row_numbers(), lengths, minlength=len(self.rows))
        return rows


@dataclass(frozen=True, eq=False)
class _Users:
    """Users who are asked about: their values by item, and what their prior is made of."""

    rows: Compressed
    bias: NDArray[np.float64]
    mean: NDArray[np.float64]  # of their values, NaN without any
    itself: NDArray[np.int32]  # their positions among those learnt from, −1 for others


@dataclass(eq=False)
class CosineNeighbours(ScoringModel):
    """Ratings predicted from the k most similar items that the user rated, or users who rated the item.

    Args:
        of: "items": what the user gave to items like this one. "users": what users like this one gave to the item.
        similarity: how rows of ratings are compared, over the columns that both have. "cosine": as they are;
            "centred": less the mean of each row; "pearson": less the mean of each row over the common columns.
        k: so many neighbours at most; at least 1.
        shrinkage: similarities are multiplied by n / (n + shrinkage), n being the ratings in common; at least 0.
        min_overlap: with fewer ratings in common the similarity is 0.
        baseline: compare and average the residuals of ``Baseline``, and add it back. Without it the ratings
            themselves: averaged as they are with "cosine", else as deviations from the mean of their row.
        damping: joins the similarities in the denominator where deviations are averaged, so that few and faint
            neighbours move a prediction less. Plain averages of ratings (cosine without baseline) have none.
        reg: λ of ``Baseline``.
        threads: None for all processors. The result does not depend on it, to the bit.

    Only positive similarities make neighbours; ties go to the lower position. A similarity is 0 where a side is all
    zeros, or does not vary where it is centred. A rating is never used to predict itself. Without neighbours
    the prediction is the baseline; without a baseline it is the mean of the row, of an unknown row that of the
    column, else μ. No table of rows × rows is made, in fitting or later: similarities are computed when needed.

    Attributes (once fitted):
        mean_, user_bias_, item_bias_: of ``Baseline``; without it the mean of all ratings, and zeros.
        objective_: J of ``Baseline`` after each sweep; without it one number, Σ (r − μ)².
        ratings_: the ratings of all users, those folded in as well, who are nobody's neighbours.
        learnt_, learnt_bias_: the ratings that were fitted, and the users' biases then.
    """

    of: Of = "items"
    similarity: Literal["cosine", "centred", "pearson"] = "cosine"
    k: int = 30
    shrinkage: float = 400.0
    min_overlap: int = 1
    baseline: bool = True
    damping: float = 0.05
    reg: float = 5.0
    threads: int | None = None

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        check_choice("of", self.of, ("items", "users"))
        check_choice("similarity", self.similarity, ("cosine", "centred", "pearson"))
        check_whole("k", self.k, 1)
        check_number("shrinkage", self.shrinkage)
        check_whole("min_overlap", self.min_overlap, 1)
        if not isinstance(self.baseline, bool):
            raise BadParameter(f"baseline is {self.baseline!r}; give True or False.")
        check_number("damping", self.damping)
        check_number("reg", self.reg)
        kernels.thread_count(self.threads)

    # -- learning ------------------------------------------------------------------------------

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``. The sweeps are those of ``Baseline``; without it there is one."""
        self.check_parameters(check_ratings(ratings).n_items)
        self._forget()

        def publish(mean: float, user_bias: Floats, item_bias: Floats, objective: Floats) -> None:
            self.mean_, self.item_bias_, self.objective_ = mean, item_bias, objective
            self.scale_ = ratings.scale
            self._know(ratings.user_ids, ratings.item_ids, ratings.by_user, user_bias, Folded.nobody())

        def publish_baseline(base: Baseline) -> None:
            publish(base.mean_, base.user_bias_, base.item_bias_, base.objective_)

        def after_sweep(base: Model, sweep: int, objective: float) -> object:
            assert isinstance(base, Baseline)
            assert callback is not None
            publish_baseline(base)
            return callback(self, sweep, objective)

        try:
            if self.baseline:
                base = Baseline(reg=self.reg, threads=self.threads)
                watch = None if callback is None else after_sweep
                publish_baseline(base.fit(ratings, callback=watch, progress=progress))
            else:
                mean = float(ratings.values.mean(dtype=np.float64))
                spread = float(((ratings.values.astype(np.float64) - mean) ** 2).sum())
                zeros = np.zeros(ratings.n_users, np.float32), np.zeros(ratings.n_items, np.float32)
                publish(mean, *zeros, np.array([spread]))
                if callback is not None:
                    callback(self, 1, spread)
        except BaseException:
            self._forget()
            raise
        return self

    def _forget(self) -> None:
        for name in ("user_ids_", "item_ids_"):
            self.__dict__.pop(name, None)

    def _know(
        self, user_ids: IdMap, item_ids: IdMap, learnt: Compressed, learnt_bias: Floats, folded: Folded
    ) -> None:
        """Take over users: those learnt from, and those folded in, who may be of the former with more ratings."""
        self.learnt_, self.learnt_bias_, self._folded = learnt, learnt_bias, folded
        self.ratings_, self.user_bias_ = learnt, learnt_bias
        if len(folded.users):
            everyone = np.arange(len(user_ids), dtype=np.int32)
            self.ratings_ = replace_rows(learnt, everyone, folded.rows, folded.users)
            self.user_bias_ = learnt_bias.copy()
            self.user_bias_[folded.users] = folded.bias
        self._sides: dict[Of, _Side] = {}
        self.user_ids_, self.item_ids_ = user_ids, item_ids

    def _values(self, rows: Compressed, bias: Floats) -> NDArray[np.float64]:
        """v (ratings,) of users with these ratings and biases:  r − μ − b_i − c_j, or r without a baseline."""
        values = rows.values.astype(np.float64)
        if not self.baseline:
            return values
        expected = self.mean_ + self.item_bias_[rows.indices].astype(np.float64)
        return _difference(values, expected + np.repeat(bias.astype(np.float64), rows.counts))

    def _side(self, of: Of) -> _Side:
        """What is compared between items, or between users; made when it is first needed."""
        if of not in self._sides:
            users, items = self.learnt_.row_numbers(), self.learnt_.indices
            values = self._values(self.learnt_, self.learnt_bias_)
            row = users if of == "users" else items
            mean = _means(row, values, len(self.user_ids_ if of == "users" else self.item_ids_))
            if self.similarity != "cosine":
                values = _difference(values, mean[row])
            by_user = Compressed(self.learnt_.indptr, items, values.astype(np.float32))
            indptr, order = kernels.group(items, len(self.item_ids_))
            by_item = Compressed(indptr, users[order], by_user.values[order])
            self._sides[of] = _Side(*((by_item, by_user) if of == "items" else (by_user, by_item)), mean)
        return self._sides[of]

    # -- asking --------------------------------------------------------------------------------

    def _users(self, at: NDArray[np.int32], of: Of | None = None) -> _Users:
        """Users at these positions."""
        itself = np.where(self.learnt_.counts[at] > 0, at, -1).astype(np.int32)
        return self._asking(self.ratings_.take(at), self.user_bias_[at], itself, of or self.of)

    def _somebody(self, rows: Compressed) -> _Users:
        """Users with these ratings, whom the model does not know."""
        return self._asking(rows, self._solve_bias(rows), np.full(len(rows), -1, np.int32), self.of)

    def _asking(self, rows: Compressed, bias: Floats, itself: NDArray[np.int32], of: Of) -> _Users:
        values = self._values(rows, bias)
        mean = _means(rows.row_numbers(), values, len(rows))
        if self.similarity != "cosine":
            centre = np.repeat(mean, rows.counts) if of == "users" else self._side(of).mean[rows.indices]
            values = _difference(values, np.nan_to_num(centre))
        compared = Compressed(rows.indptr, rows.indices, values.astype(np.float32))
        return _Users(compared, bias.astype(np.float64), mean, itself)

    def _solve_bias(self, rows: Compressed) -> NDArray[np.float32]:
        """b_i = Σ_j (r_ij − μ − c_j) / (n_i + λ), as ``Baseline`` has it; 0 without ratings or baseline."""
        if not self.baseline:
            return np.zeros(len(rows), np.float32)
        left = self._values(rows, np.zeros(len(rows)))
        total = np.bincount(rows.row_numbers(), left, minlength=len(rows))
        return (total / np.where(rows.counts > 0, rows.counts + self.reg, 1)).astype(np.float32)

    def _priors(
        self, users: _Users, at: NDArray[Any], items: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """For pairs (n,), −1 unknown: what is predicted without neighbours, and what their mean is added to."""
        of_row = self._item_means(items) if self.of == "items" else _get(users.mean, at, np.nan)
        if self.baseline:
            prior = self.mean_ + _get(users.bias, at, 0.0) + _get(self.item_bias_, items, 0.0)
            if self.similarity != "cosine":
                prior += np.nan_to_num(of_row)
            return prior, prior
        prior = of_row
        if np.isnan(prior).any():  # the row is unknown, or of somebody without a rating
            of_column = _get(users.mean, at, np.nan) if self.of == "items" else self._item_means(items)
            prior = np.where(np.isnan(prior), of_column, prior)
            prior = np.where(np.isnan(prior), self.mean_, prior)
        return prior, np.zeros(len(prior)) if self.similarity == "cosine" else prior

    def _item_means(self, items: NDArray[np.int32]) -> NDArray[np.float64]:
        return _get(self._side("items").mean, items, np.nan)

    @property
    def _damping(self) -> float:
        return 0.0 if self._plain else float(self.damping)

    @property
    def _plain(self) -> bool:
        """Whether ratings are averaged as they are, not deviations from what is expected."""
        return self.similarity == "cosine" and not self.baseline

    @property
    def _how(self) -> dict[str, Any]:
        """How rows are compared, as the kernels take it."""
        return {
            "pearson": self.similarity == "pearson",
            "shrinkage": self.shrinkage,
            "min_overlap": min(self.min_overlap, 2**31),  # no row is longer
            "threads": self.threads,
        }

    def _compare(self, rows: Compressed, side: _Side) -> NDArray[np.float32]:
        """Similarities (len(rows), rows of the side)."""
        return kernels.similarities(
            rows.indptr,
            rows.indices,
            rows.values,
            side.columns.indptr,
            side.columns.indices,
            side.columns.values,
            len(side.rows),
            **self._how,
        )

    # -- prediction and recommendation ---------------------------------------------------------

    def _predict_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        distinct, place = _distinct(users, len(self.user_ids_))
        return self._score_pairs(self._users(distinct), place, items)

    def _score_pairs(
        self, users: _Users, at: NDArray[np.int32], items: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Scores (n,) of pairs of a place among ``users`` and an item; each row is compared once."""
        scores, centre = self._priors(users, at, items)
        known = np.flatnonzero((at >= 0) & (items >= 0))
        at, items = at[known], items[known]
        side = self._side(self.of)
        if self.of == "items":
            itself, query = _distinct(items, len(self.item_ids_))
            queries, lists, wanted = side.rows.take(itself), users.rows, at
        else:
            itself, query = users.itself, at
            queries, lists, wanted = users.rows, side.columns, items
        pair_indptr, order = kernels.group(query, len(queries))
        mean, weight = kernels.neighbour_pairs(
            queries.indptr,
            queries.indices,
            queries.values,
            side.columns.indptr,
            side.columns.indices,
            side.columns.values,
            len(side.rows),
            itself,
            pair_indptr,
            wanted[order],
            lists.indptr,
            lists.indices,
            lists.values,
            **self._how,
            k=min(self.k, len(side.rows)),
            damping=self._damping,
        )
        found = weight > 0
        at_found = known[order[found]]
        scores[at_found] = centre[at_found] + mean[found]
        return scores.astype(np.float32)

    def _score_row(self, users: _Users, at: int, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores (n,) of items for one user, from the user's own items:  s(a, b) = s(b, a), so theirs will do."""
        own, values = users.rows.row(at)
        side = self._side("items")
        mean, weight = kernels.neighbour_rows(
            self._compare(side.rows.take(own), side),
            own,
            values,
            k=min(self.k, len(side.rows)),
            damping=self._damping,
            threads=self.threads,
        )
        scores, centre = self._priors(users, np.full(len(items), at), items)
        scores = np.where(weight[items] > 0, centre + mean[items], scores)
        return scores.astype(np.float32)

    def _score_all(self, users: _Users, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores (users, items) of all pairs, by the way that takes less work."""
        n = len(users.rows)
        if self.of == "items" and users.rows.counts.max(initial=0) * len(self.item_ids_) <= _TABLE:
            work = self._side("items").work
            if work[users.rows.indices].sum() < work[items].sum():
                return np.array([self._score_row(users, at, items) for at in range(n)])
        at = np.repeat(np.arange(n, dtype=np.int32), len(items))
        return self._score_pairs(users, at, np.tile(items, n)).reshape(n, len(items))

    def _best_items(
        self,
        at: NDArray[np.int32] | None,
        rows: Compressed,
        exclude_seen: bool,
        candidates: NDArray[np.int32] | None,
        excluded: NDArray[np.int32],
        n: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        items = np.arange(len(self.item_ids_), dtype=np.int32) if candidates is None else candidates
        items = np.setdiff1d(items, excluded, assume_unique=True)
        n = min(n, len(items))
        best = np.empty((len(rows), n), np.int32)
        best_scores = np.empty((len(rows), n), np.float32)
        if n == 0:
            return best, best_scores
        place = np.full(len(self.item_ids_), -1, np.int32)
        place[items] = np.arange(len(items), dtype=np.int32)
        block = max(1, _PAIRS // len(items))
        for begin in range(0, len(rows), block):
            part = slice(begin, begin + block)
            users = self._somebody(rows) if at is None else self._users(at[part])
            scores = self._score_all(users, items)
            if exclude_seen:
                seen = place[users.rows.indices]
                scores[users.rows.row_numbers()[seen >= 0], seen[seen >= 0]] = -np.inf
            order = np.argsort(-scores, axis=1, kind="stable")[:, :n]
            best_scores[part] = np.take_along_axis(scores, order, axis=1)
            best[part] = np.where(best_scores[part] > -np.inf, items[order], -1)
        return best, best_scores

    # -- likeness ------------------------------------------------------------------------------

    def similar_items(self, item: Id, n: int = 10) -> Recommendations:
        """See ``Model.similar_items``: the similarity of the items' rows, shrunk; 0 with too few users in common."""
        self._check_fitted()
        n = check_whole("n", n, 1)
        at = self._item_position(item)
        side = self._side("items")
        others = np.delete(np.arange(len(self.item_ids_)), at)
        best, scores = _most_similar(self._compare(side.rows.take(np.array([at])), side)[0], others, n)
        return Recommendations(self.item_ids_.take(best), scores)

    def similar_users(self, user: Id, n: int = 10) -> Recommendations:
        """The n fitted users most like this one, whose ids are the ``items`` of the answer. Raises ``UnknownUser``."""
        self._check_fitted()
        n = check_whole("n", n, 1)
        at = self._user_positions(id_array([user], "user"))
        others = np.setdiff1d(np.flatnonzero(self.learnt_.counts), at)
        similarity = self._compare(self._users(at, "users").rows, self._side("users"))[0]
        best, scores = _most_similar(similarity, others, n)
        return Recommendations(self.user_ids_.take(best), scores, what="user")

    # -- explanation ---------------------------------------------------------------------------

    def explain(self, user: Id, item: Id) -> Explanation:
        """See ``Model.explain``. Of items, each neighbour is a part; of users, it is one of ``neighbours``.

        What deviations are added to is counted to mean, user and item; plain averages have nothing of these.
        """
        self._check_fitted()
        at = self._user_positions(id_array([user], "user"))
        item_at = self._item_position(item)
        users, side = self._users(at), self._side(self.of)
        first, wanted = np.zeros(1, np.int32), np.array([item_at], np.int32)
        score = float(self._score_pairs(users, first, wanted)[0])
        if self.of == "items":
            similarity = self._compare(side.rows.take(wanted), side)[0]
            (listed, values), itself = users.rows.row(0), item_at
        else:
            similarity = self._compare(users.rows, side)[0]
            (listed, values), itself = side.columns.row(item_at), int(users.itself[0])
        nearest = np.flatnonzero((similarity[listed] > 0) & (listed != itself))
        nearest = nearest[np.argsort(-similarity[listed[nearest]], kind="stable")][: self.k]
        weights = similarity[listed[nearest]].astype(np.float64)
        adds = weights * values[nearest] / (weights.sum() + self._damping) if len(nearest) else np.empty(0)
        order = np.argsort(-np.abs(adds), kind="stable")
        rows, adds = listed[nearest][order], adds[order]

        prior, centre = (float(each[0]) for each in self._priors(users, first, wanted))
        base = centre if len(adds) else prior
        mean = 0.0 if self._plain and len(adds) else self.mean_
        own = float(users.bias[0]) if self.baseline else (base - mean if self.of == "users" else 0.0)
        rest = score - mean - own - float(adds.sum())
        if self.of == "items":
            given = self.ratings_.take(at).values[np.searchsorted(listed, rows)]
            parts = tuple(map(Part, self.item_ids_.ids(rows), given.tolist(), adds.tolist()))
            return Explanation(score, mean, own, rest, parts)
        others = [self._learnt_rating(row, item_at) for row in rows]
        neighbours = tuple(map(Neighbour, self.user_ids_.ids(rows), others, adds.tolist()))
        return Explanation(score, mean, own, rest, (), neighbours)

    def _learnt_rating(self, user: int, item: int) -> float:
        items, values = self.learnt_.row(user)
        return float(values[np.searchsorted(items, item)])

    # -- folding in ----------------------------------------------------------------------------

    def fold_in(self, ratings: Ratings) -> Self:
        """See ``Model.fold_in``. Users folded in have neighbours and are nobody's: no other prediction changes."""
        self._check_fitted()
        if not isinstance(ratings, Ratings):
            raise BadParameter("fold_in takes Ratings; make them with cofactor.read_ratings(table).")
        all_ids, old_at, new_at, merged = merge_users(self.user_ids_, self.item_ids_, self.ratings_, ratings)
        users = np.union1d(old_at[self._folded.users], new_at).astype(np.int32)
        bias, rows = np.zeros(len(all_ids), np.float32), replace_rows(self.ratings_, old_at, merged, new_at)
        bias[old_at] = self.user_bias_
        bias[new_at] = self._solve_bias(merged)

        learnt_bias = np.zeros(len(all_ids), np.float32)
        learnt_bias[old_at] = self.learnt_bias_
        counts = np.zeros(len(all_ids), np.int64)
        counts[old_at] = self.learnt_.counts
        # Positions follow the order of ids, so the old users stay in order among all.
        indptr = np.concatenate([[0], np.cumsum(counts)])
        learnt = Compressed(indptr, self.learnt_.indices, self.learnt_.values)
        folded = copy.copy(self)
        folded._know(
            all_ids, self.item_ids_, learnt, learnt_bias, Folded(users, bias[users], rows.take(users))
        )
        return folded

    # -- storage -------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See ``Model.state``. Users folded in are kept beside those learnt from, where there are any."""
        self._check_fitted()
        arrays = {
            "user_bias": self.learnt_bias_,
            "item_bias": self.item_bias_,
            "objective": self.objective_,
            **rows_state("ratings", self.learnt_),
        }
        if len(self._folded.users):
            arrays |= {"folded_users": self._folded.users, "folded_bias": self._folded.bias}
            arrays |= rows_state("folded", self._folded.rows)
        facts = {"mean": self.mean_, "scale": list(self.scale_), "folded": len(self._folded.users)}
        return arrays, facts

    def restore(
        self, user_ids: IdMap, item_ids: IdMap, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Self:
        """See ``Model.restore``."""
        mean, scale, folded = check_state(len(user_ids), len(item_ids), arrays, facts, self.baseline)
        self.mean_, self.scale_ = mean, scale
        self.item_bias_, self.objective_ = arrays["item_bias"], arrays["objective"]
        self._know(user_ids, item_ids, rows_of("ratings", arrays), arrays["user_bias"], folded)
        return self


def _difference(values: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """values − expected, where what is only rounding is 0: equal values must not be alike by their noise."""
    left = values - expected
    left[np.abs(left) < 1e-9 * np.abs(values)] = 0
    return left


def _means(rows: NDArray[np.int32], values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Mean of the values of each row (n,), NaN without any."""
    count = np.bincount(rows, minlength=n)
    return np.where(count > 0, np.bincount(rows, values, minlength=n) / np.maximum(count, 1), np.nan)


def _get(array: Floats, at: NDArray[Any], otherwise: float) -> NDArray[np.float64]:
    """array[at], or ``otherwise`` where at is −1."""
    found: NDArray[np.float64] = np.append(array.astype(np.float64), otherwise)[at]  # −1 is the last place
    return found


def _distinct(positions: NDArray[np.int32], n: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The positions in [0, n) that occur, ascending, and of each its place among them, −1 for −1."""
    occurs = np.zeros(n + 1, bool)  # −1 is the last place
    occurs[positions] = True
    occurs[n] = False
    distinct = np.flatnonzero(occurs).astype(np.int32)
    place = np.full(n + 1, -1, np.int32)
    place[distinct] = np.arange(len(distinct), dtype=np.int32)
    return distinct, place[positions]


def _most_similar(
    similarity: NDArray[np.float32], among: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The n of ``among``, ascending, with the highest similarity, and that."""
    best = among[np.argsort(-similarity[among], kind="stable")][:n]
    return best, similarity[best]
