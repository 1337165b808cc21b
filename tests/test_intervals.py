"""How sure ALS says it is: against the hat matrix, and against ratings that were held out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

import cofactor as cf
from cofactor.models.solved import RowSystems, Spectrum, mean_square, vectors
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
def test_a_users_own_system_is_the_hat_matrix(biases) -> None:
    ratings = make_ratings()
    model = cf.ALS(rank=3, reg=0.7, biases=biases).fit(ratings)
    rows, reg = ratings.by_user, model.row_reg(ratings.by_user.counts)
    systems = RowSystems(rows, model.item_factors_, biases is not None, reg, 1.0)
    for i in range(len(rows)):
        places, _ = rows.row(i)
        z = vectors(model.item_factors_, places, biases is not None)
        inverse = np.linalg.inv(z.T @ z + reg[i] * np.eye(z.shape[1]))
        hat = np.diag(z @ inverse @ z.T)
        assert_allclose(systems.inverse(i), inverse, rtol=1e-8, atol=1e-12)
        assert_allclose(systems.variances(np.full(len(places), i, np.int32), places), hat, rtol=1e-8)


def test_rows_of_usual_ratings_are_told_by_their_number() -> None:
    """Exactly, where every row has the same; about, where rows are drawn alike."""
    rng = np.random.default_rng(0)
    z, lam = np.column_stack([rng.normal(size=(50, 3)) @ np.diag([1, 2, 0.3]), np.ones(50)]), 0.8
    spectrum, n, reg = Spectrum(z.T @ z / 50), np.full(4, 50), np.full(4, lam)
    inverse = np.linalg.inv(z.T @ z + lam * np.eye(4))
    assert_allclose(spectrum.variances(z[:4], n, reg), np.einsum("ij,jk,ik->i", z[:4], inverse, z[:4]))
    assert spectrum.spent(n, reg) == pytest.approx(4 * np.trace(z @ inverse @ z.T))
    ratings = make_ratings(users=300, items=60)
    model = cf.ALS(rank=3).fit(ratings)
    reg = model.row_reg(ratings.by_user.counts)
    told = Spectrum(mean_square(model.item_factors_, ratings.by_item.counts, True))
    exact = 0.0
    for i in range(300):
        z = vectors(model.item_factors_, ratings.by_user.row(i)[0], True)
        exact += np.trace(z @ np.linalg.inv(z.T @ z + reg[i] * np.eye(4)) @ z.T)
    assert told.spent(ratings.by_user.counts, reg) == pytest.approx(exact, rel=0.05)


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


def test_nearly_all(fitted: cf.ALS, planted) -> None:
    _, test = planted
    for share in (1e-300, 1 - 2**-53):
        assert np.isfinite(fitted.predict(test.users, test.items, interval=share)).all()


def test_only_one_of_both(fitted: cf.ALS) -> None:
    with pytest.raises(cf.BadParameter, match="either"):
        fitted.predict([], [], return_std=True, interval=0.9)


def test_items_alone_remember_how_sure_they_were(fitted: cf.ALS, planted) -> None:
    train, _ = planted
    alone = fitted.only_items(train.by_user.take(np.arange(12)))
    names, items = train.user_ids.array.to_pylist()[:12], train.item_ids.array.to_pylist()[:12]
    _, there = alone.predict([f"{k:02}" for k in range(12)], items, return_std=True)
    assert_allclose(there, fitted.predict(names, items, return_std=True)[1], rtol=1e-5)
    nobody = fitted.only_items()
    _, wide = nobody.predict(["0"], items[:1], return_std=True)
    assert wide[0] > there.max()


def test_items_without_ratings_cannot_tell(fitted: cf.ALS) -> None:
    arrays, facts = fitted.only_items().state()
    bare = cf.ALS(rank=4).restore(
        fitted.only_items().user_ids_,
        fitted.item_ids_,
        arrays,
        {"mean": facts["mean"], "scale": facts["scale"]},
    )
    with pytest.raises(cf.NotSupported, match="fold_in"):
        bare.predict(["0"], ["i001"], return_std=True)


@pytest.fixture(scope="module", params=["ALS", "BayesianMF"])
def sure(request, planted):
    model = cf.ALS(rank=4) if request.param == "ALS" else cf.BayesianMF(rank=4, burn_in=10, samples=40)
    return model.fit(planted[0])


def listed(found: cf.Recommendations) -> dict:
    return dict(zip(found.items.to_pylist(), found.scores))


def test_optimism_and_caution_are_so_many_deviations_of_the_prediction(sure, planted) -> None:
    train, _ = planted
    user, names = train.user_ids.id(7), train.item_ids.array.to_pylist()
    mean, std = sure.predict([user] * len(names), names, return_std=True)
    spread = np.sqrt(std.astype(np.float64) ** 2 - sure.noise_variance())
    for strategy, width in (("ucb", 1.0), ("ucb", 2.5), ("lcb", 0.5), ("ucb", 0.0)):
        found = sure.recommend(user, n=len(names), exclude_seen=False, strategy=strategy, width=width)
        scores = listed(found)
        sign = 1 if strategy == "ucb" else -1
        assert_allclose([scores[name] for name in names], mean + sign * width * spread, atol=2e-3)
        assert (np.diff(found.scores) <= 0).all()


def test_drawn_lists_are_spread_as_the_user_may_be(sure, planted) -> None:
    train, _ = planted
    user, names = train.user_ids.id(7), train.item_ids.array.to_pylist()
    runs = [
        listed(sure.recommend(user, len(names), exclude_seen=False, strategy="thompson", seed=seed))
        for seed in range(200)
    ]
    scores = np.array([[run[name] for name in names] for run in runs])
    mean, std = sure.predict([user] * len(names), names, return_std=True)
    spread = np.sqrt(std.astype(np.float64) ** 2 - sure.noise_variance())
    assert np.abs(scores.mean(axis=0) - mean).max() < 5 * scores.std(axis=0).max() / np.sqrt(200)
    # ALS draws the user alone, and leaves the items as they are
    assert 0.5 * spread.mean() < scores.std(axis=0).mean() < 1.1 * spread.mean()
    again = listed(sure.recommend(user, len(names), exclude_seen=False, strategy="thompson", seed=3))
    assert again == runs[3] != runs[4]
    one, other = (listed(sure.recommend(user, strategy="thompson")) for _ in range(2))
    assert one != other


@pytest.mark.parametrize("strategy", ["ucb", "lcb", "thompson"])
def test_explored_lists_keep_to_what_may_be_listed(sure, planted, strategy: str) -> None:
    train, _ = planted
    users, names = train.user_ids.array.to_pylist()[:3], train.item_ids.array.to_pylist()
    found = sure.recommend(users, n=5, exclude=names[:50], among=names[:90], strategy=strategy, seed=1)
    for place, user in enumerate(users):
        mine = found.for_user(user).items.to_pylist()
        assert len(mine) == 5
        assert set(mine) <= set(names[50:90])
        seen = train.item_ids.ids(train.by_user.row(place)[0])
        assert not set(mine) & set(seen)


def test_somebody_new_is_explored_as_somebody_folded_in(sure, planted) -> None:
    train, _ = planted
    own = {train.item_ids.id(k): float(1 + k % 5) for k in range(0, 60, 3)}
    table = {"user": ["new"] * len(own), "item": list(own), "rating": list(own.values())}
    folded = sure.only_items().fold_in(cf.read_ratings(pa.table(table), scale=(1, 5)))
    for strategy in ("ucb", "lcb", "thompson"):
        a = sure.recommend(ratings=own, strategy=strategy, seed=2)
        b = folded.recommend("new", strategy=strategy, seed=2)
        assert a.items.to_pylist() == b.items.to_pylist()
        assert_allclose(a.scores, b.scores, atol=1e-5)


def test_strategies_that_are_none(sure) -> None:
    user = sure.user_ids_.id(0)
    for given in ({"strategy": "greedy"}, {"strategy": "ucb", "width": -1}, {"strategy": "ucb", "seed": -1}):
        with pytest.raises(cf.BadParameter, match=r"strategy|width|seed"):
            sure.recommend(user, **given)


@pytest.mark.parametrize("model", [cf.ALS(rank=3), cf.BayesianMF(rank=3, burn_in=5, samples=8)])
def test_items_named_by_text_are_as_sure_in_their_new_order(model) -> None:
    """9 comes before 10, but "10" before "9"."""
    rng = np.random.default_rng(0)
    known = rng.random((50, 30)) < 0.4
    ids = cf.ids.IdMap(np.arange(50)), cf.ids.IdMap(np.arange(30))
    at = [a.astype(np.int32) for a in np.nonzero(known)]
    values = rng.integers(1, 6, len(at[0])).astype(np.float32)
    model.fit(Ratings.from_positions(*ids, *at, values, None, (1.0, 5.0)))
    own = {3: 5.0, 9: 1.0, 10: 4.0, 21: 2.0}
    found = []
    for items, name in ((model, int), (model.only_items().with_text_items(), str)):
        table = {"user": ["new"] * 4, "item": [name(k) for k in own], "rating": [*own.values()]}
        one = items.only_items().fold_in(cf.read_ratings(pa.table(table), scale=(1, 5)))
        found.append(one.predict(["new"] * 30, [name(k) for k in range(30)], return_std=True))
    for a, b in zip(*found):
        assert_allclose(a, b, rtol=1e-5)
