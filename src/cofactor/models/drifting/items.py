"""The item side of ``TasteDrift``: factors, biases, and how unsure each is, from a model of the same ratings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cofactor.ids import IdMap
from cofactor.models.als import ALS
from cofactor.models.bayes import BayesianMF

Doubles = NDArray[np.float64]


class Items(NamedTuple):
    """What is known of items, and of the users that one starts from.

    factors (items, k), bias (items,) and unsure (items,): the variance of a rating beyond its noise, since the item is
    not known better. new_bias, new_unsure: the same of an item that nothing is known of. mean: μ. user_variance,
    bias_variance: of the factors and the bias of a user. noise: σ².
    """

    ids: IdMap
    factors: Doubles
    bias: Doubles
    unsure: Doubles
    new_bias: float
    new_unsure: float
    mean: float
    user_variance: float
    bias_variance: float
    noise: float

    def turned_to(self, other: Items) -> Items:
        """The same items in other axes: those in which their factors are nearest to those of ``other``.

        A user's prior is the same in all axes, but a network that has learnt in some needs them again. P. Schönemann,
        "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31(1), 1966.
        """
        at = other.ids.positions(self.ids.array)
        common = at >= 0
        u, _, v = np.linalg.svd(self.factors[common].T @ other.factors[at[common]])
        return self._replace(factors=self.factors @ (u @ v))


def of_als(model: ALS) -> Items:
    """As ``ALS`` folds in: a user's prior is N(0, σ²/λ), with λ that of a row of middling length."""
    counts = np.array([max(1.0, float(np.median(model.ratings_.counts)))])
    lam = max(float(model.row_reg(counts.astype(np.int64))[0]), 1e-6)
    at = model.ratings_.row_numbers()
    residual = model.ratings_.values - model._predict_at(at, model.ratings_.indices)
    noise = max(float((residual.astype(np.float64) ** 2).mean()), 1e-3)
    size = len(model.item_ids_)
    return Items(
        model.item_ids_,
        model.item_factors_.astype(np.float64),
        model.item_bias_.astype(np.float64),
        np.zeros(size),
        0.0,
        0.0,
        model.mean_,
        noise / lam,
        noise / lam,
        noise,
    )


def of_bayes(model: BayesianMF, rank: int) -> Items:
    """The draws of ``BayesianMF`` as one set of factors, of users whose prior is N(0, I).

    Under one draw the ratings of a new user have the covariance  V Λ⁻¹ Vᵀ  over items. Its mean over the draws does not
    care for the axes of each, and its ``rank`` largest principal components are the factors (K. Karhunen, M. Loève).
    What they leave out, and how the biases differ between draws, is how unsure an item is.
    """
    priors, count, k = model._unpacked_priors(), model.draws, model.rank
    sides, biases, starts, spreads = [], [], [], []
    for s, (users, items) in enumerate(priors):
        V = model.item_factors_[:, s * k : (s + 1) * k].astype(np.float64) * count
        sides.append(V @ np.linalg.inv(users.factor).T / np.sqrt(count))
        biases.append(model._item_biases[:, s] + V @ users.mean)
        starts.append(items.bias_mean + items.mean @ users.mean)
        of_users = np.linalg.inv(users.factor @ users.factor.T)
        of_items = np.linalg.inv(items.factor @ items.factor.T)
        second = of_items + np.outer(items.mean, items.mean)
        taste = float((of_users * second).sum() + users.mean @ of_items @ users.mean)
        spreads.append(1 / items.bias_precision + taste)
    draws = np.hstack(sides)
    axes = np.linalg.eigh(draws.T @ draws)[1][:, ::-1][:, :rank]
    factors = draws @ axes
    factors = np.pad(factors, ((0, 0), (0, rank - factors.shape[1])))
    left = np.maximum((draws**2).sum(axis=1) - (factors**2).sum(axis=1), 0)
    every = np.stack(biases, axis=1)
    return Items(
        model.item_ids_,
        factors,
        every.mean(axis=1),
        every.var(axis=1) + left,
        float(np.mean(starts)),
        float(np.mean(spreads)),
        model.mean_ + float(np.mean([users.bias_mean for users, _ in priors])),
        1.0,
        float(np.mean([1 / users.bias_precision for users, _ in priors])),
        float((model.noise_**2).mean()),
    )


def known_side(items: Items, places: NDArray[Any]) -> tuple[Doubles, Doubles, Doubles]:
    """Factors, bias and unsureness of items at some places; −1 is an item that nothing is known of."""
    known = places >= 0
    at = np.maximum(places, 0)
    return (
        np.where(known[..., None], items.factors[at], 0.0),
        np.where(known, items.bias[at], items.new_bias),
        np.where(known, items.unsure[at], items.new_unsure),
    )
