"""A straight line from features to factors, with as much regularization as leaving one row out asks for.

    min Σ_j w_j ‖θ_j − m − (x_j − x̄) W‖² + λ ‖W‖²          x̄, m: means by weight

With √w_j (x_j − x̄) = U S Vᵀ all λ share one decomposition, and the error on row j of a fit without it is the residual
of the fit with it over 1 − h_j, where h_j = w_j / Σw + Σ_k u_jk² s_k² / (s_k² + λ): D. M. Allen, "The Relationship
Between Variable Selection and Data Augmentation and a Method for Prediction", Technometrics 16(1), 1974 (PRESS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor.models.factor_state import check_array

Doubles = NDArray[np.float64]

_CHOICES = np.append(np.logspace(-4, 5, 37), np.inf)  # λ, in units of the mean square of a feature
_AT_ONCE = 1 << 16  # rows turned into factors at a time


@dataclass(frozen=True, eq=False)
class LinearMap:
    """θ(x) = middle + (x − centre) W.

    Attributes:
        centre: x̄ (columns,); weights: W (columns, outputs); middle: m (outputs,); float64.
    """

    centre: Doubles
    weights: Doubles
    middle: Doubles

    def __call__(self, values: NDArray[Any]) -> Doubles:
        """Factors and bias (rows, outputs) of features (rows, …)."""
        flat = values.reshape(len(values), -1)
        out = np.empty((len(flat), len(self.middle)))
        for begin in range(0, len(flat), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            out[part] = self.middle + (flat[part] - self.centre) @ self.weights
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For storage."""
        return {"centre": self.centre, "weights": self.weights, "middle": self.middle}

    def facts(self) -> dict[str, Any]:
        """What else storage keeps: nothing."""
        return {}

    @classmethod
    def restored(
        cls, arrays: Mapping[str, NDArray[Any]], prefix: str, columns: int, outputs: int, whole: str
    ) -> Self:
        """Of stored arrays. Raises ``BadModel``."""
        shapes: dict[str, tuple[int | None, ...]] = {
            "centre": (columns,),
            "weights": (columns, outputs),
            "middle": (outputs,),
        }
        return cls(
            *(check_array(arrays, prefix + name, shape, "f8", whole) for name, shape in shapes.items())
        )


class Ridge:
    """The rows that are learnt from, decomposed once; targets may change.

    Args:
        values: x (rows, …), at least one row.
        weights: w (rows,), how well each row's target is known; positive.
    """

    def __init__(self, values: NDArray[Any], weights: NDArray[Any]) -> None:
        x = values.reshape(len(values), -1).astype(np.float64)
        self.weights = weights.astype(np.float64)
        self.share = self.weights / self.weights.sum()
        self.root = np.sqrt(self.weights)[:, None]
        self.centre = self.share @ x
        self.u, self.s, self.vt = np.linalg.svd(self.root * (x - self.centre), full_matrices=False)

    def choose(self, targets: NDArray[Any], metric: NDArray[Any] | None = None) -> tuple[float, float]:
        """λ with the least error on rows left out, and that error over the one of the mean alone.

        ``metric`` (outputs, outputs): errors e are measured as ‖e · metric‖², else as ‖e‖².
        """
        t = targets.astype(np.float64)
        t = t if metric is None else t @ metric
        t = self.root * (t - self.share @ t)
        unit = float((self.s**2).sum()) / self.vt.shape[1]
        if unit == 0:
            return float("inf"), 1.0
        errors = []
        for reg in unit * _CHOICES:
            kept = self.s**2 / (self.s**2 + reg)
            left = 1 - self.share - self.u**2 @ kept
            residual = t - self.u @ (kept[:, None] * (self.u.T @ t))
            # a row that alone decides what its features do says nothing of how others would foretell it
            errors.append(float((residual**2 / np.maximum(left, 1e-6)[:, None] ** 2).sum()))
        best = int(np.argmin(errors))
        return float(unit * _CHOICES[best]), errors[best] / (errors[-1] or 1.0)

    def solve(self, targets: NDArray[Any], reg: float) -> LinearMap:
        """The line with this λ."""
        t = targets.astype(np.float64)
        middle = self.share @ t
        kept = np.divide(self.s, self.s**2 + reg, out=np.zeros_like(self.s), where=self.s > 0)
        weights = self.vt.T @ (kept[:, None] * (self.u.T @ (self.root * (t - middle))))
        return LinearMap(self.centre, weights, middle)
