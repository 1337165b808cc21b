"""Gibbs sampling of a matrix factorization: each part drawn given all others, round after round.

    r_ij ~ N(μ + b_i + c_j + u_i·v_j, 1/α)                              α ~ Gamma
    u_i ~ N(m_u + Wᵀx_i, Λ_u⁻¹)    b_i ~ N(m_b + ω·x_i, 1/λ_b)         and the same for v, c
    m_u, Λ_u ~ Normal–Wishart(0, β₀, I, ν₀)    m_b, λ_b ~ Normal–Gamma
    row f of W ~ N(0, (λ_g Λ_u)⁻¹)    ω_f ~ N(0, 1/(λ'_g λ_b))    λ_g, λ'_g ~ Gamma    for each group g of features

The prior's precision is a full matrix, not a diagonal one: factors can be rotated without any change of the
predictions, and only the full one does not care how. It costs a K × K product a row, nothing beside the row's own
system.

A user is drawn by the kernel that solves a row of ``ALS``: with Λ_u = LLᵀ and u = m_u + Wᵀx + √λ_b L⁻ᵀu′, both u′ and b
have the precision λ_b, and the row is a ridge regression on √λ_b L⁻¹v_j with λ = λ_b / α, whose solution gets noise.
Given the rows, the columns of (U − m) L are regressions on x of their own, with noise of variance 1 and weights of
variance 1/λ_g, whose features are drawn in turn.

R. Salakhutdinov, A. Mnih, "Bayesian Probabilistic Matrix Factorization using Markov Chain Monte Carlo", ICML 2008;
the draws of its hyperparameters are those of its equations 14 and 15. S. Rendle, "Factorization Machines with libFM",
ACM TIST 3(3), 2012, for biases, noise and what describes the rows. J. Simm et al., "Macau: Scalable Bayesian
factorization with high-dimensional side information using MCMC", MLSP 2017, for its place in the prior. Y. Koren,
"Factorization meets the neighborhood", KDD 2008 (SVD++), for which items a user has rated as such a description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.ratings import Compressed, Ratings

Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]

_BETA = 2.0  # β₀: the prior mean of factors counts as so many rows
_DEGREES = 0  # ν₀ − K: with 0 the Wishart prior is as wide as it can be
_SHAPE, _RATE = 1.0, 0.1  # of the Gamma priors of precisions
_START = 0.3  # standard deviation of the item factors before the first sweep
_SMALL = (
    1 << 17
)  # multiply-adds of a product for which BLAS starts no threads, which would spin on beside the kernel's


def _pieces(rows: int, work: int) -> list[slice]:
    """Ranges of rows whose products take at most ``_SMALL`` multiply-adds, where each row takes ``work``."""
    some = max(1, _SMALL // work)
    return [slice(begin, begin + some) for begin in range(0, rows, some)]


def _product(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """a @ b for many rows a."""
    out = np.empty((len(a), b.shape[1]), a.dtype)
    for part in _pieces(len(a), a.shape[1] * b.shape[1]):
        np.matmul(a[part], b, out=out[part])
    return out


def _scatter(x: NDArray[Any]) -> Doubles:
    """xᵀx for many rows x."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for part in _pieces(len(x), x.shape[1] ** 2):
        some = x[part].astype(np.float64)
        total += some.T @ some
    return total


@dataclass(frozen=True, eq=False)
class Prior:
    """What users, or items, are drawn from: u ~ N(mean, (factor factorᵀ)⁻¹), b ~ N(bias_mean, 1/bias_precision)."""

    mean: Doubles  # (rank,)
    factor: Doubles  # (rank, rank) lower triangle L of Λ = LLᵀ
    bias_mean: float
    bias_precision: float

    @classmethod
    def draw(
        cls, rows: NDArray[Any], random: np.random.Generator, weights: NDArray[Any] | None = None
    ) -> Prior:
        """Given rows [u, b] (rows, rank + 1) drawn from it, and ``weights`` drawn from it but around zero."""
        n, rank = len(rows), rows.shape[1] - 1
        x = rows.astype(np.float64)
        average = x.mean(axis=0)
        centred = x - average
        more = np.empty((0, rank + 1)) if weights is None else weights
        mean, middle = average[:rank], float(average[rank])
        scatter = _scatter(centred[:, :rank]) + _scatter(more[:, :rank])
        scatter += np.eye(rank) + _BETA * n / (_BETA + n) * np.outer(mean, mean)
        # Λ ~ Wishart(scatter⁻¹, K + n): with scatter = CCᵀ and A of Bartlett's decomposition, Λ = (C⁻ᵀA)(C⁻ᵀA)ᵀ
        lower = np.tril(random.standard_normal((rank, rank)), -1)
        degrees = _DEGREES + rank + n + len(more)
        lower[np.diag_indices(rank)] = np.sqrt(random.chisquare(degrees - np.arange(rank)))
        root = np.linalg.solve(np.linalg.cholesky(scatter).T, lower)
        factor = np.linalg.cholesky(root @ root.T)
        spread = np.linalg.solve(factor.T, random.standard_normal(rank)) / np.sqrt(_BETA + n)
        squares = float((centred[:, rank] ** 2).sum()) + float((more[:, rank].astype(np.float64) ** 2).sum())
        rate = _RATE + 0.5 * squares + 0.5 * n / (1 + n) * middle**2
        precision = random.gamma(_SHAPE + (n + len(more)) / 2) / rate
        bias_mean = n * middle / (1 + n) + random.standard_normal() / np.sqrt((1 + n) * precision)
        return cls(n * mean / (_BETA + n) + spread, factor, float(bias_mean), float(precision))

    @property
    def triangle(self) -> Doubles:
        """(rank + 1, rank + 1) R of the precision RRᵀ of [u, b]."""
        rank = len(self.mean)
        whole = np.zeros((rank + 1, rank + 1))
        whole[:rank, :rank], whole[rank, rank] = self.factor, np.sqrt(self.bias_precision)
        return whole

    @cached_property
    def covariance(self) -> Doubles:
        """(rank, rank) Λ⁻¹."""
        return np.asarray(np.linalg.inv(self.factor @ self.factor.T), np.float64)

    @property
    def centre(self) -> Doubles:
        """(rank + 1,) the means of [u, b]."""
        return np.append(self.mean, self.bias_mean)

    def rows(
        self,
        ratings: Compressed,
        fixed: NDArray[Any],
        fixed_bias: NDArray[Any],
        noise: NDArray[Any],
        alpha: float,
        mean: float,
        threads: int | None,
        described: Singles | None = None,
    ) -> tuple[Singles, float]:
        """Rows [u, b] (rows, rank + 1) drawn given ratings and the other side, and Σ residual².

        ``noise`` is standard normal, (rows, rank + 1). ``described`` (rows, rank + 1) is what comes to the prior mean
        of each row.
        """
        kind, rank = fixed.dtype, fixed.shape[1]
        values = ratings.values
        if described is not None:  # Wᵀx·v + ω·x is taken off the ratings
            at, nothing = ratings.row_numbers(), np.zeros(len(fixed), kind)
            u, b = described[:, :rank], described[:, rank]
            values = values - kernels.predict(
                at, ratings.indices, u, b, fixed, nothing, 0.0, threads=threads
            ).astype(np.float32)
        # u = mean + scale @ u′, so u·v = mean·v + u′·(scaleᵀ v)
        scale = np.sqrt(self.bias_precision) * np.linalg.inv(self.factor).T
        seen = kernels.aligned_zeros(len(fixed), rank, kind)
        seen[:] = _product(fixed, scale.astype(kind))
        towards = np.einsum("jk,k->j", fixed, self.mean.astype(kind))
        shift = fixed_bias + (towards + kind.type(self.bias_mean))
        factors, bias = np.zeros((len(ratings), rank), kind), np.zeros(len(ratings), kind)
        errors, _ = kernels.solve_rows(
            ratings.indptr,
            ratings.indices,
            values,
            seen,
            shift.astype(kind),
            np.full(len(ratings), self.bias_precision / alpha),
            factors,
            bias,
            mean=mean,
            noise=noise,
            noise_scale=1 / np.sqrt(alpha),
            threads=threads,
        )
        drawn = np.empty((len(ratings), rank + 1), kind)
        drawn[:, :rank] = _product(factors, scale.T.astype(kind)) + self.mean.astype(kind)
        drawn[:, rank] = bias + kind.type(self.bias_mean)
        if described is not None:
            drawn += described
        return drawn, float(errors.sum())


@dataclass(frozen=True, eq=False)
class Description:
    """What is known of the rows of one side beside their ratings: numbers x (rows, features), mostly zero.

    ``sizes`` says how many features each group has; those of a group follow each other, and share their precisions.
    """

    by_row: Compressed
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, rows: int, groups: Sequence[tuple[Compressed, int]]) -> Description:
        """From groups of features side by side: of each the numbers by row, and how many features it has."""
        sizes = tuple(size for _, size in groups)
        begins = np.concatenate([[0], np.cumsum(sizes)])
        at = np.concatenate([np.empty(0, np.int32), *(x.row_numbers() for x, _ in groups)]).astype(np.int32)
        which = [x.indices + np.int32(begin) for (x, _), begin in zip(groups, begins)]
        values = [x.values for x, _ in groups]
        indptr, order = kernels.group(at, rows)
        columns = np.concatenate([np.empty(0, np.int32), *which]).astype(np.int32)[order]
        return cls(
            Compressed(indptr, columns, np.concatenate([np.empty(0, np.float32), *values])[order]), sizes
        )

    @property
    def features(self) -> int:
        """How many there are."""
        return sum(self.sizes)

    def times(self, weights: Singles, threads: int | None) -> Singles:
        """x times weights (features, columns): (rows, columns)."""
        x = self.by_row
        return np.asarray(
            kernels.apply_weights((x.indptr, x.indices, x.values), weights, threads=threads), np.float32
        )

    @property
    def groups(self) -> NDArray[np.int64]:
        """The group of each feature (features,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


def rated(rows: Compressed) -> Compressed:
    """Which of the other side each row has ratings with, as features: of n they are 1/√n each."""
    counts = rows.counts
    shares = (1 / np.sqrt(np.maximum(counts, 1))).astype(np.float32)
    return Compressed(rows.indptr, rows.indices, np.repeat(shares, counts))


class Side:
    """Users, or items, as a chain has them.

    Attributes:
        rows: (rows, rank + 1) [u, b].
        prior: what they are drawn from.
        weights: (features, rank + 1) [W, ω]; described: (rows, rank + 1), x times them.
        precisions: (groups, 2) λ_g and λ'_g.
    """

    def __init__(self, ratings: Compressed, rank: int, description: Description) -> None:
        self.ratings, self.description = ratings, description
        self.rows = np.zeros((len(ratings), rank + 1), np.float32)
        self.prior = Prior(np.zeros(rank), np.eye(rank) / _START, 0.0, 1 / _START**2)
        self.weights = np.zeros((description.features, rank + 1), np.float32)
        self.precisions = np.ones((len(description.sizes), 2))
        self.described: Singles | None = None
        if description.features:
            of_rows = description.by_row
            self._by_feature = kernels.transpose(
                of_rows.indptr, of_rows.indices, of_rows.values, description.features
            )
            self.described = np.zeros_like(self.rows)

    @property
    def factors(self) -> Singles:
        """(rows, rank) u."""
        return self.rows[:, :-1]

    @property
    def bias(self) -> Singles:
        """(rows,) b."""
        return self.rows[:, -1]

    def draw_rows(
        self,
        other: Side,
        values: Singles,
        alpha: float,
        mean: float,
        random: np.random.Generator,
        threads: int | None,
    ) -> float:
        """Draws the rows given the other side; returns Σ residual² over ratings of these ``values``."""
        noise = random.standard_normal(self.rows.shape, np.float32)
        ratings = Compressed(self.ratings.indptr, self.ratings.indices, values)
        fixed, fixed_bias = np.ascontiguousarray(other.factors), np.ascontiguousarray(other.bias)
        self.rows, error = self.prior.rows(
            ratings, fixed, fixed_bias, noise, alpha, mean, threads, self.described
        )
        return error

    def draw_prior(self, random: np.random.Generator, threads: int | None) -> None:
        """Draws what the rows are drawn from: the prior, then the weights, then their precisions."""
        if self.described is None:
            self.prior = Prior.draw(self.rows, random)
            return
        own = self.rows - self.described
        precisions = self._spread_out(self.precisions)
        self.prior = Prior.draw(own, random, self.weights * np.sqrt(precisions))
        triangle = self.prior.triangle
        residual = _product(own - self.prior.centre.astype(np.float32), triangle.astype(np.float32))
        weights = _product(self.weights, triangle.astype(np.float32))
        noise = random.standard_normal(weights.shape, np.float32)
        kernels.draw_weights(self._by_feature, precisions, noise, weights, residual, threads=threads)
        for group, place in enumerate(np.split(weights, np.cumsum(self.description.sizes)[:-1])):
            for part, block in enumerate((place[:, :-1], place[:, -1])):
                squares = float((block.astype(np.float64) ** 2).sum())
                self.precisions[group, part] = random.gamma(_SHAPE + block.size / 2) / (_RATE + squares / 2)
        self.weights = _product(weights, np.linalg.inv(triangle).astype(np.float32))
        self.describe(threads)

    def describe(self, threads: int | None) -> None:
        """What the weights as they are say of the rows."""
        if self.described is not None:
            self.described = self.description.times(self.weights, threads)

    def _spread_out(self, precisions: Doubles) -> Singles:
        """(features, rank + 1) from those of groups."""
        out = np.empty(self.weights.shape, np.float32)
        out[:, :-1] = precisions[self.description.groups, :1]
        out[:, -1] = precisions[self.description.groups, 1]
        return out


class Chain:
    """Chain ``number`` of draws, as it stands. ``described`` is what is known of users and of items."""

    def __init__(
        self,
        number: int,
        ratings: Ratings,
        rank: int,
        random: np.random.Generator,
        threads: int | None,
        described: tuple[Description, Description],
    ) -> None:
        self.number, self.random, self.threads = number, random, threads
        self.mean = float(ratings.values.mean(dtype=np.float64))
        self.users, self.items = (
            Side(rows, rank, x) for rows, x in zip((ratings.by_user, ratings.by_item), described)
        )
        self.items.rows[:, :rank] = (_START * random.standard_normal((ratings.n_items, rank))).astype(
            np.float32
        )
        self.alpha = 1 / max(float(ratings.values.var(dtype=np.float64)), 1e-3)

    def sweep(self, settling: bool = False) -> float:
        """Everything drawn once; returns Σ residual². ``settling`` is said before draws are kept."""
        error, sides = 0.0, (self.users, self.items)
        for side, other, values in zip(sides, reversed(sides), self.targets(settling)):
            error = side.draw_rows(other, values, self.alpha, self.mean, self.random, self.threads)
            side.draw_prior(self.random, self.threads)
        self.draw_noise(error)
        return error

    def targets(self, settling: bool) -> tuple[Singles, Singles]:
        """What the predictions are to meet, by user and by item."""
        return self.users.ratings.values, self.items.ratings.values

    def draw_noise(self, error: float) -> None:
        """Draws α given Σ residual²."""
        count = len(self.users.ratings.values)
        self.alpha = self.random.gamma(_SHAPE + count / 2) / (_RATE + error / 2)

    def more_state(self) -> dict[str, NDArray[Any]]:
        """What a chain has beside its sides and α."""
        return {}

    def restore_more(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``more_state`` gave."""
