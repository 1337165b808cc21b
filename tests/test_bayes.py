"""Bayesian matrix factorization: that it draws from the right posterior, and is as sure as it should be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor import kernels
from cofactor.features import Features
from cofactor.models import bayes, gibbs
from cofactor.models.bayes import BayesianMF
from cofactor.models.convergence import agreement
from cofactor.models.gibbs import Chain, Description, Prior, Side
from cofactor.ratings import Compressed, Ratings
from tests.conftest import make_ratings
from tests.contract import check_model


def small(**given) -> BayesianMF:
    return BayesianMF(**{"rank": 3, "burn_in": 5, "samples": 8, **given})


@pytest.mark.parametrize("implicit", [None, "both"])
def test_contract(implicit: str | None) -> None:
    check_model(lambda: small(implicit=implicit))


# -- the sampler ---------------------------------------------------------------------------------


def test_the_priors_parameters_are_drawn_from_their_posterior() -> None:
    """With many rows they are what the rows were drawn from."""
    rng = np.random.default_rng(1)
    covariance = np.array([[1.0, 0.6], [0.6, 0.5]])
    rows = rng.multivariate_normal([2.0, -1.0], covariance, 20_000)
    bias = rng.normal(0.5, 0.2, 20_000)
    found = [Prior.draw(np.column_stack([rows, bias]), rng) for _ in range(50)]
    for prior in found:
        assert_allclose(prior.mean, [2, -1], atol=0.05)
        assert_allclose(np.linalg.inv(prior.factor @ prior.factor.T), covariance, atol=0.08)
        assert prior.bias_mean == pytest.approx(0.5, abs=0.02)
        assert prior.bias_precision == pytest.approx(25, rel=0.06)
    spread = np.std([prior.mean for prior in found], axis=0)
    assert_allclose(spread, np.sqrt(np.diag(covariance) / 20_000), rtol=0.4)


def quantities(chain: Chain) -> list[float]:
    """None that depends on the signs of the factors, which change together, and rarely."""
    users, items = chain.users, chain.items
    u, v = users.factors, items.factors
    found = [
        np.log(chain.alpha),
        np.log(users.prior.factor[0, 0]),
        np.log(items.prior.factor[0, 0]),
        np.log(users.prior.bias_precision),
        np.tanh(items.prior.bias_mean),
        np.log(np.abs(u @ v.T).mean()),
        np.log(np.abs(u).mean()),
        np.log(np.abs(v).mean()),
        np.log(np.abs(items.bias).mean()),
        np.tanh(users.bias[0] * 2),
    ]
    for side in (users, items):
        if side.described is not None:
            found += [
                *np.log(side.precisions).ravel(),
                np.log(np.abs(side.weights[:, 0]).mean()),
                np.tanh(side.weights[0, 1]),
                np.log(np.abs(side.described[:, 0]).mean()),
            ]
    return found


def draw_side(side: Side, rng: np.random.Generator) -> None:
    """Everything of one side drawn forwards, from the top."""
    factor = np.sqrt(rng.chisquare(1 + gibbs._DEGREES))
    precision = rng.gamma(gibbs._SHAPE) / gibbs._RATE
    mean = rng.standard_normal() / factor / np.sqrt(gibbs._BETA)
    bias_mean = rng.standard_normal() / np.sqrt(precision)
    side.prior = Prior(np.array([mean]), np.array([[factor]]), float(bias_mean), float(precision))
    deviations = np.array([1 / factor, 1 / np.sqrt(precision)])
    side.precisions = rng.gamma(gibbs._SHAPE, size=side.precisions.shape) / gibbs._RATE
    groups = side.description.groups
    spread = deviations / np.sqrt(side.precisions[groups])
    side.weights = (spread * rng.standard_normal(side.weights.shape)).astype(np.float32)
    side.describe(1)
    rows = side.prior.centre + deviations * rng.standard_normal(side.rows.shape)
    side.rows = (rows if side.described is None else rows + side.described).astype(np.float32)


def from_the_prior(rng: np.random.Generator, users: int, items: int, described: bool) -> Chain:
    at = [a.astype(np.int32) for a in np.nonzero(np.ones((users, items)))]
    ratings = Ratings.from_positions(
        cf.ids.IdMap(np.arange(users)),
        cf.ids.IdMap(np.arange(items)),
        *at,
        np.ones(users * items, np.float32),
    )
    known = (Description.of(users, []), Description.of(items, []))
    if described:  # two groups of features of users, one of them a single feature; one group of items
        some = np.random.default_rng(3)
        known = (
            Description.of(
                users, [(dense(some.normal(size=(users, 2))), 2), (dense(np.ones((users, 1))), 1)]
            ),
            Description.of(items, [(dense(some.normal(size=(items, 2))), 2)]),
        )
    chain = Chain(0, ratings, 1, rng, 1, known)
    chain.mean = 0.0
    chain.alpha = float(rng.gamma(gibbs._SHAPE) / gibbs._RATE)
    draw_side(chain.users, rng)
    draw_side(chain.items, rng)
    return chain


def dense(x: np.ndarray) -> Compressed:
    rows, features = x.shape
    indptr = np.arange(0, rows * features + 1, features, dtype=np.int64)
    return Compressed(
        indptr, np.tile(np.arange(features, dtype=np.int32), rows), x.ravel().astype(np.float32)
    )


def new_ratings(chain: Chain, rng: np.random.Generator) -> None:
    """Ratings drawn given everything else."""
    users, items = chain.users, chain.items
    score = users.bias[:, None] + items.bias + users.factors @ items.factors.T
    values = (score + rng.standard_normal(score.shape) / np.sqrt(chain.alpha)).astype(np.float32)
    for side, table in ((users, values), (items, values.T)):
        rows = side.ratings
        side.ratings = Compressed(rows.indptr, rows.indices, np.ascontiguousarray(table).ravel())


def geweke(steps: int, described: bool = False) -> float:
    """Largest difference, in standard errors, between draws from the top and draws that go round in a circle.

    J. Geweke, "Getting it right: joint distribution tests of posterior simulators", JASA 99, 2004.
    """
    users, items = 4, 3
    rng = np.random.default_rng(5)
    forwards = np.array([quantities(from_the_prior(rng, users, items, described)) for _ in range(steps)])
    chain = from_the_prior(rng, users, items, described)
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
        monkeypatch.setattr(gibbs, name, value)
    assert geweke(6000) < 4
    assert geweke(6000, described=True) < 4
    right, right_weights = kernels.solve_rows, kernels.draw_weights

    def too_noisy(*arrays, noise_scale: float, **options):
        return right(*arrays, noise_scale=1.15 * noise_scale, **options)

    def too_noisy_weights(features, reg, noise, *arrays, **options):
        return right_weights(features, reg, 1.3 * noise, *arrays, **options)

    with monkeypatch.context() as wrong:  # such mistakes would be seen
        wrong.setattr(kernels, "solve_rows", too_noisy)
        assert geweke(4000) > 6
    with monkeypatch.context() as wrong:
        wrong.setattr(kernels, "draw_weights", too_noisy_weights)
        assert geweke(4000, described=True) > 6


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


class Stop(Exception):
    pass


@pytest.mark.parametrize("implicit", [None, "both"])
@pytest.mark.parametrize("at", [3, 9, 13, 26])
def test_an_interrupted_fit_goes_on_to_the_same_draws(tmp_path, implicit: str | None, at: int) -> None:
    def interrupt(model, sweep: int, objective: float) -> None:
        if sweep == at:
            raise Stop

    ratings, file = make_ratings(), tmp_path / "chains"
    whole = small(chains=2, samples=16, implicit=implicit).fit(ratings)
    with pytest.raises(Stop):
        small(chains=2, samples=16, implicit=implicit).fit(ratings, callback=interrupt, checkpoint=file)
    sweeps: list[int] = []
    resumed = small(chains=2, samples=16, implicit=implicit, threads=2)
    resumed.fit(ratings, callback=lambda model, sweep, objective: sweeps.append(sweep), checkpoint=file)
    assert sweeps == list(range(at + 1, 27))
    (expected, facts), (found, told) = whole.state(), resumed.state()
    assert facts == told
    for name in expected:
        assert_array_equal(found[name], expected[name])
    again = small(chains=2, samples=16, implicit=implicit).fit(
        ratings, checkpoint=file
    )  # nothing is left to do
    assert_array_equal(again.user_factors_, whole.user_factors_)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path) -> None:
    file = tmp_path / "chains"
    small().fit(make_ratings(), checkpoint=file)
    with pytest.raises(cf.BadData, match="another training: it differs in seed"):
        small(seed=1).fit(make_ratings(), checkpoint=file)
    with pytest.raises(cf.BadData, match=r"another training: it differs in .*ratings"):
        small().fit(make_ratings(seed=2), checkpoint=file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(cf.BadData, match="is not a checkpoint"):
        small().fit(make_ratings(), checkpoint=file)


def test_what_was_rated_tells_more_than_the_ratings() -> None:
    """Users rate what they like, and items they share tell which users are alike."""
    rng = np.random.default_rng(4)
    taste, kind = rng.normal(size=(300, 2)), rng.normal(size=(150, 2))
    liking = taste @ kind.T
    seen = rng.random(liking.shape) < 0.5 / (1 + np.exp(2 - 3 * liking))
    users, items = (at.astype(np.int32) for at in np.nonzero(seen))
    values = np.clip(3 + 0.7 * liking[users, items] + 0.7 * rng.normal(size=len(users)), 1, 5)
    ids = cf.ids.IdMap(np.arange(300)), cf.ids.IdMap(np.arange(150))
    _, users_again = np.unique(users, return_inverse=True)
    assert users_again.max() == 299
    ratings = Ratings.from_positions(*ids, users, items, values.astype(np.float32), None, (1.0, 5.0))
    train, test = cf.split(ratings, holdout=0.3, warn=False)
    errors = {}
    for implicit in (None, "users", "items", "both"):
        model = BayesianMF(rank=4, samples=60, implicit=implicit).fit(train)
        errors[implicit] = cf.rmse(test.values, model.predict(test.users, test.items, clip=True))
    assert errors["both"] < errors["users"] < errors[None]
    assert errors["items"] < errors[None]


def featured(seed: int = 0) -> tuple[Ratings, np.ndarray, np.ndarray]:
    """Ratings of users and items whose factors are lines through what is known of them; few ratings each."""
    rng = np.random.default_rng(seed)
    of_users, of_items = rng.normal(size=(300, 4)), rng.normal(size=(200, 5))
    u, v = of_users @ rng.normal(size=(4, 2)), of_items @ rng.normal(size=(5, 2))
    known = rng.random((300, 200)) < 0.03
    noise = 0.3 * rng.normal(size=known.sum())
    values = (3 + 0.25 * u @ v.T + 0.3 * of_items[:, 0])[known] + noise
    ids = cf.ids.IdMap(np.arange(300)), cf.ids.IdMap(np.arange(200))
    at = (a.astype(np.int32) for a in np.nonzero(known))
    return Ratings.from_positions(*ids, *at, values.astype(np.float32)), of_users, of_items


def test_what_is_known_of_users_and_items_tells_of_their_ratings() -> None:
    ratings, of_users, of_items = featured()
    train, test = cf.split(ratings, holdout=0.3, warn=False)
    users, items = Features.of_arrays(range(300), of_users), Features.of_arrays(range(200), of_items + 7)
    errors = []
    for given in ({}, {"items": items}, {"users": users}, {"users": users, "items": items}):
        model = BayesianMF(rank=2, burn_in=60, samples=120, implicit=None).fit(train, **given)
        errors.append(cf.rmse(test.values, model.predict(test.users, test.items)))
    assert errors[3] < 0.85 * min(errors[1:3])
    assert max(errors[1:3]) < errors[0]


def test_features_are_told_by_their_ids_and_no_more_are_asked_for() -> None:
    ratings, _, of_items = featured()
    order = np.random.default_rng(1).permutation(200)
    one, other = (
        small(rank=2).fit(ratings, items=Features.of_arrays(ids, values))
        for ids, values in ((range(200), of_items), (order, of_items[order]))
    )
    assert_array_equal(one.item_factors_, other.item_factors_)
    some = small(rank=2).fit(ratings, items=Features.of_arrays([*range(0, 90), 10**6], of_items[:91]))
    assert np.isfinite(some.item_factors_).all()
    folded = some.fold_in(ratings.select(ratings.user_positions < 3))  # users that it knows
    assert np.isfinite(folded.predict(ratings.users, ratings.items)).all()


def test_features_that_do_not_go_with_the_ratings() -> None:
    ratings, of_users, _ = featured()
    for given, told in (
        (of_users, "features in columns"),
        (Features.of_arrays(range(300), of_users[:, :, None]), "features in columns"),
        (Features.of_arrays(range(1000, 1300), of_users), "None of the 300 ids"),
        (Features.of_arrays([f"u{k}" for k in range(300)], of_users), "string"),
    ):
        with pytest.raises(cf.BadParameter, match=told):
            small().fit(ratings, users=given)
    with pytest.raises(cf.BadData, match="not finite"):
        Features.of_arrays(range(300), np.where(of_users > 2, np.nan, of_users))


def test_a_checkpoint_belongs_to_its_features(tmp_path) -> None:
    ratings, _, of_items = featured()
    items = Features.of_arrays(range(200), of_items)
    small().fit(ratings, items=items, checkpoint=tmp_path / "chains")
    small().fit(ratings, items=items, checkpoint=tmp_path / "chains")
    with pytest.raises(cf.BadData, match="differs in features"):
        small().fit(ratings, checkpoint=tmp_path / "chains")


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
