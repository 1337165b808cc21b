"""How far a few ratings should move an item from where content puts it: tried out on items held out.

λ_j of ``ALS`` suits factors that are drawn towards 0. Content comes nearer, so what is left for ratings to say is less.
What is left cannot be told from items that were learnt from, for users and content have been fitted to their ratings.
So some items are held out whole, and their ratings come in as those of a new item do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cofactor.models.factors import Towards, solve_around
from cofactor.ratings import Compressed

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
