"""Ratings: who rated what, how, and when. Immutable, compressed by user and by item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadRatings
from cofactor.ids import IdMap

LARGEST_RATING = 1e9  # float32 keeps seven digits, and sums of squares must stay far from its end


@dataclass(frozen=True, eq=False)
class Compressed:
    """Ratings grouped by row: those of row i are ``indices`` and ``values`` [indptr[i]:indptr[i + 1]].

    ``indptr`` (rows + 1,) int64, ``indices`` (ratings,) int32 ascending within a row, ``values``
    (ratings,) float32. The arrays cannot be written to.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        for array in (self.indptr, self.indices, self.values):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Ratings in each row (rows,)."""
        return np.diff(self.indptr)

    def row(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """``indices`` and ``values`` of row i."""
        part = slice(int(self.indptr[i]), int(self.indptr[i + 1]))
        return self.indices[part], self.values[part]

    def take(self, rows: NDArray[Any]) -> Compressed:
        """The given rows, in the given order."""
        rows = np.asarray(rows, np.int64)
        counts = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.repeat(self.indptr[rows] - indptr[:-1], counts) + np.arange(indptr[-1])
        return Compressed(indptr, self.indices[places], self.values[places])

    def row_numbers(self) -> NDArray[np.int32]:
        """The row of each rating (ratings,)."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.counts)


@dataclass(frozen=True, eq=False)
class Ratings:
    """A table of ratings, at most one for each user and item. Made by ``read_ratings``.

    Attributes:
        user_ids, item_ids: raw id <-> position; every user and item here has at least one rating.
        by_user, by_item: the ratings, grouped either way.
        times: (ratings,) int64 Unix seconds in the order of ``by_user``, or None.
        scale: lowest and highest rating there can be: as declared, else as seen.
        duplicates: rows left out because a later one rates the same item by the same user.
        rejected: rows left out because they were bad (``on_bad="drop"``).
    """

    user_ids: IdMap
    item_ids: IdMap
    by_user: Compressed
    by_item: Compressed
    times: NDArray[np.int64] | None
    scale: tuple[float, float]
    duplicates: int = 0
    rejected: int = 0

    @classmethod
    def from_positions(
        cls,
        user_ids: IdMap,
        item_ids: IdMap,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        values: NDArray[np.float32],
        times: NDArray[np.int64] | None = None,
        scale: tuple[float, float] | None = None,
        rejected: int = 0,
    ) -> Ratings:
        """From columns of positions, one row a rating, in any order.

        Of rows with the same user and item the one with the latest time is kept, among equal times
        (or without times) the last. ``values`` must be finite.
        """
        if len(values) == 0:
            raise BadRatings(
                "There is not one rating. Give a table with at least one row of user, item, rating."
            )
        _, order = kernels.group(items, len(item_ids))
        _, by_user = kernels.group(users[order], len(user_ids))
        order = order[by_user]  # by user, then item, then row
        del by_user
        users, items = users[order], items[order]
        last = np.ones(len(order), bool)
        last[:-1] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
        duplicates = len(last) - int(last.sum())
        if duplicates:
            if times is not None:
                _latest_last(order, last, times)
            users, items, order = users[last], items[last], order[last]
        values = np.ascontiguousarray(values[order], np.float32)
        if times is not None:
            times = times[order].astype(np.int64, copy=False)
            times.flags.writeable = False
        del order, last
        indptr = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(user_ids)))]).astype(
            np.int64
        )
        items = np.ascontiguousarray(items)
        if scale is None:
            scale = (float(values.min()), float(values.max()))
        return cls(
            user_ids,
            item_ids,
            Compressed(indptr, items, values),
            Compressed(*kernels.transpose(indptr, items, values, len(item_ids))),
            times,
            scale,
            duplicates,
            rejected,
        )

    def __len__(self) -> int:
        return len(self.by_user.values)

    def __repr__(self) -> str:
        return f"Ratings({len(self):,} ratings, {self.n_users:,} users, {self.n_items:,} items)"

    @property
    def n_users(self) -> int:
        """Users with at least one rating."""
        return len(self.by_user)

    @property
    def n_items(self) -> int:
        """Items with at least one rating."""
        return len(self.by_item)

    @property
    def density(self) -> float:
        """Share of the users × items table that is known."""
        return len(self) / (self.n_users * self.n_items)

    @cached_property
    def user_positions(self) -> NDArray[np.int32]:
        """The user of each rating (ratings,), in the order of ``by_user``."""
        return self.by_user.row_numbers()

    @property
    def users(self) -> pa.Array:
        """The raw user id of each rating (ratings,), in the order of ``by_user``."""
        return self.user_ids.take(self.user_positions)

    @property
    def items(self) -> pa.Array:
        """The raw item id of each rating (ratings,), in the order of ``by_user``."""
        return self.item_ids.take(self.by_user.indices)

    @property
    def values(self) -> NDArray[np.float32]:
        """The ratings (ratings,), in the order of ``by_user``."""
        return self.by_user.values

    def select(self, which: NDArray[Any]) -> Ratings:
        """Some of the ratings: ``which`` is a mask, or places, in the order of ``by_user``.

        Users and items left without a rating are left out as well.
        """
        places = np.flatnonzero(which) if np.asarray(which).dtype == bool else np.sort(which)
        kept_users, users = np.unique(self.user_positions[places], return_inverse=True)
        kept_items, items = np.unique(self.by_user.indices[places], return_inverse=True)
        return Ratings.from_positions(
            self.user_ids.subset(kept_users),
            self.item_ids.subset(kept_items),
            users.astype(np.int32),
            items.astype(np.int32),
            self.values[places],
            None if self.times is None else self.times[places],
            self.scale,
        )

    def to_arrow(self) -> pa.Table:
        """The ratings as a table of user, item, rating and, where there are times, timestamp."""
        columns = {"user": self.users, "item": self.items, "rating": pa.array(self.values)}
        if self.times is not None:
            columns["timestamp"] = pa.array(self.times)
        return pa.table(columns)


def _latest_last(order: NDArray[np.int64], last: NDArray[np.bool_], times: NDArray[np.int64]) -> None:
    """Within each run of equal pairs, which ends where ``last``, put the row with the latest time last."""
    run = np.concatenate([[0], np.cumsum(last[:-1])])
    repeated = np.flatnonzero(np.bincount(run)[run] > 1)
    mine = order[repeated]
    order[repeated] = mine[np.lexsort((mine, times[mine], run[repeated]))]
