"""How far predictions are from ratings."""

from __future__ import annotations

from typing import Any

import numpy as np

from cofactor.errors import BadParameter


def _differences(ratings: Any, predictions: Any) -> Any:
    given, predicted = np.asarray(ratings, np.float64), np.asarray(predictions, np.float64)
    if given.shape != predicted.shape or given.ndim != 1 or len(given) == 0:
        raise BadParameter(
            f"ratings {given.shape} and predictions {predicted.shape} must be two columns of the same length, "
            f"not empty."
        )
    if not (np.isfinite(given).all() and np.isfinite(predicted).all()):
        raise BadParameter("A rating or prediction is not finite; an error over it would mean nothing.")
    return predicted - given


def rmse(ratings: Any, predictions: Any) -> float:
    """Root mean squared error,  √(Σ (r̂ − r)² / n),  of two columns (n,), in units of the ratings.

    >>> rmse([1, 2, 3], [1, 2, 5])
    1.1547005383792515
    """
    return float(np.sqrt(np.mean(_differences(ratings, predictions) ** 2)))


def mae(ratings: Any, predictions: Any) -> float:
    """Mean absolute error,  Σ |r̂ − r| / n,  of two columns (n,), in units of the ratings.

    >>> mae([1, 2, 3], [1, 2, 5])
    0.6666666666666666
    """
    return float(np.mean(np.abs(_differences(ratings, predictions))))
