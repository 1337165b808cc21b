"""The bundled demo is what it says, and small; an expansion keeps what it says it keeps."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pyarrow as pa
import pytest

import cofactor as cf
from cofactor.datasets import expand
from cofactor.errors import BadParameter


def test_the_demo():
    ratings, catalog = cf.load_demo(), cf.load_demo_catalog()
    assert (len(ratings), ratings.n_users, ratings.n_items) == (100_004, 671, 9_066)
    assert ratings.scale == (0.5, 5.0)
    assert set(ratings.values.tolist()) == {k / 2 for k in range(1, 11)}
    assert ratings.duplicates == 0
    assert catalog.item_ids == ratings.item_ids
    assert catalog.title(1) == "Toy Story"
    assert "Animation" in catalog.genres(1)


def test_it_is_small_and_its_terms_are_beside_it():
    folder = files("cofactor").joinpath("data/movielens")
    sizes = {path.name: len(path.read_bytes()) for path in folder.iterdir()}
    assert sizes["ratings.parquet"] + sizes["items.parquet"] < 1_000_000
    terms = " ".join(folder.joinpath("LICENSE-MOVIELENS.txt").read_text("utf-8").split())
    for told in ("commercial", "GroupLens", "Harper", "Konstan", "same conditions"):
        assert told in terms


def skewed(seed=0, users=160, items=90, scale=(1.0, 5.0), steps=True):
    """Ratings in which few users and items have most ratings, of a planted model."""
    rng = np.random.default_rng(seed)
    activity, popularity = rng.lognormal(0, 0.9, (users, 1)), rng.lognormal(0, 1.1, items)
    known = rng.random((users, items)) < np.minimum(0.9, 0.15 * activity * popularity)
    known[np.arange(users), rng.integers(0, items, users)] = True
    known[rng.integers(0, users, items), np.arange(items)] = True
    user_at, item_at = np.nonzero(known)
    scores = rng.normal(0, 0.8, (users, 3)) @ rng.normal(0, 0.8, (3, items)) + rng.normal(0, 0.5, known.shape)
    values = np.clip(3.3 + scores, *scale)[known]
    table = pa.table({"user": user_at, "item": item_at, "rating": np.rint(values) if steps else values})
    return cf.read_ratings(table, scale=scale)


def gini(counts):
    """0 where all have alike, near 1 where one has all."""
    ordered, n = np.sort(counts).astype(float), len(counts)
    return (2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum())


def spectrum(ratings):
    """The second to the sixth singular value of the table, over the first."""
    table = np.zeros((ratings.n_users, ratings.n_items))
    table[ratings.user_positions, ratings.by_user.indices] = ratings.values
    sizes = np.linalg.svd(table, compute_uv=False)
    return sizes[1:6] / sizes[0]


@pytest.mark.parametrize("times", [1, 1.3, 4, 7.77, 25])
def test_an_expansion_has_so_many_ratings_no_two_of_a_pair_and_no_empty_row(times):
    ratings = skewed()
    wanted = round(times * len(ratings))
    found = expand(ratings, wanted)
    assert len(found) == wanted
    assert found.duplicates == 0
    pairs = found.user_positions.astype(np.int64) * found.n_items + found.by_user.indices
    assert len(np.unique(pairs)) == wanted
    assert found.by_user.counts.min() >= 1
    assert found.by_item.counts.min() >= 1
    assert found.times is None
    copies = max(found.user_ids.ids(np.arange(found.n_users))) // ratings.n_users + 1
    assert copies == np.ceil(times)


def test_each_rating_of_an_expansion_is_a_copy_of_who_rated_what():
    ratings = skewed()
    found = expand(ratings, 5 * len(ratings))
    users = found.users.to_numpy() % ratings.n_users
    items = found.items.to_numpy() % ratings.n_items
    known = np.zeros((ratings.n_users, ratings.n_items), bool)
    known[ratings.user_positions, ratings.by_user.indices] = True
    assert known[users, items].all()


def test_an_expansion_depends_on_the_seed_alone(monkeypatch):
    ratings = skewed()
    found = [expand(ratings, 3 * len(ratings), seed=seed) for seed in (0, 0, 1)]
    monkeypatch.setenv("COFACTOR_THREADS", "1")
    found.append(expand(ratings, 3 * len(ratings)))
    assert found[0].to_arrow() == found[1].to_arrow() == found[3].to_arrow()
    assert found[0].to_arrow() != found[2].to_arrow()


@pytest.mark.parametrize("times", [4, 12])
def test_an_expansion_keeps_skew_and_spectrum(times):
    """Degrees are products of real ones, so that the skew can only grow; a little, where groups are few."""
    ratings = skewed()
    found = expand(ratings, times * len(ratings))
    for real, larger in ((ratings.by_user, found.by_user), (ratings.by_item, found.by_item)):
        assert gini(real.counts) - 0.03 < gini(larger.counts) < gini(real.counts) + 0.2
    np.testing.assert_allclose(spectrum(found), spectrum(ratings), atol=0.1)


def test_an_expansion_can_be_learnt():
    """Factors are inherited, copies are not alike, and noise remains: so a model gains, and not everything."""
    ratings = skewed()
    train, test = cf.split(expand(ratings, 12 * len(ratings)))
    model = cf.ALS(rank=4, reg=1.0).fit(train)
    errors = [
        cf.rmse(test.values, m.predict(test.users, test.items)) for m in (cf.Baseline().fit(train), model)
    ]
    assert 0.3 < errors[1] < 0.9 * errors[0]
    assert abs(train.values.mean() - ratings.values.mean()) < 0.15
    assert abs(train.values.std() / ratings.values.std() - 1) < 0.2


@pytest.mark.parametrize("steps", [True, False])
def test_the_ratings_of_an_expansion_stay_on_the_scale(steps):
    ratings = skewed(steps=steps)
    found = expand(ratings, 4 * len(ratings))
    assert found.scale == ratings.scale
    assert found.values.min() >= ratings.values.min()
    assert found.values.max() <= ratings.values.max()
    if steps:
        assert set(found.values.tolist()) <= set(ratings.values.tolist())
    else:
        assert len(np.unique(found.values)) > 1000


def test_tiny_tables_can_be_expanded():
    one = cf.read_ratings(pa.table({"user": ["a"], "item": ["x"], "rating": [3.0]}))
    found = expand(one, 7)
    assert len(found) == 7
    assert set(found.values.tolist()) == {3.0}
    two = cf.read_ratings(pa.table({"user": [1, 1], "item": [1, 2], "rating": [3.0, 4.0]}))
    assert len(expand(two, 2)) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((None, 10), "read_ratings"),
        ((skewed(), 5), "split"),
        ((skewed(), 1e6), "n_ratings"),
        ((skewed(), True), "n_ratings"),
        ((skewed(), 10**5, -1), "seed"),
    ],
)
def test_an_expansion_of_nonsense_is_refused(arguments, says):
    with pytest.raises(BadParameter, match=says):
        expand(*arguments)
