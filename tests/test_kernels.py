"""Every kernel against its slow twin in kernels/reference.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cofactor import kernels
from cofactor.kernels import reference

RANKS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 130]
# cg runs to its end here; that it is cut short after `cg_steps` is tested by itself below
SOLVERS = ["auto", "cholesky", "primal", "dual", "cg"]
TOL = {np.float32: 2e-4, np.float64: 1e-9}
DTYPES = [np.float32, np.float64]
MODULES = [kernels, reference]


def problem(rng, lengths, rank, dtype, fixed_rows=60):
    """Rows of the given lengths on well-scaled factors."""
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return {
        "indptr": indptr,
        "indices": rng.integers(0, fixed_rows, indptr[-1]).astype(np.int32),
        "values": rng.integers(1, 6, indptr[-1]).astype(np.float32),
        "fixed": rng.normal(0, 0.5, (fixed_rows, rank)).astype(dtype),
        "fixed_bias": rng.normal(0, 0.3, fixed_rows).astype(dtype),
        "reg": rng.uniform(1, 3, len(lengths)),
        "out": rng.normal(0, 0.1, (len(lengths), rank)).astype(dtype),
        "out_bias": rng.normal(0, 0.1, len(lengths)).astype(dtype),
    }


def both(p, **options):
    """The outcome of the compiled kernel and of its twin."""
    results = []
    for module in (kernels, reference):
        mine = {**p, "out": p["out"].copy(), "out_bias": p["out_bias"].copy()}
        if module is reference:  # stored in double, so that only the kernel rounds
            mine["out"], mine["out_bias"] = (
                mine["out"].astype(np.float64),
                mine["out_bias"].astype(np.float64),
            )
        error, singular = module.solve_rows(**mine, **options)
        assert singular == -1
        results.append((mine["out"], mine["out_bias"], error))
    return results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("biases", ["joint", "sequential", None])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("rank", RANKS)
def test_rows_of_all_lengths(rank, solver, biases, dtype):
    rng = np.random.default_rng(rank)
    lengths = [0, 1, rank - 1, rank, rank + 1, 10 * rank, 2, 0, 37]
    p = problem(rng, lengths, rank, dtype)
    fast, slow = both(p, mean=3.1 if biases else 0.0, biases=biases, solver=solver, cg_steps=400)
    for got, want in zip(fast, slow):
        assert_allclose(got, want, rtol=TOL[dtype], atol=TOL[dtype] * np.abs(want).max())
    assert (fast[0][[0, 7]] == 0).all()
    if biases:
        assert (fast[1][[0, 7]] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("biases", ["joint", "sequential", None])
@pytest.mark.parametrize("solver", ["auto", "cholesky", "primal", "cg"])  # no dual of such a size
@pytest.mark.parametrize("rank", [1, 8, 33, 64])
def test_rows_of_many_thousand_ratings(rank, solver, biases, dtype):
    lengths = [4095, 4096, 4097, 20_000, 3]
    p = problem(np.random.default_rng(rank), lengths, rank, dtype)
    fast, slow = both(p, mean=3.1 if biases else 0.0, biases=biases, solver=solver, cg_steps=400, threads=2)
    for got, want in zip(fast, slow):
        assert_allclose(got, want, rtol=TOL[dtype], atol=TOL[dtype] * np.abs(want).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("rank", [1, 6, 16, 65])
def test_conjugate_gradient_step_by_step(rank, steps, dtype):
    p = problem(np.random.default_rng(steps), [1, 5, 80, 300], rank, dtype)
    fast, slow = both(p, mean=3.0, solver="cg", cg_steps=steps)
    for got, want in zip(fast, slow):
        assert_allclose(got, want, rtol=10 * TOL[dtype], atol=10 * TOL[dtype] * np.abs(want).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("rank", [1, 2, 7, 10, 16, 33, 64, 130])
def test_normal_equations_of_items_add_up_over_groups(rank, biased, dtype):
    rng = np.random.default_rng(rank)
    lengths = [0, 1, 3, 40, 4095, 4097, 9000, 2, 0]
    sums = {module: np.zeros((len(lengths), kernels.item_sums_size(rank, biased))) for module in MODULES}
    for group in range(3):
        p = problem(rng, np.multiply(lengths, group != 1) + 1, rank, dtype, fixed_rows=500)
        for module, to in sums.items():
            bias = p["fixed_bias"] if biased else None
            module.add_item_sums(p["indptr"], p["indices"], p["values"], p["fixed"], bias, to, mean=3.0)
    fast, slow = sums.values()
    size = np.abs(slow).max(axis=1, keepdims=True)
    assert_allclose(fast / size, slow / size, atol=1e-5 if dtype is np.float32 else 1e-12)
    counts = np.multiply(lengths, 2).astype(np.int64) + 3
    counts[0], slow[0] = 0, 0
    reg = rng.uniform(1, 3, len(lengths))
    solved = [
        module.solve_item_sums(slow, counts, reg, rank, biased=biased, dtype=dtype) for module in MODULES
    ]
    for got, want in zip(solved[0][:2], solved[1][:2]):
        assert_allclose(got, want, rtol=TOL[dtype], atol=TOL[dtype] * np.abs(want).max())
    assert solved[0][2] == -1
    assert (solved[0][0][0] == 0).all()


def test_normal_equations_give_the_row_that_its_ratings_give():
    p = problem(np.random.default_rng(1), [3, 50, 5000], 10, np.float32)
    kernels.solve_rows(**p, mean=3.0, solver="primal")
    sums = np.zeros((3, kernels.item_sums_size(10, True)))
    kernels.add_item_sums(p["indptr"], p["indices"], p["values"], p["fixed"], p["fixed_bias"], sums, mean=3.0)
    counts = np.diff(p["indptr"])
    factors, bias, _ = kernels.solve_item_sums(sums, counts, p["reg"], 10, biased=True)
    assert_array_equal(factors, p["out"])
    assert_array_equal(bias, p["out_bias"])


def test_the_number_of_threads_changes_no_bit_of_normal_equations():
    p = problem(np.random.default_rng(2), np.arange(400) % 90, 12, np.float32)
    found = []
    for threads in (1, 2, 5):
        sums = np.zeros((400, kernels.item_sums_size(12, True)))
        kernels.add_item_sums(
            p["indptr"],
            p["indices"],
            p["values"],
            p["fixed"],
            p["fixed_bias"],
            sums,
            mean=3.0,
            threads=threads,
        )
        found.append(
            (sums, kernels.solve_item_sums(sums, np.diff(p["indptr"]), p["reg"], 12, biased=True)[0])
        )
    for sums, factors in found[1:]:
        assert_array_equal(sums, found[0][0])
        assert_array_equal(factors, found[0][1])


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=8, unique=True).map(sorted), max_size=12),
)
def test_transpose(rows):
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    indices = np.array([j for row in rows for j in row], np.int32)
    values = np.arange(len(indices), dtype=np.float32)
    for got, want in zip(
        kernels.transpose(indptr, indices, values, 10), reference.transpose(indptr, indices, values, 10)
    ):
        assert_array_equal(got, want)


@pytest.mark.parametrize("solver", ["cg", "auto"])
@pytest.mark.parametrize("rank", [4, 64])
def test_conjugate_gradient_never_makes_a_row_worse(rank, solver):
    rng = np.random.default_rng(7)
    p = problem(rng, rng.integers(1, 300, 50), rank, np.float64)
    objective = []
    for _ in range(6):
        error, _ = kernels.solve_rows(**p, mean=3.0, solver=solver, cg_steps=1)
        objective.append(error + p["reg"] * ((p["out"] ** 2).sum(axis=1) + p["out_bias"] ** 2))
    for before, after in zip(objective, objective[1:]):
        assert (after <= before * (1 + 1e-12)).all()


def test_rank_zero_is_a_ridge_mean():
    p = problem(np.random.default_rng(0), [0, 1, 5, 400], 0, np.float32)
    fast, slow = both(p, mean=2.0)
    assert_allclose(fast[1], slow[1], rtol=1e-6)
    assert_allclose(fast[2], slow[2], rtol=1e-5)


@pytest.mark.parametrize("rank", [3, 16, 40])
def test_a_row_of_ten_million_ratings_keeps_its_accuracy(rank):
    # Sums of 10⁷ equal signs: running single-precision sums would stall near 2²⁴ ≈ 1.7·10⁷ units
    # and lose whole per cents; the exact sums go by how often each item occurs.
    rng = np.random.default_rng(1)
    n, items = 10_000_000, 500
    fixed = (1 + rng.normal(0, 0.3, (items, rank))).astype(np.float32)
    bias = rng.normal(0, 0.3, items).astype(np.float32)
    indices = rng.integers(0, items, n).astype(np.int32)
    values = (rng.integers(1, 11, n) * np.float32(0.5)).astype(np.float32)
    out, out_bias = np.zeros((1, rank), np.float32), np.zeros(1, np.float32)
    error, _ = kernels.solve_rows(
        np.array([0, n]),
        indices,
        values,
        fixed,
        bias,
        np.array([5.0]),
        out,
        out_bias,
        mean=2.5,
        solver="cholesky",
    )
    count = np.bincount(indices, minlength=items)
    total = np.bincount(indices, weights=values, minlength=items) - count * (2.5 + bias.astype(np.float64))
    Z = np.column_stack([fixed, np.ones(items)]).astype(np.float64)
    A = Z.T @ (count[:, None] * Z) + 5.0 * np.eye(rank + 1)
    exact = np.linalg.solve(A, Z.T @ total)
    got = np.append(out[0], out_bias[0]).astype(np.float64)
    # The gradient at the result, against the size of the terms that cancel in it
    assert np.abs(A @ got - Z.T @ total).max() < 2e-6 * np.abs(A).max() * np.abs(exact).max()
    assert_allclose(Z @ got, Z @ exact, atol=2e-5)
    residual = values - 2.5 - bias[indices] - (Z @ exact)[indices]
    assert_allclose(error[0], residual @ residual, rtol=1e-6)


@pytest.mark.parametrize("solver", ["auto", "cholesky", "cg"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(solver, dtype):
    rng = np.random.default_rng(3)
    p = problem(rng, rng.integers(0, 200, 500), 24, dtype)
    outcomes = []
    for threads in (1, 2, 3, 8):
        mine = {**p, "out": p["out"].copy(), "out_bias": p["out_bias"].copy()}
        error, _ = kernels.solve_rows(**mine, solver=solver, threads=threads)
        outcomes.append((mine["out"], mine["out_bias"], error))
    for other in outcomes[1:]:
        for first, second in zip(outcomes[0], other):
            assert_array_equal(first, second)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("biases", ["joint", "sequential", None])
@pytest.mark.parametrize("noise", [True, False])
def test_a_giant_row_is_cut_into_pieces_that_do_not_show(biases, dtype, noise):
    rng = np.random.default_rng(6)
    p = problem(rng, [40, 1_100_000, 0, 30], 6, dtype)
    if not noise:  # nothing is left of the ratings: errors are not what remains of large sums
        p["reg"][:] = 1e-6
        p["values"] = (p["fixed"] @ np.arange(6)).astype(np.float32)[p["indices"]]
        p["fixed_bias"][:] = 0
    fast, slow = both(p, mean=3.1 if biases and noise else 0.0, biases=biases, solver="primal", threads=3)
    for got, want in zip(fast[:2], slow[:2]):
        assert_allclose(got, want, rtol=10 * TOL[dtype], atol=10 * TOL[dtype])
    squares = np.square(p["values"], dtype=np.float64).sum()
    assert_allclose(fast[2], slow[2], rtol=TOL[dtype], atol=1e-9 * squares)
    alone = {**p, "out": p["out"].copy(), "out_bias": p["out_bias"].copy()}
    kernels.solve_rows(
        **alone, mean=3.1 if biases and noise else 0.0, biases=biases, solver="primal", threads=1
    )
    assert_array_equal(alone["out"], fast[0])


def test_a_row_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(4)
    p = problem(rng, rng.integers(0, 100, 60), 20, np.float32)
    whole = {**p, "out": p["out"].copy(), "out_bias": p["out_bias"].copy()}
    kernels.solve_rows(**whole)
    for i in (0, 17, 59):
        a, b = p["indptr"][i], p["indptr"][i + 1]
        alone = {
            **p,
            "indptr": np.array([0, b - a]),
            "indices": p["indices"][a:b],
            "values": p["values"][a:b],
            "reg": p["reg"][i : i + 1],
            "out": p["out"][i : i + 1].copy(),
            "out_bias": p["out_bias"][i : i + 1].copy(),
        }
        kernels.solve_rows(**alone)
        assert_array_equal(alone["out"][0], whole["out"][i])


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_a_singular_row_is_named(solver):
    p = problem(np.random.default_rng(5), [30, 3, 30], 4, np.float32)
    p["reg"][:] = [1, 0, 1]
    p["indices"][30:33] = 7  # three times the same item, no regularization
    _, singular = kernels.solve_rows(**p, solver=solver)
    assert singular == 1


BAD_CALLS = {
    "an index beyond the other side": lambda p: p["indices"].__setitem__(0, 60),
    "a negative index": lambda p: p["indices"].__setitem__(3, -1),
    "pointers that fall": lambda p: p["indptr"].__setitem__(1, 999),
    "pointers that end early": lambda p: p["indptr"].__setitem__(-1, 5),
    "too few pointers": lambda p: p.update(indptr=p["indptr"][:-1]),
    "values of another length": lambda p: p.update(values=p["values"][:-1]),
    "values of another kind": lambda p: p.update(values=p["values"].astype(np.float64)),
    "biases of another length": lambda p: p.update(fixed_bias=p["fixed_bias"][:-1]),
    "an output of another shape": lambda p: p.update(out=p["out"][:, :-1]),
    "an output of another dtype": lambda p: p.update(out=p["out"].astype(np.float64)),
    "an output that cannot be written": lambda p: p["out"].setflags(write=False),
    "integer factors": lambda p: p.update(fixed=p["fixed"].astype(int)),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_no_unchecked_array_reaches_the_kernel(name):
    p = problem(np.random.default_rng(0), [4, 5, 6], 3, np.float32)
    BAD_CALLS[name](p)
    with pytest.raises(ValueError, match="must"):
        kernels.solve_rows(**p)


@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(0, 70),
    items=st.integers(0, 300),
    rank=st.integers(0, 40),
    n=st.integers(1, 320),
    dtype=st.sampled_from(DTYPES),
    threads=st.integers(1, 4),
)
def test_topk_is_a_full_sort(seed, queries, items, rank, n, dtype, threads):
    rng = np.random.default_rng(seed)
    # Small whole numbers: scores are exact, and full of ties.
    Q = rng.integers(-3, 4, (queries, rank)).astype(dtype)
    V = rng.integers(-3, 4, (items, rank)).astype(dtype)
    c = rng.integers(-3, 4, items).astype(dtype)
    skip = rng.random((queries, items)) < rng.random()
    indptr = np.concatenate([[0], np.cumsum(skip.sum(axis=1))]).astype(np.int64)
    indices = np.nonzero(skip)[1].astype(np.int32)
    got = kernels.topk(Q, V, c, indptr, indices, n, threads=threads)
    want = reference.topk(Q, V, c, indptr, indices, n)
    assert_array_equal(got[0], want[0])
    assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("threads", [1, 3])
def test_topk_of_many_items_shared_out_in_parts(threads):
    rng = np.random.default_rng(0)
    Q, V = rng.integers(-2, 3, (3, 5)).astype(np.float32), rng.integers(-2, 3, (50_000, 5)).astype(np.float32)
    c, none = np.zeros(50_000, np.float32), np.empty(0, np.int32)
    got = kernels.topk(Q, V, c, np.zeros(4, np.int64), none, 100, threads=threads)
    want = reference.topk(Q, V, c, np.zeros(4, np.int64), none, 100)
    assert_array_equal(got[0], want[0])
    assert_array_equal(got[1], want[1])


def none_skipped(queries):
    return np.zeros(queries + 1, np.int64), np.empty(0, np.int32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("queries", [1, 2, 4, 5, 16, 17, 40, 64, 65, 127, 128, 300])
def test_topk_of_a_query_is_the_same_alone_and_in_any_company(queries, dtype):
    rng = np.random.default_rng(queries)
    Q, V = rng.normal(size=(queries, 21)).astype(dtype), rng.normal(size=(3000, 21)).astype(dtype)
    c = rng.normal(size=3000).astype(dtype)
    items, scores = kernels.topk(Q, V, c, *none_skipped(queries), 7, threads=2)
    for q in range(0, queries, 7):
        alone = kernels.topk(Q[q : q + 1], V, c, *none_skipped(1), 7, threads=3)
        assert_array_equal(items[q], alone[0][0])
        assert_array_equal(scores[q], alone[1][0])
    exact = np.take_along_axis(Q.astype(np.float64) @ V.T.astype(np.float64) + c, items, axis=1)
    assert_allclose(scores, exact, rtol=TOL[dtype], atol=TOL[dtype])


def lognormal_norms(rng, V, c):
    return V * rng.lognormal(0, 3, (len(V), 1)), c


def few_different_items(rng, V, c):
    same = rng.integers(0, 20, len(V))
    return V[same], c[same]


def one_direction(rng, V, c):  # scores reach their bound but for rounding
    return rng.normal(1, 1e-6, (len(V), 1)) * V[:1], 0 * c


CATALOGUES = {
    "as it is": lambda rng, V, c: (V, c),
    "norms of all sizes": lognormal_norms,
    "norms all equal": lambda rng, V, c: (V / np.linalg.norm(V, axis=1, keepdims=True), 0 * c),
    "a few items, many times": few_different_items,
    "all items alike": lambda rng, V, c: (V[:1] + 0 * V, 0 * c),
    "no factors at all": lambda rng, V, c: (0 * V, c),
    "one direction": one_direction,
    "large biases": lambda rng, V, c: (V, 1000 * c),
    "almost all items ruled out": lambda rng, V, c: (V, np.where(np.arange(len(V)) % 500, -np.inf, c)),
    "scores near the smallest number": lambda rng, V, c: (V, 0 * c),
    "numbers whose squares are too large": lambda rng, V, c: (np.where(c[:, None] > 1, 1e19 * V, V), c),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CATALOGUES)
def test_topk_of_many_queries_leaves_out_no_item_that_counts(name, dtype):
    rng = np.random.default_rng(len(name))
    V, c = CATALOGUES[name](rng, rng.normal(size=(20_000, 24)), rng.normal(size=20_000))
    V, c = V.astype(dtype), c.astype(dtype)
    Q = (rng.normal(size=(200, 24)) * rng.lognormal(0, 1, (200, 1))).astype(dtype)
    Q[:50] = V[:1] * rng.lognormal(0, 1, (50, 1)).astype(dtype)  # in the direction of an item
    Q[50] = 0
    if name == "scores near the smallest number":  # products are rounded to the few there are, squares to 0
        near = np.sqrt(np.finfo(dtype).tiny)
        V, Q = V * dtype(near * 1e-10), Q * dtype(near * 1e8)
        c[::100] = np.finfo(dtype).tiny * 1e-4
    seen = [rng.permutation(20_000)[: rng.integers(0, 100)] for _ in Q]
    highest = np.argsort(-(Q[60] @ V.T + c), kind="stable")
    seen[60], seen[61], seen[62] = highest[:900], np.arange(20_000), np.arange(19_995)
    indptr = np.concatenate([[0], np.cumsum([len(items) for items in seen])]).astype(np.int64)
    indices = np.concatenate([np.sort(items) for items in seen]).astype(np.int32)
    got = kernels.topk(Q, V, c, indptr, indices, 10, threads=2)
    for begin in range(0, 200, 50):  # so few at a time that every item is scored
        pointers = indptr[begin : begin + 51]
        part = Q[begin : begin + 50], V, c, pointers - pointers[0], indices[pointers[0] : pointers[-1]]
        want = kernels.topk(*part, 10)
        assert_array_equal(got[0][begin : begin + 50], want[0])
        assert_array_equal(got[1][begin : begin + 50], want[1])


@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(2000, 4000),
    n=st.integers(1, 40),
    dtype=st.sampled_from(DTYPES),
    threads=st.integers(1, 3),
)
@settings(max_examples=20)
def test_topk_of_many_queries_is_a_full_sort(seed, items, n, dtype, threads):
    rng = np.random.default_rng(seed)
    large = 1 + 8 * (rng.random((items, 1)) < 0.1)  # whole numbers: scores are exact, and full of ties
    Q = rng.integers(-2, 3, (130, 16)).astype(dtype)
    V, c = (large * rng.integers(-2, 3, (items, 16))).astype(dtype), rng.integers(-9, 10, items).astype(dtype)
    got = kernels.topk(Q, V, c, *none_skipped(130), n, threads=threads)
    want = reference.topk(Q, V, c, *none_skipped(130), n)
    assert_array_equal(got[0], want[0])
    assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [0, 1, 15, 16, 70])
def test_predict(rank, dtype):
    rng = np.random.default_rng(rank)
    users, items = rng.integers(-1, 20, 500).astype(np.int32), rng.integers(-1, 30, 500).astype(np.int32)
    U, V = rng.normal(size=(20, rank)).astype(dtype), rng.normal(size=(30, rank)).astype(dtype)
    b, c = rng.normal(size=20).astype(dtype), rng.normal(size=30).astype(dtype)
    got = kernels.predict(users, items, U, b, V, c, 3.5)
    assert_allclose(
        got, reference.predict(users, items, U, b, V, c, 3.5), rtol=TOL[dtype], atol=10 * TOL[dtype]
    )


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(31, 40))
def test_group(keys, n):
    keys = np.array(keys, np.int32)
    for got, want in zip(kernels.group(keys, n), reference.group(keys, n)):
        assert_array_equal(got, want)


PROBE = textwrap.dedent(
    """
    import numpy as np
    from cofactor import kernels
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 90, 40)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    args = (indptr, rng.integers(0, 50, indptr[-1]).astype("i4"), rng.integers(1, 6, indptr[-1]).astype("f4"))
    for dtype in ("f4", "f8"):
        V = rng.normal(0, .5, (50, 21)).astype(dtype)
        for solver in ("cholesky", "dual", "cg"):
            U, b = np.zeros((40, 21), dtype), np.zeros(40, dtype)
            c, reg = np.zeros(50, dtype), np.full(40, 2.)
            kernels.solve_rows(*args, V, c, reg, U, b, mean=3., solver=solver, cg_steps=99)
            print(*(f"{x:.3f}" for x in (U @ V.T).ravel() + 0.0), sep="\\n")
        Q, V = rng.normal(size=(130, 21)).astype(dtype), rng.lognormal(size=(3000, 1)).astype(dtype)
        V, c, nothing = V * rng.normal(size=(3000, 21)).astype(dtype), V[:, 0], np.empty(0, "i4")
        items, scores = kernels.topk(Q, V, c, np.zeros(131, "i8"), nothing, 10)
        for q in range(130):  # the same alone, bit by bit
            alone = kernels.topk(Q[q : q + 1], V, c, np.zeros(2, "i8"), nothing, 10)
            assert (alone[0][0] == items[q]).all() and (alone[1][0] == scores[q]).all()
        print(*(f"{x:.3f}" for x in scores.ravel() + 0.0), sep="\\n")
    print(kernels.instruction_set()[0])
    """
)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same_answer(isa):
    """The one asked for where the processor has it, else the best it has; to three digits all agree."""

    def run(name):
        command = [sys.executable, "-c", PROBE]
        done = subprocess.run(
            command, env={**os.environ, "COFACTOR_ISA": name}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        *numbers, used = done.stdout.split()
        return np.array(numbers, float), used

    (numbers, used), (plain, baseline) = run(isa), run("baseline")
    assert baseline == "baseline"
    assert used in ("baseline", "avx2", "avx512")
    assert_allclose(numbers, plain, atol=2e-3)


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_ctrl_c_stops_a_long_kernel():
    program = textwrap.dedent(
        """
        import signal
        import numpy as np
        from cofactor import kernels
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs in the background may ignore it
        rng = np.random.default_rng(0)
        rows, n, rank = 100_000, 300, 400
        V = rng.normal(size=(1000, rank)).astype("f4")
        args = (np.arange(rows + 1) * n, rng.integers(0, 1000, rows * n).astype("i4"), np.ones(rows * n, "f4"))
        print("ready", flush=True)
        try:
            kernels.solve_rows(*args, V, np.zeros(1000, "f4"), np.ones(rows), np.zeros((rows, rank), "f4"),
                               np.zeros(rows, "f4"), solver="primal", threads=1)
            print("ran to its end")
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)  # into the kernel, which would take minutes
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "interrupted\n"


# -- rows drawn from their posterior --------------------------------------------------------------------------


def drawn_problem(lengths: list[int], rank: int, dtype: type, biases: str | None):
    rng = np.random.default_rng(rank)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = np.concatenate([np.sort(rng.choice(6000, n, replace=False)) for n in lengths]).astype(np.int32)
    values = rng.normal(3, 1, len(indices)).astype(np.float32)
    fixed, bias = rng.normal(0, 1, (6000, rank)).astype(dtype), rng.normal(0, 0.3, 6000).astype(dtype)
    noise = rng.normal(size=(len(lengths), rank + (biases == "joint"))).astype(dtype)
    return indptr, indices, values, fixed, bias if biases else None, noise


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("biases", ["joint", None])
@pytest.mark.parametrize("rank", [1, 3, 8, 13, 33, 64])
def test_draws_are_those_of_the_slow_twin(rank: int, biases: str | None, dtype: type) -> None:
    lengths = [0, 1, rank, 40, 5000]
    indptr, indices, values, fixed, bias, noise = drawn_problem(lengths, rank, dtype, biases)
    found = []
    for module, threads in ((kernels, 1), (kernels, 3), (reference, 1)):
        out, out_bias = np.zeros((len(lengths), rank), dtype), np.zeros(len(lengths), dtype)
        errors, singular = module.solve_rows(
            indptr, indices, values, fixed, bias, np.full(len(lengths), 2.0), out, out_bias if biases else None,
            mean=3.0 if biases else 0.0, biases=biases, noise=noise, noise_scale=0.7, threads=threads,
        )  # fmt: skip
        assert singular == -1
        found.append((out, out_bias, errors))
    tolerance = 1e-3 if dtype == np.float32 else 1e-9
    for fast, again, slow in zip(*found):
        assert_array_equal(fast, again)
        assert_allclose(fast, slow, rtol=tolerance, atol=tolerance * np.abs(slow).max())


@pytest.mark.parametrize("biases", ["joint", None])
def test_draws_have_the_mean_and_the_covariance_of_the_row(biases: str | None) -> None:
    rank, draws, reg, sigma = 3, 40_000, 0.8, 0.5
    rng = np.random.default_rng(0)
    fixed, t = rng.normal(size=(5, rank)), rng.normal(size=5).astype(np.float32)
    out, bias = np.zeros((draws, rank)), np.zeros(draws)
    kernels.solve_rows(
        np.arange(0, 5 * draws + 1, 5), np.tile(np.arange(5, dtype=np.int32), draws), np.tile(t, draws), fixed,
        np.zeros(5) if biases else None, np.full(draws, reg), out, bias if biases else None,
        biases=biases, noise=rng.normal(size=(draws, rank + (biases == "joint"))), noise_scale=sigma,
    )  # fmt: skip
    z = np.column_stack([fixed, np.ones(5)]) if biases else fixed
    x = np.column_stack([out, bias]) if biases else out
    precision = z.T @ z + reg * np.eye(z.shape[1])
    covariance = sigma**2 * np.linalg.inv(precision)
    error = np.sqrt(np.diag(covariance) / draws)
    assert (np.abs(x.mean(axis=0) - np.linalg.solve(precision, z.T @ t)) < 5 * error).all()
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(np.cov(x.T) - covariance) < 5 * scale * np.sqrt(2 / draws)).all()


def test_a_draw_needs_a_proper_prior() -> None:
    out = np.zeros((1, 1))
    for reg, scale in ((0.0, 1.0), (1.0, -1.0)):
        with pytest.raises(ValueError, match="noise needs"):
            kernels.solve_rows(
                np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, np.float32), np.ones((1, 1)), None,
                np.array([reg]), out, None, biases=None, noise=np.zeros((1, 1)), noise_scale=scale,
            )  # fmt: skip


def test_a_giant_row_is_drawn_as_any_other() -> None:
    """It is cut into pieces, and drawn from the sum of them."""
    n, rank = 2**20 + 5, 3
    rng = np.random.default_rng(0)
    indices, values = rng.integers(0, 50, n).astype(np.int32), rng.normal(3, 1, n).astype(np.float32)
    fixed, bias, noise = rng.normal(size=(50, rank)), rng.normal(size=50), rng.normal(size=(1, rank + 1))
    found = []
    for module in (kernels, reference):
        out, out_bias = np.zeros((1, rank)), np.zeros(1)
        errors, _ = module.solve_rows(
            np.array([0, n]), indices, values, fixed, bias, np.ones(1), out, out_bias,
            mean=3.0, noise=noise, noise_scale=50.0,
        )  # fmt: skip
        found.append(np.concatenate([out[0], out_bias, errors]))
    assert_allclose(*found, rtol=1e-9)
