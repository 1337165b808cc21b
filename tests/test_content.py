"""Factors from content: the contract, one rule for known and new items, and what content is worth."""

from __future__ import annotations

import copy

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.features import Features
from cofactor.ids import IdMap
from cofactor.models.collective import CollectiveALS
from cofactor.models.factors import solve_around
from cofactor.models.ridge import Ridge
from cofactor.ratings import Ratings
from tests.conftest import make_ratings
from tests.contract import check_model


def small(**given) -> cf.ContentMap:
    return cf.ContentMap(**{"rank": 3, "sweeps": 8, **given})


def random_features(ids: IdMap, columns: int = 4, seed: int = 0) -> Features:
    return Features.of_arrays(ids.array, np.random.default_rng(seed).normal(size=(len(ids), columns)))


def test_contract_without_features() -> None:
    check_model(small)


class WithFeatures(cf.ContentMap):
    """Fitted with features of whatever is rated."""

    def fit(self, ratings, **given):
        if isinstance(ratings, Ratings):
            given |= {
                "items": random_features(ratings.item_ids),
                "users": random_features(ratings.user_ids, 2, 1),
            }
        return super().fit(ratings, **given)


def test_contract_with_features() -> None:
    check_model(lambda: WithFeatures(rank=3, sweeps=8, refine=1))


def test_without_features_it_is_als(ratings) -> None:
    model, als = small().fit(ratings), cf.ALS(rank=3, sweeps=8).fit(ratings)
    assert_array_equal(model.user_factors_, als.user_factors_)
    assert_array_equal(model.item_bias_, als.item_bias_)
    assert set(model.source(ratings.item_ids.array)) == {"ratings"}


# -- data where content says much ------------------------------------------------------------------


def planted(seed: int = 0, users: int = 300, items: int = 200, noise: float = 0.4, users_too: bool = False):
    """Ratings whose item factors and biases are linear in five features, but for a little; and the features."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(items, 5)), rng.normal(size=(users, 3))
    theta = x @ rng.normal(0, 0.4, (5, 3)) + rng.normal(0, 0.15, (items, 3))
    u = np.column_stack([rng.normal(0, 1, (users, 2)), rng.normal(0, 0.4, users)])
    if users_too:
        u = y @ rng.normal(0, 0.5, (3, 3)) + 0.2 * u
    known = rng.random((users, items)) < 0.15
    known[np.arange(users), rng.integers(0, items, users)] = True
    known[rng.integers(0, users, items), np.arange(items)] = True
    at = [a.astype(np.int32) for a in np.nonzero(known)]
    scores = 3 + (u[:, 2:] + theta[:, 2] + u[:, :2] @ theta[:, :2].T)[known]
    values = (scores + rng.normal(0, noise, len(scores))).astype(np.float32)
    ratings = Ratings.from_positions(
        IdMap(np.arange(users)), IdMap(np.arange(items)), *at, values, scale=(-9, 15)
    )
    return (
        ratings,
        Features.of_arrays(range(items), x),
        Features.of_arrays(range(users), y),
    )


@pytest.fixture(scope="module")
def data():
    """Ratings of items below 160, held-out ratings of the others, and features of all."""
    ratings, items, _ = planted()
    new = ratings.by_user.indices >= 160
    return ratings.select(~new), ratings.select(new), items


@pytest.fixture(scope="module")
def model(data) -> cf.ContentMap:
    train, _, items = data
    return cf.ContentMap(rank=3, reg=1).fit(train, items=items)


def error(model: cf.Model, test: Ratings) -> float:
    return cf.rmse(test.values, model.predict(test.users, test.items))


def test_new_items_are_foretold(data, model) -> None:
    train, test, _ = data
    plain = cf.ALS(rank=3, reg=1).fit(train)
    assert error(model, test) < 0.55 * error(plain, test)
    assert error(model, test) < 1.4 * 0.4  # the noise is 0.4
    assert model.source([0, 199, 10**6]) == ["both", "content", "neither"]


def test_new_items_are_treated_as_any_other(data, model) -> None:
    _, test, _ = data
    user = test.user_ids.id(0)
    listed = model.recommend(user, n=10**6)
    assert set(range(160, 200)) <= {r.item for r in listed}
    assert {r.item for r in model.similar_items(199, n=500)} == set(range(199))
    why = model.explain(user, 199)
    assert why.mean + why.user + why.item + sum(p.part for p in why.parts) == pytest.approx(
        why.score, abs=1e-6
    )
    _, std = model.predict([user, user], [0, 199], return_std=True)
    assert std[1] > std[0]


def test_an_item_without_features_has_the_prior_of_als(data) -> None:
    train, _, items = data
    model = cf.ContentMap(rank=3).fit(train, items=items.select(range(10, 200)))
    assert model.source([0, 10, 170]) == ["ratings", "both", "content"]
    assert_array_equal(model.items_.prior[:10], 0)
    row = train.by_item.take([0])
    v, c, _ = solve_around(
        row, model.user_factors_, model.user_bias_, model.row_reg(row.counts), None, mean=model.mean_
    )
    # solved before the users were for the last time, so nearly
    assert_allclose(np.append(v, c), np.append(model.item_factors_[0], model.item_bias_[0]), atol=0.05)


def test_items_added_later_are_as_if_they_had_been_there(data) -> None:
    train, _, items = data
    early = cf.ContentMap(rank=3).fit(train, items=items.select(range(160)))
    late = early.add_items(items.select(range(160, 200)))
    both = cf.ContentMap(rank=3).fit(train, items=items)
    assert late.item_ids_ == both.item_ids_
    assert_allclose(late.item_factors_, both.item_factors_, atol=2e-5)
    assert len(early.item_ids_) == 160
    assert early.source([170]) == ["neither"]
    again = late.add_items(items.select([3, 170]))  # what is known already stays as it is, if its features do
    assert_allclose(again.item_factors_, late.item_factors_, atol=0.05)
    moved = late.add_items(Features.of_arrays([170], items.values[[3]]))
    assert_allclose(moved.items_.prior[170], late.items_.prior[3], rtol=1e-5)


def test_the_rule_is_the_posterior_around_what_content_says(data, model) -> None:
    """A folded item is the minimizer, to the letter."""
    _, test, _ = data
    first = test.select(np.arange(40))
    folded = model.fold_in_items(first)
    assert_array_equal(folded.user_factors_, model.user_factors_)
    for place, item in enumerate(first.item_ids.array.to_pylist()):
        at, values = first.by_item.row(place)
        users = model.user_ids_.positions(first.user_ids.array)[at]
        z = np.column_stack([model.user_factors_[users], np.ones(len(users))]).astype(float)
        t = values - model.mean_ - model.user_bias_[users].astype(float)
        reg = max(model.row_reg(np.array([len(at)]))[0], model.items_.least)
        m = model.items_.prior[item].astype(float)
        theta = np.linalg.solve(z.T @ z + reg * np.eye(4), z.T @ t + reg * m)
        found = np.append(folded.item_factors_[item], folded.item_bias_[item])
        assert_allclose(found, theta, atol=2e-5)
    others = np.setdiff1d(np.arange(200), first.item_ids.array.to_numpy())
    assert_array_equal(folded.item_factors_[others], model.item_factors_[others])


def test_from_content_to_ratings(data, model) -> None:
    """As ratings come, the combined rule is ahead of either alone; with many, content does not matter any more."""
    train, test, items = data
    rng = np.random.default_rng(0)
    plain = cf.ContentMap(rank=3).fit(train, items=items)
    plain.items_ = None  # the same users, but nothing draws towards content
    plain.item_factors_, plain.item_bias_ = (
        np.zeros_like(plain.item_factors_),
        np.zeros_like(plain.item_bias_),
    )
    order = rng.permutation(len(test))
    rank_in_item = np.empty(len(test), int)
    for item in np.unique(test.by_user.indices):
        mine = order[test.by_user.indices[order] == item]
        rank_in_item[mine] = np.arange(len(mine))
    later = test.select(rank_in_item >= 20)
    alone = error(model, later)
    both_before, weight_before = np.inf, 0.0
    for count in (1, 3, 10, 20):
        given = test.select(rank_in_item < count)
        both, rated = error(model.fold_in_items(given), later), error(plain.fold_in_items(given), later)
        assert both < min(alone, rated) + 0.003
        assert both < both_before + 0.003
        moved = model.fold_in_items(given).item_factors_[160:] - model.item_factors_[160:]
        assert np.linalg.norm(moved) > weight_before
        both_before, weight_before = both, float(np.linalg.norm(moved))


def test_users_with_features() -> None:
    ratings, items, users = planted(users_too=True)
    new = ratings.user_positions >= 250
    train, test = ratings.select(~new), ratings.select(new)
    model = cf.ContentMap(rank=3).fit(train, items=items, users=users)
    assert model.user_source([0, 299, 10**6]) == ["both", "content", "neither"]
    assert error(model, test) < 0.75 * error(cf.ContentMap(rank=3).fit(train, items=items), test)
    late = cf.ContentMap(rank=3).fit(train, items=items, users=users.select(range(250)))
    assert_allclose(
        late.add_users(users).predict(test.users, test.items),
        model.predict(test.users, test.items),
        atol=1e-3,
    )
    assert len(late.recommend(0)) == 10
    few = test.select(np.arange(100))
    folded = late.fold_in(few, users=users)
    assert folded.user_source([few.user_ids.id(0), 299]) == ["both", "content"]
    assert error(folded, few) < error(late.add_users(users), few)
    why = folded.explain(299, 3)
    assert why.score == pytest.approx(float(folded.predict([299], [3])[0]), abs=1e-5)
    assert why.parts == ()


def test_folding_items_in_twice_is_folding_them_in_at_once(data, model) -> None:
    _, test, _ = data
    half = np.arange(len(test)) % 2 == 0
    once = model.fold_in_items(test)
    twice = model.fold_in_items(test.select(half)).fold_in_items(test.select(~half))
    assert_allclose(once.item_factors_, twice.item_factors_, atol=1e-5)
    assert_array_equal(once.ratings_.indices, twice.ratings_.indices)
    mine = set(test.items.filter(pa.compute.equal(test.users, test.user_ids.id(0))).to_pylist())
    assert not mine & {r.item for r in once.recommend(test.user_ids.id(0), n=10**6)}


def test_ratings_by_unknown_users(data, model) -> None:
    def table(users, items):
        return cf.read_ratings({"user": users, "item": items, "rating": [3.0] * len(users)}, scale=(-9, 15))

    with pytest.warns(UserWarning, match="1 of 2 ratings are by users"):
        folded = model.fold_in_items(table([0, 10**6], [777, 777]))
    assert folded.source([777]) == ["ratings"]
    with pytest.raises(cf.UnknownUser, match="None of the 1 ratings"):
        model.fold_in_items(table([10**6], [777]))
    with pytest.raises(cf.BadParameter, match="integers"):
        model.fold_in_items(table([0], ["x"]))
    with pytest.raises(cf.BadParameter, match="takes Ratings"):
        model.fold_in_items("ratings.csv")


def test_saved_and_loaded(data, model, tmp_path) -> None:
    _, test, items = data
    cf.save(model, tmp_path / "m")
    again = cf.load(tmp_path / "m")
    assert_array_equal(again.predict(test.users, test.items), model.predict(test.users, test.items))
    fresh = Features.of_arrays([900], items.values[:1])
    assert_array_equal(again.add_items(fresh).items_.prior, model.add_items(fresh).items_.prior)
    assert again.source([0, 199]) == ["both", "content"]


def test_saved_with_the_columns_of_a_table(tmp_path) -> None:
    ratings, catalog = cf.load_demo(), cf.load_demo_catalog()
    ratings = ratings.select(ratings.by_user.indices < 2000)
    features = catalog.features("year", "genres")
    cf.save(cf.ContentMap(rank=4, sweeps=2).fit(ratings, items=features), tmp_path / "m")
    model = cf.load(tmp_path / "m")
    assert model.items_.columns == features.columns
    new = cf.read_catalog({"item": [10**6], "year": [1995], "genres": [["Drama"]]}).features(like=features)
    assert 10**6 in {r.item for r in model.add_items(new).recommend(1, n=10**5)}


# -- the line ----------------------------------------------------------------------------------------


def test_the_error_of_rows_left_out_is_that_of_fits_without_them() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(12, 5)), rng.uniform(0.5, 4, 12)
    t = x @ rng.normal(size=(5, 2)) + rng.normal(size=(12, 2))
    metric = rng.normal(size=(2, 2))
    ridge = Ridge(x, w)
    reg, share = ridge.choose(t, metric)

    def left_out(reg: float) -> float:
        total = 0.0
        for k in range(12):
            rest = np.arange(12) != k
            line = Ridge(x[rest], w[rest]).solve(t[rest], reg)
            total += w[k] * float(((t[k] - line(x[[k]])[0]) @ metric @ metric.T) @ (t[k] - line(x[[k]])[0]))
        return total

    assert share == pytest.approx(left_out(reg) / left_out(np.inf), rel=1e-8)
    assert all(left_out(reg) <= left_out(reg * step) for step in (0.3, 3))
    # and the line is the minimizer
    line = ridge.solve(t, 2.0)
    xc, tc = x - w @ x / w.sum(), t - w @ t / w.sum()
    assert_allclose(
        line.weights, np.linalg.solve(xc.T @ (w[:, None] * xc) + 2 * np.eye(5), xc.T @ (w[:, None] * tc))
    )


def test_content_that_says_nothing_is_left_alone() -> None:
    """With noise for features, λ grows until little is said, and nothing is lost."""
    ratings, _, _ = planted(1)
    train, test = cf.split(ratings, 0.2, warn=False)
    noise = random_features(train.item_ids, 30)
    with_noise = error(cf.ContentMap(rank=3).fit(train, items=noise), test)
    assert with_noise < 1.03 * error(cf.ALS(rank=3).fit(train), test)


def test_features_that_are_all_alike(ratings) -> None:
    same = Features.of_arrays(ratings.item_ids.array, np.ones((ratings.n_items, 3)))
    model = small().fit(ratings, items=same)
    assert np.isfinite(model.predict(ratings.users, ratings.items)).all()
    assert_allclose(model.items_.prior, np.tile(model.items_.prior[0], (ratings.n_items, 1)))


def test_more_columns_than_items_and_a_single_item(ratings) -> None:
    wide = random_features(ratings.item_ids, 500)
    assert np.isfinite(small().fit(ratings, items=wide).item_factors_).all()
    one = Features.of_arrays([ratings.item_ids.id(0), "new"], [[1.0], [2.0]])
    model = small().fit(ratings, items=one)
    assert_allclose(
        *model.items_.prior[model.item_ids_.positions(["new", ratings.item_ids.id(0)])], rtol=1e-6
    )


# -- features in the objective -----------------------------------------------------------------------


def collective(ratings: Ratings, features: Features, **given) -> CollectiveALS:
    settings = {
        "rank": 3,
        "reg": 1.0,
        "reg_exponent": 0.5,
        "sweeps": 12,
        "seed": 0,
        "dtype": "float64",
        "threads": 2,
    }
    return CollectiveALS(features=features, **{"weight": 1.0, **settings, **given}).fit(ratings)


@pytest.mark.parametrize("weight", [0.1, 1.0, 30.0])
def test_the_objective_with_features_never_rises_and_is_what_it_says(data, weight: float) -> None:
    train, _, items = data
    some = items.select(range(20, 200))  # not all items have features
    model = collective(train, some, weight=weight)
    J = model.objective_
    assert (np.diff(J) <= 1e-9 * J[0]).all()
    assert J[-1] < 0.9 * J[0]
    x = items.values[20:160].astype(float)
    x -= x.mean(axis=0)
    x *= np.sqrt(weight / (x**2).mean())
    theta = np.column_stack([model.item_factors_, model.item_bias_])
    residual = train.values - model.predict(train.users, train.items)
    told = x - theta[20:] @ model.feature_factors_.T
    total = (residual**2).sum() + (told**2).sum()
    regs = [model.row_reg(n) for n in (train.by_user.counts, train.by_item.counts, np.full(5, 140))]
    squares = (
        (model.user_factors_**2).sum(axis=1) + model.user_bias_**2,
        (theta**2).sum(axis=1),
        (model.feature_factors_**2).sum(axis=1),
    )
    total += sum((reg * square).sum() for reg, square in zip(regs, squares))
    assert total <= J[-1] * (1 + 1e-5)  # the users were solved once more
    assert total == pytest.approx(J[-1], rel=0.01)


def test_each_feature_and_item_is_a_minimizer(data) -> None:
    """With features that weigh nothing it is ALS; an item without features is solved as there."""
    train, _, items = data
    model = collective(train, items, weight=1e-9, sweeps=40)
    als = cf.ALS(rank=3, sweeps=40, dtype="float64", solver="cholesky").fit(train)
    assert model.objective_[-1] == pytest.approx(als.objective_[-1], rel=2e-3)


def test_collective_is_told_by_what_content_says_of_new_items(data) -> None:
    train, test, items = data
    model = cf.ContentMap(rank=3, collective=1.0).fit(train, items=items)
    assert error(model, test) < 0.55 * error(cf.ALS(rank=3, reg=1).fit(train), test)
    seen = []
    cf.ContentMap(rank=3, collective=1.0).fit(
        train, items=items, callback=lambda m, k, j: seen.append((k, j)) or k == 3
    )
    assert [k for k, _ in seen] == [1, 2, 3]
    with pytest.raises(cf.BadParameter, match="collective is above 0"):
        cf.ContentMap(rank=3, collective=1.0).fit(train)


# -- what is refused -----------------------------------------------------------------------------------


def test_features_that_do_not_fit(ratings, data, model) -> None:
    good = random_features(ratings.item_ids)
    for given, told in (
        ({"items": np.zeros((3, 2))}, "items are Features"),
        ({"users": [1]}, "users are Features"),
        ({"items": Features.of_arrays(["x", "y"], [[1], [2]])}, "None of the 2 items with features is rated"),
        ({"items": Features.of_arrays([1, 2], [[1], [2]])}, "string"),
    ):
        fresh = small()
        with pytest.raises(cf.BadParameter, match=told):
            fresh.fit(ratings, **given)
        assert not fresh.is_fitted
    with pytest.raises(cf.BadParameter, match="reg is 0"):
        small(reg=0).fit(ratings)
    with pytest.raises(cf.BadParameter, match=r"'conv2d' takes images"):
        small(encoder="conv2d").fit(ratings, items=good)
    with pytest.raises(cf.BadParameter, match="encoder is 'forest'"):
        small(encoder="forest").fit(ratings)
    with pytest.raises(cf.NotSupported, match="Give users= to fit"):
        model.add_users(random_features(IdMap([1, 2])))
    with pytest.raises(cf.BadParameter, match="of shape"):
        model.add_items(random_features(IdMap([900]), 7))
    with pytest.raises(cf.BadParameter, match="Give Features"):
        model.add_items([[1.0]])
    with pytest.raises(cf.NotSupported, match="no network"):
        model.filters_  # noqa: B018
    table = cf.read_catalog({"item": [900], "a": [1.0]})
    other = cf.read_catalog({"item": [0, 1], "a": [1.0, 2.0]}).features()
    by_table = cf.ContentMap(rank=2).fit(data[0], items=other)
    with pytest.raises(cf.BadParameter, match=r"other columns|of shape"):
        by_table.add_items(table.features())
    assert by_table.add_items(table.features(like=other)).source([900]) == ["content"]


def test_stored_content_that_cannot_be(model) -> None:
    arrays, facts = model.state()

    def refused(arrays, facts) -> None:
        with pytest.raises(cf.BadModel):
            cf.ContentMap(rank=3).restore(model.user_ids_, model.item_ids_, arrays, facts)

    for name in ("item_centre", "item_weights", "item_middle", "item_prior", "item_has"):
        refused({k: a for k, a in arrays.items() if k != name}, facts)
        refused({**arrays, name: arrays[name][:-1]}, facts)
        refused({**arrays, name: arrays[name].astype(np.complex64)}, facts)
    for name in ("item_weights", "item_prior"):
        spoilt = arrays[name].copy()
        spoilt[0, 0] = np.nan
        refused({**arrays, name: spoilt}, facts)
    refused({**arrays, "item_has": arrays["item_has"] + 1}, facts)
    for change in (
        {"shape": [4]}, {"shape": 5}, {"shape": []}, {"shape": [-5]}, {"shape": [5.0]}, {"shape": [1, 1, 1, 5]},
        {"columns": 3}, {"columns": [{}]}, {"columns": []},
        {"columns": [{"name": "x", "kind": "number", "known": [1.0]}]},
    ):  # fmt: skip
        refused(arrays, {**facts, "items": {**copy.deepcopy(facts["items"]), **change}})
    for broken in (3, [], "x", {}):
        refused(arrays, {**facts, "items": broken})
    refused(arrays, {k: v for k, v in facts.items() if k != "users"})


def test_the_same_for_any_number_of_threads() -> None:
    ratings = make_ratings()
    features = random_features(ratings.item_ids)
    one, three = (small(threads=t).fit(ratings, items=features) for t in (1, 3))
    assert_array_equal(one.item_factors_, three.item_factors_)
