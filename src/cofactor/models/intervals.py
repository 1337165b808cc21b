"""How sure a prediction is, and lists that make use of it: what all models share that can tell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from statistics import NormalDist
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter
from cofactor.ids import Id, Ids
from cofactor.models.base import OwnRatings, check_choice, check_number, check_whole
from cofactor.models.factors import FactorModel
from cofactor.models.results import Recommendations
from cofactor.ratings import Compressed

Strategy = Literal["mean", "ucb", "lcb", "thompson"]


class SureModel(FactorModel):
    """A factor model whose ``predict`` also gives standard deviations and intervals, and that can explore."""

    @abstractmethod
    def doubt(
        self, users: NDArray[np.int32], items: NDArray[np.int32], rows: Compressed | None = None
    ) -> NDArray[np.float64]:
        """Variance of the predictions (n,) for pairs of positions; −1 is unknown.

        With ``rows``, users are positions among these ratings, of somebody new each. ``NotSupported`` where the model
        cannot tell.
        """

    @abstractmethod
    def noise_variance(self) -> float:
        """Variance of ratings around what would be predicted if nothing were in doubt."""

    @abstractmethod
    def draw_scores(
        self, user: int, random: np.random.Generator, rows: Compressed | None = None
    ) -> NDArray[np.float32]:
        """Ratings of all items (items,) by one user as they may be; ``rows`` as in ``doubt``."""

    @overload
    def predict(
        self,
        users: Ids,
        items: Ids,
        *,
        clip: bool = ...,
        return_std: Literal[False] = ...,
        interval: None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def predict(
        self, users: Ids, items: Ids, *, clip: bool = ..., return_std: Literal[True], interval: None = ...
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(
        self, users: Ids, items: Ids, *, clip: bool = ..., return_std: Literal[False] = ..., interval: float
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
    def predict(
        self,
        users: Ids,
        items: Ids,
        *,
        clip: bool = False,
        return_std: bool = False,
        interval: float | None = None,
    ) -> NDArray[Any] | tuple[NDArray[Any], ...]:
        """See ``Model.predict``. With ``return_std`` the standard deviation of a rating beside its prediction; with
        ``interval=0.9`` also the ends (low, high) within which nine of ten ratings are expected.

        The deviation is that of what could be given: how unsure the prediction is, and the noise of ratings around
        it. An id that the model does not know could be like any: wide. ``clip`` keeps the ends on the scale, too.
        """
        mean = super().predict(users, items, clip=clip)
        if not return_std and interval is None:
            return mean
        if return_std and interval is not None:
            raise BadParameter("Give either return_std or interval: an interval has the deviation in it.")
        if interval is not None:
            deviations(interval)
        at, places = self.user_ids_.positions(users, "user"), self.item_ids_.positions(items, "item")
        if interval is None:
            return mean, self._std_at(at, places)
        low, high = self._interval_at(at, places, interval)
        if clip:
            low, high = np.clip(low, *self.scale_), np.clip(high, *self.scale_)
        return mean, low.astype(mean.dtype), high.astype(mean.dtype)

    def _std_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Standard deviation of a rating around its prediction (n,) for pairs of positions; −1 is unknown."""
        return np.asarray(np.sqrt(self.doubt(users, items) + self.noise_variance()), np.float32)

    def _interval_at(
        self, users: NDArray[np.int32], items: NDArray[np.int32], share: float
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Where this share of ratings is expected: (low, high), each (n,)."""
        middle, reach = self._predict_at(users, items), deviations(share) * self._std_at(users, items)
        return middle - reach, middle + reach

    def recommend(
        self,
        user: Id | Ids | None = None,
        n: int = 10,
        exclude_seen: bool = True,
        exclude: Ids = (),
        among: Ids | None = None,
        *,
        ratings: OwnRatings | None = None,
        strategy: Strategy = "mean",
        width: float = 1.0,
        seed: int | None = None,
    ) -> Recommendations:
        """See ``Model.recommend``, with a ``strategy``. What a list shows is what will be learnt about.

        - "mean": the highest predicted ratings.
        - "ucb": the highest that they may well be: prediction + ``width`` standard deviations, of the prediction
          alone, not of ratings around it. Tries what is in doubt.
        - "lcb": prediction − ``width`` deviations. Only what is sure to be good.
        - "thompson": the best for one user drawn from all that the ratings allow, anew in each call, or by ``seed``.

        The scores are what the lists are sorted by. All but "mean" look at every item for every user, one by one.
        """
        check_choice("strategy", strategy, ("mean", "ucb", "lcb", "thompson"))
        check_number("width", width)
        if seed is not None:
            check_whole("seed", seed, 0)
        if strategy == "mean":
            return super().recommend(user, n, exclude_seen, exclude, among, ratings=ratings)
        best = partial(self._best_explored, strategy, width, np.random.default_rng(seed))
        return self._listed(best, user, n, exclude_seen, exclude, among, ratings)

    def _best_explored(
        self,
        strategy: Strategy,
        width: float,
        random: np.random.Generator,
        at: NDArray[np.int32] | None,
        rows: Compressed,
        exclude_seen: bool,
        candidates: NDArray[np.int32] | None,
        excluded: NDArray[np.int32],
        n: int,
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        optimistic = partial(self.optimistic, strategy, width, random)
        return self._best_scored(optimistic, at, rows, exclude_seen, candidates, excluded, n)

    def _best_scored(
        self,
        score: Callable[[int, Compressed | None], NDArray[np.float32]],
        at: NDArray[np.int32] | None,
        rows: Compressed,
        exclude_seen: bool,
        candidates: NDArray[np.int32] | None,
        excluded: NDArray[np.int32],
        n: int,
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """As ``_best_items``, where ``score(user, rows)`` gives those of all items (items,), one user at a time."""
        found = []
        for k, user in enumerate(range(len(rows)) if at is None else at.tolist()):
            scores = score(user, rows if at is None else None)
            seen = rows.take(np.array([k])) if exclude_seen else None
            one, none = np.ones((1, 1), scores.dtype), np.zeros_like(scores)
            found.append(self._best(one, seen, candidates, excluded, n, scores[:, None], none))
        best, values = (np.concatenate(part) for part in zip(*found))
        return best, values

    def optimistic(
        self,
        strategy: Strategy,
        width: float,
        random: np.random.Generator,
        user: int,
        rows: Compressed | None,
    ) -> NDArray[np.float32]:
        """What the items are listed by for one user (items,); see ``recommend``, and ``doubt`` for ``rows``."""
        if strategy == "thompson":
            return self.draw_scores(user, random, rows)
        everything = np.arange(len(self.item_ids_), dtype=np.int32)
        spread = np.sqrt(self.doubt(np.full(len(everything), user, np.int32), everything, rows))
        sign = width if strategy == "ucb" else -width
        return np.asarray(self.scores_of(user, rows) + sign * spread, np.float32)

    def scores_of(self, user: int, rows: Compressed | None = None) -> NDArray[np.float32]:
        """Predicted ratings of all items (items,) for one user; ``rows`` as in ``doubt``."""
        if rows is None:
            u, b = self.user_factors_[user], float(self.user_bias_[user])
        else:
            factors, biases = self.solve_users(rows.take(np.array([user])))
            u, b = factors[0], float(biases[0])
        return np.asarray(self.item_factors_ @ u + self.item_bias_ + np.float32(self.mean_ + b), np.float32)


def deviations(interval: Any) -> float:
    """How many standard deviations an interval reaches to either side that holds this share of what is given."""
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 < interval < 1:
        raise BadParameter(f"interval is {interval!r}; give a share between 0 and 1, such as 0.9.")
    return -NormalDist().inv_cdf((1 - interval) / 2)  # of the lower tail, which has the digits
