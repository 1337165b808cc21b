"""Ratings -> (train, test), once or in folds."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter, LeakWarning
from cofactor.models.base import check_choice, check_whole
from cofactor.ratings import Ratings

_LEAK = 0.01  # the mean share of training ratings later than a test rating from which a split is said to leak


def split(
    ratings: Ratings,
    holdout: float = 0.1,
    by: str = "random",
    seed: int = 0,
    last: int | None = None,
    *,
    warn: bool = True,
) -> tuple[Ratings, Ratings]:
    """Hold out some of the ratings: (train, test).

    - ``by="random"`` draws a share ``holdout`` of all ratings, by ``seed``.
    - ``by="user"`` takes of each user the last ratings: a share ``holdout`` of them, rounded, or with ``last=n``
      exactly n. Last is by time, equal times by ``seed``; without times it is any, by ``seed``. Each user keeps at
      least one rating in train: a user with no more than n ratings, or whose share rounds to none, has all there.
    - ``by="time"`` takes the latest share ``holdout`` of all ratings: everything after a moment is test, so nothing
      is learnt from the future. Ratings at that very moment stay together.

    Users and items of test that train lacks are predicted from what is known of the rest.

    Where the ratings have times, a split at random or by user lets a model learn from ratings later than those it
    is tested on, which it cannot do once it is in use: a ``LeakWarning`` says how many. Where that is meant,
    ``warn=False`` keeps it quiet.

    Raises ``BadParameter`` where either side would be empty, or by time without times.
    """
    _check(ratings, "split", by, ("random", "user", "time"), seed)
    if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 < holdout < 1:
        raise BadParameter(f"holdout is {holdout!r}; give the share of ratings to hold out, between 0 and 1.")
    if last is not None:
        if by != "user":
            raise BadParameter('last holds out so many ratings of each user: it goes with by="user".')
        check_whole("last", last, 1)
    total = len(ratings)
    count = max(1, round(holdout * total))
    rng = np.random.default_rng(seed)
    test = np.zeros(total, bool)
    if by == "random":
        test[rng.permutation(total)[:count]] = True
    elif by == "user":
        test = _last_of_users(ratings, holdout, last, rng)
    else:
        if ratings.times is None:
            raise BadParameter(
                'These ratings have no times. Read them with timestamp=..., or split by="random".'
            )
        first = np.partition(ratings.times, total - count)[total - count]
        test = ratings.times >= first
    if test.all():
        raise BadParameter(
            f"A holdout of {holdout:g} of {total} ratings leaves none to learn from. Hold out less."
        )
    if not test.any():
        what = f"{holdout:g} of the ratings" if last is None else f"the last {last}"
        raise BadParameter(
            f"No user has enough ratings to hold out {what} and keep one: the most any has is "
            f'{ratings.by_user.counts.max()}. Hold out another number, or split by="random".'
        )
    if warn and by != "time":
        _warn_of_leak(ratings.times, test)
    return ratings.select(~test), ratings.select(test)


def folds(
    ratings: Ratings, k: int = 5, by: str = "random", seed: int = 0, *, warn: bool = True
) -> list[tuple[Ratings, Ratings]]:
    """``k`` pairs (train, test) in which each rating is test exactly once, and train the other k − 1 times.

    ``by="random"`` deals all ratings out at random; the folds differ in size by at most one. ``by="user"`` does so,
    too, and besides deals the ratings of each user evenly: a user's ratings in two folds differ by at most one. So
    a user with at least two ratings is never wholly in test.

    Warns of the future as ``split`` does. Raises ``BadParameter`` for fewer than two folds, or more than ratings.
    """
    _check(ratings, "folds", by, ("random", "user"), seed)
    check_whole("k", k, 2)
    total = len(ratings)
    if k > total:
        raise BadParameter(
            f"{k} folds of {total} ratings leave some empty. Give at most as many folds as ratings."
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(total)
    if by == "user":
        order = order[np.argsort(ratings.user_positions[order], kind="stable")]
    fold = np.empty(total, np.int64)
    fold[order] = np.arange(total) % k
    if warn:
        _warn_of_leak(ratings.times, fold == 0)
    return [(ratings.select(fold != number), ratings.select(fold == number)) for number in range(k)]


def _check(ratings: Any, what: str, by: Any, ways: tuple[str, ...], seed: Any) -> None:
    if not isinstance(ratings, Ratings):
        raise BadParameter(
            f"{what} takes Ratings, not {type(ratings).__name__}; make them with cofactor.read_ratings(table)."
        )
    check_choice("by", by, ways)
    check_whole("seed", seed, 0)


def _last_of_users(
    ratings: Ratings, holdout: float, last: int | None, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Whether each rating is among the last ones of its user (ratings,)."""
    users, counts = ratings.user_positions, ratings.by_user.counts
    if last is None:
        held = np.minimum(np.rint(holdout * counts).astype(np.int64), counts - 1)
    else:
        held = np.where(counts > last, last, 0)
    chance = rng.random(len(ratings))
    order = np.lexsort((chance, users) if ratings.times is None else (chance, ratings.times, users))
    test = np.empty(len(ratings), bool)
    test[order] = np.arange(len(ratings)) >= (ratings.by_user.indptr[1:] - held)[users]
    return test


def _warn_of_leak(times: NDArray[np.int64] | None, test: NDArray[np.bool_]) -> None:
    found = None if times is None else leak(times[~test], times[test])
    if found:
        warnings.warn(
            f'{found} Use split with by="time", or say warn=False where this is meant.',
            LeakWarning,
            stacklevel=3,
        )


def leak(train: NDArray[np.int64] | None, test: NDArray[np.int64] | None) -> str:
    """What to say of a split by its times: nothing, unless test ratings have, on average, more than a hundredth of
    train after them."""
    if train is None or test is None:
        return ""
    later = 1 - float(np.searchsorted(np.sort(train), test, "right").mean()) / len(train)
    if later <= _LEAK:
        return ""
    return (
        f"This split leaks the future: of a rating in test, {later:.0%} of those in train were given later, on "
        f"average, and a model in use cannot know them. Its errors look smaller than they will be."
    )
