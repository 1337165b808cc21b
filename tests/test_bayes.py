"""Bayesian matrix factorization: that it draws from the right posterior, and is as sure as it should be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor import kernels
from cofactor.models import bayes
from cofactor.models.bayes import BayesianMF, Prior, agreement
from cofactor.ratings import Compressed, Ratings
from tests.conftest import make_ratings
from tests.contract import check_model


def small(**given) -> BayesianMF:
    return BayesianMF(**{"rank": 3, "burn_in": 5, "samples": 8, **given})


def test_contract() -> None:
    check_model(small)


# -- the sampler ---------------------------------------------------------------------------------


def test_the_priors_parameters_are_drawn_from_their_posterior() -> None:
    """With many rows they are what the rows were drawn from."""
    rng = np.random.default_rng(1)
    covariance = np.array([[1.0, 0.6], [0.6, 0.5]])
    rows = rng.multivariate_normal([2.0, -1.0], covariance, 20_000)
    bias = rng.normal(0.5, 0.2, 20_000)
    found = [Prior.draw(rows, bias, rng) for _ in range(50)]
    for prior in found:
        assert_allclose(prior.mean, [2, -1], atol=0.05)
        assert_allclose(np.linalg.inv(prior.factor @ prior.factor.T), covariance, atol=0.08)
        assert prior.bias_mean == pytest.approx(0.5, abs=0.02)
        assert prior.bias_precision == pytest.approx(25, rel=0.06)
    spread = np.std([prior.mean for prior in found], axis=0)
    assert_allclose(spread, np.sqrt(np.diag(covariance) / 20_000), rtol=0.4)


def quantities(chain: bayes._Chain) -> list[float]:
    """None that depends on the signs of the factors, which change together, and rarely."""
    u, v = chain.user_factors, chain.item_factors
    return [
        np.log(chain.alpha),
        np.log(chain.of_users.factor[0, 0]),
        np.log(chain.of_items.factor[0, 0]),
        np.log(chain.of_users.bias_precision),
        np.tanh(chain.of_items.bias_mean),
        np.log(np.abs(u @ v.T).mean()),
        np.log(np.abs(u).mean()),
        np.log(np.abs(v).mean()),
        np.log(np.abs(chain.item_bias).mean()),
        np.tanh(chain.user_bias[0] * 2),
    ]


def from_the_prior(rng: np.random.Generator, users: int, items: int) -> bayes._Chain:
    """Everything drawn forwards, from the top."""

    def side(n: int) -> tuple[Prior, np.ndarray, np.ndarray]:
        factor = np.sqrt(rng.chisquare(1 + bayes._DEGREES))
        precision = rng.gamma(bayes._SHAPE) / bayes._RATE
        mean = rng.standard_normal() / factor / np.sqrt(bayes._BETA)
        bias_mean = rng.standard_normal() / np.sqrt(precision)
        prior = Prior(np.array([mean]), np.array([[factor]]), float(bias_mean), float(precision))
        drawn = mean + rng.standard_normal((n, 1)) / factor
        return (
            prior,
            drawn.astype(np.float32),
            (bias_mean + rng.standard_normal(n) / precision**0.5).astype(np.float32),
        )

    every = np.ones((users, items))
    at = [a.astype(np.int32) for a in np.nonzero(every)]
    ratings = Ratings.from_positions(
        cf.ids.IdMap(np.arange(users)),
        cf.ids.IdMap(np.arange(items)),
        *at,
        np.ones(users * items, np.float32),
    )
    chain = bayes._Chain(ratings, 1, rng, 1)
    chain.mean = 0.0
    chain.alpha = float(rng.gamma(bayes._SHAPE) / bayes._RATE)
    chain.of_users, chain.user_factors, chain.user_bias = side(users)
    chain.of_items, chain.item_factors, chain.item_bias = side(items)
    return chain


def new_ratings(chain: bayes._Chain, rng: np.random.Generator) -> None:
    """Ratings drawn given everything else."""
    score = chain.user_bias[:, None] + chain.item_bias + chain.user_factors @ chain.item_factors.T
    values = (score + rng.standard_normal(score.shape) / np.sqrt(chain.alpha)).astype(np.float32)
    ratings = chain.ratings
    by_user = Compressed(ratings.by_user.indptr, ratings.by_user.indices, values.ravel())
    by_item = Compressed(
        ratings.by_item.indptr, ratings.by_item.indices, np.ascontiguousarray(values.T).ravel()
    )
    object.__setattr__(ratings, "by_user", by_user)
    object.__setattr__(ratings, "by_item", by_item)


def geweke(steps: int) -> float:
    """Largest difference, in standard errors, between draws from the top and draws that go round in a circle.

    J. Geweke, "Getting it right: joint distribution tests of posterior simulators", JASA 99, 2004.
    """
    users, items = 4, 3
    rng = np.random.default_rng(5)
    forwards = np.array([quantities(from_the_prior(rng, users, items)) for _ in range(steps)])
    chain = from_the_prior(rng, users, items)
    around = []
    for _ in range(steps):
        new_ratings(chain, rng)
        chain.sweep()
        around.append(quantities(chain))
    circle = np.array(around)
    batches = circle[: steps // 40 * 40].reshape(40, -1, circle.shape[1]).mean(axis=1)
    error = np.sqrt(forwards.var(axis=0) / steps + batches.var(axis=0, ddof=1) / 40)
    return float(np.abs((forwards.mean(axis=0) - circle.mean(axis=0)) / error).max())


def test_the_sampler_draws_from_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("_DEGREES", 8),
        ("_SHAPE", 4.0),
        ("_RATE", 4.0),
    ):  # as wide as they are, it would take hours
        monkeypatch.setattr(bayes, name, value)
    assert geweke(8000) < 4
    right = kernels.solve_rows

    def too_noisy(*arrays, noise_scale: float, **options):
        return right(*arrays, noise_scale=1.15 * noise_scale, **options)

    monkeypatch.setattr(kernels, "solve_rows", too_noisy)
    assert geweke(8000) > 6  # such a mistake would be seen


def test_the_same_for_any_number_of_threads_and_other_for_another_seed() -> None:
    ratings = make_ratings()
    one, three, other = (small(threads=t, seed=s).fit(ratings) for t, s in ((1, 0), (3, 0), (1, 1)))
    assert_array_equal(one.user_factors_, three.user_factors_)
    assert_array_equal(one.noise_, three.noise_)
    assert not np.array_equal(one.noise_, other.noise_)


@pytest.fixture(scope="module")
def planted() -> tuple[BayesianMF, Ratings, Ratings]:
    ratings = make_ratings(seed=2, users=400, items=200, density=0.2, rank=3, noise=0.5)
    train, test = cf.split(ratings, holdout=0.2, warn=False)
    return BayesianMF(rank=6, burn_in=30, samples=80).fit(train), train, test


def test_the_noise_is_found(planted) -> None:
    model, _, _ = planted
    assert model.noise_.mean() == pytest.approx(0.5, rel=0.15)  # a little less: ratings are clipped to 1 to 5


def test_it_is_ahead_of_one_point_of_the_same_rank(planted) -> None:
    model, train, test = planted
    errors = []
    for reg in (1, 3):
        point = cf.ALS(rank=6, reg=reg).fit(train)
        errors.append(cf.rmse(test.values, point.predict(test.users, test.items, clip=True)))
    assert cf.rmse(test.values, model.predict(test.users, test.items, clip=True)) < min(errors)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.95])
def test_intervals_cover_what_they_say(planted, share: float) -> None:
    model, _, test = planted
    middle, low, high = model.predict(test.users, test.items, interval=share)
    assert ((low < middle) & (middle < high)).all()
    assert np.mean((low <= test.values) & (test.values <= high)) == pytest.approx(share, abs=0.03)


def test_who_is_known_less_is_predicted_less_surely(planted) -> None:
    model, train, _ = planted
    users = train.user_ids.array.to_pylist()
    counts = train.by_user.counts
    item = train.item_ids.id(0)
    _, std = model.predict(users, [item] * len(users), return_std=True)
    few, many = counts <= np.quantile(counts, 0.1), counts >= np.quantile(counts, 0.9)
    assert std[few].mean() > std[many].mean()
    _, unknown = model.predict([10**9, users[0], 10**9], [item, "never", "never"], return_std=True)
    assert (unknown > std.max()).all()
    assert unknown[2] > unknown[:2].min()
    assert np.isfinite(unknown).all()


def test_the_spread_of_the_unknown_is_that_of_the_planted_users(planted) -> None:
    """Nothing is known of a new user: their ratings differ as those of all users do."""
    model, train, _ = planted
    for place in range(5):
        at, values = train.by_item.row(place)
        assert len(at) > 20
        _, std = model.predict([10**9], [train.item_ids.id(place)], return_std=True)
        assert std[0] == pytest.approx(values.std(), rel=0.35)


def test_uncertainty_of_a_folded_user_falls_with_ratings(planted) -> None:
    model, train, _ = planted
    rng = np.random.default_rng(0)
    names = train.item_ids.array.to_pylist()
    deviations = []
    for count in (1, 5, 40):
        rated = rng.choice(names[10:], count, replace=False).tolist()
        table = {"user": [7] * count, "item": rated, "rating": [3.0] * count}
        import pyarrow as pa

        folded = model.fold_in(cf.read_ratings(pa.table(table), scale=(1, 5)))
        _, std = folded.predict([7] * 10, names[:10], return_std=True)
        deviations.append(std.mean())
    assert deviations[0] > deviations[1] > deviations[2] > model.noise_.mean()


def test_chains_that_agree_and_chains_that_do_not() -> None:
    rng = np.random.default_rng(0)
    same = rng.normal(size=(50, 200))
    r_hat, ess = agreement(same, 2)
    assert r_hat == pytest.approx(1, abs=0.02)
    assert ess == pytest.approx(200, rel=0.25)
    apart = same + np.repeat([0, 3], 100)
    assert agreement(apart, 2)[0] > 1.5
    walk = np.cumsum(same, axis=1)
    r_hat, ess = agreement(walk, 1)
    assert r_hat > 1.2
    assert ess < 20
    smooth = same.copy()
    for k in range(1, 200):  # autocorrelation 0.8: (1 + 0.8) / (1 − 0.8) = 9 draws count as one
        smooth[:, k] = 0.8 * smooth[:, k - 1] + 0.6 * same[:, k]
    assert agreement(smooth, 1)[1] == pytest.approx(200 / 9, rel=0.5)


def test_a_chain_that_has_not_settled_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayes, "_AGREE", 0.5)
    with pytest.warns(UserWarning, match=r"R-hat is [01]\.\d\d.*more burn_in"):
        model = small(samples=20).fit(make_ratings())
    assert model.r_hat_ > 0.5
    assert small(samples=19).fit(make_ratings()).r_hat_ != model.r_hat_  # too few to tell: NaN


def test_samples_are_shared_out_to_chains() -> None:
    ratings = make_ratings()
    model = small(chains=2, samples=8).fit(ratings)
    assert len(model.noise_) == 8
    assert len(model.objective_) == 2 * (5 + 4)
    with pytest.raises(cf.BadParameter, match="multiple of chains"):
        small(chains=3, samples=8).fit(ratings)


def test_ratings_that_are_all_alike() -> None:
    ratings = make_ratings()
    alike = Ratings.from_positions(
        ratings.user_ids, ratings.item_ids, ratings.user_positions, ratings.by_user.indices,
        np.full(len(ratings), 3, np.float32), None, (1.0, 5.0),
    )  # fmt: skip
    model = small(burn_in=20).fit(alike)
    mean, std = model.predict(ratings.users, ratings.items, return_std=True)
    assert_allclose(mean, 3, atol=0.1)
    assert np.isfinite(std).all()
    assert (std > 0).all()
    assert std.max() < 0.5
