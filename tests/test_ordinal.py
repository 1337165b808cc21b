"""Ratings as steps of a scale: the kernels against SciPy, the sampler against its prior, shares against frequencies."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor import kernels
from cofactor.models import gibbs, ordinal
from cofactor.models.gibbs import Description
from cofactor.models.ordinal import OrdinalChain, OrdinalMF
from cofactor.ratings import Compressed, Ratings
from cofactor.serve.registry import open_model
from tests.conftest import make_ratings
from tests.contract import check_model
from tests.test_bayes import Stop, draw_side, quantities


def small(**given) -> OrdinalMF:
    return OrdinalMF(**{"rank": 3, "burn_in": 5, "samples": 8, **given})


def test_contract() -> None:
    check_model(small, step=0.5)


# -- kernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(-np.inf, -1), (-1, 0.5), (0.5, np.inf), (3, 3.001), (6, np.inf)])
@pytest.mark.parametrize("score", [0.0, -2.5, 30.0])
def test_latent_numbers_are_of_the_truncated_normal(low: float, high: float, score: float) -> None:
    uniform = np.linspace(0.001, 0.999, 999).astype(np.float32)
    edges = np.unique([-np.inf, low, high, np.inf])
    classes = np.full(999, int(np.isfinite(low)), np.uint8)
    found = kernels.draw_latent(np.full(999, score, np.float32), classes, edges, uniform)
    assert ((found >= low) & (found <= np.float32(high))).all()
    truth = scipy.stats.truncnorm(low - score, high - score, loc=score)
    from_below = truth.isf if low > score else truth.ppf  # above the score it counts from the other end
    assert_allclose(found, from_below(uniform.astype(np.float64)), atol=3e-4 if score < 10 else 3e-3)


def test_far_from_its_interval_a_latent_number_stays_in_it() -> None:
    edges = np.array([-np.inf, -1.0, 1.0, np.inf])
    for score in (-1e6, -60.0, 60.0, 1e6):
        for c in range(3):
            z = kernels.draw_latent(
                np.array([score], np.float32), np.array([c], np.uint8), edges, np.array([0.5], np.float32)
            )
            assert np.isfinite(z).all()
            assert edges[c] <= z[0] <= edges[c + 1]


def test_likelihoods_and_probabilities_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, 50_000).astype(np.float32)
    for low, high in ((-np.inf, -1.0), (-1.0, 0.3), (2.0, np.inf)):
        a, b = low - scores.astype(float), high - scores.astype(float)
        expected = np.where(
            a > 0,
            scipy.stats.norm.sf(a) - scipy.stats.norm.sf(b),
            scipy.stats.norm.cdf(b) - scipy.stats.norm.cdf(a),
        )
        assert kernels.log_likelihood(scores, low, high) == pytest.approx(np.log(expected).sum(), rel=1e-9)
    draws, edges = scores[:600].reshape(100, 6), np.sort(rng.normal(0, 1, (6, 4)), axis=1)
    edges[:, 0], edges[:, -1] = -np.inf, np.inf
    expected = np.diff(scipy.stats.norm.cdf(edges[None] - draws[:, :, None]), axis=2).mean(axis=1)
    assert_allclose(kernels.class_probabilities(draws, edges), expected, atol=1e-6)


def test_interpolation_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    points = np.cumsum(rng.random(50)).astype(np.float32)
    scores = np.append(rng.normal(0, 20, 40_000), [np.inf, -np.inf, -10.0, 14.5]).astype(np.float32)
    out = np.ones(len(scores), np.float32)
    kernels.add_interpolated(scores, points, -10.0, 0.5, out)
    assert_allclose(out, 1 + np.interp(scores, -10 + 0.5 * np.arange(50), points), rtol=2e-5)
    with pytest.raises(ValueError, match="must"):
        kernels.add_interpolated(np.full(3, np.nan, np.float32), points, 0.0, 1.0, out[:3].copy())
    with pytest.raises(ValueError, match="must"):
        kernels.add_interpolated(scores, points[:1], 0.0, 1.0, out)


def test_threads_change_no_bit_of_the_likelihood() -> None:
    scores = np.random.default_rng(0).normal(0, 2, 100_000).astype(np.float32)
    assert kernels.log_likelihood(scores, -1, 1, threads=1) == kernels.log_likelihood(
        scores, -1, 1, threads=3
    )


def test_no_unchecked_array_reaches_the_kernels() -> None:
    scores, edges = np.zeros(3, np.float32), np.array([-np.inf, 0, np.inf])
    uniform, classes = np.full(3, 0.5, np.float32), np.zeros(3, np.uint8)
    for wrong in (
        (scores, classes + np.uint8(2), edges, uniform),
        (scores, classes[:2], edges, uniform),
        (scores, classes, edges[::-1].copy(), uniform),
        (scores, classes, edges, uniform[:1]),
        (scores.astype(float), classes, edges, uniform),
    ):
        with pytest.raises(ValueError, match="must"):
            kernels.draw_latent(*wrong)
    with pytest.raises(ValueError, match="must"):
        kernels.class_probabilities(scores[:, None], np.tile(edges, (2, 1)))


# -- the sampler ---------------------------------------------------------------------------------


def all_quantities(chain: OrdinalChain) -> list[float]:
    rest = quantities(chain)[1:]  # the noise is fixed
    return [*rest, *np.tanh(chain.thresholds[1:-1] / 2), np.log(np.diff(chain.thresholds[1:-1])[0])]


def from_the_prior(rng: np.random.Generator, users: int, items: int) -> OrdinalChain:
    at = [a.astype(np.int32) for a in np.nonzero(np.ones((users, items)))]
    ids = cf.ids.IdMap(np.arange(users)), cf.ids.IdMap(np.arange(items))
    values = np.resize([1, 2, 3], users * items).astype(np.float32)
    known = (Description.of(users, []), Description.of(items, []))
    chain = OrdinalChain(0, Ratings.from_positions(*ids, *at, values), 1, rng, 1, known)
    draw_side(chain.users, rng)
    draw_side(chain.items, rng)
    chain.thresholds[1:-1] = np.sort(rng.normal(0, ordinal._SPREAD, 2))
    chain.steps[:] = 0.5
    return chain


def new_ratings(chain: OrdinalChain, rng: np.random.Generator) -> None:
    users, items = chain.users, chain.items
    score = users.bias[:, None] + items.bias + users.factors @ items.factors.T
    z = score + rng.standard_normal(score.shape)
    chain.classes = np.searchsorted(chain.thresholds[1:-1], z.ravel()).astype(np.uint8)
    chain.of_class = [np.flatnonzero(chain.classes == c) for c in range(3)]


def geweke(steps: int) -> float:
    rng = np.random.default_rng(6)
    forwards = np.array([all_quantities(from_the_prior(rng, 4, 3)) for _ in range(steps)])
    chain = from_the_prior(rng, 4, 3)
    around = []
    for _ in range(steps):
        new_ratings(chain, rng)
        chain.sweep()
        around.append(all_quantities(chain))
    circle = np.array(around)
    batches = circle[: steps // 40 * 40].reshape(40, -1, circle.shape[1]).mean(axis=1)
    error = np.sqrt(forwards.var(axis=0) / steps + batches.var(axis=0, ddof=1) / 40)
    return float(np.abs((forwards.mean(axis=0) - circle.mean(axis=0)) / error).max())


def test_the_sampler_draws_from_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_DEGREES", 8), ("_SHAPE", 4.0), ("_RATE", 4.0)):
        monkeypatch.setattr(gibbs, name, value)
    monkeypatch.setattr(ordinal, "_SPREAD", 1.0)
    assert geweke(6000) < 4
    right = kernels.draw_latent

    def drawn_together(scores, classes, thresholds, uniform, **options):
        return right(scores, classes, thresholds, 0.5 + (uniform - 0.5) * np.float32(0.4), **options)

    monkeypatch.setattr(kernels, "draw_latent", drawn_together)
    assert geweke(4000) > 6  # such a mistake would be seen


@pytest.fixture(scope="module")
def planted() -> tuple[OrdinalMF, Ratings, Ratings]:
    """Levels that are not evenly apart: many twos, hardly a three."""
    rng = np.random.default_rng(8)
    users, items = 400, 200
    u, v = rng.normal(size=(users, 2)), rng.normal(0, 0.6, size=(items, 2))
    z = u @ v.T + rng.normal(0, 0.5, (users, 1)) + rng.normal(0, 0.5, items)
    values = np.searchsorted([-1.5, 0.2, 0.4, 1.5], z + rng.normal(size=z.shape)) + 1
    known = rng.random(z.shape) < 0.2
    at = [a.astype(np.int32) for a in np.nonzero(known)]
    ids = cf.ids.IdMap(np.arange(users)), cf.ids.IdMap(np.arange(items))
    ratings = Ratings.from_positions(*ids, *at, values[known].astype(np.float32), None, (1.0, 5.0))
    train, test = cf.split(ratings, holdout=0.2, warn=False)
    return OrdinalMF(rank=4, burn_in=40, samples=60).fit(train), train, test


def test_planted_thresholds_are_found(planted) -> None:
    model, _, _ = planted
    between = np.diff(model.thresholds_[:, 1:-1], axis=1).mean(axis=0)
    assert_allclose(between, [1.7, 0.2, 1.1], rtol=0.12)


def test_shares_are_frequencies(planted) -> None:
    model, _, test = planted
    shares = model.probabilities(test.users, test.items)
    assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert (shares >= 0).all()
    for level in range(5):
        order = np.argsort(shares[:, level])
        for part in np.array_split(order, 5):
            given = (test.values[part] == model.levels_[level]).mean()
            error = np.sqrt(max(given * (1 - given), 0.01) / len(part))
            assert abs(given - shares[part, level].mean()) < 4.5 * error
    mean = shares.astype(np.float64) @ model.levels_
    assert_allclose(model.predict(test.users, test.items), mean, rtol=1e-5)


def test_a_step_of_the_scale_is_told_better_than_by_a_normal(planted) -> None:
    model, train, test = planted
    shares = model.probabilities(test.users, test.items)
    given = np.searchsorted(model.levels_, test.values)
    ours = -np.log(shares[np.arange(len(given)), given]).mean()
    plain = cf.BayesianMF(rank=4, burn_in=40, samples=60).fit(train)
    middle, std = plain.predict(test.users, test.items, return_std=True)
    edges = np.array([-np.inf, 1.5, 2.5, 3.5, 4.5, np.inf])
    below, above = (
        scipy.stats.norm.cdf((edges[given + k] - middle) / std.astype(np.float64)) for k in (0, 1)
    )
    assert ours < -np.log(above - below).mean() - 0.02
    rmse = [cf.rmse(test.values, m.predict(test.users, test.items, clip=True)) for m in (model, plain)]
    assert rmse[0] < rmse[1] + 0.003


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_intervals_hold_at_least_their_share(planted, share: float) -> None:
    model, _, test = planted
    _, low, high = model.predict(test.users, test.items, interval=share)
    assert set(np.unique(low)) | set(np.unique(high)) <= set(model.levels_)
    assert ((low <= test.values) & (test.values <= high)).mean() > share - 0.02


def test_who_is_unknown_is_told_as_all_users_are(planted) -> None:
    model, train, _ = planted
    for place in range(5):
        _, values = train.by_item.row(place)
        told = model.probabilities([10**9], [train.item_ids.id(place)])[0]
        given = np.array([(values == level).mean() for level in model.levels_])
        assert np.abs(told - given).max() < 4 * np.sqrt(0.25 / len(values))


def test_a_user_folded_in_is_told_as_one_who_was_there(planted) -> None:
    model, train, _ = planted
    rows = train.by_user.take(np.arange(40))
    folded = model.only_items(rows)
    names, items = folded.user_ids_.array.to_pylist(), train.item_ids.array.to_pylist()[:50]
    pairs = [(k, item) for k in range(40) for item in items]
    there = model.predict([train.user_ids.id(k) for k, _ in pairs], [item for _, item in pairs])
    here = folded.predict([names[k] for k, _ in pairs], [item for _, item in pairs])
    assert np.corrcoef(there, here)[0, 1] > 0.95
    assert abs((there - here).mean()) < 0.05


def test_levels_between_those_known_count_as_the_nearest(planted) -> None:
    model, _, _ = planted
    rows = [
        Compressed(np.array([0, 2]), np.array([3, 7], np.int32), np.array(values, np.float32))
        for values in ([1, 5], [1.3, 4.7])
    ]
    for a, b in zip(model.solve_users(rows[0]), model.solve_users(rows[1])):
        assert_array_equal(a, b)


def test_an_interrupted_fit_goes_on_to_the_same_draws(tmp_path) -> None:
    ratings, file = make_ratings(step=0.5), tmp_path / "chains"
    whole = small(samples=16, chains=2).fit(ratings)
    for at in (3, 9, 20):

        def interrupt(model, sweep: int, objective: float, at: int = at) -> None:
            if sweep == at:
                raise Stop

        with pytest.raises(Stop):
            small(samples=16, chains=2).fit(ratings, callback=interrupt, checkpoint=file)
    resumed = small(samples=16, chains=2).fit(ratings, checkpoint=file)
    for name, array in whole.state()[0].items():
        assert_array_equal(resumed.state()[0][name], array)


def test_it_is_stored(tmp_path) -> None:
    ratings = make_ratings(step=1)
    model = small().fit(ratings)
    cf.save(model, tmp_path / "model")
    again = cf.load(tmp_path / "model")
    assert_array_equal(
        again.probabilities(ratings.users, ratings.items), model.probabilities(ratings.users, ratings.items)
    )
    arrays, facts = model.state()
    for name, wrong in (("levels", arrays["levels"][::-1]), ("thresholds", arrays["thresholds"][:, ::-1])):
        with pytest.raises(cf.BadModel, match="ascend"):
            small().restore(model.user_ids_, model.item_ids_, {**arrays, name: wrong.copy()}, facts)
    with pytest.raises(cf.BadModel, match="cannot be served"):
        open_model(tmp_path / "model")


def test_ratings_that_are_no_steps() -> None:
    with pytest.raises(cf.BadParameter, match="different values, more than the 100 steps"):
        small().fit(make_ratings())


def test_one_level_alone() -> None:
    ratings = make_ratings(step=20)
    model = small().fit(ratings)
    level = float(ratings.values[0])
    mean, low, high = model.predict(ratings.users, ratings.items, interval=0.9)
    for found in (mean, low, high):
        assert_allclose(found, level, atol=1e-6)
