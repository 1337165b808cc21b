"""SGD: the contract, its kernel beside the slow twin, and what is known of descent beforehand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor import kernels
from cofactor.ids import IdMap
from cofactor.kernels import reference
from cofactor.models import descent
from cofactor.ratings import Ratings
from tests.conftest import make_ratings
from tests.contract import check_model


@pytest.fixture(scope="module")
def table() -> Ratings:
    return make_ratings(seed=4, users=150, items=90, density=0.4, rank=3, noise=0.3)


def scaled(ratings: Ratings, by: float, plus: float = 0.0) -> Ratings:
    return Ratings.from_positions(
        ratings.user_ids,
        ratings.item_ids,
        ratings.user_positions,
        ratings.by_user.indices,
        by * ratings.values + np.float32(plus),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_contract(dtype):
    check_model(lambda: cf.SGD(rank=4, sweeps=6, dtype=dtype))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("blocks", [1, 3, 5])
@pytest.mark.parametrize(
    ("multiple", "shrink"), [(1, 0.9), (2, 0.9), (3, 0.9), (4, 0.9), (5, 0.9), (2, 1e-6)]
)
def test_the_kernel_takes_the_steps_of_its_twin(multiple, shrink, dtype, tolerance, blocks):
    """Each way to hold a row, and so much regularization that a row is all but gone after a few ratings."""
    rng = np.random.default_rng(blocks)
    users, items, n, rank = 20, 15, 300, multiple * kernels.DESCENT_MULTIPLE
    user, item = rng.integers(0, users, n).astype(np.int32), rng.integers(0, items, n).astype(np.int32)
    part = (user % blocks) * blocks + item % blocks
    starts, order = kernels.group(part.astype(np.int32), blocks**2)
    fixed = [user[order], item[order], rng.normal(size=n).astype(dtype), starts]
    fixed += [rng.permutation(blocks).astype(np.int32)]
    fixed += [rng.uniform(shrink, 1, rows).astype(dtype) for rows in (users, items, users, items)]
    moved = [
        rng.normal(0, 0.3, shape).astype(dtype) for shape in ((users, rank), users, (items, rank), items)
    ]
    expected = [array.astype(np.float64) for array in moved]
    error = reference.descend(*fixed, 0.05, *expected)
    for threads in (1, 2, 7):
        found = [array.copy() for array in moved]
        assert kernels.descend(*fixed, 0.05, *found, threads=threads) == pytest.approx(error, rel=tolerance)
        for mine, its in zip(found, expected):
            assert_allclose(mine, its, rtol=tolerance, atol=tolerance)


def test_zeros_begin_with_a_cache_line():
    for dtype in ("float32", "float64"):
        zeros = kernels.aligned_zeros(3, 5, dtype)
        assert zeros.shape == (3, 5)
        assert zeros.dtype == dtype
        assert zeros.ctypes.data % 64 == 0
        assert not zeros.any()
    assert kernels.aligned_zeros(0, 32, "float32").shape == (0, 32)


def test_a_step_is_down_the_gradient():
    """One small step on one rating changes each row by −η/2 of the finite difference of its share of J."""
    rng = np.random.default_rng(0)
    rank, rate, lam = kernels.DESCENT_MULTIPLE, 1e-6, 0.3
    parts = [
        rng.normal(0, 0.5, (1, rank)),
        rng.normal(size=1),
        rng.normal(0, 0.5, (1, rank)),
        rng.normal(size=1),
    ]

    def share(u, b, v, c):
        error = 0.7 - b[0] - c[0] - u[0] @ v[0]
        return error**2 + lam * (u[0] @ u[0] + b[0] ** 2 + v[0] @ v[0] + c[0] ** 2)

    moved = [part.copy() for part in parts]
    zero, shrink = np.zeros(1, np.int32), np.full(1, 1 / (1 + rate * lam))
    starts = np.array([0, 1])
    kernels.descend(zero, zero, np.array([0.7]), starts, zero, shrink, shrink, shrink, shrink, rate, *moved)
    for which, at in ((0, (0, 3)), (0, (0, 31)), (1, 0), (2, (0, 0)), (3, 0)):
        up, down = ([p.copy() for p in parts] for _ in range(2))
        up[which][at] += 1e-6
        down[which][at] -= 1e-6
        slope = (share(*up) - share(*down)) / 2e-6
        assert moved[which][at] - parts[which][at] == pytest.approx(-rate / 2 * slope, rel=1e-4)


def test_the_same_for_any_number_of_threads(table, monkeypatch):
    monkeypatch.setattr(descent, "_PART", 50)  # so that there are many blocks
    models = [cf.SGD(rank=5, sweeps=4, threads=threads).fit(table) for threads in (1, 2, 3, 8)]
    assert descent._Blocks(table, np.random.default_rng(0), "float32").blocks == 11
    for model in models[1:]:
        assert_array_equal(model.user_factors_, models[0].user_factors_)
        assert_array_equal(model.item_bias_, models[0].item_bias_)
        assert_array_equal(model.objective_, models[0].objective_)


def test_blocks_share_out_every_rating_once(table, monkeypatch):
    monkeypatch.setattr(descent, "_PART", 50)
    blocks = descent._Blocks(table, np.random.default_rng(0), "float64")
    rows = np.lexsort((blocks.items, blocks.users))
    assert_array_equal(blocks.users[rows], table.user_positions)
    assert_array_equal(blocks.items[rows], table.by_user.indices)
    assert_allclose(blocks.values[rows] * blocks.spread + blocks.mean, table.values, rtol=1e-6)
    part = np.repeat(np.arange(blocks.blocks**2), np.diff(blocks.starts))
    for ids, block in ((blocks.users, part // blocks.blocks), (blocks.items, part % blocks.blocks)):
        assert all(len(np.unique(block[ids == one])) == 1 for one in np.unique(ids))
        sizes = np.bincount(block, minlength=blocks.blocks)
        assert sizes.max() < 2 * sizes.mean()


def test_many_sweeps_come_near_the_minimum(table):
    """J of ALS is the least there is, but for other local minima."""
    least = cf.ALS(rank=3, reg=1.0, reg_exponent=0.5, sweeps=300, dtype="float64").fit(table).objective_[-1]
    slow = cf.SGD(rank=3, reg=1.0, reg_exponent=0.5, sweeps=600, rate=0.03, dtype="float64").fit(table)
    assert least * 0.99999 < slow.objective_[-1] < least * 1.001
    assert slow.objective_[-1] < slow.objective_[100] < slow.objective_[0]


def test_the_objective_is_that_of_als(table):
    """With next to no step, what was met on the way is what stands at the end."""
    model = cf.SGD(rank=3, reg=0.7, reg_exponent=0.3, sweeps=3, rate=1e-9, dtype="float64").fit(table)
    expected = reference.objective(
        table.user_positions,
        table.by_user.indices,
        table.values,
        model.user_factors_,
        model.user_bias_,
        model.item_factors_,
        model.item_bias_,
        model.mean_,
        0.7 * table.by_user.counts**0.3,
        0.7 * table.by_item.counts**0.3,
    )
    assert model.objective_[-1] == pytest.approx(expected, rel=1e-6)


def test_it_predicts_better_than_baseline(table):
    train, test = cf.split(table, 0.2, warn=False)
    errors = [
        cf.rmse(test.values, model.fit(train).predict(test.users, test.items, clip=True))
        for model in (cf.SGD(rank=8, sweeps=60), cf.Baseline())
    ]
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize(("by", "plus"), [(2.0, 0.0), (1 / 64, 0.0), (1.0, 8.0), (-1.0, 0.0)])
def test_a_rate_suits_ratings_of_any_size(table, by, plus):
    """Scaled ratings with a λ scaled alike (that of biases goes with 1) are predicted scaled."""
    plain = cf.SGD(rank=4, reg=0.0, sweeps=8, dtype="float64").fit(table)
    other = cf.SGD(rank=4, reg=0.0, sweeps=8, dtype="float64").fit(scaled(table, by, plus))
    expected = by * plain.predict(table.users, table.items) + plus
    if by > 0:  # factors start positive: turned round, another descent begins
        assert_allclose(other.predict(table.users, table.items), expected, rtol=2e-5, atol=2e-5 * by)
    assert np.isfinite(other.objective_).all()


def test_users_in_another_order_are_the_same_users(table):
    """Names do not matter, only the order of ids does: the same order, the same model."""
    renamed = Ratings.from_positions(
        IdMap.encode(np.arange(table.n_users) * 7 + 10**6)[0],
        table.item_ids,
        table.user_positions,
        table.by_user.indices,
        table.values,
    )
    first, second = (cf.SGD(rank=4, sweeps=3).fit(ratings) for ratings in (table, renamed))
    assert_array_equal(first.user_factors_, second.user_factors_)


def test_another_seed_is_another_start(table):
    models = [cf.SGD(rank=4, sweeps=3, seed=seed).fit(table) for seed in (0, 1)]
    first, second = (model.predict(table.users, table.items) for model in models)
    assert not np.array_equal(first, second)
    assert_allclose(first, second, atol=1.5)


def test_too_high_a_rate_is_halved(table):
    high = cf.SGD(rank=40, rate=1.0, sweeps=30, reg=0.0).fit(table)
    assert high.rate_ < 1.0
    assert np.isfinite(high.predict(table.users, table.items)).all()
    assert high.objective_[-1] < high.objective_[0]
    assert len(high.objective_) == 30
    mild = cf.SGD(rank=4, rate=0.05).fit(table)
    assert mild.rate_ == 0.05


def test_much_regularization_leaves_the_mean(table):
    model = cf.SGD(rank=3, reg=1e12).fit(table)
    assert_allclose(model.predict(table.users, table.items), table.values.mean(dtype=np.float64), atol=1e-3)


def test_ratings_all_alike_are_predicted():
    users, items = np.divmod(np.arange(60), 6)
    (user_ids, user_at), (item_ids, item_at) = IdMap.encode(users), IdMap.encode(items)
    alike = Ratings.from_positions(user_ids, item_ids, user_at, item_at, np.full(60, 4.0, np.float32))
    assert_allclose(cf.SGD(rank=2, sweeps=100, reg=1.0).fit(alike).predict(users, items), 4, atol=0.1)


def test_it_survives_storage(table, tmp_path):
    model = cf.SGD(rank=3, sweeps=3).fit(table)
    cf.save(model, tmp_path / "model")
    again = cf.load(tmp_path / "model")
    assert_array_equal(again.predict(table.users, table.items), model.predict(table.users, table.items))
    assert again.get_params() == model.get_params()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"rank": 91}, "more than the 90 items"),
        ({"rate": 0}, "rate is 0"),
        ({"rate": 1.5}, r"rate is 1\.5"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": -0.1}, "rate is -0.1"),
        ({"reg": -1}, "reg is -1"),
        ({"reg": float("inf")}, "reg is inf"),
        ({"sweeps": 0}, "sweeps is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_bad_parameters(table, params, match):
    with pytest.raises(cf.BadParameter, match=match):
        cf.SGD(**params).fit(table)


def test_the_kernel_checks_what_it_is_given():
    def call(**changes):
        one = np.zeros(1, np.int32)
        given = {
            "users": one,
            "items": one,
            "values": np.ones(1),
            "starts": np.array([0, 1]),
            "rounds": one,
            **{f"{side}{kind}_shrink": np.ones(1) for side in ("user", "item") for kind in ("", "_bias")},
            "rate": 0.1,
            "user_factors": np.zeros((1, kernels.DESCENT_MULTIPLE)),
            "user_bias": np.zeros(1),
            "item_factors": np.zeros((1, kernels.DESCENT_MULTIPLE)),
            "item_bias": np.zeros(1),
        }
        return kernels.descend(**{**given, **changes})

    assert call() == 1.0
    for changes in (
        {"users": np.ones(1, np.int32)},
        {"items": -np.ones(1, np.int32)},
        {"values": np.ones(2)},
        {"starts": np.array([0, 2])},
        {"starts": np.array([0, 1, 1])},
        {"rounds": np.ones(1, np.int32)},
        {"user_factors": np.zeros((1, 3)), "item_factors": np.zeros((1, 3))},
        {"user_bias": np.zeros(2)},
        {"item_bias": np.zeros(1, np.float32)},
    ):
        with pytest.raises(ValueError):
            call(**changes)
