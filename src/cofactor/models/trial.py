"""How far a few ratings should move an item from where content puts it: tried out on items held out.

λ_j of ``ALS`` suits factors that are drawn towards 0. Content comes nearer, so what is left for ratings to say is less.
What is left cannot be told from items that were learnt from, for users and content have been fitted to their ratings.
So some items are held out whole, and their ratings come in as those of a new item do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter
from cofactor.features import Features
from cofactor.ids import IdMap
from cofactor.models.factors import Towards, solve_around
from cofactor.ratings import Compressed, Ratings

if TYPE_CHECKING:
    from cofactor.models.content import ContentMap

SHARE = 0.1  # of the items with features and ratings that are held out
FEWEST = 10  # items held out, else nothing is tried
_COUNTS = (1, 2, 5, 10)  # ratings that have come in
_ORDERS = 4  # in which they come
_MOST = 50  # ratings of an item that are looked at
_CHOICES = np.append(0.0, np.geomspace(0.1, 1000, 25))


def held_out(eligible: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Which rows to hold out, of those that may be; none where they are too few to tell."""
    some = np.flatnonzero(eligible)
    held = np.zeros(len(eligible), bool)
    count = round(SHARE * len(some))
    if count >= FEWEST:
        held[np.random.default_rng([seed, 2]).permutation(some)[:count]] = True
    return held


def least_reg(
    rows: Compressed,
    said: NDArray[np.float64],
    fixed: NDArray[np.floating],
    fixed_bias: NDArray[np.floating],
    reg: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    mean: float,
    seed: int,
    threads: int | None,
) -> float:
    """The λ, at least, with the least squared error on a row's later ratings after its first 1, 2, 5 and 10.

    ``rows`` were held out; content says ``said`` (rows, rank + 1) of them. ``reg`` gives the λ of rows with so many
    ratings, where it is larger.
    """
    numbers, random = rows.row_numbers(), np.random.default_rng([seed, 3])
    place = np.empty(len(numbers), np.int64)
    errors = np.zeros(len(_CHOICES))
    for count in _COUNTS * _ORDERS:
        order = np.lexsort((random.random(len(numbers)), numbers))  # ratings of a row in an order of chance
        place[order] = np.arange(len(numbers)) - rows.indptr[numbers]
        given, later = place < count, (place >= count) & (place < _MOST)
        if not later.any():
            continue
        counts = np.minimum(rows.counts, count)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        known = Compressed(indptr, rows.indices[given], rows.values[given])
        at, who = rows.indices[later], numbers[later]
        wanted = rows.values[later] - mean - fixed_bias[at]
        for k, least in enumerate(_CHOICES):
            towards = Towards(said, np.full(len(rows), least))
            x, b, _ = solve_around(known, fixed, fixed_bias, reg(counts), towards, mean=mean, threads=threads)
            errors[k] += float(((wanted - b[who] - np.einsum("nk,nk->n", x[who], fixed[at])) ** 2).mean())
    return float(_CHOICES[int(np.argmin(errors))])


def tried(
    model: ContentMap,
    ratings: Ratings,
    items: Features | None,
    users: Features | None,
    progress: bool | None,
) -> dict[str, float]:
    """``hold``, or ``least_reg`` of "item" and "user"; 0 without features, or where too few rows could be held out.

    Fits a model of the same settings to what is not held out. Raises ``BadParameter`` where none of the features is of
    something rated.
    """
    found = {"item": 0.0, "user": 0.0}
    of_items = _held_out("item", items, ratings.item_ids, ratings.by_item, model.seed)[
        ratings.by_user.indices
    ]
    of_users = _held_out("user", users, ratings.user_ids, ratings.by_user, model.seed)[ratings.user_positions]
    kept = ~of_items & ~of_users
    if model.hold is not None:
        return dict.fromkeys(found, float(model.hold))
    if kept.all() or not kept.any():
        return found
    rest = ratings.select(kept)
    other = replace(model, rank=min(model.rank, rest.n_items))
    other.fit_around(rest, items, users, found, None, progress)
    if (of_items & ~of_users).any():
        apart = ratings.select(of_items & ~of_users)
        at = other.user_ids_.positions(apart.user_ids.array)
        found["item"] = _judged(other, "item", apart.item_ids, apart.by_item, at)
    if (of_users & ~of_items).any():
        apart = ratings.select(of_users & ~of_items)
        at = other.item_ids_.positions(apart.item_ids.array)
        found["user"] = _judged(other, "user", apart.user_ids, apart.by_user, at)
    return found


def _judged(model: ContentMap, what: str, ids: IdMap, rows: Compressed, others: NDArray[np.int32]) -> float:
    """``least_reg`` by rows of one side that were held out; ``others`` is where the other side stands in the model."""
    at = others[rows.indices]
    counts = np.bincount(rows.row_numbers()[at >= 0], minlength=len(rows))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    known = Compressed(indptr, at[at >= 0], rows.values[at >= 0])
    if what == "item":
        side, own, fixed, bias = model.items_, model.item_ids_, model.user_factors_, model.user_bias_
    else:
        side, own, fixed, bias = model.users_, model.user_ids_, model.item_factors_, model.item_bias_
    assert side is not None
    said = side.prior[own.positions(ids.array)].astype(np.float64)
    return least_reg(known, said, fixed, bias, model.row_reg, model.mean_, model.seed, model.threads)


def _held_out(
    what: str, features: Features | None, ids: IdMap, rows: Compressed, seed: int
) -> NDArray[np.bool_]:
    """Which rows to hold out for a trial. Raises ``BadParameter`` where none has features."""
    if features is None:
        return np.zeros(len(ids), bool)
    has = features.ids.positions(ids.array) >= 0
    if not has.any():
        raise BadParameter(
            f"None of the {len(features):,} {what}s with features is rated, so there is nothing to learn from. "
            f"Give {what} ids as they stand in the ratings."
        )
    return held_out(has & (rows.counts > 1), seed)
