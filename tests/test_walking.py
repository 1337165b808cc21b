"""Test ratings told to a model one by one: what each prediction may know, and what it may not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.models.walking import by_round, rounds
from cofactor.ratings import Ratings
from tests.conftest import make_ratings

MODELS = {
    "ALS": lambda: cf.ALS(rank=3, reg=0.8, sweeps=4, dtype="float64"),
    "sequential": lambda: cf.ALS(rank=3, reg=0.8, sweeps=4, biases="sequential", dtype="float64"),
    "Baseline": lambda: cf.Baseline(),
    "BayesianMF": lambda: cf.BayesianMF(rank=2, burn_in=3, samples=4),
}


def crowded(seed: int = 4) -> tuple[Ratings, Ratings]:
    """By time, with many ratings in one second, and users and items that train lacks."""
    all_of_them = make_ratings(seed=seed, users=30, items=25)
    times = (all_of_them.times // 4_000_000) * 4_000_000
    ratings = Ratings.from_positions(
        all_of_them.user_ids,
        all_of_them.item_ids,
        all_of_them.user_positions,
        all_of_them.by_user.indices,
        all_of_them.values,
        times,
        (1.0, 5.0),
    )
    train, test = cf.split(ratings, 0.4, by="time")
    few = train.select((train.user_positions > 3) & (train.by_user.indices != 2))
    return few, test


def slowly(model: cf.Model, test: Ratings) -> np.ndarray:
    """The same with public methods alone, one second of one user after the other."""
    found = np.empty(len(test))
    for user in range(test.n_users):
        mine = np.flatnonzero(test.user_positions == user)
        now = model
        for moment in np.unique(test.times[mine]):
            places = mine[test.times[mine] == moment]
            part = test.select(places)
            found[places] = now.predict(part.users, part.items)
            known = model.item_ids_.positions(part.items, "item") >= 0
            if known.any():
                now = now.fold_in(part.select(known))
    return found


@pytest.mark.parametrize("name", MODELS)
def test_each_rating_is_predicted_from_those_before_it(name: str) -> None:
    train, test = crowded()
    model = MODELS[name]().fit(train)
    before = model.predict(test.users, test.items)
    assert_allclose(model.walk(test), slowly(model, test), rtol=2e-5)
    assert_array_equal(model.predict(test.users, test.items), before)  # it has not changed


def test_nothing_of_a_second_is_known_within_it() -> None:
    """Other values of the ratings at a user's k-th second change no prediction up to it, and some behind it."""
    train, test = crowded()
    model = MODELS["ALS"]().fit(train)
    found = model.walk(test)
    number = rounds(test)
    assert number.max() > 2
    for k in (0, 2):
        values = np.where(number == k, 6 - test.values, test.values).astype(np.float32)
        other = Ratings.from_positions(
            test.user_ids,
            test.item_ids,
            test.user_positions,
            test.by_user.indices,
            values,
            test.times,
            (1.0, 5.0),
        )
        changed = model.walk(other)
        assert_array_equal(changed[number <= k], found[number <= k])
        assert not np.array_equal(changed[number > k], found[number > k])


def test_rounds_are_the_seconds_of_a_user_in_order() -> None:
    _, test = crowded()
    found = rounds(test)
    for user in range(test.n_users):
        mine = test.user_positions == user
        assert_array_equal(found[mine], np.unique(test.times[mine], return_inverse=True)[1])
    assert_array_equal(np.sort(np.concatenate([*by_round(test)])), np.arange(len(test)))


def test_a_pair_that_was_learnt_counts_until_it_is_rated_again() -> None:
    train, _ = crowded()
    model = MODELS["ALS"]().fit(train)
    again = Ratings.from_positions(
        train.user_ids,
        train.item_ids,
        train.user_positions,
        train.by_user.indices,
        (6 - train.values).astype(np.float32),
        train.times,
        (1.0, 5.0),
    )
    assert_allclose(model.walk(again), slowly(model, again), rtol=1e-6)


def test_evaluate_walks() -> None:
    train, test = crowded()
    model = MODELS["ALS"]().fit(train)
    found = cf.evaluate(model, test, update=True, bootstrap=50)
    assert found.rmse == pytest.approx(cf.rmse(test.values, np.clip(model.walk(test), 1, 5)))
    assert set(found.metrics) == {"rmse", "mae"}
    assert found.rmse != cf.evaluate(model, test, metrics=["rmse"]).rmse
    gaps = [part for name, part in found.strata.items() if "gap" in name or "day" in name or "first" in name]
    assert sum(part.n for part in gaps) == len(test)
    assert found.strata["first rating"].n == sum(
        (rounds(test) == 0) & (model.user_ids_.positions(test.users, "user") < 0)
    )
    assert "28 days or more" in str(found)


def test_what_cannot_be_walked_is_refused() -> None:
    train, test = crowded()
    model = MODELS["ALS"]().fit(train)
    timeless = Ratings.from_positions(
        test.user_ids, test.item_ids, test.user_positions, test.by_user.indices, test.values, None, (1.0, 5.0)
    )
    with pytest.raises(cf.BadParameter, match=r"have none. Read them with timestamp="):
        cf.evaluate(model, timeless, update=True)
    with pytest.raises(cf.BadParameter, match=r"rmse and mae alone.*Leave ndcg out"):
        cf.evaluate(model, test, update=True, metrics=["rmse", "ndcg"])
    with pytest.raises(cf.BadParameter, match="update is 'yes'"):
        cf.evaluate(model, test, update="yes")  # type: ignore[arg-type]
    for other in (cf.CosineNeighbours(), cf.Popular()):
        with pytest.raises(cf.NotSupported, match=r"cannot be told|no rmse"):
            cf.evaluate(other.fit(train), test, update=True, metrics=["rmse"])
    with pytest.raises(cf.NotFitted):
        cf.ALS().walk(test)
