"""Ratings: both groupings hold the same, duplicates go by time, nothing can be changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.ratings import Ratings
from tests.conftest import make_ratings

rows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(1, 10), st.integers(0, 4)),
    min_size=1,
    max_size=60,
)


def table(triples, with_times: bool) -> Ratings:
    users, items, values, times = (np.array(column) for column in zip(*triples))
    user_ids, users = IdMap.encode(users)
    item_ids, items = IdMap.encode(items)
    return Ratings.from_positions(
        user_ids, item_ids, users, items, values.astype(np.float32) / 2, times if with_times else None
    )


@given(rows, st.booleans())
def test_against_a_dictionary(triples, with_times):
    """The latest time wins, else the last row."""
    kept: dict[tuple[int, int], tuple[float, int]] = {}
    for user, item, value, time in triples:
        if not with_times or (user, item) not in kept or time >= kept[user, item][1]:
            kept[user, item] = (value / 2, time)
    ratings = table(triples, with_times)
    got = {(row["user"], row["item"]): row for row in ratings.to_arrow().to_pylist()}
    assert {pair: row["rating"] for pair, row in got.items()} == {
        pair: value for pair, (value, _) in kept.items()
    }
    if with_times:
        assert {pair: row["timestamp"] for pair, row in got.items()} == {p: t for p, (_, t) in kept.items()}
    assert ratings.duplicates == len(triples) - len(kept)
    assert len(ratings) == len(kept)
    by_item = {
        (ratings.user_ids.id(u), ratings.item_ids.id(j)): float(v)
        for j in range(ratings.n_items)
        for u, v in zip(*ratings.by_item.row(j))
    }
    assert by_item == {pair: row["rating"] for pair, row in got.items()}
    for side in (ratings.by_user, ratings.by_item):
        assert side.indptr.dtype == np.int64
        assert side.counts.min() >= 1
        assert all((np.diff(side.row(i)[0]) > 0).all() for i in range(len(side)))


@given(rows, st.randoms())
def test_the_order_of_rows_does_not_matter(triples, random):
    unique = list({(u, i): (u, i, v, t) for u, i, v, t in triples}.values())
    shuffled = unique.copy()
    random.shuffle(shuffled)
    assert table(unique, True).to_arrow().equals(table(shuffled, True).to_arrow())


def test_nothing_can_be_changed(ratings):
    for array in (ratings.values, ratings.by_item.indices, ratings.by_user.indptr, ratings.times):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        ratings.scale = (0, 1)


def test_select_and_take(ratings):
    some = np.arange(0, len(ratings), 3)
    part = ratings.select(some)
    assert part.to_arrow().equals(ratings.to_arrow().take(some))
    mask = np.zeros(len(ratings), bool)
    mask[some] = True
    assert ratings.select(mask).to_arrow().equals(part.to_arrow())
    order = np.array([5, 0, 5])
    taken = ratings.by_user.take(order)
    for place, row in enumerate(order):
        for got, want in zip(taken.row(place), ratings.by_user.row(row)):
            assert_array_equal(got, want)


def test_in_numbers():
    ratings = make_ratings(users=10, items=5, density=1)
    assert (len(ratings), ratings.n_users, ratings.n_items, ratings.density) == (50, 10, 5, 1.0)
    assert repr(ratings) == "Ratings(50 ratings, 10 users, 5 items)"
    with pytest.raises(cf.BadRatings, match="not one rating"):
        ratings.select(np.zeros(50, bool))
