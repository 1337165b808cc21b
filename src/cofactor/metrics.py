"""How far predictions are from ratings, and how good ranked lists are.

The metrics of lists take ``hits`` (users, k): whether place p of a user's list holds a relevant item, best place
first, False where the list is shorter than k; and ``relevant`` (users,): how many relevant items each user has in
the test ratings, at least 1, whether or not the model could have listed them. What is relevant is for the caller
to say; ``cofactor.evaluate`` takes test ratings of at least three quarters up the scale (4 on a scale of 1 to 5).
Each gives one value a user (users,), float64, to be averaged; relevance is yes or no, never graded. They agree with
the package ``ranx``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def _places(hits: Any, relevant: Any = None) -> tuple[Any, Any]:
    """Both, as float64, checked."""
    shown = np.asarray(hits, np.float64)
    if shown.ndim != 2 or shown.shape[1] == 0:
        raise BadParameter(f"hits {shown.shape} must have a row for each user and a column for each place.")
    if relevant is None:
        return shown, None
    wanted = np.asarray(relevant, np.float64)
    if wanted.shape != shown.shape[:1] or not (wanted >= np.maximum(shown.sum(axis=1), 1)).all():
        raise BadParameter(
            f"relevant {wanted.shape} must count the relevant items of each of the {len(shown)} users: at least 1 "
            f"and at least their hits. Leave out users with none."
        )
    return shown, wanted


def precision(hits: Any) -> NDArray[np.float64]:
    """Precision@k of each user,  Σ_p hit_p / k,  also where the list is shorter than k.

    >>> precision([[True, False, True, False]])
    array([0.5])
    """
    return np.asarray(_places(hits)[0].mean(axis=1))


def recall(hits: Any, relevant: Any) -> NDArray[np.float64]:
    """Recall@k of each user,  Σ_p hit_p / relevant:  all relevant items, so 1 is out of reach where they are over k.

    >>> recall([[True, False, True, False]], [5])
    array([0.4])
    """
    shown, wanted = _places(hits, relevant)
    return np.asarray(shown.sum(axis=1) / wanted)


def ndcg(hits: Any, relevant: Any) -> NDArray[np.float64]:
    """Normalized discounted cumulative gain@k,  Σ_p hit_p / log₂(p + 1)  over its largest value.

    Places p count from 1. The largest value is that of a list that opens with all relevant items, or with k of them.
    Järvelin, Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002.

    >>> ndcg([[False, True]], [1]).round(4)
    array([0.6309])
    """
    shown, wanted = _places(hits, relevant)
    k = shown.shape[1]
    gains = 1 / np.log2(np.arange(2, k + 2))
    best = np.cumsum(gains)[np.minimum(wanted, k).astype(np.int64) - 1]
    return np.asarray(shown @ gains / best)


def average_precision(hits: Any, relevant: Any) -> NDArray[np.float64]:
    """Average precision@k,  Σ_p hit_p · (hits up to p) / p / relevant;  its mean over users is MAP@k.

    The denominator is all relevant items, as in TREC; not min(relevant, k).

    >>> average_precision([[True, False, True, False]], [4]).round(4)
    array([0.4167])
    """
    shown, wanted = _places(hits, relevant)
    so_far = np.cumsum(shown, axis=1) / np.arange(1, shown.shape[1] + 1)
    return np.asarray((shown * so_far).sum(axis=1) / wanted)


def reciprocal_rank(hits: Any) -> NDArray[np.float64]:
    """Reciprocal rank@k,  1 / (place of the first hit),  0 without a hit; its mean over users is MRR@k.

    >>> reciprocal_rank([[False, True, True], [False, False, False]])
    array([0.5, 0. ])
    """
    shown, _ = _places(hits)
    return np.asarray(shown.any(axis=1) / (np.argmax(shown > 0, axis=1) + 1))


def coverage(counts: Any) -> float:
    """Catalogue coverage,  items listed at least once / items.

    ``counts`` (items,): in how many lists each item of the model stands.

    >>> coverage([3, 0, 1, 0])
    0.5
    """
    return float(np.mean(_counts(counts) > 0))


def novelty(raters: Any, users: int) -> NDArray[np.float64]:
    """Self-information of items, in bits,  −log₂(raters / users);  its mean over all places of lists is the novelty.

    ``raters`` (n,): how many of the ``users`` learnt from have rated each item, at least 1.

    >>> novelty([8, 4, 1], users=8)
    array([0., 1., 3.])
    """
    rated = np.asarray(raters, np.float64)
    if not ((rated >= 1) & (rated <= users)).all():
        raise BadParameter(
            f"raters must lie between 1 and users ({users}): an item that nobody rated has no share."
        )
    return np.asarray(np.log2(users / rated))


def gini(counts: Any) -> float:
    """Gini index of how often items are listed,  Σ_i (2i − n − 1) x_i / (n Σ x)  over ascending x_1 … x_n.

    ``counts`` (items,): in how many lists each of the n items of the model stands, not all zero. 0: all equally often;
    (n − 1) / n: one item alone.

    >>> gini([2, 2, 2]), gini([0, 0, 6])
    (0.0, 0.6666666666666666)
    """
    x = np.sort(_counts(counts))
    if x.sum() == 0:
        raise BadParameter("No item is listed at all, so there is nothing to be unequal about.")
    n = len(x)
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * x.sum()))


def _counts(counts: Any) -> Any:
    array = np.asarray(counts, np.float64)
    if array.ndim != 1 or len(array) == 0 or not (array >= 0).all():
        raise BadParameter(f"counts {array.shape} must be one count of lists for each item, none below 0.")
    return array
