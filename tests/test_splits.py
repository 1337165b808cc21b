"""Splits lose nothing, repeat by seed, and by time keep the future out of the past."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.ratings import Ratings
from tests.conftest import make_ratings


def rows(ratings: Ratings) -> set[tuple]:
    return set(zip(*(ratings.to_arrow()[name].to_pylist() for name in ratings.to_arrow().column_names)))


@given(seed=st.integers(0, 50), holdout=st.floats(0.01, 0.9), by=st.sampled_from(["random", "time"]))
def test_train_and_test_are_the_whole(seed, holdout, by):
    ratings = make_ratings(seed, users=20, items=12)
    train, test = cf.split(ratings, holdout=holdout, by=by, seed=seed)
    assert rows(train) | rows(test) == rows(ratings)
    assert len(train) + len(test) == len(ratings)
    if by == "random":
        assert len(test) == max(1, round(holdout * len(ratings)))
    else:
        assert train.times.max() < test.times.min()
    again = cf.split(ratings, holdout=holdout, by=by, seed=seed)
    assert rows(again[1]) == rows(test)
    for part in (train, test):  # nobody without a rating
        assert part.by_user.counts.min() >= 1
        assert part.by_item.counts.min() >= 1
        assert part.scale == ratings.scale


def test_another_seed_is_another_split(ratings):
    assert rows(cf.split(ratings, seed=1)[1]) != rows(cf.split(ratings, seed=2)[1])


def test_what_cannot_be_split(ratings):
    timeless = Ratings.from_positions(
        IdMap([1]), IdMap([1, 2]), np.zeros(2, np.int32), np.array([0, 1], np.int32), np.ones(2, np.float32)
    )
    with pytest.raises(cf.BadParameter, match="no times"):
        cf.split(timeless, by="time")
    for bad in (0, 1, -0.1, 1.5, "0.1", None, float("nan")):
        with pytest.raises(cf.BadParameter, match="holdout is"):
            cf.split(ratings, holdout=bad)
    with pytest.raises(cf.BadParameter, match="by is"):
        cf.split(ratings, by="item")
    with pytest.raises(cf.BadParameter, match="none to learn from"):
        cf.split(timeless.select(np.array([0])))
    at_once = Ratings.from_positions(
        IdMap([1]),
        IdMap([1, 2]),
        np.zeros(2, np.int32),
        np.array([0, 1], np.int32),
        np.ones(2, np.float32),
        np.array([5, 5]),
    )
    with pytest.raises(cf.BadParameter, match="none to learn from"):
        cf.split(at_once, by="time")
