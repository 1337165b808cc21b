"""Ratings of users to be folded in: brought to the items of a model, and joined with what it has."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cofactor.errors import BadParameter, UnknownItem, UnknownUser, shorten
from cofactor.ids import Id, IdMap
from cofactor.models.base import OwnRatings
from cofactor.ratings import Compressed, Ratings


def one_user(ratings: OwnRatings, item_ids: IdMap, scale: tuple[float, float]) -> Compressed:
    """One user's ratings, in whatever form, as a single row. Of an item rated twice the last counts."""
    if isinstance(ratings, Ratings):
        if ratings.n_users != 1:
            raise BadParameter(
                f"recommend(ratings=...) is about one user; these are {ratings.n_users}. Use fold_in."
            )
        raw, values = ratings.items, ratings.values
    else:
        pairs = list(ratings.items() if isinstance(ratings, Mapping) else _pairs(ratings))
        raw = [item for item, _ in pairs]
        values = np.array([_on_scale(item, value, scale) for item, value in pairs], np.float32)
    if len(values) == 0:
        return Compressed(np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    positions = item_ids.positions(raw, "item")
    kept = known_items(positions, item_ids)
    last = dict(zip(positions[kept].tolist(), values[kept].tolist()))
    items = np.array(sorted(last), np.int32)
    return Compressed(
        np.array([0, len(items)], np.int64), items, np.array([last[p] for p in items.tolist()], np.float32)
    )


def _pairs(ratings: Iterable[Any]) -> list[tuple[Id, float]]:
    pairs = list(ratings)
    for pair in pairs:
        if isinstance(pair, str) or not hasattr(pair, "__len__") or len(pair) != 2:
            raise BadParameter(
                f"ratings= holds {shorten(pair)}; give {{item: rating}} or pairs (item, rating)."
            )
    return pairs


def _on_scale(item: Id, value: Any, scale: tuple[float, float]) -> float:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not scale[0] <= value <= scale[1]:
        raise BadParameter(
            f"The rating {shorten(value)} of item {shorten(item)} is not a number on the scale "
            f"{scale[0]:g} to {scale[1]:g} of this model's ratings."
        )
    return float(value)


def known_items(positions: NDArray[np.int32], item_ids: IdMap, users: bool = False) -> NDArray[np.bool_]:
    """Which ratings are of known items: a warning where some are not, ``UnknownItem`` where none is.

    With ``users`` they are positions of users, and the error is ``UnknownUser``.
    """
    known = positions >= 0
    if not known.any():
        raise (UnknownUser if users else UnknownItem)(
            f"None of the {len(positions)} {'ratings is by' if users else 'rated items is'} one of the "
            f"{len(item_ids):,} {'users' if users else 'items'} of this model. "
            f"Give {'user' if users else 'item'} ids as they stood in the ratings."
        )
    if not known.all():
        warnings.warn(
            f"{int((~known).sum())} of {len(known)} ratings are {'by users' if users else 'of items'} that the model "
            f"does not know; they were left out.",
            stacklevel=5,
        )
    return known


class Joined(NamedTuple):
    """Users of a model and of new ratings: the ids of all, the positions among them of either, the item positions of
    the new ratings, and which of these are of known items."""

    user_ids: IdMap
    old_at: NDArray[np.int32]
    new_at: NDArray[np.int32]
    items: NDArray[np.int32]
    known: NDArray[np.bool_]


def join_users(user_ids: IdMap, item_ids: IdMap, new: Ratings, turned: bool = False) -> Joined:
    """Users of a model, and users of ``new``. Warns of unknown items; ``UnknownItem`` where there are no others.

    ``turned`` as in ``merge_users``.
    """
    items = item_ids.positions(new.item_ids.array, "user" if turned else "item")[new.by_user.indices]
    kept = known_items(items, item_ids, turned)
    return Joined(*merge_ids(user_ids, new.user_ids, "items" if turned else "users"), items, kept)


def merge_users(
    user_ids: IdMap, item_ids: IdMap, have: Compressed, new: Ratings, *, turned: bool = False
) -> tuple[IdMap, NDArray[np.int32], NDArray[np.int32], Compressed]:
    """Users of a model, with their ratings ``have``, and users of ``new``.

    Returns the ids of all, the positions among them of the model's users and of the new ones, and the
    rows of the latter: the ratings they had, if any, and on top of these the new ones. All of it ``turned``, users
    stand for items and items for users.
    """
    all_ids, old_at, new_at, items, kept = join_users(user_ids, item_ids, new, turned)
    concerned = np.isin(old_at, new_at)
    old = have.take(np.flatnonzero(concerned))
    merged = Ratings.from_positions(  # of two ratings of one item the later row is kept
        all_ids,
        item_ids,
        np.concatenate([old_at[concerned][old.row_numbers()], new_at[new.user_positions[kept]]]),
        np.concatenate([old.indices, items[kept]]),
        np.concatenate([old.values, new.values[kept]]),
    )
    return all_ids, old_at, new_at, merged.by_user.take(new_at)


def merge_ids(have: IdMap, new: IdMap, what: str) -> tuple[IdMap, NDArray[np.int32], NDArray[np.int32]]:
    """The ids of both, and the positions among them of either. Raises ``BadParameter`` for ids of two kinds."""
    if len(have) and have.kind != new.kind:
        raise BadParameter(
            f"The {what} of this model are {have.kind}s, those given {new.kind}s. Give ids of the same kind."
        )
    both, _ = IdMap.encode(_concatenated(have.array, new.array) if len(have) else new.array)
    return both, both.positions(have.array), both.positions(new.array)


def replace_rows(
    old: Compressed, old_at: NDArray[np.int32], new: Compressed, new_at: NDArray[np.int32]
) -> Compressed:
    """Rows of ``old`` at positions ``old_at``, but those of ``new`` at ``new_at``; together all positions."""
    source = np.empty(int(max(old_at.max(initial=-1), new_at.max(initial=-1))) + 1, np.int64)
    source[old_at] = np.arange(len(old_at))
    source[new_at] = len(old_at) + np.arange(len(new_at))
    stacked = Compressed(
        np.concatenate([old.indptr, old.indptr[-1] + new.indptr[1:]]),
        np.concatenate([old.indices, new.indices]),
        np.concatenate([old.values, new.values]),
    )
    return stacked.take(source)


def _concatenated(first: pa.Array, second: pa.Array) -> Any:
    if first.type != second.type:  # int64 and uint64: encode finds the type that holds both
        return first.to_pylist() + second.to_pylist()
    return pa.concat_arrays([first, second])
