"""Bayesian matrix factorization of ratings that are steps of a scale: each step has a probability.

    z_ij ~ N(b_i + c_j + u_i·v_j, 1)        r_ij = level c where γ_c < z_ij < γ_{c+1}        γ ~ N(0, 10²), ascending

Between two stars there need not be as much as between two others, and no prediction leaves the scale. Given the
ratings each z is drawn between its thresholds and stands where ``BayesianMF`` has a rating; thresholds take random
steps, one at a time, with z summed out.

J. Albert, S. Chib, "Bayesian Analysis of Binary and Polychotomous Response Data", JASA 88, 1993; M. Cowles,
"Accelerating Monte Carlo Markov chain convergence for cumulative-link generalized linear models", Statistics and
Computing 6, 1996, for thresholds with z summed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadModel, BadParameter
from cofactor.ids import Id, IdMap, Ids
from cofactor.models.bayes import BayesianMF
from cofactor.models.factor_state import check_array
from cofactor.models.gibbs import Chain, Doubles, Prior, Singles
from cofactor.models.posterior import Draws
from cofactor.models.results import Explanation
from cofactor.ratings import Compressed, Ratings

MOST_LEVELS = 100
_SPREAD = 10.0  # standard deviation of thresholds before anything is known
_START = 1.3  # how far thresholds are apart at the start, where 1 would be right if scores did not differ
_ACCEPTED = (
    0.44  # share of steps to be accepted: A. Gelman, G. Roberts, W. Gilks, Bayesian Statistics 5, 1996
)
_ROUNDS = 10  # z and the user in turn, for each draw, where somebody is folded in
_AT_ONCE = 1 << 21  # scores held at a time
_IN_CACHE = 1 << 17  # of them while they are worked on again and again
_REACH, _POINTS = 6.0, 8192  # mean ratings are looked up: how far beyond the thresholds, and how finely


class OrdinalChain(Chain):
    """A chain whose ratings are steps of a scale. ``thresholds`` (levels + 1,) ascend from −∞ to ∞."""

    def __init__(self, number: int, ratings: Ratings, *rest: Any) -> None:
        super().__init__(number, ratings, *rest)
        self.mean, self.alpha = 0.0, 1.0
        rows = ratings.by_user
        levels, classes = np.unique(rows.values, return_inverse=True)
        self.classes = classes.astype(np.uint8)
        self.of_class = [np.flatnonzero(self.classes == c) for c in range(len(levels))]
        below = np.cumsum([len(places) for places in self.of_class])[:-1] / len(classes)
        between = [_START * NormalDist().inv_cdf(share) for share in below.tolist()]
        self.thresholds = np.array([-np.inf, *between, np.inf])
        self.steps = np.full(len(between), 0.01)  # how far thresholds step
        self.settled = 0  # sweeps by which steps were made longer or shorter

    def targets(self, settling: bool) -> tuple[Singles, Singles]:
        """See ``Chain.targets``: z."""
        rows, users, items = self.users.ratings, self.users, self.items
        scores = kernels.predict(
            rows.row_numbers(),
            rows.indices,
            users.factors,
            users.bias,
            items.factors,
            items.bias,
            0.0,
            threads=self.threads,
        )
        self._draw_thresholds(scores, settling)
        uniform = self.random.random(len(scores), np.float32)
        z = kernels.draw_latent(scores, self.classes, self.thresholds, uniform, threads=self.threads)
        return z, kernels.transpose(rows.indptr, rows.indices, z, len(items.ratings))[2]

    def _draw_thresholds(self, scores: Singles, settling: bool) -> None:
        """Each threshold in turn takes a step that its posterior, given the scores and the others, accepts."""
        self.settled += settling
        by_class = [scores[places] for places in self.of_class]
        for c in range(1, len(by_class)):
            low, now, high = self.thresholds[c - 1 : c + 2]
            then = now + self.steps[c - 1] * self.random.standard_normal()
            accepted = False
            if low < then < high:
                gain = (now**2 - then**2) / (2 * _SPREAD**2)
                for part, begin, end, other_begin, other_end in (
                    (by_class[c - 1], low, then, low, now),
                    (by_class[c], then, high, now, high),
                ):
                    gain += kernels.log_likelihood(part, begin, end, threads=self.threads)
                    gain -= kernels.log_likelihood(part, other_begin, other_end, threads=self.threads)
                accepted = bool(np.log(self.random.random()) < gain)
            if accepted:
                self.thresholds[c] = then
            if settling:
                self.steps[c - 1] *= np.exp((accepted - _ACCEPTED) / np.sqrt(self.settled))

    def draw_noise(self, error: float) -> None:
        """It is 1, which sets the scale of everything else."""

    def more_state(self) -> dict[str, NDArray[Any]]:
        """See ``Chain.more_state``."""
        found = {"thresholds": self.thresholds.copy(), "steps": self.steps.copy()}
        return found | {"settled": np.array([self.settled])}

    def restore_more(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See ``Chain.restore_more``."""
        self.thresholds, self.steps = state["thresholds"].copy(), state["steps"].copy()
        self.settled = int(state["settled"][0])


class _Stepped(BayesianMF):
    """What a fitted ``OrdinalMF`` has beside a ``BayesianMF``."""

    _chain: ClassVar[type[Chain]] = OrdinalChain

    levels_: Singles
    thresholds_: Doubles


@dataclass(eq=False)
class OrdinalMF(_Stepped):
    """Bayesian matrix factorization with an ordered probit likelihood: ratings are steps of a scale, not numbers.

    What is predicted is the mean over the steps' probabilities, which ``probabilities`` gives one by one. Intervals
    reach from one step to another, and hold at least the share they are asked for.

    The arguments are those of ``BayesianMF``; ratings may have at most 100 different values. Its scores before the
    thresholds are b + c + u·v, without a mean.

    Attributes (once fitted), beside those of ``BayesianMF``:
        levels_: (levels,) the ratings there are, ascending.
        thresholds_: (samples, levels + 1) between them, draw by draw, from −∞ to ∞.
    """

    @property
    def predicts_by_sum(self) -> bool:
        """See ``FactorModel.predicts_by_sum``."""
        return False

    def fit(self, ratings: Ratings, **options: Any) -> Self:
        """See ``BayesianMF.fit``."""
        if isinstance(ratings, Ratings) and len(np.unique(ratings.values)) > MOST_LEVELS:
            raise BadParameter(
                f"The ratings have {len(np.unique(ratings.values)):,} different values, more than the {MOST_LEVELS} "
                f"steps of a scale that OrdinalMF takes. Use BayesianMF, or round the ratings."
            )
        return super().fit(ratings, **options)

    def _publish(self, ratings: Ratings, kept: Draws) -> None:
        super()._publish(ratings, kept)
        self.mean_ = 0.0
        self.levels_ = np.unique(ratings.values)
        self.thresholds_ = np.array(kept.more["thresholds"])

    # -- predictions, and how sure they are ------------------------------------------------------

    def probabilities(self, users: Ids, items: Ids) -> NDArray[np.float32]:
        """The probability of each of ``levels_`` (n, levels) for n pairs of raw ids, given as two columns."""
        self._check_fitted()
        user_at, item_at = self.user_ids_.positions(users, "user"), self.item_ids_.positions(items, "item")
        if len(user_at) != len(item_at):
            raise BadParameter(
                f"{len(user_at)} users and {len(item_at)} items: probabilities takes pairs, so as many of each."
            )
        return self._shares_at(user_at, item_at)

    def _shares_at(
        self, users: NDArray[np.int32], items: NDArray[np.int32], rows: Compressed | None = None
    ) -> Singles:
        """Probabilities (n, levels) for pairs of positions; −1 is unknown, and drawn from the prior."""
        drawn = (self.user_factors_, self._user_biases) if rows is None else self._drawn_users(rows)
        out = np.empty((len(users), len(self.levels_)), np.float32)
        some = max(1, _AT_ONCE // (len(self.noise_) * self.rank))
        for begin in range(0, len(users), some):
            i, j = users[begin : begin + some], items[begin : begin + some]
            known = np.flatnonzero((i >= 0) & (j >= 0))
            scores = self._draws_at(i[known], j[known], drawn)
            out[begin + known] = kernels.class_probabilities(scores, self.thresholds_, threads=self.threads)
            for k in np.flatnonzero((i < 0) | (j < 0)):
                mean, variance = self._unknown_at(self._unpacked_priors(), int(i[k]), int(j[k]), drawn)
                wide = np.sqrt(1 + variance)  # z ~ N(mean, 1 + variance)
                one = (mean / wide)[None].astype(np.float32)
                out[begin + k] = kernels.class_probabilities(one, self.thresholds_ / wide[:, None])[0]
        return out

    def _predict_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[Any]:
        out = np.empty(len(users), np.float32)
        some = max(1, _AT_ONCE // (len(self.noise_) * self.rank))
        for begin in range(0, len(users), some):
            i, j = users[begin : begin + some], items[begin : begin + some]
            known = np.flatnonzero((i >= 0) & (j >= 0))
            out[begin + known] = self._stars(self._draws_at(i[known], j[known])).mean(axis=0)
            unknown = np.flatnonzero((i < 0) | (j < 0))
            out[begin + unknown] = self._shares_at(i[unknown], j[unknown]) @ self.levels_
        return out

    def _stars(self, scores: Singles) -> Singles:
        """Mean ratings (samples, n) that scores (n, samples) of the draws stand for."""
        found = np.zeros(scores.shape[::-1], np.float32)
        for s in range(len(found)):
            self._add_stars(s, scores[:, s], found[s])
        return found

    def _add_stars(self, draw: int, scores: NDArray[Any], out: NDArray[Any]) -> None:
        """out += the mean ratings that scores of one draw stand for, all (n,)."""
        begin, step, curves = self._curves()
        kernels.add_interpolated(scores, curves[draw], begin, step, out, threads=self.threads)

    def _curves(self) -> tuple[float, float, Singles]:
        """Mean ratings by score, draw by draw (samples, points), and where the first point is, and the next."""
        if not hasattr(self, "_known_curves"):
            between = self.thresholds_[:, 1:-1]
            low, high = (float(f(initial=0.0)) for f in (between.min, between.max))
            grid = np.linspace(low - _REACH, high + _REACH, _POINTS, dtype=np.float32)
            curves = [
                kernels.class_probabilities(grid[:, None], edges[None], threads=self.threads) @ self.levels_
                for edges in self.thresholds_
            ]
            self._known_curves = float(grid[0]), float(grid[-1] - grid[0]) / (_POINTS - 1), np.array(curves)
        return self._known_curves

    def _forget(self) -> None:
        super()._forget()
        self.__dict__.pop("_known_curves", None)

    def _std_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        shares = self._shares_at(users, items).astype(np.float64)
        away = self.levels_[None] - (shares @ self.levels_)[:, None]
        return np.asarray(np.sqrt(np.maximum((shares * away**2).sum(axis=1), 0)), np.float32)

    def _interval_at(
        self, users: NDArray[np.int32], items: NDArray[np.int32], share: float
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """From the highest level with at most half of the rest below it, to the lowest with as much above."""
        below = np.cumsum(self._shares_at(users, items), axis=1, dtype=np.float64)
        tail, last = (1 - share) / 2, len(self.levels_) - 1
        low = (below <= tail).sum(axis=1)
        high = (below < 1 - tail - 1e-6).sum(axis=1)  # shares are single precision
        return self.levels_[np.minimum(low, last)], self.levels_[np.minimum(high, last)]

    def doubt(
        self, users: NDArray[np.int32], items: NDArray[np.int32], rows: Compressed | None = None
    ) -> Doubles:
        """See ``SureModel.doubt``: the variance between what the draws predict. Of the unknown, of all ratings."""
        drawn = (self.user_factors_, self._user_biases) if rows is None else self._drawn_users(rows)
        out = np.empty(len(users))
        some = max(1, _AT_ONCE // (len(self.noise_) * self.rank))
        for begin in range(0, len(users), some):
            i, j = users[begin : begin + some], items[begin : begin + some]
            known = np.flatnonzero((i >= 0) & (j >= 0))
            scores = self._draws_at(i[known], j[known], drawn)
            out[begin + known] = self._stars(scores).var(axis=0, dtype=np.float64)
        unknown = np.flatnonzero((users < 0) | (items < 0))
        out[unknown] = self._std_at(users[unknown], items[unknown]).astype(np.float64) ** 2
        return out

    # -- lists, folding in, explaining -----------------------------------------------------------

    def _best_items(
        self,
        at: NDArray[np.int32] | None,
        rows: Compressed,
        exclude_seen: bool,
        candidates: NDArray[np.int32] | None,
        excluded: NDArray[np.int32],
        n: int,
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        parts = []
        some = max(1, _IN_CACHE // len(self.item_ids_))
        for begin in range(0, len(rows), some):
            mine = np.arange(begin, min(begin + some, len(rows)))
            own = rows.take(mine)
            drawn = self._drawn_users(own) if at is None else self._stored(at[mine])
            scores = self._all_scores(*drawn)
            where = np.arange(len(mine), dtype=np.int32)
            of_user = partial(_row, scores)
            parts.append(self._best_scored(of_user, where, own, exclude_seen, candidates, excluded, n))
        best, values = (np.concatenate(part) for part in zip(*parts))
        return best, values

    def _stored(self, at: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draws of users that the model knows, as of ``_drawn_users``."""
        return self.user_factors_[at], self._user_biases[at]

    def _all_scores(self, factors: NDArray[Any], biases: NDArray[Any]) -> Singles:
        """Predicted ratings (users, items) of users with these draws."""
        total = np.zeros((len(factors), len(self.item_ids_)), np.float32)
        count = np.float32(len(self.noise_))
        for s in range(len(self.noise_)):
            part = slice(s * self.rank, (s + 1) * self.rank)
            scores = (factors[:, part] * count) @ self.item_factors_[:, part].T
            scores += self._item_biases[:, s] + biases[:, s, None]
            self._add_stars(s, scores.ravel(), total.ravel())
        return total / count

    def scores_of(self, user: int, rows: Compressed | None = None) -> Singles:
        """See ``SureModel.scores_of``."""
        one = np.array([user])
        drawn = self._stored(one) if rows is None else self._drawn_users(rows.take(one))
        return np.asarray(self._all_scores(*drawn)[0], np.float32)

    def draw_scores(self, user: int, random: np.random.Generator, rows: Compressed | None = None) -> Singles:
        """See ``SureModel.draw_scores``."""
        draw = int(random.integers(len(self.noise_)))
        out = np.zeros(len(self.item_ids_), np.float32)
        self._add_stars(draw, self._scores_in(draw, user, rows), out)
        return out

    def _draw_rows(
        self,
        draw: int,
        prior: Prior,
        rows: Compressed,
        items: Singles,
        item_bias: Singles,
        described: Singles | None,
    ) -> Singles:
        """See ``BayesianMF._draw_rows``: z and the rows in turn, from the prior mean on."""
        middles = (self.levels_[1:] + self.levels_[:-1]) / 2
        classes = np.searchsorted(middles, rows.values).astype(np.uint8)
        at, counts = rows.row_numbers(), rows.counts
        place = np.arange(len(at)) - np.repeat(rows.indptr[:-1], counts)  # of a rating in its row
        drawn = np.tile(prior.centre.astype(np.float32), (len(rows), 1))
        drawn = drawn if described is None else drawn + described
        for turn in range(_ROUNDS):
            random = np.random.default_rng([self.seed, 1 << 32, draw, turn])
            noise = np.tile(random.standard_normal(self.rank + 1, np.float32), (len(rows), 1))
            uniform = random.random(int(counts.max(initial=0)), np.float32)[place]
            u, b = drawn[:, :-1], drawn[:, -1]
            scores = kernels.predict(at, rows.indices, u, b, items, item_bias, 0.0, threads=self.threads)
            z = kernels.draw_latent(scores, classes, self.thresholds_[draw], uniform, threads=self.threads)
            targets = Compressed(rows.indptr, rows.indices, z)
            drawn, _ = prior.rows(targets, items, item_bias, noise, 1.0, 0.0, self.threads, described)
        return drawn

    def explain(self, user: Id, item: Id) -> Explanation:
        """See ``Model.explain``.

        The mean is what an unknown user is predicted to give an unknown item. On the way from there to the score the
        parts have the shares that they have before the thresholds, where they add up.
        """
        at, target = self._pair(user, item)
        nobody = np.array([-1], np.int32)
        score, start = (float(self._predict_at(i, j)[0]) for i, j in ((at, target), (nobody, nobody)))
        found = self._explained(at, target, float(self._draws_at(at, target).mean()))
        drawn = (self.user_factors_, self._user_biases)
        priors = self._unpacked_priors()
        way = found.score - float(self._unknown_at(priors, -1, -1, drawn)[0].mean())
        share = (score - start) / way if abs(way) > 1e-6 else 0.0
        parts = tuple(part._replace(part=share * part.part) for part in found.parts)
        own = share * (found.item - float(np.mean([of_items.bias_mean for _, of_items in priors])))
        rest = score - start - own - sum(part.part for part in parts)
        return Explanation(score, start, rest, own, parts)

    def _met(self, draw: int, user: int, own: Compressed) -> Doubles:
        """See ``BayesianMF._met``: what z is between its thresholds, in the mean."""
        at = np.full(len(own.indices), user, np.int32)
        scores = self._draws_at(at, own.indices)[:, draw].astype(np.float64)
        middles = (self.levels_[1:] + self.levels_[:-1]) / 2
        classes = np.searchsorted(middles, own.values)
        edges = self.thresholds_[draw]
        density = np.exp(-((edges[None, :] - scores[:, None]) ** 2) / 2) / np.sqrt(2 * np.pi)
        shares = kernels.class_probabilities(scores[:, None].astype(np.float32), edges[None])
        which = np.arange(len(scores))
        between = density[which, classes] - density[which, classes + 1]
        return np.asarray(scores + between / np.maximum(shares[which, classes], 1e-6), np.float64)

    # -- storage ---------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See ``Model.state``."""
        arrays, facts = super().state()
        return arrays | {"levels": self.levels_, "thresholds": self.thresholds_[:, 1:-1]}, facts

    def restore(
        self, user_ids: IdMap, item_ids: IdMap, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Self:
        """See ``Model.restore``."""
        super().restore(user_ids, item_ids, arrays, facts)
        levels = check_array(arrays, "levels", (None,), "f4", "any number of levels")
        count = len(self.noise_)
        between = check_array(
            arrays, "thresholds", (count, len(levels) - 1), "f8", f"{count} draws and {len(levels)} levels"
        )
        rising = len(levels) and (np.diff(levels) > 0).all() and (np.diff(between, axis=1) >= 0).all()
        if not rising or len(levels) > MOST_LEVELS:
            raise BadModel("The levels or thresholds of the model do not ascend. Fit the model anew.")
        self.levels_ = levels
        ends = np.full((count, 1), np.inf)
        self.thresholds_ = np.hstack([-ends, between, ends])
        return self


def _row(table: Singles, row: int, _: Compressed | None) -> Singles:
    return np.asarray(table[row], np.float32)
