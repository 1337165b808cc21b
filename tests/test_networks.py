"""Networks from images and sounds to factors: what each can see, and that they keep what a model must keep."""

from __future__ import annotations

import builtins
import importlib.util

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.features import Features
from cofactor.ids import IdMap
from cofactor.models import network
from cofactor.ratings import Ratings
from tests.conftest import missing

if not all(importlib.util.find_spec(name) for name in ("jax", "equinox", "optax")):
    missing("the extra content")


def by_kind(kinds: np.ndarray, seed: int = 0, users: int = 150, each: int = 25) -> Ratings:
    """Ratings of items of two kinds by users each of whom likes one."""
    rng = np.random.default_rng(seed)
    liked = rng.integers(0, 2, users)
    at = [
        np.repeat(np.arange(users), each),
        np.concatenate([rng.permutation(len(kinds))[:each] for _ in range(users)]),
    ]
    at[0][: len(kinds)], at[1][: len(kinds)] = np.arange(len(kinds)) % users, np.arange(len(kinds))
    values = np.where(liked[at[0]] == kinds[at[1]], 4, 2) + rng.normal(0, 0.5, users * each)
    ids = IdMap(np.arange(users)), IdMap(np.arange(len(kinds)))
    return Ratings.from_positions(
        *ids, *(a.astype(np.int32) for a in at), values.astype(np.float32), scale=(0, 6)
    )


def bars(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 8, 8, 1) of a bar that stands or lies, anywhere: which, no single pixel tells."""
    rng = np.random.default_rng(seed)
    images, lies = rng.normal(0, 0.1, (n, 8, 8, 1)), rng.integers(0, 2, n)
    for k in range(n):
        a, b = rng.integers(0, 8), rng.integers(0, 4)
        part = (a, slice(b, b + 5)) if lies[k] else (slice(b, b + 5), a)
        images[(k, *part)] += 1
    return images.astype(np.float32), lies


@pytest.fixture(scope="module")
def seen():
    """A model that learnt from 240 images, with 60 more that nobody rated; their kinds and all features."""
    images, lies = bars(300)
    ratings = by_kind(lies[:240])
    features = Features.of_arrays(range(300), images)
    settings = {"encoder": "conv2d", "rank": 2, "width": 8, "epochs": 40, "refine": 1, "seed": 3}
    return cf.ContentMap(**settings).fit(ratings, items=features), ratings, features, lies


def told_apart(model: cf.ContentMap, kinds: np.ndarray, new: np.ndarray) -> float:
    """How far the two kinds of new items lie apart, for users, in spreads of each."""
    scores = model.user_factors_ @ model.item_factors_[new].T
    direction = np.linalg.svd(scores - scores.mean(axis=1, keepdims=True))[2][0]
    a, b = direction[kinds[new] == 0], direction[kinds[new] == 1]
    return abs(a.mean() - b.mean()) / np.hypot(a.std(), b.std())


def test_a_convolution_sees_what_a_line_cannot(seen) -> None:
    model, ratings, features, lies = seen
    line = cf.ContentMap(rank=2, refine=1).fit(ratings, items=features)
    new = np.arange(240, 300)
    assert told_apart(model, lies, new) > 2
    assert told_apart(line, lies, new) < 1
    assert model.filters_.shape == (8, 1, 3, 3)
    assert set(model.source(new.tolist())) == {"content"}


def test_the_same_for_a_seed_and_saved(seen, tmp_path, monkeypatch) -> None:
    model, ratings, features, _ = seen
    cf.save(model, tmp_path / "m")
    again = cf.load(tmp_path / "m")
    users, items = ratings.users, ratings.items
    assert_array_equal(again.predict(users, items), model.predict(users, items))
    assert_array_equal(again.filters_, model.filters_)
    fresh = Features.of_arrays([900, 901], features.values[:2])
    assert_allclose(again.add_items(fresh).items_.prior[-2:], model.items_.prior[:2], atol=1e-5)
    whole = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] in ("jax", "equinox", "optax"):
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    loaded = cf.load(tmp_path / "m")  # to predict, nothing of it is needed
    assert_array_equal(loaded.predict(users, items), model.predict(users, items))
    with pytest.raises(cf.NotSupported, match=r"pip install \"cofactor\[content\]\""):
        loaded.add_items(fresh)
    with pytest.raises(cf.NotSupported, match="JAX"):
        cf.ContentMap(encoder="conv2d").fit(ratings, items=features)


def test_stored_layers_that_cannot_be(seen) -> None:
    model = seen[0]
    arrays, facts = model.state()

    def used(arrays, told) -> None:
        restored = cf.ContentMap(**model.get_params())
        restored.restore(model.user_ids_, model.item_ids_, arrays, told)
        restored.add_items(Features.of_arrays([900], np.zeros((1, 8, 8, 1))))

    def refused(arrays, **change) -> None:
        told = {**facts, "items": {**facts["items"], **change}}
        with pytest.raises(cf.BadModel):
            used(arrays, told)

    for name in ("item_layer_0", "item_layer_1", "item_out", "item_inputs", "item_middle"):
        refused({**arrays, name: arrays[name][:-1]})
        refused({k: a for k, a in arrays.items() if k != name})
    refused({**arrays, "item_inputs": np.zeros(2)})
    for change in (
        {"width": 0}, {"width": 4}, {"width": "8"}, {"layers": 3}, {"layers": []}, {"layers": [[0]]},
        {"layers": [[1.5]]}, {"layers": facts["items"]["layers"][:-1]}, {"layers": [[1]] * 10_000},
    ):  # fmt: skip
        refused(arrays, **change)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("conv2d", (8, 8, 1)), ("conv2d", (1, 1, 2)), ("conv2d", (5, 40, 3)), ("conv2d", (70, 70, 3)),
     ("conv1d", (1, 1)), ("conv1d", (3, 2)), ("conv1d", (1000, 2)), ("mlp", (7,)), ("mlp", (4, 4, 1))],
)  # fmt: skip
def test_any_shape(kind, shape) -> None:
    net = network.build(kind, shape, 3, 2, 0)
    assert network._through(net, np.ones((2, *shape))).shape == (2, 3)


def test_a_convolution_does_the_same_everywhere() -> None:
    """What is shifted by a whole step of what is kept gives the same answer, shifted: of a sound, the same."""
    rng = np.random.default_rng(0)
    net = network.build("conv1d", (4096, 1), 2, 3, 0)
    sound = np.zeros((2, 4096, 1), np.float32)
    burst = rng.normal(size=64)
    sound[0, 1024:1088, 0] = sound[1, 2048:2112, 0] = burst
    assert_allclose(*network._through(net, sound), rtol=1e-4)


def test_targets_are_met_in_the_metric_and_early_stopping_keeps_the_best() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    t = np.column_stack([np.abs(x[:, 0]), 100 + 5 * x[:, 1]])
    metric = np.array([[2.0, 0.0], [0.3, 0.1]])
    given = {"kind": "mlp", "width": 4, "augment": True, "seed": 0}
    found = network.train(x, t, np.ones(200), metric, epochs=150, **given)
    left = (found(x) - t) @ metric
    assert (left**2).sum() < 0.15 * (((t - t.mean(axis=0)) @ metric) ** 2).sum()
    noise = rng.normal(size=(200, 2))
    nothing = network.train(x, noise, np.ones(200), np.eye(2), epochs=400, **given)
    assert nothing(x).std() < 0.6  # of noise it learns little, however long it may


def test_few_items_and_an_interruption(monkeypatch) -> None:
    images, lies = bars(20)
    ratings = by_kind(lies, users=20, each=10)
    features = Features.of_arrays(range(20), images)
    model = cf.ContentMap(encoder="conv2d", rank=2, width=2, epochs=4, refine=0)
    assert np.isfinite(model.fit(ratings, items=features).item_factors_).all()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "_step", lambda *arguments: interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(ratings, items=features)
    assert not model.is_fitted
