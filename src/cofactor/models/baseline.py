"""The model to beat: a mean and one bias for each user and item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from cofactor.models.als import AlternatingModel
from cofactor.models.base import Callback, check_ratings
from cofactor.ratings import Ratings


@dataclass(eq=False)
class Baseline(AlternatingModel):
    """r̂ = μ + b_i + c_j, by exact alternation:  b_i = Σ_j (r_ij − μ − c_j) / (n_i + λ_i),  then c likewise.

        J = Σ (r_ij − μ − b_i − c_j)² + Σ_i λ_i b_i² + Σ_j λ_j c_j²

    Args:
        reg: λ, at least 0: so many ratings at the mean are believed in beforehand.
        reg_exponent: λ_i = reg · (ratings of i)^reg_exponent.
        sweeps: at most so many; a few are enough.
        tol: stop once J falls by less than this share in a sweep.
        threads: None for all processors; the result does not depend on it.

    After ``fit``, see ``FactorModel`` for the attributes; the factors have rank 0.
    """

    reg: float = 5.0
    reg_exponent: float = 0.0
    sweeps: int = 20
    tol: float = 1e-7
    threads: int | None = None

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``."""
        self.check_parameters(check_ratings(ratings).n_items)
        factors, bias = np.zeros((ratings.n_items, 0), np.float32), np.zeros(ratings.n_items, np.float32)
        return self._alternate(ratings, 0, "joint", "cholesky", False, factors, bias, 1, callback, progress)

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        self._check_alternation()
