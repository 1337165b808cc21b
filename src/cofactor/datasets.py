"""Data sets: the bundled demo, and larger tables made from a real one.

The demo is MovieLens latest-small, the edition of 2016: F. M. Harper, J. A. Konstan, "The MovieLens
Datasets: History and Context", ACM Transactions on Interactive Intelligent Systems 5(4), article 19,
2015. Its terms lie beside the files, in ``data/movielens/``. ``scripts/make_demo.py`` makes the files.
"""

from __future__ import annotations

import math
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.catalog import Catalog, read_catalog
from cofactor.errors import BadParameter
from cofactor.ids import IdMap
from cofactor.models.als import ALS
from cofactor.models.base import check_ratings, check_whole
from cofactor.ratings import Ratings
from cofactor.reading import read_ratings

_PLANTED = 16  # factors of the model that the ratings of an expansion follow, at most
_REG = 0.5  # of that model, for ratings with a standard deviation of 1: so fitted, it leaves the usual errors
_LIKENESS = 0.95  # correlation of the factors of a copy with those of the original
_CHUNK = 1 << 20  # ratings at a time, where each takes a row of numbers
_STEPS = 100  # distinct ratings up to which they are steps to be kept, not numbers on a line


def load_demo() -> Ratings:
    """100,004 ratings from ½ to 5 by 671 users of 9,066 films, with times from 1995 to 2016."""
    with as_file(files("cofactor").joinpath("data/movielens/ratings.parquet")) as path:
        return read_ratings(path, scale=(0.5, 5.0))


def load_demo_catalog() -> Catalog:
    """Title, year and genres of the films of ``load_demo``."""
    with as_file(files("cofactor").joinpath("data/movielens/items.parquet")) as path:
        return read_catalog(path)


def expand(ratings: Ratings, n_ratings: int, seed: int = 0) -> Ratings:
    """A larger table made from a real one, for tests of scale: a Kronecker product, thinned at random.

        known'[(a, i), (b, j)] = known[i, j] · kept,     P(kept) = min(1, s · W[a, b])
        rating'[(a, i), (b, j)] = μ + b_ai + c_bj + u_ai · v_bj + e,     to the nearest rating there is

    With g = n_ratings / (ratings at hand), every user is copied A = ⌈g⌉ times and every item B = ⌈√g⌉ times: as
    real tables grow, users come with their ratings, and of a longer catalogue each rates a smaller share.

    - Who rated what: block (a, b) of the product is the whole real table, of which a share drawn at random is
      kept. W (A, B) is the real table in small: users in order of their number of ratings are cut into A equal
      groups, items likewise into B, and W counts the ratings of each pair of groups. s makes the total exactly
      ``n_ratings``. So degrees are products of real ones: the skew of either side and the leading singular values,
      relative to the first, stay. A user or item left without a rating is left out.
    - How: a model with biases and up to 16 factors is fitted to the real ratings. The factors and biases of a copy
      are a mixture of those of its original and of another row drawn at random (correlation 0.95 with the original),
      with the mean and covariance of the real ones; e is the residual of a real rating drawn at random. So no row is
      a copy of another, noise is fresh in each rating, and a model with 16 factors can learn the rest. Where the
      real ratings take at most 100 values, so do these; else they stay within the real extremes.

    Ids are integers: copy a of the user in position i has a · n_users + i, so ``divmod(id, n_users)`` finds the
    original; items likewise. There are no times. The same ``seed`` gives the same table. 100 million ratings take
    less than a minute and 5 GB.

    Raises ``BadParameter`` unless ``n_ratings`` is at least the number of ratings at hand.

    F. Belletti et al., "Scalable Realistic Recommendation Datasets through Fractal Expansions", arXiv:1901.08910,
    2019, from which the recommendation benchmark of MLPerf makes its data. There ratings become ones, and the rows
    and columns of each block are shuffled; here the tables must be learnable, so rows keep their place.
    """
    check_ratings(ratings)
    check_whole("n_ratings", n_ratings, 1)
    check_whole("seed", seed, 0)
    n = len(ratings)
    if n_ratings < n:
        raise BadParameter(
            f"n_ratings is {n_ratings:,}, but there are {n:,} ratings already. Give more, or take a part of them "
            f"with cofactor.split."
        )
    rng = np.random.default_rng(seed)
    A, B = -(-n_ratings // n), math.ceil(math.sqrt(n_ratings / n))
    kept = _kept(_in_small(ratings, A, B), n, n_ratings)
    reg = _REG * (float(ratings.values.std(dtype=np.float64)) or 1.0)
    rank = min(_PLANTED, ratings.n_items)
    # exact and in double precision: rounded to steps, the scores are the same on every machine
    model = ALS(rank, reg, sweeps=10, solver="cholesky", dtype="float64", seed=seed)
    left, right, residuals = _planted(model.fit(ratings, progress=False), ratings)
    of_users, of_items = ([_mixture(rows, rng) for _ in range(k)] for rows, k in ((left, A), (right, B)))

    users, items = np.empty(n_ratings, np.int32), np.empty(n_ratings, np.int32)
    values = np.empty(n_ratings, np.float32)
    end = 0
    for (a, b), size in np.ndenumerate(kept):
        places = rng.choice(n, size, replace=False, shuffle=False)
        places.sort()  # then the rows of the factors are read in order
        i, j = ratings.user_positions[places], ratings.by_user.indices[places]
        part = slice(end, end := end + int(size))
        users[part], items[part] = a * ratings.n_users + i, b * ratings.n_items + j
        values[part] = _scores(of_users[a], of_items[b], i, j) + residuals[rng.integers(n, size=size)]
    _to_real_values(values, ratings.values)
    user_ids, users = _without_empty(users, A * ratings.n_users)
    item_ids, items = _without_empty(items, B * ratings.n_items)
    return Ratings.from_positions(user_ids, item_ids, users, items, values, scale=ratings.scale)


def _in_small(ratings: Ratings, A: int, B: int) -> NDArray[np.int64]:
    """Ratings of each of A groups of users, the most active first, for each of B groups of items (A, B)."""

    def groups(counts: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        group = np.empty(len(counts), np.int64)
        group[np.argsort(-counts, kind="stable")] = np.arange(len(counts)) * k // len(counts)
        return group

    small = np.zeros((A, B), np.int64)
    of_user, of_item = groups(ratings.by_user.counts, A), groups(ratings.by_item.counts, B)
    np.add.at(small, (of_user[ratings.user_positions], of_item[ratings.by_user.indices]), 1)
    return small


def _kept(weights: NDArray[np.int64], n: int, total: int) -> NDArray[np.int64]:
    """How many of its n ratings each block keeps (A, B): n · min(1, s · weight), in all exactly ``total``."""
    W = weights.ravel() + 1.0  # no block is without chance, so that a total can always be reached
    heaviest = np.argsort(-W)
    rest = np.cumsum(W[heaviest][::-1])[::-1]  # the weight from this place on
    for whole in range(len(W)):  # blocks that are kept whole
        s = (total / n - whole) / rest[whole]
        if s * W[heaviest[whole]] <= 1:
            break
    wanted = n * np.minimum(1.0, s * W)
    kept = np.floor(wanted).astype(np.int64)
    short = total - int(kept.sum())
    kept[np.argsort(kept - wanted, kind="stable")[:short]] += 1  # the largest remainders
    return np.reshape(kept, weights.shape)


def _planted(model: ALS, ratings: Ratings) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Rows of users and of items whose dot product is the model's score, and the residual of each rating."""
    U, b, V, c = model.user_factors_, model.user_bias_, model.item_factors_, model.item_bias_
    left = np.column_stack([U, b + model.mean_, np.ones(len(b))])
    right = np.column_stack([V, np.ones(len(c)), c])
    return left, right, ratings.values - _scores(left, right, ratings.user_positions, ratings.by_user.indices)


def _scores(
    left: NDArray[Any], right: NDArray[Any], users: NDArray[np.int32], items: NDArray[np.int32]
) -> NDArray[np.float64]:
    """The dot product of a row of either side for each pair (n,)."""
    scores = np.empty(len(users))
    for start in range(0, len(users), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores[part] = np.einsum("nk,nk->n", left[users[part]], right[items[part]])
    return scores


def _mixture(rows: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Each row mixed with one drawn at random, such that mean and covariance stay."""
    mean = rows.mean(axis=0)
    other = rows[rng.permutation(len(rows))] - mean
    mixed: NDArray[Any] = mean + _LIKENESS * (rows - mean) + math.sqrt(1 - _LIKENESS**2) * other
    return mixed


def _to_real_values(values: NDArray[np.float32], real: NDArray[np.float32]) -> None:
    """Move ``values`` to the nearest of the ``real`` ones where these are few, else between their extremes."""
    steps = np.unique(real)
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        if len(steps) <= _STEPS:
            part[:] = steps[np.searchsorted((steps[1:] + steps[:-1]) / 2, part)]
        else:
            np.clip(part, steps[0], steps[-1], out=part)


def _without_empty(positions: NDArray[np.int32], n: int) -> tuple[IdMap, NDArray[np.int32]]:
    """The ids, of 0 .. n − 1, that have a rating, and the position of each rating's among them."""
    there = np.zeros(n, bool)
    there[positions] = True
    place = np.cumsum(there, dtype=np.int32) - np.int32(1)
    return IdMap(np.flatnonzero(there)), place[positions]
