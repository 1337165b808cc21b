"""Models of the form  r̂_ij = μ + b_i + c_j + u_i·v_j: all they share once U, V, b, c are known."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadParameter, NotSupported, SingularSystem
from cofactor.ids import Id, IdMap, id_array
from cofactor.models.base import check_whole
from cofactor.models.explaining import explain_row
from cofactor.models.factor_state import FLOATS, check_state
from cofactor.models.folding import merge_users, replace_rows
from cofactor.models.results import Explanation, Part, Recommendations
from cofactor.models.scoring import ScoringModel
from cofactor.models.walking import Tastes, walk_by_folding
from cofactor.ratings import Compressed, Ratings


class Towards(NamedTuple):
    """What rows are drawn towards: factors and bias ``mean`` (rows, rank + 1), with λ of ``least`` (rows,) or more."""

    mean: NDArray[Any]
    least: NDArray[np.float64]


class FactorModel(ScoringModel):
    """A model whose users and items are a bias and ``rank`` factors each; rank may be 0.

    Attributes (once fitted):
        user_factors_, item_factors_: U (users, rank) and V (items, rank).
        user_bias_, item_bias_: b (users,) and c (items,); zeros where the model has no biases.
        mean_: μ; 0 where the model has no biases.
        objective_: (sweeps,) J after each sweep, float64.
        ratings_, scale_: see ``ScoringModel``.
    """

    user_factors_: NDArray[Any]
    item_factors_: NDArray[Any]
    user_bias_: NDArray[Any]
    item_bias_: NDArray[Any]
    mean_: float
    objective_: NDArray[np.float64]

    # Set by each model: how a row is regularized, and whether it has a bias.
    reg: float
    reg_exponent: float
    threads: int | None

    @property
    def draws(self) -> int:
        """How many sets of factors stand side by side in the columns of ``user_factors_`` and ``item_factors_``."""
        return 1

    @property
    def predicts_by_sum(self) -> bool:
        """Whether predictions are  μ + b_i + c_j + u_i·v_j  of its arrays."""
        return True

    @property
    def _biased(self) -> bool:
        return True

    def row_reg(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """λ of rows with this many ratings:  reg · count^reg_exponent;  1 for an empty row, which is zero anyway."""
        return self.reg * np.maximum(counts, 1).astype(np.float64) ** self.reg_exponent

    # -- prediction and recommendation ---------------------------------------------------------

    def _predict_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[Any]:
        return kernels.predict(
            users,
            items,
            self.user_factors_,
            self.user_bias_,
            self.item_factors_,
            self.item_bias_,
            self.mean_,
            threads=self.threads,
        )

    def _best_items(
        self,
        at: NDArray[np.int32] | None,
        rows: Compressed,
        exclude_seen: bool,
        candidates: NDArray[np.int32] | None,
        excluded: NDArray[np.int32],
        n: int,
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        if at is None:
            factors, bias = self.solve_users(rows)
        else:
            factors, bias = self.user_factors_[at], self.user_bias_[at]
        best, scores = self._best(factors, rows if exclude_seen else None, candidates, excluded, n)
        return best, (scores + (self.mean_ + bias)[:, None]).astype(scores.dtype, copy=False)

    def _best(
        self,
        queries: NDArray[Any],
        seen: Compressed | None,
        candidates: NDArray[np.int32] | None,
        excluded: NDArray[np.int32],
        n: int,
        items: NDArray[Any] | None = None,
        bias: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Positions (queries, ≤ n) of the best items and  query·item + bias;  −1 where none is left."""
        items = self.item_factors_ if items is None else items
        bias = self.item_bias_ if bias is None else bias
        if len(excluded):
            bias = bias.copy()
            bias[excluded] = -np.inf  # the kernel lists no item whose score is not above −∞
        if candidates is not None:
            items, bias = items[candidates], bias[candidates]
        n = min(n, len(items))
        if n == 0:
            return np.empty((len(queries), 0), np.int32), np.empty((len(queries), 0), queries.dtype)
        if seen is None:
            pointers, seen_items = np.zeros(len(queries) + 1, np.int64), np.empty(0, np.int32)
        else:
            pointers, seen_items = seen.indptr, seen.indices
        if candidates is not None and len(seen_items):  # positions among the candidates
            at = np.full(len(self.item_ids_), -1, np.int32)
            at[candidates] = np.arange(len(candidates), dtype=np.int32)
            mapped = at[seen_items]
            kept = mapped >= 0
            pointers = np.concatenate([[0], np.cumsum(kept)])[pointers].astype(np.int64)
            seen_items = mapped[kept]
        best, scores = kernels.topk(queries, items, bias, pointers, seen_items, n, threads=self.threads)
        if candidates is not None:
            best = np.where(best >= 0, candidates[best], -1)
        return best, scores

    def similar_items(self, item: Id, n: int = 10) -> Recommendations:
        """See ``Model.similar_items``: the cosine of the items' factors."""
        self._check_fitted()
        n = check_whole("n", n, 1)
        at = self._item_position(item)
        if self.item_factors_.shape[1] == 0:
            raise NotSupported(
                f"{type(self).__name__} knows items by their bias alone, which says nothing about likeness. "
                f"Fit a model with factors, such as ALS."
            )
        length = np.linalg.norm(self.item_factors_, axis=1, keepdims=True)
        unit = self.item_factors_ / np.maximum(length, np.finfo(length.dtype).tiny)
        itself = np.array([at], np.int32)
        best, scores = self._best(unit[itself], None, None, itself, n, unit, np.zeros_like(self.item_bias_))
        return self._recommendations(best, np.clip(scores, -1, 1) + 0)  # 0, not −0

    # -- folding in ----------------------------------------------------------------------------

    def solve_users(
        self, rows: Compressed, prior: Towards | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Factors (rows, rank) and bias (rows,) of users with these ratings, exactly, items as they are.

        Raises ``SingularSystem`` where reg is 0 and the ratings do not determine them.
        """
        unknowns = self.item_factors_.shape[1] + self._biased
        short = np.flatnonzero((self.reg == 0) & (rows.counts > 0) & (rows.counts < unknowns))
        if len(short):
            raise SingularSystem(
                f"New user number {short[0] + 1} has {rows.counts[short[0]]} ratings for {unknowns} unknowns, and "
                f"reg is 0. Fit the model with reg > 0."
            )
        items, item_bias, at = self.item_factors_, self.item_bias_, rows.indices
        if 4 * len(at) < len(items):  # a few users: the kernel need not look at all items
            used, inverse = np.unique(at, return_inverse=True)
            items, item_bias, at = items[used], item_bias[used], inverse.astype(np.int32)
        factors, bias, singular = solve_around(
            Compressed(rows.indptr, at, rows.values),
            items,
            item_bias,
            self.row_reg(rows.counts),
            prior,
            mean=self.mean_,
            biased=self._biased,
            threads=self.threads,
        )
        if singular >= 0:
            raise SingularSystem(
                f"The {rows.counts[singular]} ratings of new user number {singular + 1} do not determine "
                f"{self.item_factors_.shape[1]} factors without regularization. Fit the model with reg > 0."
            )
        return factors, bias

    def _prior_of_users(self, ids: IdMap) -> Towards | None:
        """What users are drawn towards; None for 0. Only ``ContentMap`` has others."""
        return None

    def side_regs(
        self, users: NDArray[np.int64], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """λ of all users and of all items, which have so many ratings."""
        return self.row_reg(users), self.row_reg(items)

    def only_items(
        self, rows: Compressed | None = None, times: NDArray[np.int64] | None = None, now: int | None = None
    ) -> Self:
        """A model of the same items that knows no user, or users with these ratings; arrays are shared.

        The users are "0", "1" and so on, with zeros before them where the last has more digits: "00" to "39".

        ``times`` (ratings,) says when they were given and ``now`` which moment it is, in Unix seconds: to a model whose
        users drift; to others it is all one.
        """
        self._check_fitted()
        if rows is None:
            rows = Compressed(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
        other = copy.copy(self)
        digits = len(str(len(rows) - 1))
        names = [f"{number:0{digits}}" for number in range(len(rows))]
        other.user_ids_ = IdMap(pa.array(names, pa.large_string()))
        other.user_factors_, other.user_bias_ = self.solve_users(rows)
        other.ratings_ = rows
        return other

    def with_text_items(self) -> Self:
        """The same item side with ids that are text, in their order, which is another one; knows no user."""
        other = self.only_items()
        texts = pa.array([str(raw) for raw in self.item_ids_.array.to_pylist()], pa.large_string())
        other.item_ids_, order = IdMap.encode(texts)
        other._order_items(np.argsort(order))
        return other

    def _order_items(self, places: NDArray[Any]) -> None:
        """Put the items in another order: that at ``places[0]`` first."""
        self.item_factors_, self.item_bias_ = self.item_factors_[places], self.item_bias_[places]

    def fold_in(self, ratings: Ratings) -> Self:
        """See ``Model.fold_in``: one small ridge regression a user, the same that fitted the others."""
        self._check_fitted()
        if not isinstance(ratings, Ratings):
            raise BadParameter("fold_in takes Ratings; make them with cofactor.read_ratings(table).")
        all_ids, old_at, new_at, merged = merge_users(self.user_ids_, self.item_ids_, self.ratings_, ratings)
        factors, bias = self.solve_users(merged, self._prior_of_users(ratings.user_ids))

        folded = copy.copy(self)
        folded.user_ids_ = all_ids
        folded.user_factors_ = np.zeros((len(all_ids), factors.shape[1]), factors.dtype)
        folded.user_bias_ = np.zeros(len(all_ids), bias.dtype)
        folded.user_factors_[old_at], folded.user_bias_[old_at] = self.user_factors_, self.user_bias_
        folded.user_factors_[new_at], folded.user_bias_[new_at] = factors, bias
        folded.ratings_ = replace_rows(self.ratings_, old_at, merged, new_at)
        return folded

    def walk(self, test: Ratings) -> NDArray[np.float64]:
        """See ``Model.walk``: a user is folded in anew after each second in which they rated something."""
        self._check_fitted()

        def predict(users: NDArray[np.int32], items: NDArray[np.int32], tastes: Tastes) -> NDArray[Any]:
            return kernels.predict(
                users, items, *tastes, self.item_factors_, self.item_bias_, self.mean_, threads=self.threads
            )

        return walk_by_folding(
            self.user_ids_,
            self.item_ids_,
            self.ratings_,
            test,
            (self.user_factors_, self.user_bias_),
            self.solve_users,
            predict,
        )

    # -- explanation ---------------------------------------------------------------------------

    def explain(self, user: Id, item: Id) -> Explanation:
        """See ``Model.explain``.

        The parts are of the user's factors for the items as they are now (``explaining.explain_row``). What
        the stored factors have beyond that, where they are older or drawn towards others than 0, is counted to the
        user.
        """
        self._check_fitted()
        at = int(self._user_positions(id_array([user], "user"))[0])
        target = self._item_position(item)
        score = float(self._predict_at(np.array([at], np.int32), np.array([target], np.int32))[0])
        own_bias, item_bias = float(self.user_bias_[at]), float(self.item_bias_[target])
        rated, values = self.ratings_.row(at)
        v = self.item_factors_[target].astype(np.float64)
        joint = self._biased and not self._bias_first
        known = self.mean_ + (own_bias if self._bias_first else 0.0)
        prior = self._prior_of_users(self.user_ids_.subset(np.array([at])))
        towards = np.zeros(len(v) + 1) if prior is None else prior.mean[0].astype(np.float64)
        reg = float(self.row_reg(np.array([len(rated)]))[0])
        reg = reg if prior is None else max(reg, float(prior.least[0]))
        adds = explain_row(
            v,
            lambda part: self.item_factors_[rated[part]],
            lambda part: (
                values[part].astype(np.float64)
                - (known + towards[-1])
                - (self.item_bias_[rated[part]] + self.item_factors_[rated[part]] @ towards[:-1])
            ),
            len(rated),
            reg,
            joint,
        )
        order = np.argsort(-np.abs(adds), kind="stable") if len(v) else np.empty(0, np.int64)
        parts = tuple(
            Part(raw, float(values[place]), float(adds[place]))
            for raw, place in zip(self.item_ids_.ids(rated[order]), order)
        )
        return Explanation(
            score, self.mean_, score - self.mean_ - item_bias - float(adds.sum()), item_bias, parts
        )

    @property
    def _bias_first(self) -> bool:
        """Whether the bias of a row is solved before its factors, not with them."""
        return False

    # -- storage -------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See ``Model.state``."""
        self._check_fitted()
        arrays = {name: np.asarray(getattr(self, name + "_")) for name in FLOATS}
        arrays |= {
            "ratings_indptr": self.ratings_.indptr,
            "ratings_indices": self.ratings_.indices,
            "ratings_values": self.ratings_.values,
        }
        return arrays, {"mean": self.mean_, "scale": list(self.scale_)}

    def restore(
        self, user_ids: IdMap, item_ids: IdMap, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Self:
        """See ``Model.restore``."""
        mean, scale = check_state(len(user_ids), len(item_ids), arrays, facts)
        for name in FLOATS:
            setattr(self, name + "_", arrays[name])
        self.ratings_ = Compressed(
            *(arrays[name] for name in ("ratings_indptr", "ratings_indices", "ratings_values"))
        )
        self.mean_, self.scale_ = mean, scale
        self.user_ids_, self.item_ids_ = user_ids, item_ids
        return self


def solve_around(
    rows: Compressed,
    fixed: NDArray[Any],
    fixed_bias: NDArray[Any],
    reg: NDArray[np.float64],
    prior: Towards | None,
    *,
    mean: float,
    biased: bool = True,
    threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any], int]:
    """One side, exactly, where each row is drawn towards its prior instead of 0.

        min over x_i, b_i of  Σ_j (r_ij − mean − c_j − b_i − x_i·f_j)² + reg_i ‖[x_i, b_i] − prior_i‖²

    The kernel solves it for the deviation from the prior: of the ratings less what the prior says of them. A row
    without ratings becomes its prior. Returns factors, biases, and the first singular row or −1.
    """
    values = rows.values
    if prior is not None:
        own = prior.mean[rows.row_numbers()]
        said = np.einsum("nk,nk->n", own[:, :-1], fixed[rows.indices]) + own[:, -1]
        values, reg = (values - said).astype(np.float32), np.maximum(reg, prior.least)
    factors, bias = np.zeros((len(rows), fixed.shape[1]), fixed.dtype), np.zeros(len(rows), fixed.dtype)
    _, singular = kernels.solve_rows(
        rows.indptr,
        rows.indices,
        values,
        fixed,
        fixed_bias,
        reg,
        factors,
        bias,
        mean=mean,
        biases="joint" if biased else None,
        solver="cholesky",
        threads=threads,
    )
    if prior is not None:
        near = prior.mean.astype(fixed.dtype)
        factors, bias = factors + near[:, :-1], bias + near[:, -1]
    return factors, bias, singular
