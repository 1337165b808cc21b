"""Ratings and features of items, both foretold by the same factors of items.

    J = Σ (r_ij − μ − b_i − θ_j·[u_i, 1])² + Σ_jf (√w x_jf − θ_j·g_f)²
        + Σ_i λ_i (‖u_i‖² + b_i²) + Σ_j λ_j ‖θ_j‖² + Σ_f λ_f ‖g_f‖²     θ_j = [v_j, c_j], λ = reg · count^reg_exponent

A feature is a user more, who has rated every item that has features: so all three sides are rows for the one kernel,
each solved exactly, and J never rises. x is centred and has a mean square of 1 over all features; w is ``weight``.

A. P. Singh, G. J. Gordon, "Relational Learning via Collective Matrix Factorization", KDD 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.features import Features
from cofactor.models.als import start_factors
from cofactor.models.base import Callback
from cofactor.models.factors import FactorModel
from cofactor.progress import Progress
from cofactor.ratings import Compressed, Ratings


@dataclass(eq=False)
class CollectiveALS(FactorModel):
    """Step 1 of ``ContentMap`` with ``collective`` above 0; see there. Each sweep solves users, features, items.

    Attributes (once fitted), beside those of ``FactorModel``:
        feature_factors_: g (columns, rank + 1).
    """

    features: Features
    weight: float
    rank: int
    reg: float
    reg_exponent: float
    sweeps: int
    seed: int
    dtype: Literal["float32", "float64"]
    threads: int | None

    feature_factors_ = np.empty((0, 0))

    def check_parameters(self, n_items: int) -> None:
        """``ContentMap`` has checked them."""

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``."""
        at = ratings.item_ids.positions(self.features.ids.array)
        x = self.features.values[at >= 0].astype(np.float64)
        x -= x.mean(axis=0)
        x *= np.sqrt(self.weight / ((x**2).mean() or 1.0))
        told = _Told(ratings, at[at >= 0], x.astype(np.float32))
        self.mean_ = float(ratings.values.mean(dtype=np.float64))
        objective: list[float] = []
        theta = np.column_stack(
            [
                start_factors(ratings.n_items, self.rank, self.seed, self.dtype),
                np.zeros(ratings.n_items, self.dtype),
            ]
        )
        users = np.zeros((ratings.n_users, self.rank), self.dtype)
        bias = np.zeros(ratings.n_users, self.dtype)
        self.feature_factors_ = np.zeros((x.shape[1], self.rank + 1), self.dtype)
        regs = [self.row_reg(rows.counts) for rows in (ratings.by_user, told.by_feature, ratings.by_item)]

        def solve_users() -> float:
            V, c = np.ascontiguousarray(theta[:, :-1]), np.ascontiguousarray(theta[:, -1])
            rows = ratings.by_user
            errors, _ = kernels.solve_rows(
                rows.indptr, rows.indices, rows.values, V, c, regs[0], users, bias,
                mean=self.mean_, solver="cholesky", threads=self.threads,
            )  # fmt: skip
            return float(errors.sum())

        def solve(
            rows: Compressed, fixed: NDArray[Any], reg: NDArray[np.float64], out: NDArray[Any]
        ) -> float:
            errors, _ = kernels.solve_rows(
                rows.indptr, rows.indices, rows.values, fixed, None, reg, out, None,
                biases=None, solver="cholesky", threads=self.threads,
            )  # fmt: skip
            return float(errors.sum())

        def penalty() -> float:
            square_of_users = (users.astype(np.float64) ** 2).sum(axis=1) + bias.astype(np.float64) ** 2
            parts = (square_of_users, _squares(self.feature_factors_), _squares(theta))
            return float(sum((reg * squares).sum() for reg, squares in zip(regs, parts)))

        def publish() -> None:
            self.user_factors_, self.user_bias_ = users, bias
            self.item_factors_, self.item_bias_ = theta[:, :-1].copy(), theta[:, -1].copy()
            self.objective_ = np.array(objective)
            self.ratings_, self.scale_ = ratings.by_user, ratings.scale
            self.user_ids_, self.item_ids_ = ratings.user_ids, ratings.item_ids

        with Progress(self.sweeps, "Fitting", progress) as bar:
            for sweep in range(1, self.sweeps + 1):
                solve_users()
                solve(told.by_feature, theta, regs[1], self.feature_factors_)
                fixed = np.vstack([np.column_stack([users, np.ones_like(bias)]), self.feature_factors_])
                error = solve(told.by_item(self.mean_ + bias), fixed, regs[2], theta)
                objective.append(error + penalty())
                bar.advance(f"J = {objective[-1]:.6g}")
                if callback is not None:
                    publish()
                    if callback(self, sweep, objective[-1]):
                        break
            solve_users()  # the users once more, as ALS does
        publish()
        return self


def _squares(rows: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray((rows.astype(np.float64) ** 2).sum(axis=1))


class _Told:
    """Features (some items, columns) beside the ratings: of each feature all items, of each item its features.

    Columns of features stand behind the users.
    """

    def __init__(self, ratings: Ratings, at: NDArray[np.int32], x: NDArray[np.float32]) -> None:
        n, columns = x.shape
        self.by_feature = Compressed(
            np.arange(columns + 1, dtype=np.int64) * n,
            np.tile(at, columns),
            np.ascontiguousarray(x.T).ravel(),
        )
        rows = ratings.by_item
        told = np.zeros(ratings.n_items, np.int64)
        told[at] = columns
        self.indptr = np.concatenate([[0], np.cumsum(rows.counts + told)]).astype(np.int64)
        self.rated = np.zeros(self.indptr[-1], bool)  # ratings first, in each row
        starts = np.repeat(self.indptr[:-1] - rows.indptr[:-1], rows.counts)
        self.rated[starts + np.arange(len(rows.indices))] = True
        self.indices = np.empty(self.indptr[-1], np.int32)
        self.indices[self.rated] = rows.indices
        self.indices[~self.rated] = np.tile(np.arange(columns, dtype=np.int32) + ratings.n_users, n)
        self.values = np.empty(self.indptr[-1], np.float32)
        self.values[~self.rated] = x.ravel()
        self.rows = rows

    def by_item(self, known: NDArray[Any]) -> Compressed:
        """Rows of items, of ratings less what is ``known`` of each user."""
        values = self.values.copy()
        values[self.rated] = self.rows.values - known[self.rows.indices]
        return Compressed(self.indptr, self.indices, values)
