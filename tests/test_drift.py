"""Taste that drifts: the Gaussian filter, what is learnt, moments, and the equation of the network."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.models.drift import TasteDrift
from cofactor.models.drifting.dynamics import DRIFTS, Dynamics, Gap, moved, network_shapes, solve, spread
from cofactor.ratings import Ratings
from tests.conftest import make_ratings
from tests.contract import check_model
from tests.test_walking import crowded

DAY = 86_400


def small(**given) -> TasteDrift:
    return TasteDrift(**{"rank": 2, "epochs": 2, "truncate": 8, "threads": 1, "items": "als", **given})


@pytest.fixture(scope="module")
def table() -> Ratings:
    return make_ratings(seed=1)


@pytest.mark.parametrize("drift", ["two-scale", "neural"])
def test_contract(drift: str) -> None:
    check_model(lambda: small(drift=drift))


# -- the filter ------------------------------------------------------------------------------------


def test_without_drift_it_is_the_fold_in_of_als(table) -> None:
    """A = Q = 0, g = 0, and the prior that λ stands for."""
    how = {"rank": 3, "reg": 0.9, "reg_exponent": 0.0, "sweeps": 6}
    still = small(drift="none", epochs=0, **how).fit(table)
    als = cf.ALS(**how).fit(table)
    assert_allclose(still.predict(table.users, table.items), als.predict(table.users, table.items), atol=1e-4)
    new = make_ratings(seed=8)
    new = cf.read_ratings(
        new.to_arrow().set_column(0, "user", pa.array(new.users.to_numpy() + 1000)), scale=(1, 5)
    )
    assert_allclose(
        still.fold_in(new).predict(new.users, new.items),
        als.fold_in(new).predict(new.users, new.items),
        atol=1e-4,
    )
    train, test = crowded()
    test = test.select(train.item_ids.positions(test.items, "item") >= 0)
    still, als = small(drift="none", epochs=0, **how).fit(train), cf.ALS(**how).fit(train)
    assert_allclose(still.walk(test), als.walk(test), atol=1e-4)


def dynamics_with(drift: str, d: int = 3, seed: int = 0) -> Dynamics:
    random = np.random.default_rng(seed)
    network = {name: random.normal(0, 0.5, shape) for name, shape in network_shapes(drift, d, 4).items()}
    rates, diffusion, prior = (random.uniform(0.05, 0.5, d) for _ in range(3))
    if drift in ("none", "forgetting", "linear"):
        prior[0] = diffusion[0] = 0.0
    return Dynamics(rates, diffusion, prior, random.normal(0, 0.1, d), np.array(0.5), np.array(1.0), network)


def a_gap(days) -> Gap:
    days = np.atleast_1d(np.asarray(days, float))
    return Gap(days, days >= 1, days, np.full(len(days), 3.0), np.full(len(days), 15_000.0))


def test_the_linear_part_is_exact() -> None:
    """Many small Euler steps of dm/dt and dS/dt come to the same."""
    dynamics = dynamics_with("two-scale")
    rng = np.random.default_rng(1)
    m, root = rng.normal(size=3), rng.normal(size=(3, 3))
    S = root @ root.T
    found_S, transition = spread(np, "two-scale", dynamics, S[None], a_gap(7.0))
    found_m = dynamics.mean + moved(np, transition, m[None] - dynamics.mean)
    A, n = np.diag(dynamics.rates), 200_000
    h = 7.0 / n
    for _ in range(n):
        m = m - h * A @ (m - dynamics.mean)
        S = S + h * (-A @ S - S @ A + np.diag(dynamics.diffusion))
    assert_allclose(found_m[0], m, rtol=1e-4)
    assert_allclose(found_S[0], S, rtol=1e-4)


@pytest.mark.parametrize("drift", ["none", "bins", "linear", "two-scale", "forgetting"])
def test_two_gaps_are_one(drift: str) -> None:
    dynamics = dynamics_with(drift)
    dynamics = dynamics._replace(rates=np.full(3, 0.1)) if drift == "forgetting" else dynamics
    S = np.diag(dynamics.prior)[None] * 0.5
    whole, turn = spread(np, drift, dynamics, S, a_gap(10.0))
    half, first = spread(np, drift, dynamics, S, a_gap(4.0))
    half, second = spread(np, drift, dynamics, half, a_gap(6.0))
    assert_allclose(half, whole, rtol=1e-8, atol=1e-12)
    x = np.array([[0.0, 0.3, -0.2]])
    assert_allclose(moved(np, second, moved(np, first, x)), moved(np, turn, x), rtol=1e-8, atol=1e-12)


def test_forgetting_is_the_ridge_regression_with_fading_weights() -> None:
    rng = np.random.default_rng(2)
    d = dynamics_with("forgetting")
    d = d._replace(rates=np.full(3, 0.2), mean=np.zeros(3))
    h, r, days = rng.normal(size=(6, 2)), rng.normal(size=6), np.array([0.0, 1, 0, 3, 0.5, 2])
    m, S = np.zeros((1, 3)), np.diag(d.prior)[None]
    for k in range(6):
        S, turn = spread(np, "forgetting", d, S, a_gap(days[k]))
        m = moved(np, turn, m)
        z = np.concatenate([[0.0], h[k]])
        gain = S[0] @ z / (z @ S[0] @ z + d.noise)
        m, S = m + gain * (r[k] - z @ m[0]), S - np.outer(gain, z @ S[0])[None]
    weight = np.exp(-0.2 * (days.sum() - np.cumsum(days)))
    system = np.diag(1 / d.prior[1:]) + (h.T * weight) @ h / d.noise
    assert_allclose(m[0, 1:], np.linalg.solve(system, h.T @ (weight * r) / d.noise), rtol=1e-8)


@pytest.mark.parametrize("drift", DRIFTS)
def test_nothing_goes_wrong_in_any_gap(drift: str) -> None:
    """Ten years, a second, nothing at all; S stays a covariance."""
    dynamics = dynamics_with(drift)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for stiff in (1.0, 1e3):
            fast = dynamics._replace(rates=dynamics.rates * stiff)
            gap = a_gap([0.0, 1 / DAY, 1.0, 3653.0, 1e6])
            start = np.repeat(np.diag(dynamics.prior)[None] * 0.7, 5, axis=0)
            S, _ = spread(np, drift, fast, start, gap)
            assert np.isfinite(S).all()
            assert (np.linalg.eigvalsh(S) > -1e-12).all()
            if drift == "neural":
                n = solve(fast, np.ones((5, 3)), gap, "heun", 4)
                assert np.isfinite(n).all()
                assert_allclose(n[0], 1)  # no time, no drift


def test_the_state_is_walked_as_it_is_folded() -> None:
    """Walking along test ratings is folding them in, second after second, and asking for the next second."""
    train, test = crowded()
    known = train.item_ids.positions(test.items, "item") >= 0
    test = test.select(known)
    model = small(drift="two-scale").fit(train)
    found, now = model.walk(test), {}
    for user in range(test.n_users):
        mine = np.flatnonzero(test.user_positions == user)
        now = model
        for moment in np.unique(test.times[mine]):
            places = mine[test.times[mine] == moment]
            part = test.select(places)
            assert_allclose(found[places], now.predict(part.users, part.items, at=int(moment)), atol=2e-5)
            now = now.fold_in(part)


def test_the_order_of_rows_and_of_users_changes_nothing(table) -> None:
    model = small(drift="two-scale", epochs=0).fit(table)
    shuffled = np.random.default_rng(0).permutation(len(table))
    again = cf.read_ratings(table.to_arrow().take(pa.array(shuffled)), scale=(1, 5))
    other = small(drift="two-scale", epochs=0).fit(again)
    assert_array_equal(other.predict(table.users, table.items), model.predict(table.users, table.items))


def drifting_users(seed: int = 0) -> Ratings:
    """Users whose level goes up and down within weeks, around items known to all."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(150):
        level, before = rng.normal(0, 0.7), 0.0
        for day in np.sort(rng.uniform(0, 300, 30)):
            keep = np.exp(-(day - before) / 15)
            level, before = keep * level + rng.normal(0, 0.7 * np.sqrt(1 - keep**2)), day
            item = int(rng.integers(0, 40))
            rows.append(
                (user, item, 3 + (item - 20) / 20 + level + rng.normal(0, 0.3), int(1.4e9 + day * DAY))
            )
    users, items, values, times = zip(*rows)
    columns = {"user": users, "item": items, "rating": np.clip(values, 1, 5), "timestamp": times}
    return cf.read_ratings(pa.table(columns), scale=(1, 5))


def test_planted_drift_is_found() -> None:
    train, test = cf.split(drifting_users(), 0.3, by="time")
    still = small(drift="none", epochs=15).fit(train)
    model = small(drift="linear", epochs=40, items="als").fit(train)
    errors = [cf.evaluate(one, test, update=True, bootstrap=0).rmse for one in (still, model)]
    assert errors[1] < 0.9 * errors[0]
    assert 6 < 1 / model.dynamics_.rates[1] < 40  # planted: 15 days
    assert model.objective_[-1] < model.objective_[0]


# -- moments ---------------------------------------------------------------------------------------


def test_a_user_forgotten_for_long_is_like_any_other(table) -> None:
    model = small(drift="linear", epochs=0).fit(table)
    user, item = model.user_ids_.id(3), "i001"
    nobody = model.predict([10**9], [item])[0]
    soon, late = model.predict([user] * 2, [item] * 2, at=[model.present_, model.present_ + 60 * 365 * DAY])
    assert abs(late - nobody) < 0.1 * abs(soon - nobody)


def test_a_moment_in_the_past_knows_what_was_known_then(table) -> None:
    model = small(epochs=0).fit(table)
    at = int(np.median(table.times))
    then = table.select(table.times <= at)
    items = then.item_ids.array.to_pylist()
    for place in (0, 5, 9):
        user = table.user_ids.id(place)
        view = model.predict([user] * len(items), items, at=at)
        own = [
            (i, v, t) for u, i, v, t in zip(*(c.to_pylist() for c in then.to_arrow().columns)) if u == user
        ]
        one = {"user": [0] * len(own), "item": [i for i, _, _ in own], "rating": [v for _, v, _ in own]}
        one["timestamp"] = [t for _, _, t in own]
        new = cf.read_ratings(pa.table(one), scale=(1, 5))
        again = model.fold_in(new).predict([0] * len(items), items, at=at)
        assert_allclose(view, again, atol=1e-5)
    before = model.predict([table.user_ids.id(0)], ["i001"], at=0)
    assert before == model.predict([10**9], ["i001"])


def test_a_moment_may_be_given_in_many_ways(table) -> None:
    model = small(epochs=0).fit(table)
    user, when = model.user_ids_.id(3), 1_600_000_000
    asked = [when, float(when), np.int64(when), "2020-09-13T12:26:40", "2020-09-13T14:26:40+02:00"]
    asked += [datetime(2020, 9, 13, 12, 26, 40), datetime.fromtimestamp(when, UTC), np.datetime64(when, "s")]
    found = {float(model.predict([user], ["i001"], at=at)[0]) for at in asked}
    assert len(found) == 1
    both = model.predict([user] * 2, ["i001"] * 2, at=np.array([when, when + 10**8]))
    assert both[0] in found
    assert both[1] not in found
    assert dict(model.recommend(user, n=100, exclude_seen=False, at=when))["i001"] == pytest.approx(
        found.pop(), abs=1e-5
    )
    for bad, match in (
        (when * 1000, "milliseconds"),
        ("yesterday", "not a moment"),
        (float("nan"), "not a moment"),
        (True, "not a moment"),
        ([when] * 3, "3 moments for 1"),
        (np.datetime64("NaT"), "NaT"),
        ([None], "not a moment"),
    ):
        with pytest.raises(cf.BadParameter, match=match):
            model.predict([user], ["i001"], at=bad)


def with_times(table: Ratings, times) -> Ratings:
    columns = table.user_positions, table.by_user.indices, table.values
    return Ratings.from_positions(table.user_ids, table.item_ids, *columns, times, (1.0, 5.0))


def test_times_that_cannot_be_are_refused(table) -> None:
    with pytest.raises(cf.BadParameter, match=r"needs the times.*timestamp="):
        small().fit(with_times(table, None))
    with pytest.raises(cf.BadParameter, match=r"milliseconds. Divide the column by 1000"):
        small().fit(with_times(table, table.times * 1000))
    model = small(epochs=0).fit(table)
    with pytest.raises(cf.BadParameter, match="fold_in needs the times"):
        model.fold_in(with_times(table, None))
    with pytest.raises(cf.BadParameter, match=r"needs the times|milliseconds"):
        model.walk(with_times(table, table.times * 1000))


@pytest.mark.parametrize("drift", DRIFTS)
def test_odd_times_are_no_trouble(table, drift: str) -> None:
    """All in one second; the very beginning of time; ten years between."""
    for times in (
        np.full(len(table), 1_400_000_000),
        np.arange(len(table)) - 300,
        np.arange(len(table)) % 7 * 315_360_000,
    ):
        model = small(drift=drift, epochs=0).fit(with_times(table, times.astype(np.int64)))
        assert np.isfinite(model.predict(table.users, table.items)).all()
        assert np.isfinite(model.predict(table.users, table.items, at=10**10)).all()


def test_ratings_of_an_own_time_count_then(table) -> None:
    model = small(drift="linear", epochs=0).fit(table)
    long_ago = {
        "user": [1] * 3,
        "item": ["i001", "i002", "i003"],
        "rating": [5.0] * 3,
        "timestamp": [10**9] * 3,
    }
    old = cf.read_ratings(pa.table(long_ago), scale=(1, 5))
    now = dict(zip(long_ago["item"], long_ago["rating"]))
    scores = [model.recommend(ratings=given, n=1)[0].score for given in (now, old)]
    assert scores[0] > scores[1]


def test_the_drift_of_a_user_widens_and_jumps(table) -> None:
    model = small(epochs=0).fit(table)
    user = model.user_ids_.id(3)
    found = model.drift_of(user, points=50)
    assert (np.diff(found.times) > 0).all()
    assert set(found.rated) <= set(found.times)
    assert found.mean.shape == found.std.shape == (len(found.times), 4)
    for moment in found.rated[1:4]:
        at = int(np.flatnonzero(found.times == moment)[0])
        assert found.bias_std[at] < found.bias_std[at - 1]  # a second before: surer by a rating
    with pytest.raises(cf.UnknownUser):
        model.drift_of(10**9)
    with pytest.raises(cf.BadParameter, match="later end"):
        model.drift_of(user, start=1_500_000_000, end=1_400_000_000)


def test_the_drift_of_a_user_is_drawn(table, tmp_path) -> None:
    found = small(epochs=0).fit(table).drift_of(table.user_ids.id(3), points=30)
    found.picture().save(tmp_path / "drift.svg")
    root = ElementTree.fromstring((tmp_path / "drift.svg").read_text("utf-8"))
    assert f"{len(found.rated)} moments" in root.attrib["aria-label"]
    assert {"level", "a rating"} <= {part.text for part in root.iter("{http://www.w3.org/2000/svg}text")}


# -- the network -----------------------------------------------------------------------------------


def test_gradients_agree() -> None:
    pytest.importorskip("diffrax")
    import jax

    from cofactor.models.drifting.checks import gradients

    with jax.enable_x64(True):
        checkpoint, backsolve, differences = gradients(steps=64)
    scale = np.abs(checkpoint).max()
    assert_allclose(backsolve / scale, checkpoint / scale, atol=1e-4)
    assert_allclose(checkpoint / scale, differences / scale, atol=1e-3)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_solvers_converge_as_their_theory_says(solver: str, order: int) -> None:
    pytest.importorskip("diffrax")
    import jax

    from cofactor.models.drifting.checks import order_of

    with jax.enable_x64(True):
        assert order_of(solver) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_diffrax_and_numpy_take_the_same_steps(solver: str) -> None:
    pytest.importorskip("diffrax")
    import jax
    import jax.numpy as jnp

    from cofactor.models.drifting import ode
    from cofactor.models.drifting.checks import example

    dynamics, m, gap = example()
    with jax.enable_x64(True):
        found = ode.solve(dynamics, jnp.asarray(m), gap, solver, 3, "checkpoint")
        assert_allclose(np.asarray(found), solve(dynamics, m, gap, solver, 3), rtol=1e-9)


@pytest.mark.parametrize("drift", ["neural", "gru"])
def test_what_is_learnt_is_what_predicts(table, drift: str) -> None:
    """The loss of the learner, by JAX in pieces, is that of the filter that answers, in NumPy."""
    pytest.importorskip("diffrax")
    from cofactor.models.drifting.learning import Learner, batches
    from cofactor.models.drifting.parameters import dynamics_of, first_parameters
    from cofactor.models.drifting.sequences import Sequences, States, follow

    model = small(drift=drift, epochs=0).fit(table)
    raw = first_parameters(model._items, drift, 2, 16, 0)
    random = np.random.default_rng(0)
    raw |= {name: random.normal(0, 0.3, np.shape(raw[name])) for name in ("w2", "b2")}
    own = table.by_user
    sequences = Sequences.of(own.indptr, own.indices, own.values, table.times)
    every = np.ones(len(table), bool)
    learner = Learner(model._rules, 2, "checkpoint", 0.1, raw, 1, raw)
    found = learner.loss(batches(model._items, sequences, model._rules, every, 8))
    dynamics = dynamics_of(np, raw, drift, 2)
    states, total = States.new(dynamics, table.n_users), 0.0
    for step in follow(dynamics, model._rules, model._items, sequences, states):
        total += float((np.log(step.variance) + step.surprise**2 / step.variance).sum()) / 2
    assert found == pytest.approx(total / len(table), rel=1e-4)


def test_both_adjoints_give_the_learner_the_same_slope(table) -> None:
    pytest.importorskip("diffrax")
    from cofactor.models.drifting import learning
    from cofactor.models.drifting.parameters import first_parameters
    from cofactor.models.drifting.sequences import Sequences

    model = small(drift="neural", epochs=0, steps=16).fit(table)
    raw = first_parameters(model._items, "neural", 2, 16, 0)
    raw["w2"] = np.random.default_rng(0).normal(0, 0.3, np.shape(raw["w2"]))
    own = table.by_user
    sequences = Sequences.of(own.indptr, own.indices, own.values, table.times)
    piece = learning.batches(model._items, sequences, model._rules, np.ones(len(table), bool), 4)[0][0]
    slopes = []
    for adjoint in ("checkpoint", "backsolve"):
        slope = learning._compiled(model._rules, 2, adjoint)[1]
        (loss, _), found = slope({k: np.asarray(v, np.float32) for k, v in raw.items()}, None, piece)
        slopes.append(np.concatenate([np.ravel(found[name]) for name in sorted(found)]) / loss)
    assert np.linalg.norm(slopes[0] - slopes[1]) < 5e-3 * np.linalg.norm(
        slopes[0]
    )  # by the step of the solver


def test_a_network_that_begins_at_zero_changes_nothing(table) -> None:
    still, zero = (small(drift=drift, epochs=0).fit(table) for drift in ("two-scale", "neural"))
    assert_allclose(
        still.predict(table.users, table.items), zero.predict(table.users, table.items), rtol=1e-6
    )


def test_networks_to_be_compared_have_as_many_numbers() -> None:
    for d in (4, 18):
        sizes = [
            sum(int(np.prod(s)) for s in network_shapes(drift, d, 16).values()) for drift in ("neural", "gru")
        ]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


# -- the rest --------------------------------------------------------------------------------------


def test_items_from_draws(table) -> None:
    """The covariance of ratings between items is the mean of that of the draws."""
    from cofactor.models.drifting.items import of_bayes

    model = cf.BayesianMF(rank=2, burn_in=5, samples=4).fit(table)
    items = of_bayes(model, 8)
    wanted = np.zeros((40, 40))
    for s, (users, _) in enumerate(model._unpacked_priors()):
        V = model.item_factors_[:, 2 * s : 2 * s + 2].astype(float) * 4
        wanted += V @ np.linalg.inv(users.factor @ users.factor.T) @ V.T / 4
    assert_allclose(items.factors @ items.factors.T, wanted, atol=1e-5)
    fewer = of_bayes(model, 1)
    assert (fewer.unsure >= items.unsure - 1e-9).all()
    turned = items._replace(
        factors=items.factors @ np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    )
    assert_allclose(turned.turned_to(items).factors, items.factors, atol=1e-8)


@pytest.mark.parametrize("drift", ["two-scale", "neural", "gru"])
def test_it_is_stored_whole(table, drift: str, tmp_path) -> None:
    model = small(drift=drift, epochs=0 if drift == "gru" else 1).fit(table)
    cf.save(model, tmp_path / "m")
    again = cf.load(tmp_path / "m")
    later = model.present_ + 30 * DAY
    for at in (None, later, int(np.median(table.times))):
        assert_array_equal(
            again.predict(table.users, table.items, at=at), model.predict(table.users, table.items, at=at)
        )
    new = make_ratings(seed=3)
    assert_array_equal(again.walk(new), model.walk(new))


BROKEN = {
    "a rate below zero": lambda a, f: a["rates"].__setitem__(1, -1.0),
    "noise of zero": lambda a, f: a["noise"].__setitem__(0, 0.0),
    "a prior of zero": lambda a, f: a["prior_variance"].__setitem__(2, 0.0),
    "a variance below zero": lambda a, f: a["user_covariance"].__setitem__((0, 1, 1), -1.0),
    "times in milliseconds": lambda a, f: a["ratings_times"].__imul__(1000),
    "a present before its ratings": lambda a, f: f.__setitem__("present", 5),
    "no present": lambda a, f: f.pop("present"),
    "a present of no number": lambda a, f: f.__setitem__("present", "now"),
    "a bias of no number": lambda a, f: f.__setitem__("new_item_bias", float("nan")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_is_refused(table, name: str) -> None:
    model = small(epochs=0).fit(table)
    arrays, facts = model.state()
    arrays = {key: np.array(array) for key, array in arrays.items()}
    BROKEN[name](arrays, facts)
    with pytest.raises(cf.BadModel):
        small(epochs=0).restore(model.user_ids_, model.item_ids_, arrays, facts)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("drift", "wild"),
        ("items", "sgd"),
        ("window", 0),
        ("window", 1),
        ("session", -1),
        ("epochs", 1.5),
        ("steps", 0),
        ("solver", "rk9"),
        ("adjoint", "none"),
        ("truncate", 0),
        ("gaps", "false"),
        ("rank", 1000),
    ],
)
def test_parameters_out_of_range(table, name: str, value) -> None:
    with pytest.raises(cf.BadParameter, match=name):
        small(**{name: value}).fit(table)


def test_without_the_extra_all_but_learning_works(table, tmp_path) -> None:
    cf.save(small(epochs=1).fit(table), tmp_path / "m")
    program = f"""
import sys
for name in ("jax", "diffrax", "equinox", "optax"):
    sys.modules[name] = None
import cofactor as cf
model = cf.load({str(tmp_path / "m")!r})
print(len(model.recommend(model.user_ids_.id(0), n=3, at="2030-01-01")))
ratings = cf.load_demo()
try:
    cf.TasteDrift(rank=2).fit(ratings)
except cf.NotSupported as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("3\n")
    assert "pip install 'cofactor[ode]'" in done.stdout
