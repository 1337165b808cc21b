"""Bayesian matrix factorization: not one set of factors, but draws from all that explain the ratings.

Each draw is a model  r̂_ij = μ + b_i + c_j + u_i·v_j  as ``ALS`` has one, and what is predicted is their mean. How they
are drawn is in ``gibbs``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadModel, BadParameter
from cofactor.features import Features
from cofactor.ids import Id, IdMap, id_array
from cofactor.models.base import Callback, check_choice, check_rank, check_ratings, check_whole
from cofactor.models.convergence import agreement
from cofactor.models.explaining import explain_row
from cofactor.models.factor_state import check_array
from cofactor.models.factors import Towards
from cofactor.models.gibbs import Chain, Description, Doubles, Prior, Singles, rated
from cofactor.models.intervals import SureModel
from cofactor.models.posterior import Draws, Journal, digest, unpack_prior
from cofactor.models.results import Explanation, Part
from cofactor.progress import Progress
from cofactor.ratings import Compressed, Ratings

_TRACED = 500  # ratings whose predictions tell whether the chains agree
_FEWEST = 20  # draws from which that can be told
_AGREE = 1.1  # R-hat up to which they do
_AT_ONCE = 1 << 22  # numbers held at a time where draws are looked at one by one


class _Sampled(SureModel):
    """What a fitted ``BayesianMF`` has beside a ``SureModel``."""

    _chain: ClassVar[type[Chain]] = Chain

    noise_: Doubles
    r_hat_: float
    ess_: float
    _user_biases: Singles  # (users, samples)
    _item_biases: Singles  # (items, samples)
    _priors: Doubles  # (samples, …) of users and of items, see ``_unpacked_priors``
    _weights: (
        Singles  # (items, samples · (rank + 1)) what having rated an item says of a user; (0, …) without
    )


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
        implicit: "users" describes each user by which items they have rated, whatever the rating, as SVD++ does;
            "items" each item by who has rated it; "both"; or None, ids alone. Errors fall by it, and sweeps take
            twice as long.
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
    implicit: Literal["both", "users", "items"] | None = "both"
    seed: int = 0
    threads: int | None = None

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        check_rank(self.rank, n_items)
        check_whole("burn_in", self.burn_in, 0)
        check_whole("samples", self.samples, 1)
        check_whole("thin", self.thin, 1)
        check_whole("chains", self.chains, 1)
        check_choice("implicit", self.implicit, ("both", "users", "items", None))
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
        self,
        ratings: Ratings,
        *,
        users: Features | None = None,
        items: Features | None = None,
        callback: Callback | None = None,
        progress: bool | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """See ``Model.fit``. Warns where the draws have not settled.

        ``users`` and ``items`` are features of them, columns of numbers, that say what somebody or something is like
        before the first rating; ids without features are taken as usual ones, and users folded in later are.

        ``checkpoint`` names a file that is replaced once a minute, after an interruption and at the end; the same call
        goes on from it, to the same result to the bit. Raises ``BadData`` where it belongs to another fit.
        """
        self.check_parameters(check_ratings(ratings).n_items)
        self._forget()
        try:
            described = describe(ratings, self.implicit, users, items)
            kept = self._sample(ratings, described, callback, progress, checkpoint)
        except BaseException:
            self._forget()
            raise
        self._publish(ratings, kept)
        self._diagnose(ratings)
        return self

    def _sample(
        self,
        ratings: Ratings,
        described: tuple[Description, Description],
        callback: Callback | None,
        progress: bool | None,
        checkpoint: str | os.PathLike[str] | None,
    ) -> Draws:
        sweeps = self.burn_in + self.samples // self.chains * self.thin
        learnt = {
            "ratings": digest(ratings.by_user),
            "features": digest(*(known.by_row for known in described)),
        }
        belongs_to = {**self.get_params(), "threads": None, **learnt}
        journal = Journal(checkpoint, belongs_to)
        kept = journal.kept
        with journal, Progress(sweeps * self.chains, "Sampling", progress) as bar:
            bar.advance(steps=len(kept.objective))
            for number in range(len(kept.objective) // sweeps, self.chains):
                random = np.random.default_rng([self.seed, number])
                chain = self._chain(number, ratings, self.rank, random, self.threads, described)
                journal.resume(chain)
                for sweep in range(len(kept.objective) % sweeps + 1, sweeps + 1):
                    kept.objective.append(chain.sweep(settling=sweep <= self.burn_in))
                    if sweep > self.burn_in and (sweep - self.burn_in) % self.thin == 0:
                        kept.keep(chain)
                    journal.note(chain)
                    bar.advance(f"noise {1 / np.sqrt(chain.alpha):.4f}")
                    if callback is not None:
                        self._publish(ratings, kept if len(kept) else Draws.of(chain, kept.objective))
                        if callback(self, len(kept.objective), kept.objective[-1]):
                            return kept if len(kept) else Draws.of(chain, kept.objective)
        return kept

    def _publish(self, ratings: Ratings, kept: Draws) -> None:
        rank, count = self.rank, len(kept)
        users, items = np.stack(kept.users, axis=1), np.stack(kept.items, axis=1)
        self.user_factors_ = np.ascontiguousarray(users[:, :, :rank]).reshape(len(users), -1)
        # Divided, so that the product of stacked factors is the mean over the draws.
        self.item_factors_ = (items[:, :, :rank] / np.float32(count)).reshape(len(items), -1)
        self._user_biases = np.ascontiguousarray(users[:, :, rank])
        self._item_biases = np.ascontiguousarray(items[:, :, rank])
        self.user_bias_, self.item_bias_ = self._user_biases.mean(axis=1), self._item_biases.mean(axis=1)
        self._weights = np.hstack(kept.weights)[: ratings.n_items]
        self._priors = np.array(kept.priors)
        self.noise_ = np.array(kept.noise)
        self.mean_ = float(ratings.values.mean(dtype=np.float64))
        self.objective_ = np.array(kept.objective)
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

    def _draws_at(
        self,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        drawn: tuple[NDArray[Any], NDArray[Any]] | None = None,
    ) -> Singles:
        """Predictions (n, samples) of each draw for pairs of known positions; ``drawn`` has other users' draws."""
        count = len(self.noise_)
        factors, biases = (self.user_factors_, self._user_biases) if drawn is None else drawn
        u = factors[users].reshape(len(users), count, self.rank)
        v = self.item_factors_[items].reshape(len(items), count, self.rank)
        products = np.einsum("nsk,nsk->ns", u, v) * np.float32(count)
        return np.asarray(
            products + biases[users] + self._item_biases[items] + np.float32(self.mean_), np.float32
        )

    def noise_variance(self) -> float:
        """See ``SureModel``."""
        return float((self.noise_**2).mean())

    def doubt(
        self, users: NDArray[np.int32], items: NDArray[np.int32], rows: Compressed | None = None
    ) -> Doubles:
        """See ``SureModel.doubt``: the variance between the draws."""
        drawn = (self.user_factors_, self._user_biases) if rows is None else self._drawn_users(rows)
        count, rank = len(self.noise_), self.rank
        out = np.empty(len(users))
        priors = self._unpacked_priors()
        some = max(1, _AT_ONCE // (count * rank))
        for begin in range(0, len(users), some):
            part = slice(begin, begin + some)
            i, j = users[part], items[part]
            known = (i >= 0) & (j >= 0)
            draws = self._draws_at(i[known], j[known], drawn)
            out[begin + np.flatnonzero(known)] = draws.astype(np.float64).var(axis=1)
            for k in np.flatnonzero(~known):  # drawn from the prior, given the other side
                means, variances = self._unknown_at(priors, int(i[k]), int(j[k]), drawn)
                shown = float(drawn[1][i[k]].mean()) if i[k] >= 0 else 0.0  # what is predicted, less μ
                shown += float(self.item_bias_[j[k]]) if j[k] >= 0 else 0.0
                out[begin + k] = (variances + (means - shown) ** 2).mean()
        return out

    def draw_scores(self, user: int, random: np.random.Generator, rows: Compressed | None = None) -> Singles:
        """See ``SureModel.draw_scores``: as any of the draws has them, of users and of items."""
        return self._scores_in(int(random.integers(len(self.noise_))), user, rows)

    def _scores_in(self, draw: int, user: int, rows: Compressed | None) -> Singles:
        """Predictions of one draw for all items (items,)."""
        drawn = (self.user_factors_, self._user_biases) if rows is None else self._drawn_users(rows)
        part = slice(draw * self.rank, (draw + 1) * self.rank)
        items = self.item_factors_[:, part] * np.float32(len(self.noise_))
        known = np.float32(self.mean_) + drawn[1][user, draw]
        return np.asarray(items @ drawn[0][user, part] + self._item_biases[:, draw] + known, np.float32)

    def _unknown_at(
        self,
        priors: list[tuple[Prior, Prior]],
        user: int,
        item: int,
        drawn: tuple[NDArray[Any], NDArray[Any]],
    ) -> tuple[Doubles, Doubles]:
        """Mean and variance of b + c + u·v, draw by draw, where −1 is drawn from the prior."""
        count, rank = len(priors), self.rank
        means, variances = np.empty(count), np.empty(count)
        for s, (of_users, of_items) in enumerate(priors):
            sides: list[tuple[Doubles, Doubles, float, float]] = []
            for prior, at, factors, biases, unit in (
                (of_users, user, *drawn, 1),
                (of_items, item, self.item_factors_, self._item_biases, count),
            ):
                if at >= 0:
                    x = factors[at, s * rank : (s + 1) * rank].astype(np.float64) * unit
                    sides.append((x, np.zeros((rank, rank), np.float64), float(biases[at, s]), 0.0))
                else:
                    sides.append((prior.mean, prior.covariance, prior.bias_mean, 1 / prior.bias_precision))
            (u, cu, b, vb), (v, cv, c, vc) = sides
            means[s] = b + c + u @ v
            variances[s] = vb + vc + v @ cu @ v + u @ cv @ u + (cu * cv).sum()
        return means, variances

    def _unpacked_priors(self) -> list[tuple[Prior, Prior]]:
        halves = (np.split(row, 2) for row in self._priors)
        return [(unpack_prior(users), unpack_prior(items)) for users, items in halves]

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
        used, inverse = np.unique(rows.indices, return_inverse=True)
        inside = Compressed(rows.indptr, inverse.astype(np.int32), rows.values)
        factors = np.empty((len(rows), count * rank), np.float32)
        biases = np.empty((len(rows), count), np.float32)
        for s, (of_users, _) in enumerate(self._unpacked_priors()):
            part = slice(s * rank, (s + 1) * rank)
            drawn = self._draw_rows(
                s,
                of_users,
                inside,
                self.item_factors_[used, part] * np.float32(count),
                np.ascontiguousarray(self._item_biases[used, s]),
                self._described(inside, used, s),
            )
            factors[:, part], biases[:, s] = drawn[:, :rank], drawn[:, rank]
        return factors, biases

    def _draw_rows(
        self,
        draw: int,
        prior: Prior,
        rows: Compressed,
        items: Singles,
        item_bias: Singles,
        described: Singles | None,
    ) -> Singles:
        """[u, b] of users with these ratings of ``items`` as one draw has them."""
        random = np.random.default_rng([self.seed, 1 << 32, draw])
        noise = np.tile(random.standard_normal(self.rank + 1, np.float32), (len(rows), 1))
        alpha = 1 / float(self.noise_[draw]) ** 2
        drawn, _ = prior.rows(rows, items, item_bias, noise, alpha, self.mean_, self.threads, described)
        return drawn

    def _described(self, rows: Compressed, used: NDArray[Any], draw: int) -> Singles | None:
        """What comes to the prior mean of users with ratings of the items ``used``, by which they have rated."""
        if not len(self._weights):
            return None
        size = self.rank + 1
        weights = np.ascontiguousarray(self._weights[used, draw * size : (draw + 1) * size])
        return Description(rated(rows), (len(used),)).times(weights, self.threads)

    def _order_items(self, places: NDArray[Any]) -> None:
        super()._order_items(places)
        self._item_biases = self._item_biases[places]
        if len(self._weights):
            self._weights = self._weights[places]

    def only_items(
        self, rows: Compressed | None = None, times: NDArray[np.int64] | None = None, now: int | None = None
    ) -> Self:
        """See ``FactorModel.only_items``."""
        other = super().only_items(rows, times, now)
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
        at, target = self._pair(user, item)
        return self._explained(at, target, float(self._predict_at(at, target)[0]))

    def _pair(self, user: Id, item: Id) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Positions (1,) of a user and an item that the model knows."""
        self._check_fitted()
        return self._user_positions(id_array([user], "user")), np.array([self._item_position(item)], np.int32)

    def _explained(self, at: NDArray[np.int32], target: NDArray[np.int32], score: float) -> Explanation:
        """The parts of a score μ + b + c + u·v."""
        own = self.ratings_.take(at)
        items, values = own.indices, own.values
        count, rank = len(self.noise_), self.rank
        adds = np.zeros(len(items))
        for s, (prior, _) in enumerate(self._unpacked_priors()):
            part = slice(s * rank, (s + 1) * rank)
            scale = np.sqrt(prior.bias_precision) * np.linalg.inv(prior.factor).T
            v = self.item_factors_[:, part][np.append(items, target)].astype(np.float64) * count
            shown = v @ scale
            shift = self.mean_ + prior.bias_mean + self._item_biases[items, s] + v[:-1] @ prior.mean
            says = self._of_each(items, s)
            if says is not None:  # that an item was rated adds to the mean around which the ratings say more
                shift += v[:-1] @ says[:, :rank].sum(axis=0) + says[:, rank].sum()
                adds += says[:, :rank] @ v[-1] + says[:, rank]
            residual = self._met(s, int(at[0]), own) - shift
            reg = prior.bias_precision * float(self.noise_[s]) ** 2
            adds += explain_row(shown[-1], shown.__getitem__, residual.__getitem__, len(items), reg, True)
        adds /= count
        item_bias = float(self.item_bias_[target[0]])
        order = np.argsort(-np.abs(adds), kind="stable")
        parts = tuple(
            Part(raw, float(values[place]), float(adds[place]))
            for raw, place in zip(self.item_ids_.ids(items[order]), order)
        )
        return Explanation(
            score, self.mean_, score - self.mean_ - item_bias - float(adds.sum()), item_bias, parts
        )

    def _met(self, draw: int, user: int, own: Compressed) -> Doubles:
        """What a user's factors were to meet at their ratings."""
        return own.values.astype(np.float64)

    def _of_each(self, items: NDArray[np.int32], draw: int) -> Doubles | None:
        """[W, ω] of rated items (items, rank + 1) as they come to the prior mean of who rated just these."""
        if not len(self._weights):
            return None
        size = self.rank + 1
        weights = self._weights[items, draw * size : (draw + 1) * size].astype(np.float64)
        return np.asarray(weights / np.sqrt(max(len(items), 1)), np.float64)

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
        if len(self._weights):
            arrays["weights"] = self._weights
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
        self._weights = np.empty((0, count * (self.rank + 1)), np.float32)
        if self.implicit in ("both", "users"):
            self._weights = check_array(arrays, "weights", (items, count * (self.rank + 1)), "f4", whole)
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


def describe(
    ratings: Ratings, implicit: str | None, users: Features | None, items: Features | None
) -> tuple[Description, Description]:
    """What is known of users and of items. Raises ``BadParameter`` for features that do not go with the ratings."""
    sides = (
        ("users", ratings.user_ids, ratings.by_user, ratings.n_items, users),
        ("items", ratings.item_ids, ratings.by_item, ratings.n_users, items),
    )
    found = []
    for name, ids, rows, others, features in sides:
        groups = [(rated(rows), others)] if implicit in ("both", name) else []
        if features is not None:
            groups.append(_centred(name, ids, features))
        found.append(Description.of(len(rows), groups))
    return found[0], found[1]


def _centred(name: str, ids: IdMap, features: Features) -> tuple[Compressed, int]:
    """Features by row, less their mean over the rows that have some: who has none is at the mean."""
    if not isinstance(features, Features) or features.values.ndim != 2:
        raise BadParameter(
            f"{name} are features in columns, as Features.of_arrays and Catalog.features make them; not "
            f"{repr(features)[:80]}."
        )
    at = features.ids.positions(ids.array, "feature")
    there = at >= 0
    if not there.any():
        raise BadParameter(
            f"None of the {len(features):,} ids with features is among the {len(ids):,} {name} of the ratings. Give "
            f"ids as they stand in the ratings."
        )
    values = features.values[at[there]]
    values = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    width = values.shape[1]
    indptr = np.concatenate([[0], np.cumsum(there * width)]).astype(np.int64)
    columns = np.tile(np.arange(width, dtype=np.int32), int(there.sum()))
    return Compressed(indptr, columns, values.ravel()), width
