"""Bayesian matrix factorization: not one set of factors, but draws from all that explain the ratings.

    r_ij ~ N(μ + b_i + c_j + u_i·v_j, 1/α)        u_i ~ N(m_u, Λ_u⁻¹)    b_i ~ N(m_b, 1/λ_b)    and the same for v, c
    m_u, Λ_u ~ Normal–Wishart(0, β₀, I, ν₀)        m_b, λ_b ~ Normal–Gamma        α ~ Gamma

Gibbs sampling: each in turn is drawn given all others, and draws far enough along are draws from the posterior. The
prior's precision is a full matrix, not a diagonal one: factors can be rotated without any change of the predictions,
and only the full one does not care how. It costs a K × K product a row, nothing beside the row's own system.

A user is drawn by the kernel that solves a row of ``ALS``: with Λ_u = LLᵀ and u = m_u + √λ_b L⁻ᵀu′, both u′ and b have
the precision λ_b, and the row is a ridge regression on √λ_b L⁻¹v_j with λ = λ_b / α, whose solution gets noise.

R. Salakhutdinov, A. Mnih, "Bayesian Probabilistic Matrix Factorization using Markov Chain Monte Carlo", ICML 2008;
the draws of its hyperparameters are those of its equations 14 and 15. S. Rendle, "Factorization Machines with libFM",
ACM TIST 3(3), 2012, for biases and noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadModel, BadParameter
from cofactor.ids import Id, IdMap, id_array
from cofactor.models.base import Callback, check_rank, check_ratings, check_whole
from cofactor.models.explaining import explain_row
from cofactor.models.factor_state import check_array
from cofactor.models.factors import Towards
from cofactor.models.intervals import SureModel
from cofactor.models.results import Explanation, Part
from cofactor.progress import Progress
from cofactor.ratings import Compressed, Ratings

Doubles = NDArray[np.float64]

_BETA = 2.0  # β₀: the prior mean of factors counts as so many rows
_DEGREES = 0  # ν₀ − K: with 0 the Wishart prior is as wide as it can be
_SHAPE, _RATE = 1.0, 0.1  # of the Gamma priors of λ_b and of α
_START = 0.3  # standard deviation of the item factors before the first sweep
_TRACED = 500  # ratings whose predictions tell whether the chains agree
_FEWEST = 20  # draws from which that can be told
_AGREE = 1.1  # R-hat up to which they do
_SMALL = (
    1 << 17
)  # multiply-adds of a product for which BLAS starts no threads: they would spin on beside the kernel's
_AT_ONCE = 1 << 22  # numbers held at a time where draws are looked at one by one


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


def _scatter(x: Doubles) -> Doubles:
    """xᵀx for many rows x."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for part in _pieces(len(x), x.shape[1] ** 2):
        total += x[part].T @ x[part]
    return total


@dataclass(frozen=True, eq=False)
class Prior:
    """What users, or items, are drawn from: u ~ N(mean, (factor factorᵀ)⁻¹), b ~ N(bias_mean, 1/bias_precision)."""

    mean: Doubles  # (rank,)
    factor: Doubles  # (rank, rank) lower triangle L of Λ = LLᵀ
    bias_mean: float
    bias_precision: float

    @classmethod
    def draw(cls, factors: NDArray[Any], bias: NDArray[Any], random: np.random.Generator) -> Prior:
        """Given the rows that were drawn from it: (rows, rank) and (rows,)."""
        n, rank = factors.shape
        x = factors.astype(np.float64)
        average = x.mean(axis=0)
        centred = x - average
        scatter = np.eye(rank) + _scatter(centred) + _BETA * n / (_BETA + n) * np.outer(average, average)
        # Λ ~ Wishart(scatter⁻¹, K + n): with scatter = CCᵀ and A of Bartlett's decomposition, Λ = (C⁻ᵀA)(C⁻ᵀA)ᵀ
        lower = np.tril(random.standard_normal((rank, rank)), -1)
        lower[np.diag_indices(rank)] = np.sqrt(random.chisquare(_DEGREES + rank + n - np.arange(rank)))
        root = np.linalg.solve(np.linalg.cholesky(scatter).T, lower)
        factor = np.linalg.cholesky(root @ root.T)
        spread = np.linalg.solve(factor.T, random.standard_normal(rank)) / np.sqrt(_BETA + n)
        mean = n * average / (_BETA + n) + spread
        b = bias.astype(np.float64)
        middle = float(b.mean())
        rate = _RATE + 0.5 * float(((b - middle) ** 2).sum()) + 0.5 * n / (1 + n) * middle**2
        precision = random.gamma(_SHAPE + n / 2) / rate
        bias_mean = n * middle / (1 + n) + random.standard_normal() / np.sqrt((1 + n) * precision)
        return cls(mean, factor, float(bias_mean), float(precision))

    def rows(
        self,
        ratings: Compressed,
        fixed: NDArray[Any],
        fixed_bias: NDArray[Any],
        noise: NDArray[Any],
        alpha: float,
        mean: float,
        threads: int | None,
    ) -> tuple[NDArray[Any], NDArray[Any], float]:
        """Factors (rows, rank) and biases (rows,) drawn given ratings and the other side, and Σ residual².

        ``noise`` is standard normal, (rows, rank + 1).
        """
        kind, rank = fixed.dtype, fixed.shape[1]
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
            ratings.values,
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
        drawn = _product(factors, scale.T.astype(kind)) + self.mean.astype(kind)
        return drawn, bias + kind.type(self.bias_mean), float(errors.sum())


class _Sampled(SureModel):
    """What a fitted ``BayesianMF`` has beside a ``SureModel``."""

    noise_: Doubles
    r_hat_: float
    ess_: float
    _user_biases: NDArray[Any]  # (users, samples)
    _item_biases: NDArray[Any]  # (items, samples)
    _priors: Doubles  # (samples, …) of users and of items, see ``_unpacked_priors``


@dataclass(eq=False)
class BayesianMF(_Sampled):
    """Bayesian matrix factorization with biases, by Gibbs sampling. There is no regularization to choose.

    Predictions are means over the draws that were kept, which is better than any one set of factors, and their spread
    says how sure they are.

    Args:
        rank: K, the number of factors; at least 1 and at most the number of items.
        burn_in: sweeps before draws are kept.
        samples: draws that are kept, of all chains together. Memory and time of a prediction grow with it.
        thin: sweeps between two that are kept.
        chains: how often sampling starts afresh; each chain keeps its share of the draws.
        seed: of everything that is drawn.
        threads: None for all processors; the result does not depend on it.

    Attributes (once fitted), beside those of ``FactorModel``, whose factors are those of all draws side by side:
        noise_: (samples,) standard deviation of a rating around its prediction, draw by draw.
        r_hat_, ess_: median over some predictions: R-hat, near 1 where chains agree, and effective number of draws;
            NaN where draws are too few to tell.
        objective_: (sweeps,) Σ residual² after each sweep, of all chains in turn.
    """

    rank: int = 32
    burn_in: int = 20
    samples: int = 60
    thin: int = 1
    chains: int = 1
    seed: int = 0
    threads: int | None = None

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        check_rank(self.rank, n_items)
        check_whole("burn_in", self.burn_in, 0)
        check_whole("samples", self.samples, 1)
        check_whole("thin", self.thin, 1)
        check_whole("chains", self.chains, 1)
        check_whole("seed", self.seed, 0)
        kernels.thread_count(self.threads)
        if self.samples % self.chains:
            raise BadParameter(
                f"{self.samples} samples cannot be shared out to {self.chains} chains. Give a multiple of chains."
            )

    @property
    def draws(self) -> int:
        """See ``FactorModel.draws``: as many as were kept."""
        return len(self.noise_)

    # -- sampling ------------------------------------------------------------------------------

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``. Warns where the draws have not settled."""
        self.check_parameters(check_ratings(ratings).n_items)
        self._forget()
        each = self.samples // self.chains
        sweeps = self.burn_in + each * self.thin
        kept, objective = _Draws(ratings, self.rank), []
        try:
            with Progress(sweeps * self.chains, "Sampling", progress) as bar:
                stop = False
                for chain in range(self.chains):
                    state = _Chain(
                        ratings, self.rank, np.random.default_rng([self.seed, chain]), self.threads
                    )
                    for sweep in range(1, sweeps + 1):
                        objective.append(state.sweep())
                        bar.advance(f"noise {1 / np.sqrt(state.alpha):.4f}")
                        if sweep > self.burn_in and (sweep - self.burn_in) % self.thin == 0:
                            kept.keep(state)
                        if callback is not None:
                            self._publish(ratings, kept if kept.count else _Draws.of(state), objective)
                            stop = bool(callback(self, len(objective), objective[-1]))
                        if stop:
                            break
                    if stop:
                        break
        except BaseException:
            self._forget()
            raise
        self._publish(ratings, kept if kept.count else _Draws.of(state), objective)
        self._diagnose(ratings)
        return self

    def _publish(self, ratings: Ratings, kept: _Draws, objective: list[float]) -> None:
        count = kept.count
        self.user_factors_ = np.hstack(kept.user_factors)
        self.item_factors_ = np.hstack(kept.item_factors) / np.float32(
            count
        )  # so that their product is the mean
        self._user_biases, self._item_biases = (
            np.column_stack(kept.user_bias),
            np.column_stack(kept.item_bias),
        )
        self.user_bias_, self.item_bias_ = self._user_biases.mean(axis=1), self._item_biases.mean(axis=1)
        self._priors = np.array(kept.priors)
        self.noise_ = np.array(kept.noise)
        self.mean_, self.objective_ = kept.mean, np.array(objective)
        self.r_hat_ = self.ess_ = np.nan
        self.ratings_, self.scale_ = ratings.by_user, ratings.scale
        self.user_ids_, self.item_ids_ = ratings.user_ids, ratings.item_ids

    def _diagnose(self, ratings: Ratings) -> None:
        if len(self.noise_) < _FEWEST:
            return
        some = np.random.default_rng(self.seed).permutation(len(ratings))[:_TRACED]
        traces = self._draws_at(ratings.user_positions[some], ratings.by_user.indices[some])
        self.r_hat_, self.ess_ = agreement(traces, self.chains)
        if self.r_hat_ > _AGREE:
            warnings.warn(
                f"The draws have not settled: R-hat is {self.r_hat_:.2f}, where up to {_AGREE} is usual. "
                f"Give more burn_in, more samples, or a lower rank.",
                stacklevel=3,
            )

    # -- predictions, and how sure they are ------------------------------------------------------

    def _draws_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Predictions (n, samples) of each draw for pairs of known positions."""
        count = len(self.noise_)
        u = self.user_factors_[users].reshape(len(users), count, self.rank)
        v = self.item_factors_[items].reshape(len(items), count, self.rank)
        products = np.einsum("nsk,nsk->ns", u, v) * np.float32(count)
        return np.asarray(
            products + self._user_biases[users] + self._item_biases[items] + np.float32(self.mean_),
            np.float32,
        )

    def _std_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Standard deviation of a rating for pairs of positions; −1 is unknown."""
        count, rank = len(self.noise_), self.rank
        out = np.empty(len(users), np.float32)
        noise = float((self.noise_**2).mean())
        priors = self._unpacked_priors()
        for begin in range(0, len(users), max(1, _AT_ONCE // (count * rank))):
            part = slice(begin, begin + max(1, _AT_ONCE // (count * rank)))
            i, j = users[part], items[part]
            draws = self._draws_at(np.maximum(i, 0), np.maximum(j, 0)).astype(np.float64)
            between = draws.var(axis=1)
            for k in np.flatnonzero((i < 0) | (j < 0)):  # drawn from the prior, given the other side
                between[k] = self._unknown_variance(priors, int(i[k]), int(j[k]))
            out[part] = np.sqrt(between + noise)
        return out

    def _unknown_variance(self, priors: list[tuple[Prior, Prior]], user: int, item: int) -> float:
        """Variance of μ + b + c + u·v where one side, or both, are drawn from the prior; the mean is as predicted."""
        count, rank = len(priors), self.rank
        total = 0.0
        for s, (of_users, of_items) in enumerate(priors):
            sides: list[tuple[Doubles, Doubles, float, float]] = []
            for prior, at, factors, biases, unit in (
                (of_users, user, self.user_factors_, self._user_biases, 1),
                (of_items, item, self.item_factors_, self._item_biases, count),
            ):
                if at >= 0:
                    x = factors[at, s * rank : (s + 1) * rank].astype(np.float64) * unit
                    sides.append((x, np.zeros((rank, rank), np.float64), float(biases[at, s]), 0.0))
                else:
                    covariance = np.asarray(np.linalg.inv(prior.factor @ prior.factor.T), np.float64)
                    sides.append((prior.mean, covariance, prior.bias_mean, 1 / prior.bias_precision))
            (u, cu, b, vb), (v, cv, c, vc) = sides
            within = vb + vc + v @ cu @ v + u @ cv @ u + float((cu * cv).sum())
            shown = float(self.user_bias_[user]) if user >= 0 else 0.0
            shown += float(self.item_bias_[item]) if item >= 0 else 0.0
            total += float(within) + (b + c + float(u @ v) - shown) ** 2
        return total / count

    def _unpacked_priors(self) -> list[tuple[Prior, Prior]]:
        rank = self.rank
        found = []
        for row in self._priors:
            sides = [
                Prior(part[:rank], part[rank:-2].reshape(rank, rank), float(part[-2]), float(part[-1]))
                for part in np.split(row, 2)
            ]
            found.append((sides[0], sides[1]))
        return found

    # -- folding in, explaining ------------------------------------------------------------------

    def solve_users(
        self, rows: Compressed, prior: Towards | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draws of users with these ratings, one for each of the items' draws, side by side, and their mean bias.

        The noise is the same for every user, so a user's draws do not depend on who else is asked for.
        """
        factors, biases = self._drawn_users(rows)
        return factors, biases.mean(axis=1)

    def _drawn_users(self, rows: Compressed) -> tuple[NDArray[Any], NDArray[Any]]:
        count, rank = len(self.noise_), self.rank
        random = np.random.default_rng([self.seed, 1 << 32])
        used, inverse = np.unique(rows.indices, return_inverse=True)
        inside = Compressed(rows.indptr, inverse.astype(np.int32), rows.values)
        factors = np.empty((len(rows), count * rank), np.float32)
        biases = np.empty((len(rows), count), np.float32)
        for s, (of_users, _) in enumerate(self._unpacked_priors()):
            part = slice(s * rank, (s + 1) * rank)
            noise = np.tile(random.standard_normal(rank + 1, np.float32), (len(rows), 1))
            items = self.item_factors_[used, part] * np.float32(count)
            alpha = 1 / float(self.noise_[s]) ** 2
            factors[:, part], biases[:, s], _ = of_users.rows(
                inside, items, self._item_biases[used, s], noise, alpha, self.mean_, self.threads
            )
        return factors, biases

    def only_items(self, rows: Compressed | None = None) -> Self:
        """See ``FactorModel.only_items``."""
        other = super().only_items(rows)
        other._user_biases = other._drawn_users(other.ratings_)[1]
        return other

    def fold_in(self, ratings: Ratings) -> Self:
        """See ``Model.fold_in``: a draw for each draw of the items."""
        folded = super().fold_in(ratings)
        old = folded.user_ids_.positions(self.user_ids_.array)
        new = folded.user_ids_.positions(ratings.user_ids.array)
        folded._user_biases = np.zeros((len(folded.user_ids_), len(self.noise_)), np.float32)
        folded._user_biases[old] = self._user_biases
        folded._user_biases[new] = folded._drawn_users(folded.ratings_.take(new))[1]
        return folded

    def explain(self, user: Id, item: Id) -> Explanation:
        """See ``Model.explain``: means over the draws. What the user's own draws have beyond what each rating adds,
        given the items, is counted to the user."""
        self._check_fitted()
        at = int(self._user_positions(id_array([user], "user"))[0])
        target = self._item_position(item)
        score = float(self._predict_at(np.array([at], np.int32), np.array([target], np.int32))[0])
        rated, values = self.ratings_.row(at)
        count, rank = len(self.noise_), self.rank
        adds = np.zeros(len(rated))
        for s, (prior, _) in enumerate(self._unpacked_priors()):
            part = slice(s * rank, (s + 1) * rank)
            scale = np.sqrt(prior.bias_precision) * np.linalg.inv(prior.factor).T
            v = self.item_factors_[:, part][np.append(rated, target)].astype(np.float64) * count
            shown = v @ scale
            shift = self.mean_ + prior.bias_mean + self._item_biases[rated, s] + v[:-1] @ prior.mean
            residual = values.astype(np.float64) - shift
            reg = prior.bias_precision * float(self.noise_[s]) ** 2
            adds += explain_row(shown[-1], shown.__getitem__, residual.__getitem__, len(rated), reg, True)
        adds /= count
        item_bias = float(self.item_bias_[target])
        order = np.argsort(-np.abs(adds), kind="stable")
        parts = tuple(
            Part(raw, float(values[place]), float(adds[place]))
            for raw, place in zip(self.item_ids_.ids(rated[order]), order)
        )
        return Explanation(
            score, self.mean_, score - self.mean_ - item_bias - float(adds.sum()), item_bias, parts
        )

    # -- storage ---------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See ``Model.state``."""
        arrays, facts = super().state()
        arrays |= {
            "user_biases": self._user_biases,
            "item_biases": self._item_biases,
            "priors": self._priors,
            "noise": self.noise_,
        }
        known = {
            name: None if np.isnan(x) else float(x)
            for name, x in (("r_hat", self.r_hat_), ("ess", self.ess_))
        }
        return arrays, facts | known

    def restore(
        self, user_ids: IdMap, item_ids: IdMap, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Self:
        """See ``Model.restore``."""
        super().restore(user_ids, item_ids, arrays, facts)
        users, items = len(user_ids), len(item_ids)
        noise = check_array(arrays, "noise", (None,), "f8", "any number of draws")
        count = len(noise)
        whole = f"{users} users, {items} items, {count} draws and rank {self.rank}"
        check_array(arrays, "user_factors", (users, count * self.rank), "f4", whole)
        check_array(arrays, "item_factors", (items, count * self.rank), "f4", whole)
        self._user_biases = check_array(arrays, "user_biases", (users, count), "f4", whole)
        self._item_biases = check_array(arrays, "item_biases", (items, count), "f4", whole)
        self._priors = check_array(arrays, "priors", (count, 2 * (self.rank**2 + self.rank + 2)), "f8", whole)
        self.noise_ = noise
        if (
            not count
            or (noise <= 0).any()
            or (self._priors[:, [-1, self._priors.shape[1] // 2 - 1]] <= 0).any()
        ):
            raise BadModel("The noise or a precision of the model is not positive. Fit the model anew.")
        for prior in self._unpacked_priors():
            if any((np.diag(side.factor) <= 0).any() for side in prior):
                raise BadModel("A precision matrix of the model is not positive. Fit the model anew.")
        self.r_hat_, self.ess_ = (
            np.nan if facts.get(name) is None else float(facts[name]) for name in ("r_hat", "ess")
        )
        return self


class _Chain:
    """One chain of draws, as it stands."""

    def __init__(self, ratings: Ratings, rank: int, random: np.random.Generator, threads: int | None) -> None:
        self.ratings, self.random, self.threads = ratings, random, threads
        self.mean = float(ratings.values.mean(dtype=np.float64))
        self.user_factors = np.zeros((ratings.n_users, rank), np.float32)
        self.user_bias = np.zeros(ratings.n_users, np.float32)
        self.item_factors = (_START * random.standard_normal((ratings.n_items, rank))).astype(np.float32)
        self.item_bias = np.zeros(ratings.n_items, np.float32)
        self.alpha = 1 / max(float(ratings.values.var(dtype=np.float64)), 1e-3)
        self.of_users = Prior(np.zeros(rank), np.eye(rank) / _START, 0.0, 1 / _START**2)
        self.of_items = self.of_users

    def sweep(self) -> float:
        """Everything drawn once; returns Σ residual²."""
        rank = self.item_factors.shape[1]
        noise = self.random.standard_normal((len(self.user_bias), rank + 1), np.float32)
        self.user_factors, self.user_bias, _ = self.of_users.rows(
            self.ratings.by_user,
            self.item_factors,
            self.item_bias,
            noise,
            self.alpha,
            self.mean,
            self.threads,
        )
        self.of_users = Prior.draw(self.user_factors, self.user_bias, self.random)
        noise = self.random.standard_normal((len(self.item_bias), rank + 1), np.float32)
        self.item_factors, self.item_bias, error = self.of_items.rows(
            self.ratings.by_item,
            self.user_factors,
            self.user_bias,
            noise,
            self.alpha,
            self.mean,
            self.threads,
        )
        self.of_items = Prior.draw(self.item_factors, self.item_bias, self.random)
        self.alpha = self.random.gamma(_SHAPE + len(self.ratings) / 2) / (_RATE + error / 2)
        return error


class _Draws:
    """Draws that are kept."""

    def __init__(self, ratings: Ratings, rank: int) -> None:
        self.count = 0
        self.mean = float(ratings.values.mean(dtype=np.float64))
        self.user_factors: list[NDArray[np.float32]] = []
        self.item_factors: list[NDArray[np.float32]] = []
        self.user_bias: list[NDArray[np.float32]] = []
        self.item_bias: list[NDArray[np.float32]] = []
        self.priors: list[Doubles] = []
        self.noise: list[float] = []

    @classmethod
    def of(cls, chain: _Chain) -> _Draws:
        """The draw at hand alone."""
        draws = cls(chain.ratings, chain.item_factors.shape[1])
        draws.keep(chain)
        return draws

    def keep(self, chain: _Chain) -> None:
        """Keep where a chain stands."""
        self.count += 1
        self.user_factors.append(chain.user_factors)
        self.item_factors.append(chain.item_factors)
        self.user_bias.append(chain.user_bias)
        self.item_bias.append(chain.item_bias)
        sides = (chain.of_users, chain.of_items)
        packed = [[*p.mean, *p.factor.ravel(), p.bias_mean, p.bias_precision] for p in sides]
        self.priors.append(np.concatenate(packed))
        self.noise.append(1 / np.sqrt(chain.alpha))


def agreement(traces: NDArray[Any], chains: int) -> tuple[float, float]:
    """Medians over quantities of R-hat, of chains cut in half, and of the effective number of draws.

    ``traces`` (quantities, draws), chain after chain. A. Gelman et al., "Bayesian Data Analysis", 3rd edition, 11.4 and
    11.5, where autocorrelations count up to the first pair whose sum is negative (Geyer).
    """
    quantities, draws = traces.shape
    half = draws // (2 * chains)
    parts = (
        traces.astype(np.float64)
        .reshape(quantities, chains, -1)[:, :, : 2 * half]
        .reshape(quantities, -1, half)
    )
    m = parts.shape[1]
    within = np.maximum(parts.var(axis=2, ddof=1).mean(axis=1), 1e-300)
    between = half * parts.mean(axis=2).var(axis=1, ddof=1)
    total = (half - 1) / half * within + between / half
    r_hat = np.sqrt(total / within)
    centred = parts - parts.mean(axis=2, keepdims=True)
    rho = np.ones((quantities, half))
    for lag in range(1, half):
        products = (centred[:, :, lag:] * centred[:, :, :-lag]).sum(axis=2).mean(axis=1) / half
        rho[:, lag] = 1 - (within - products) / total
    pairs = rho[:, : half // 2 * 2].reshape(quantities, -1, 2).sum(axis=2)
    going = np.cumprod(pairs > 0, axis=1)
    tau = np.maximum(2 * (pairs * going).sum(axis=1) - 1, 1 / np.log10(m * half + 10))
    return float(np.median(r_hat)), float(np.median(m * half / tau))
