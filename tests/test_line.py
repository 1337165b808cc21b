"""LineBaseline: a line a user, and answers that are known beforehand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.ratings import Ratings
from tests.conftest import make_ratings
from tests.contract import check_model


def planted(noise: float = 0.0) -> tuple[Ratings, np.ndarray, np.ndarray, np.ndarray]:
    """Every user rates most items along a line of their own."""
    rng = np.random.default_rng(3)
    level, slope = rng.normal(3, 0.5, 80), rng.normal(1, 0.4, 80)
    slope /= slope.mean()
    consensus = rng.normal(0, 0.7, 50)
    consensus -= consensus.mean()
    users, items = np.nonzero(rng.random((80, 50)) < 0.8)
    values = level[users] + slope[users] * consensus[items] + rng.normal(0, noise, len(users)) * (noise > 0)
    user_ids, user_at = IdMap.encode(users)
    item_ids, item_at = IdMap.encode(items)
    made = Ratings.from_positions(user_ids, item_ids, user_at, item_at, values.astype(np.float32))
    return made, level, slope, consensus


def test_contract():
    check_model(cf.LineBaseline)


def test_a_planted_line_is_found():
    ratings, level, slope, consensus = planted()
    model = cf.LineBaseline(reg=1e-6, sweeps=200, tol=0).fit(ratings)
    predicted = model.level_[:, None] + model.slope_[:, None] * model.item_bias_
    assert_allclose(predicted, level[:, None] + slope[:, None] * consensus, atol=1e-3)
    assert_allclose(model.predict(ratings.users, ratings.items), ratings.values, atol=1e-3)
    assert np.corrcoef(model.slope_, slope)[0, 1] > 0.9999


def test_the_objective_never_rises_and_is_what_it_says():
    ratings, *_ = planted(noise=0.5)
    model = cf.LineBaseline(reg=2.0, reg_exponent=0.3, sweeps=30, tol=0).fit(ratings)
    assert (np.diff(model.objective_) <= 1e-9 * model.objective_[:-1]).all()
    users, items = ratings.user_positions, ratings.by_user.indices
    consensus = model.item_bias_
    error = ratings.values - model.level_[users] - model.slope_[users] * consensus[items]
    user_reg, item_reg = (2.0 * side.counts**0.3 for side in (ratings.by_user, ratings.by_item))
    lines = (model.level_ - model.mean_) ** 2 + (model.slope_ - 1) ** 2
    expected = np.sum(error**2) + user_reg @ lines + item_reg @ consensus**2
    assert model.objective_[-1] == pytest.approx(expected, rel=1e-9)


def test_each_half_is_an_exact_minimizer():
    """At the end no small step of any one coefficient makes J smaller."""
    ratings, *_ = planted(noise=0.5)
    model = cf.LineBaseline(reg=1.0, sweeps=2000, tol=0).fit(ratings)
    users, items = ratings.user_positions, ratings.by_user.indices

    def objective(level, slope, consensus):
        error = ratings.values - level[users] - slope[users] * consensus[items]
        return np.sum(error**2) + np.sum((level - model.mean_) ** 2 + (slope - 1) ** 2) + np.sum(consensus**2)

    parts = [model.level_, model.slope_, model.item_bias_]
    least = objective(*parts)
    for which, at in ((0, 3), (0, 70), (1, 3), (1, 41), (2, 7), (2, 49)):
        for step in (-1e-3, 1e-3):
            moved = [part.copy() for part in parts]
            moved[which][at] += step
            assert objective(*moved) > least


def test_with_much_regularization_it_is_baseline_with_slopes_of_one():
    ratings = make_ratings()
    line = cf.LineBaseline(reg=1e9).fit(ratings)
    assert_allclose(line.slope_, 1, atol=1e-5)
    assert_allclose(line.level_, line.mean_, atol=1e-5)


def test_a_user_of_one_rating_is_near_the_consensus():
    ratings, *_ = planted(noise=0.3)
    model = cf.LineBaseline().fit(ratings)
    one = model.fold_in(
        Ratings.from_positions(
            *(IdMap.encode([x])[0] for x in (999, 4)), *np.zeros((2, 1), np.int32), np.ones(1, "f4")
        )
    )
    at = one.user_ids_.position(999)
    assert abs(one.slope_[at] - 1) < abs(one.level_[at] - one.mean_)


def test_ratings_all_alike_are_predicted():
    users, items = np.divmod(np.arange(20), 5)
    user_ids, user_at = IdMap.encode(users)
    item_ids, item_at = IdMap.encode(items)
    alike = Ratings.from_positions(user_ids, item_ids, user_at, item_at, np.full(20, 3.0, np.float32))
    model = cf.LineBaseline().fit(alike)
    assert_allclose(model.predict(users, items), 3)
    assert_array_equal(model.slope_, 1)


def test_bad_parameters():
    ratings = make_ratings()
    with pytest.raises(cf.BadParameter, match="reg is 0"):
        cf.LineBaseline(reg=0).fit(ratings)
    user_ids, users = IdMap.encode([1, 1, 2])
    item_ids, items = IdMap.encode(["a", "b", "a"])
    one_of_two = Ratings.from_positions(user_ids, item_ids, users, items, np.array([1, 5, 3], np.float32))
    with pytest.raises(cf.SingularSystem, match="larger reg"):
        cf.LineBaseline(reg=1e-300).fit(one_of_two)
