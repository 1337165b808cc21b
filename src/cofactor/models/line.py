"""A straight line for each user: their rating against what everybody thinks of the item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadParameter, NotSupported, SingularSystem, shorten
from cofactor.ids import Id
from cofactor.models.als import AlternatingModel
from cofactor.models.base import Callback, check_ratings
from cofactor.models.results import Recommendations
from cofactor.progress import Progress
from cofactor.ratings import Ratings


@dataclass(eq=False)
class LineBaseline(AlternatingModel):
    """r̂_ij = DC_i + α_i · AC_j:  two coefficients a user, the level DC and the slope α.

    AC_j is the consensus on item j with the mean removed. A user with α = 1 follows it, one with α = 2 praises and
    damns twice as strongly, one with α = 0 rates everything alike. The slope is regularized towards 1 and the
    level towards the mean μ, so that with few ratings the line is that of ``Baseline``:

        J = Σ (r_ij − DC_i − α_i AC_j)² + Σ_i λ_i ((DC_i − μ)² + (α_i − 1)²) + Σ_j λ_j AC_j²

    Users' lines and items' consensus are solved in turn, each exactly, so J never rises. With b_i = DC_i − μ,
    c_j = v_j = AC_j and u_i = α_i − 1 it is a model of one factor, r̂ = μ + b_i + c_j + u_i v_j.

    Args:
        reg: λ, above 0: so many ratings on the consensus are believed in beforehand.
        reg_exponent: λ_i = reg · (ratings of i)^reg_exponent.
        sweeps: at most so many; a few are enough.
        tol: stop once J falls by less than this share in a sweep.
        threads: None for all processors; the result does not depend on it.

    After ``fit``, see ``FactorModel`` for the attributes, and ``level_`` and ``slope_``.
    """

    reg: float = 3.0
    reg_exponent: float = 0.0
    sweeps: int = 20
    tol: float = 1e-7
    threads: int | None = None

    @property
    def level_(self) -> NDArray[Any]:
        """DC: (users,) what each user gives an item of average consensus."""
        self._check_fitted()
        return self.mean_ + self.user_bias_

    @property
    def slope_(self) -> NDArray[Any]:
        """α: (users,) by how much each user follows the consensus."""
        self._check_fitted()
        return 1 + self.user_factors_[:, 0]

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        self._check_alternation()
        if self.reg == 0:
            raise BadParameter("reg is 0; give more: a user with one rating has no line without it.")

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``."""
        self.check_parameters(check_ratings(ratings).n_items)
        self._forget()
        rows, users = ratings.by_user, ratings.user_positions
        user_reg, item_reg = self.row_reg(rows.counts), self.row_reg(ratings.by_item.counts)
        mean = float(ratings.values.mean(dtype=np.float64))
        level, bend = np.zeros(ratings.n_users), np.zeros((ratings.n_users, 1))  # b and u
        consensus = np.zeros(ratings.n_items)
        objective: list[float] = []
        try:
            with Progress(self.sweeps, "Fitting", progress) as bar:
                for sweep in range(1, self.sweeps + 1):
                    # AC_j = Σ_i α_i (r_ij − DC_i) / (Σ_i α_i² + λ_j)
                    slope = 1 + bend[users, 0]
                    gain = np.bincount(rows.indices, slope * (ratings.values - mean - level[users]))
                    weight = np.bincount(rows.indices, slope**2) + item_reg
                    consensus = np.divide(gain, weight, out=np.zeros_like(gain), where=weight > 0)
                    errors, singular = kernels.solve_rows(
                        rows.indptr,
                        rows.indices,
                        rows.values,
                        consensus[:, None],
                        consensus,
                        user_reg,
                        bend,
                        level,
                        mean=mean,
                        solver="primal",
                        threads=self.threads,
                    )
                    if singular >= 0:
                        raise SingularSystem(
                            f"The ratings of user {shorten(ratings.user_ids.id(singular))} do not determine a line: "
                            f"reg={self.reg:g} is lost in rounding. Give a larger reg."
                        )
                    objective.append(
                        float(
                            errors.sum() + user_reg @ (level**2 + bend[:, 0] ** 2) + item_reg @ consensus**2
                        )
                    )
                    bar.advance(f"J = {objective[-1]:.6g}")
                    settled = sweep > 1 and objective[-2] - objective[-1] < self.tol * objective[-2]
                    stop = settled or sweep == self.sweeps
                    if callback is not None:
                        self._publish(ratings, mean, level, bend, consensus, objective)
                        stop = bool(callback(self, sweep, objective[-1])) or stop
                    if stop:
                        break
        except BaseException:
            self._forget()
            raise
        self._publish(ratings, mean, level, bend, consensus, objective)
        return self

    def _publish(
        self,
        ratings: Ratings,
        mean: float,
        level: NDArray[np.float64],
        bend: NDArray[np.float64],
        consensus: NDArray[np.float64],
        objective: list[float],
    ) -> None:
        self.user_factors_, self.item_factors_ = bend, consensus[:, None].copy()
        self.user_bias_, self.item_bias_ = level, consensus
        self.mean_, self.objective_ = mean, np.array(objective)
        self.ratings_, self.scale_ = ratings.by_user, ratings.scale
        self.user_ids_, self.item_ids_ = ratings.user_ids, ratings.item_ids

    def similar_items(self, item: Id, n: int = 10) -> Recommendations:
        """Not supported: how much everybody likes an item says nothing about likeness."""
        self._check_fitted()
        self._item_position(item)
        raise NotSupported("LineBaseline knows one number of an item. Fit a model with factors, such as ALS.")
