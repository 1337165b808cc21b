"""Errors of predictions and metrics of ranked lists, beside the formulas written out and beside ranx."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import cofactor as cf
from cofactor import metrics
from tests.conftest import missing

columns = st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=50)


@given(columns)
def test_rmse_and_mae_are_their_formulas(pairs):
    given_, predicted = zip(*pairs)
    squares = sum((p - r) ** 2 for r, p in pairs)
    assert cf.rmse(given_, predicted) == pytest.approx((squares / len(pairs)) ** 0.5)
    assert cf.mae(given_, predicted) == pytest.approx(sum(abs(p - r) for r, p in pairs) / len(pairs))
    assert cf.mae(given_, predicted) <= cf.rmse(given_, predicted) * (1 + 1e-12)
    assert cf.rmse(given_, given_) == 0


@pytest.mark.parametrize(
    ("ratings", "predictions"), [([], []), ([1, 2], [1]), ([1, np.nan], [1, 2]), ([1], [np.inf]), (3, 4)]
)
def test_an_error_over_nothing_is_refused(ratings, predictions):
    for metric in (cf.rmse, cf.mae):
        with pytest.raises(cf.BadParameter):
            metric(ratings, predictions)


def lists(users: int = 60, items: int = 30, k: int = 8) -> tuple[list[list[int]], list[set[int]]]:
    """Random lists, the last one shorter than k, and what is relevant to each user: also what cannot be listed."""
    rng = np.random.default_rng(3)
    listed = [rng.permutation(items)[:k].tolist() for _ in range(users)]
    listed[-1] = listed[-1][:2]
    relevant = [set(rng.permutation(items + 5)[: rng.integers(1, 15)].tolist()) for _ in range(users)]
    relevant[-1].add(listed[-1][1])
    return listed, relevant


def measured(listed: list[list[int]], relevant: list[set[int]], k: int) -> dict[str, np.ndarray]:
    hits = np.array(
        [[p < len(row) and row[p] in good for p in range(k)] for row, good in zip(listed, relevant)]
    )
    sizes = [len(good) for good in relevant]
    return {
        "precision": metrics.precision(hits),
        "recall": metrics.recall(hits, sizes),
        "ndcg": metrics.ndcg(hits, sizes),
        "map": metrics.average_precision(hits, sizes),
        "mrr": metrics.reciprocal_rank(hits),
    }


@pytest.mark.parametrize("k", [1, 3, 8, 12])
def test_metrics_of_ranking_are_their_formulas(k):
    listed, relevant = lists()
    found = measured(listed, relevant, k)
    for user, (row, good) in enumerate(zip(listed, relevant)):
        places = [p for p, item in enumerate(row[:k], start=1) if item in good]
        best = sum(1 / math.log2(p + 1) for p in range(1, min(k, len(good)) + 1))
        expected = {
            "precision": len(places) / k,
            "recall": len(places) / len(good),
            "ndcg": sum(1 / math.log2(p + 1) for p in places) / best,
            "map": sum(n / p for n, p in enumerate(places, start=1)) / len(good),
            "mrr": 1 / places[0] if places else 0,
        }
        for name, value in expected.items():
            assert found[name][user] == pytest.approx(value), name


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
listed, relevant, ks = json.load(sys.stdin)
run = {f"{u:04}": {str(i): float(len(row) - p) for p, i in enumerate(row)} for u, row in enumerate(listed)}
qrels = {f"{u:04}": {str(i): 1 for i in row} for u, row in enumerate(relevant)}
names = [f"{name}@{k}" for name in ("precision", "recall", "ndcg", "map", "mrr") for k in ks]
print(json.dumps({n: evaluate(Qrels(qrels), Run(run), n, return_mean=False).tolist() for n in names}))
"""


def test_metrics_of_ranking_agree_with_ranx():
    if importlib.util.find_spec("ranx") is None:
        missing("ranx")
    listed, relevant = lists(k=10)
    ks = [1, 3, 10]
    # In a process of its own, where its code is not compiled: that would take a quarter of a minute.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RANX],
        input=json.dumps([listed, [sorted(good) for good in relevant], ks]),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )
    expected = json.loads(done.stdout)
    for k in ks:
        for name, values in measured(listed, relevant, k).items():
            assert_allclose(values, expected[f"{name}@{k}"], atol=1e-6, rtol=0, err_msg=name)


hit_lists = st.integers(1, 6).flatmap(
    lambda k: st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=1, max_size=8)
)


@given(hit_lists, st.integers(0, 4))
def test_metrics_of_ranking_keep_their_bounds(hits, beyond):
    sizes = np.maximum(np.sum(hits, axis=1), 1) + beyond
    found = {
        "precision": metrics.precision(hits),
        "recall": metrics.recall(hits, sizes),
        "ndcg": metrics.ndcg(hits, sizes),
        "map": metrics.average_precision(hits, sizes),
        "mrr": metrics.reciprocal_rank(hits),
    }
    sooner = np.sort(hits, axis=1)[:, ::-1]  # all hits first: no metric falls
    better = {
        "precision": metrics.precision(sooner),
        "recall": metrics.recall(sooner, sizes),
        "ndcg": metrics.ndcg(sooner, sizes),
        "map": metrics.average_precision(sooner, sizes),
        "mrr": metrics.reciprocal_rank(sooner),
    }
    for name, values in found.items():
        assert (values >= 0).all(), name
        assert (values <= better[name] + 1e-12).all(), name
        assert (better[name] <= 1 + 1e-12).all(), name
    assert_allclose(found["map"] <= found["recall"] + 1e-12, True)


def test_a_perfect_list_scores_one():
    hits = [[True, True, True], [True, False, False]]
    assert_allclose(metrics.ndcg(hits, [3, 1]), 1)
    assert_allclose(metrics.ndcg([[True, True, True]], [9]), 1)  # it cannot hold more than three
    assert_allclose(metrics.average_precision(hits, [3, 1]), 1)
    assert_allclose(metrics.recall(hits, [3, 1]), 1)
    assert_allclose(metrics.reciprocal_rank(hits), 1)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_gini_and_coverage_are_their_formulas(counts):
    assert metrics.coverage(counts) == pytest.approx(sum(c > 0 for c in counts) / len(counts))
    if sum(counts) == 0:
        with pytest.raises(cf.BadParameter, match="No item is listed"):
            metrics.gini(counts)
        return
    differences = sum(abs(a - b) for a in counts for b in counts)  # half the relative mean difference
    assert metrics.gini(counts) == pytest.approx(differences / (2 * len(counts) * sum(counts)), abs=1e-12)


def test_novelty_is_in_bits():
    assert metrics.novelty([10, 5], users=10).tolist() == [0, 1]
    for raters in ([0], [11], [np.nan]):
        with pytest.raises(cf.BadParameter, match="raters"):
            metrics.novelty(raters, users=10)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.precision([True, False]),
        lambda: metrics.precision(np.zeros((3, 0))),
        lambda: metrics.recall([[True, True]], [1]),
        lambda: metrics.ndcg([[False, False]], [0]),
        lambda: metrics.average_precision([[True]], [1, 1]),
        lambda: metrics.coverage([]),
        lambda: metrics.gini([-1, 2]),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(cf.BadParameter):
        call()
