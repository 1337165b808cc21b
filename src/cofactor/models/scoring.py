"""What all models share that score any item for any user: the checks and the lists of predict and recommend."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cofactor.errors import BadParameter, UnknownItem, UnknownUser, shorten
from cofactor.ids import Id, Ids, id_array
from cofactor.models.base import Model, OwnRatings, check_whole
from cofactor.models.folding import one_user
from cofactor.models.results import Recommendations
from cofactor.ratings import Compressed

_QUERY_BATCH = 4096  # users whose best items are held at a time
BestItems: TypeAlias = Callable[..., tuple[NDArray[np.int32], NDArray[Any]]]


class ScoringModel(Model):
    """A model that scores by positions; ids and their checks are here.

    Attributes (once fitted):
        ratings_: the ratings of the users it knows, by user, with positions of ``item_ids_``.
        scale_: lowest and highest rating there can be.
    """

    ratings_: Compressed
    scale_: tuple[float, float]

    @abstractmethod
    def _predict_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[Any]:
        """Predictions (n,) for pairs of positions; −1 is unknown."""

    @abstractmethod
    def _best_items(
        self,
        at: NDArray[np.int32] | None,
        rows: Compressed,
        exclude_seen: bool,
        candidates: NDArray[np.int32] | None,
        excluded: NDArray[np.int32],
        n: int,
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Positions (users, ≤ n) of the best items, best first, filled up with −1, and their scores.

        The users stand at positions ``at`` and have the ratings ``rows``; ``at`` is None for somebody new with
        one row of ratings. Only ``candidates``, ascending, may be listed (None: all), and none of ``excluded``.
        """

    # -- prediction ----------------------------------------------------------------------------

    def predict(self, users: Ids, items: Ids, *, clip: bool = False) -> NDArray[Any]:
        """See ``Model.predict``."""
        self._check_fitted()
        user_at = self.user_ids_.positions(users, "user")
        item_at = self.item_ids_.positions(items, "item")
        if len(user_at) != len(item_at):
            raise BadParameter(
                f"{len(user_at)} users and {len(item_at)} items: predict takes pairs, so as many of each."
            )
        scores = self._predict_at(user_at, item_at)
        return np.clip(scores, *self.scale_, out=scores) if clip else scores

    # -- recommendation ------------------------------------------------------------------------

    def recommend(
        self,
        user: Id | Ids | None = None,
        n: int = 10,
        exclude_seen: bool = True,
        exclude: Ids = (),
        among: Ids | None = None,
        *,
        ratings: OwnRatings | None = None,
    ) -> Recommendations:
        """See ``Model.recommend``."""
        return self._listed(self._best_items, user, n, exclude_seen, exclude, among, ratings)

    def _listed(
        self,
        best: BestItems,
        user: Id | Ids | None,
        n: int,
        exclude_seen: bool,
        exclude: Ids,
        among: Ids | None,
        ratings: OwnRatings | None,
    ) -> Recommendations:
        """The answer of ``recommend`` where ``best`` finds the items, called as ``_best_items``."""
        self._check_fitted()
        n = check_whole("n", n, 1)
        if (user is None) == (ratings is None):
            raise BadParameter("Give either a user the model knows, or ratings=... of somebody new.")
        candidates = self._candidates(among)
        excluded = self.item_ids_.positions(exclude, "item")
        excluded = np.unique(excluded[excluded >= 0])

        if ratings is not None:
            own = one_user(ratings, self.item_ids_, self.scale_)
            return self._recommendations(*best(None, own, exclude_seen, candidates, excluded, n))

        single = isinstance(user, (str, int, np.integer))
        positions = self._user_positions(id_array([user] if single else user, "user"))
        parts = []
        for begin in range(0, len(positions), _QUERY_BATCH):
            at = positions[begin : begin + _QUERY_BATCH]
            found = best(at, self.ratings_.take(at), exclude_seen, candidates, excluded, n)
            parts.append(self._recommendations(*found, None if single else at))
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return Recommendations(
                self.item_ids_.array[:0], np.empty(0, np.float32), self.user_ids_.array[:0]
            )
        return Recommendations(
            pa.concat_arrays([p.items for p in parts]),
            np.concatenate([p.scores for p in parts]),
            pa.concat_arrays([p.users for p in parts]),
        )

    def _candidates(self, among: Ids | None) -> NDArray[np.int32] | None:
        if among is None:
            return None
        positions = self.item_ids_.positions(among, "item")
        known = np.unique(positions[positions >= 0])
        if len(known) == 0:
            raise UnknownItem(
                f"None of the {len(positions)} items in among= is one of the {len(self.item_ids_):,} items of this "
                f"model. Give item ids as they stood in the ratings."
            )
        return known

    def _recommendations(
        self, best: NDArray[np.int32], scores: NDArray[Any], users: NDArray[np.int32] | None = None
    ) -> Recommendations:
        """Rows of best items, −1 where there is none, as an answer; ``users`` where several were asked for."""
        listed = best >= 0
        who = None if users is None else self.user_ids_.take(np.repeat(users, listed.sum(axis=1)))
        return Recommendations(self.item_ids_.take(best[listed]), scores[listed], who)

    # -- known and unknown ---------------------------------------------------------------------

    def _user_positions(self, users: pa.Array) -> NDArray[np.int32]:
        positions = self.user_ids_.positions(users, "user")
        if (positions < 0).any():
            first = users[int(np.argmax(positions < 0))].as_py()
            raise UnknownUser(
                f"User {shorten(first)} is not among the {len(self.user_ids_):,} users of this model. "
                f"Use recommend(ratings=...) for somebody new, or fold_in(ratings) to add them."
            )
        return positions

    def _item_position(self, item: Id) -> int:
        positions = self.item_ids_.positions([item], "item")
        if positions[0] < 0:
            raise UnknownItem(
                f"Item {shorten(item)} is not among the {len(self.item_ids_):,} items of this model. "
                f"An item needs at least one rating when the model is fitted."
            )
        return int(positions[0])
