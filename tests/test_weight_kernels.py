"""Weights of features: the kernels that draw and apply them, against their slow twins and against linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cofactor import kernels
from cofactor.kernels import reference

TOLERANCE = {np.float32: 2e-4, np.float64: 1e-11}


def sparse(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By row."""
    rows, columns = np.nonzero(x)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(x)))]).astype(np.int64)
    return indptr, columns.astype(np.int32), x[rows, columns].astype(np.float32)


def problem(rng, rows: int, features: int, columns: int, dtype: type):
    x = (rng.normal(size=(rows, features)) * (rng.random((rows, features)) < 0.4)).astype(np.float32)
    shape = (features, columns)
    reg, noise = rng.uniform(0.1, 5, shape), rng.normal(size=shape)
    weights, residual = rng.normal(size=shape), rng.normal(size=(rows, columns))
    return x, *(array.astype(dtype) for array in (reg, noise, weights, residual))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 7, 8, 16, 17, 33])
@pytest.mark.parametrize(("rows", "features"), [(1, 1), (5, 9), (3000, 6), (0, 3), (4, 0)])
def test_weights_are_those_of_the_slow_twin(rows: int, features: int, columns: int, dtype: type) -> None:
    rng = np.random.default_rng(rows + columns)
    x, reg, noise, weights, residual = problem(rng, rows, features, columns, dtype)
    by_feature = sparse(x.T)
    fast, slow = (weights.copy(), residual.copy()), (weights.astype(np.float64), residual.astype(np.float64))
    kernels.draw_weights(by_feature, reg, noise, *fast)
    reference.draw_weights(by_feature, reg, noise, *slow)
    for a, b in zip(fast, slow):
        assert a.dtype == dtype
        assert_allclose(a, b, atol=TOLERANCE[dtype])
    applied = kernels.apply_weights(sparse(x), weights)
    assert_allclose(applied, reference.apply_weights(sparse(x), weights), atol=TOLERANCE[dtype])
    assert applied.dtype == dtype


def test_without_noise_the_rounds_end_at_the_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    x, reg, _, weights, target = problem(rng, 40, 6, 3, np.float64)
    x, reg[:] = x.astype(np.float64), reg[:, :1]
    residual = target - x @ weights
    for _ in range(300):
        kernels.draw_weights(sparse(x.T), reg, np.zeros_like(reg), weights, residual)
    assert_allclose(weights, np.linalg.solve(x.T @ x + np.diag(reg[:, 0]), x.T @ target), atol=1e-9)
    assert_allclose(residual, target - x @ weights, atol=1e-9)


def test_draws_spread_as_their_posterior() -> None:
    """Every column is a chain of its own: after some rounds they are draws from N(A⁻¹xᵀt, A⁻¹), A = xᵀx + λ."""
    rng = np.random.default_rng(1)
    chains = 40_000
    x = np.array([[1.0, 0.5], [0.3, -1.0], [0.0, 2.0]], np.float32)
    target = np.tile([[1.0], [2.0], [-1.0]], chains)
    reg, weights = np.full((2, chains), 0.7), np.zeros((2, chains))
    residual = target - x @ weights
    for _ in range(12):
        kernels.draw_weights(sparse(x.T), reg, rng.normal(size=reg.shape), weights, residual)
    system = x.T.astype(np.float64) @ x + 0.7 * np.eye(2)
    error = np.sqrt(np.diag(np.linalg.inv(system)) / chains)
    assert (np.abs(weights.mean(axis=1) - np.linalg.solve(system, x.T @ target[:, 0])) < 5 * error).all()
    assert_allclose(np.cov(weights), np.linalg.inv(system), rtol=0.05, atol=0.005)


def test_the_number_of_threads_changes_no_bit() -> None:
    x, reg, noise, weights, residual = problem(np.random.default_rng(2), 500, 40, 50, np.float32)
    found = []
    for threads in (1, 3):
        one = (weights.copy(), residual.copy())
        kernels.draw_weights(sparse(x.T), reg, noise, *one, threads=threads)
        found.append((*one, kernels.apply_weights(sparse(x), one[0], threads=threads)))
    for a, b in zip(*found):
        assert_array_equal(a, b)


BAD = {
    "row": lambda p: {**p, "features": (p["features"][0], p["features"][1] + 100, p["features"][2])},
    "reg": lambda p: {**p, "reg": np.zeros_like(p["reg"])},
    "shape": lambda p: {**p, "noise": p["noise"][:, :-1]},
    "dtype": lambda p: {**p, "weights": p["weights"].astype(np.float64)},
    "order": lambda p: {**p, "residual": np.asfortranarray(p["residual"])},
}


@pytest.mark.parametrize("name", BAD)
def test_no_unchecked_array_reaches_the_kernel(name: str) -> None:
    x, reg, noise, weights, residual = problem(np.random.default_rng(3), 9, 5, 4, np.float32)
    good = {"features": sparse(x.T), "reg": reg, "noise": noise, "weights": weights, "residual": residual}
    with pytest.raises(ValueError, match="must"):
        kernels.draw_weights(**BAD[name](good))
    with pytest.raises(ValueError, match="must"):
        kernels.apply_weights(sparse(np.ones((2, 6))), weights)
