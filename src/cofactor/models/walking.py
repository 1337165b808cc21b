"""Test ratings in the order of time: each is predicted from what came before its second, and then told to the model.

What all users rated at their k-th second is one round, so a model answers for many users at once, and there are as many
rounds as the busiest user has seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter
from cofactor.ids import IdMap
from cofactor.ratings import Compressed, Ratings

Positions = NDArray[np.int32]
Tastes = tuple[NDArray[Any], NDArray[Any]]
"""Factors (users, rank) and bias (users,)."""


def in_time(ratings: Ratings, what: str) -> NDArray[np.int64]:
    """The times of ratings (ratings,). Raises ``BadParameter`` where there are none."""
    if ratings.times is None:
        raise BadParameter(
            f"{what} goes by the times of ratings, and these have none. Read them with timestamp=... naming the column."
        )
    return ratings.times


def rounds(ratings: Ratings) -> NDArray[np.int64]:
    """How many different seconds each rating's user rated at before it (ratings,), in the order of ``by_user``."""
    users, times = ratings.user_positions, in_time(ratings, "A walk")
    order = np.lexsort((times, users))
    u, t = users[order], times[order]
    later = np.concatenate([[False], (u[1:] == u[:-1]) & (t[1:] > t[:-1])])
    steps = np.cumsum(later)
    found = np.empty(len(order), np.int64)
    found[order] = steps - steps[ratings.by_user.indptr[u]]
    return found


def by_round(ratings: Ratings) -> Iterator[NDArray[np.int64]]:
    """Places of the ratings of each round, one round after the other."""
    found = rounds(ratings)
    order = np.argsort(found, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(found[order])) + 1)


class Told:
    """The ratings a model has of some users, and those that it is told of round by round.

    Of a pair that it was told of twice the later rating counts.
    """

    def __init__(self, user_ids: IdMap, item_ids: IdMap, have: Compressed, test: Ratings) -> None:
        """Of the users of ``test``; ``have`` are the ratings of the model's users."""
        known = user_ids.positions(test.user_ids.array, "user")
        self.items = item_ids.positions(test.item_ids.array, "item")[test.by_user.indices]
        rows = np.flatnonzero(known >= 0)
        old = have.take(known[rows])
        seen = self.items >= 0
        never = np.iinfo(np.int64).max
        users = np.concatenate([rows[old.row_numbers()], test.user_positions[seen]])
        items = np.concatenate([old.indices, self.items[seen]])
        since = np.concatenate([np.full(len(old.indices), -1), rounds(test)[seen]])
        values = np.concatenate([old.values, test.values[seen]])
        order = np.lexsort((since, items, users))
        self._users, self._items, self._values = users[order], items[order], values[order]
        self._since, self._until = since[order], np.full(len(order), never)
        again = (self._users[1:] == self._users[:-1]) & (self._items[1:] == self._items[:-1])
        self._until[:-1][again] = self._since[1:][again]
        self._indptr = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=test.n_users))])

    def rows(self, users: NDArray[Any], after: int) -> Compressed:
        """What the model knows of some users when it was told of the rounds up to ``after``; −1 is before the first."""
        counts = self._indptr[users + 1] - self._indptr[users]
        begins = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(self._indptr[users] - begins[:-1], counts) + np.arange(begins[-1])
        there = (self._since[places] <= after) & (after < self._until[places])
        indptr = np.concatenate([[0], np.cumsum(there)])[begins].astype(np.int64)
        kept = places[there]
        return Compressed(indptr, self._items[kept].astype(np.int32), self._values[kept])


def walk_by_folding(
    user_ids: IdMap,
    item_ids: IdMap,
    have: Compressed,
    test: Ratings,
    stored: Tastes,
    solve: Callable[[Compressed], Tastes],
    predict: Callable[[Positions, Positions, Tastes], NDArray[Any]],
) -> NDArray[np.float64]:
    """Predictions (ratings,) of a model whose users are a function of their ratings, solved anew after each round.

    ``stored`` are the tastes of the model's users, as they are until the first round; zeros are of who is unknown.
    ``solve`` gives the tastes of users with some ratings, ``predict`` takes places among these users and positions of
    items, −1 is unknown.
    """
    told = Told(user_ids, item_ids, have, test)
    known = user_ids.positions(test.user_ids.array, "user")
    factors = np.where(known[:, None] >= 0, stored[0][known], 0)
    bias = np.where(known >= 0, stored[1][known], 0)
    found = np.empty(len(test))
    for number, places in enumerate(by_round(test)):
        users = test.user_positions[places]
        found[places] = predict(users, told.items[places], (factors, bias))
        concerned = np.unique(users[told.items[places] >= 0])
        if len(concerned):
            factors[concerned], bias[concerned] = solve(told.rows(concerned, number))
    return found
