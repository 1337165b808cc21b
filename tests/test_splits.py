"""Splits lose nothing, repeat by seed, and by time keep the future out of the past."""

from __future__ import annotations

import warnings
from dataclasses import replace

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


def without_times(ratings: Ratings) -> Ratings:
    return replace(ratings, times=None)


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


# -- by user -------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 50),
    holdout=st.floats(0.15, 0.9),
    last=st.none() | st.integers(1, 3),
    timed=st.booleans(),
)
def test_by_user_holds_out_the_last_of_each(seed, holdout, last, timed):
    ratings = make_ratings(seed, users=20, items=12)
    if not timed:
        ratings = without_times(ratings)
    train, test = cf.split(ratings, holdout, "user", seed, last)
    assert rows(train) | rows(test) == rows(ratings)
    assert len(train) + len(test) == len(ratings)
    assert train.user_ids == ratings.user_ids  # nobody is lost to test
    for user, count in zip(ratings.user_ids.ids(np.arange(20)), ratings.by_user.counts):
        mine = [row for row in rows(ratings) if row[0] == user]
        held = [row for row in rows(test) if row[0] == user]
        if last is None:
            assert len(held) == min(round(holdout * count), count - 1)
        else:
            assert len(held) == (last if count > last else 0)
        if timed:
            times = sorted(row[3] for row in mine)
            assert sorted(row[3] for row in held) == times[len(times) - len(held) :]
    assert rows(cf.split(ratings, holdout, "user", seed, last)[1]) == rows(test)


def test_by_user_without_times_is_drawn_by_seed(ratings):
    drawn = [rows(cf.split(without_times(ratings), by="user", seed=seed, last=1)[1]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    timed = [rows(cf.split(ratings, by="user", seed=seed, last=1)[1]) for seed in (0, 1)]
    assert timed[0] == timed[1]  # the last is the last


def test_what_cannot_be_split_by_user(ratings):
    for bad in (0, -1, 1.0, True, "1"):
        with pytest.raises(cf.BadParameter, match="last is"):
            cf.split(ratings, by="user", last=bad)
    with pytest.raises(cf.BadParameter, match='goes with by="user"'):
        cf.split(ratings, last=1)
    with pytest.raises(cf.BadParameter, match="No user has enough ratings to hold out the last 99"):
        cf.split(ratings, by="user", last=99)
    with pytest.raises(cf.BadParameter, match=r"No user has enough ratings to hold out 0\.1"):
        cf.split(ratings.select(ratings.user_positions == 0).select(np.arange(2)), by="user")
    for take in (cf.split, cf.folds):
        with pytest.raises(cf.BadParameter, match="takes Ratings, not list"):
            take([(1, 2, 3.0)])


# -- folds ---------------------------------------------------------------------------------------


@given(seed=st.integers(0, 50), k=st.integers(2, 9), by=st.sampled_from(["random", "user"]))
def test_every_rating_is_test_once(seed, k, by):
    ratings = make_ratings(seed, users=20, items=12)
    parts = cf.folds(ratings, k, by, seed)
    assert len(parts) == k
    assert sorted(row for _, test in parts for row in rows(test)) == sorted(rows(ratings))
    for train, test in parts:
        assert rows(train) | rows(test) == rows(ratings)
        assert len(train) + len(test) == len(ratings)
    sizes = [len(test) for _, test in parts]
    assert max(sizes) - min(sizes) <= 1
    if by == "user":
        shares = np.zeros((k, 20), int)
        for fold, (_, test) in enumerate(parts):
            shares[fold, ratings.user_ids.positions(test.user_ids.array)] = test.by_user.counts
        assert (np.ptp(shares, axis=0) <= 1).all()
    again = cf.folds(ratings, k, by, seed)
    assert [rows(test) for _, test in again] == [rows(test) for _, test in parts]
    assert [rows(test) for _, test in cf.folds(ratings, k, by, seed + 1)] != [rows(test) for _, test in parts]


def test_what_cannot_be_folded(ratings):
    for bad in (1, 0, 2.0, "5", None):
        with pytest.raises(cf.BadParameter, match="k is"):
            cf.folds(ratings, bad)
    few = ratings.select(np.arange(3))
    assert [len(test) for _, test in cf.folds(few, 3)] == [1, 1, 1]
    with pytest.raises(cf.BadParameter, match="4 folds of 3 ratings"):
        cf.folds(few, 4)
    with pytest.raises(cf.BadParameter, match="by is"):
        cf.folds(ratings, by="time")


# -- the future ----------------------------------------------------------------------------------


def test_a_split_that_leaks_the_future_says_so(ratings):
    for leak in (
        lambda **more: cf.split(ratings, **more),
        lambda **more: cf.split(ratings, by="user", last=1, **more),
        lambda **more: cf.folds(ratings, **more),
    ):
        with pytest.warns(cf.LeakWarning, match=r"of a rating in test, \d+% of those in train") as told:
            leak()
        assert len(told) == 1
        assert told[0].filename == __file__  # it points at the line that split
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            leak(warn=False)


def test_a_split_that_leaks_nothing_is_quiet(ratings):
    first = np.argsort(ratings.times)[: len(ratings) // 2]
    at_once = replace(ratings, times=np.full(len(ratings), 7))
    # Users who all began to rate together, and whose last rating is later than anybody's others.
    place = np.arange(len(ratings)) - ratings.by_user.indptr[ratings.user_positions]
    last = place == ratings.by_user.counts[ratings.user_positions] - 1
    in_step = replace(ratings, times=np.where(last, 1000, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cf.split(ratings, by="time")
        cf.split(ratings.select(first), by="time")
        cf.split(without_times(ratings))
        cf.split(at_once)
        cf.folds(at_once)
        cf.split(in_step, by="user", last=1)
