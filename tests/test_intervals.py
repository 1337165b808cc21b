"""How sure ALS says it is: against the hat matrix, and against ratings that were held out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import cofactor as cf
from cofactor.models.intervals import row_systems
from cofactor.ratings import Ratings
from tests.conftest import make_ratings


@pytest.fixture(scope="module")
def planted() -> tuple[Ratings, Ratings]:
    ratings = make_ratings(seed=2, users=400, items=200, density=0.2, rank=3, noise=0.5)
    return cf.split(ratings, holdout=0.2, warn=False)


@pytest.fixture(scope="module")
def fitted(planted) -> cf.ALS:
    return cf.ALS(rank=4, reg=1.0).fit(planted[0])


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.95])
def test_intervals_cover_what_they_say(fitted: cf.ALS, planted, share: float) -> None:
    _, test = planted
    middle, low, high = fitted.predict(test.users, test.items, interval=share)
    assert ((low < middle) & (middle < high)).all()
    assert np.mean((low <= test.values) & (test.values <= high)) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("biases", ["joint", None])
def test_what_was_spent_is_the_trace_of_the_hat_matrix(biases) -> None:
    ratings = make_ratings()
    model = cf.ALS(rank=3, reg=0.7, biases=biases).fit(ratings)
    of_users, of_items = row_systems(model, biases is not None)
    for systems, rows, fixed in (
        (of_users, ratings.by_user, model.item_factors_),
        (of_items, ratings.by_item, model.user_factors_),
    ):
        total = 0.0
        for i in range(len(rows)):
            places, _ = rows.row(i)
            z = fixed[places].astype(np.float64)
            if biases is not None:
                z = np.column_stack([z, np.ones(len(z))])
            inverse = np.linalg.inv(z.T @ z + systems.reg[i] * np.eye(z.shape[1]))
            assert_allclose(systems.inverse(i), inverse, rtol=1e-8, atol=1e-12)
            total += np.trace(z @ inverse @ z.T)
            assert_allclose(
                systems.variances(np.full(len(places), i, np.int32), places),
                np.diag(z @ inverse @ z.T),
                rtol=1e-8,
            )
        assert systems.spent() == pytest.approx(total)


def test_deviations_do_not_depend_on_what_else_is_asked(fitted: cf.ALS, planted) -> None:
    _, test = planted
    users, items = test.users.to_pylist()[:50], test.items.to_pylist()[:50]
    _, together = fitted.predict(users, items, return_std=True)
    alone = [fitted.predict([u], [i], return_std=True)[1][0] for u, i in zip(users, items)]
    assert_allclose(together, alone, rtol=1e-6)
    order = np.random.default_rng(0).permutation(50)
    _, shuffled = fitted.predict([users[k] for k in order], [items[k] for k in order], return_std=True)
    assert_allclose(shuffled, together[order], rtol=1e-6)


def test_ratings_of_twice_the_size_are_twice_as_uncertain(planted) -> None:
    train, _ = planted
    twice = Ratings.from_positions(
        train.user_ids, train.item_ids, train.user_positions, train.by_user.indices, 2 * train.values
    )
    users, items = train.users.to_pylist()[:20], train.items.to_pylist()[:20]
    _, one = (
        cf.ALS(rank=3, reg=1, reg_exponent=0, sweeps=60, seed=1)
        .fit(train)
        .predict(users, items, return_std=True)
    )
    # factors grow by √2 each, so λ doubles with them; a bias is as large as a rating
    _, two = (
        cf.ALS(rank=3, reg=2, reg_exponent=0, sweeps=60, seed=1)
        .fit(twice)
        .predict(users, items, return_std=True)
    )
    assert_allclose(two, 2 * one, rtol=0.05)


def test_it_agrees_with_the_posterior(fitted: cf.ALS, planted) -> None:
    train, test = planted
    posterior = cf.BayesianMF(rank=4, burn_in=20, samples=60).fit(train)
    _, ours = fitted.predict(test.users, test.items, return_std=True)
    _, theirs = posterior.predict(test.users, test.items, return_std=True)
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.1)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.5


def test_who_is_not_known_is_predicted_less_surely(fitted: cf.ALS, planted) -> None:
    train, _ = planted
    users, item = train.user_ids.array.to_pylist(), train.item_ids.id(0)
    _, known = fitted.predict(users, [item] * len(users), return_std=True)
    _, unknown = fitted.predict([10**9, users[0], 10**9], [item, "never", "never"], return_std=True)
    assert unknown[0] > known.max()
    assert unknown[2] > unknown[0]
    counts = train.by_user.counts
    assert known[counts <= np.quantile(counts, 0.1)].mean() > known[counts >= np.quantile(counts, 0.9)].mean()


def test_clipped_ends_stay_on_the_scale(fitted: cf.ALS, planted) -> None:
    _, test = planted
    middle, low, high = fitted.predict(test.users, test.items, interval=0.99, clip=True)
    for ends in (middle, low, high):
        assert ends.min() >= 1
        assert ends.max() <= 5


def test_extremes() -> None:
    for model in (cf.ALS(rank=1), cf.ALS(rank=1, reg=0, biases=None), cf.ALS(rank=1, biases="sequential")):
        ratings = make_ratings(users=5, items=4, density=1.0)
        _, std = model.fit(ratings).predict(ratings.users, ratings.items, return_std=True)
        assert np.isfinite(std).all()
        assert (std > 0).all()
        other = make_ratings(seed=3, users=30, items=20)
        assert model.fit(other).predict([], [], return_std=True)[1].shape == (0,)


@pytest.mark.parametrize("interval", [0, 1, -0.5, 2, True, "0.9"])
def test_intervals_that_are_none(fitted: cf.ALS, interval) -> None:
    with pytest.raises(cf.BadParameter, match="interval is"):
        fitted.predict([], [], interval=interval)


def test_only_one_of_both(fitted: cf.ALS) -> None:
    with pytest.raises(cf.BadParameter, match="either"):
        fitted.predict([], [], return_std=True, interval=0.9)


def test_items_alone_cannot_tell(fitted: cf.ALS) -> None:
    with pytest.raises(cf.NotSupported, match="fold_in"):
        fitted.only_items().predict(["0"], ["i001"], return_std=True)
