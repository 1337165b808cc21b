"""Ratings -> (train, test)."""

from __future__ import annotations

import numpy as np

from cofactor.errors import BadParameter
from cofactor.models.base import check_choice, check_whole
from cofactor.ratings import Ratings


def split(
    ratings: Ratings, holdout: float = 0.1, by: str = "random", seed: int = 0
) -> tuple[Ratings, Ratings]:
    """Hold out a share of the ratings: (train, test).

    ``by="random"`` draws ratings at random, by ``seed``. ``by="time"`` takes the latest ones: everything
    after a moment is test, so nothing is learnt from the future; ratings at that very moment stay
    together. Users and items of test that train lacks are predicted from what is known of the rest.

    Raises ``BadParameter`` for a ``holdout`` that leaves either side empty, or by time without times.
    """
    check_choice("by", by, ("random", "time"))
    check_whole("seed", seed, 0)
    if not isinstance(holdout, (int, float)) or not 0 < holdout < 1:
        raise BadParameter(f"holdout is {holdout!r}; give the share of ratings to hold out, between 0 and 1.")
    total = len(ratings)
    count = max(1, round(holdout * total))
    test = np.zeros(total, bool)
    if by == "random":
        test[np.random.default_rng(seed).permutation(total)[:count]] = True
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
    return ratings.select(~test), ratings.select(test)
