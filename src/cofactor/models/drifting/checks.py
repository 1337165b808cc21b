"""What must hold of the solving of a network's equation: gradients by three ways, and the orders of the solvers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cofactor.models.drifting import ode
from cofactor.models.drifting.dynamics import Dynamics, Gap, network_shapes, solve

_D, _HIDDEN, _ROWS = 4, 5, 3


def example(seed: int = 0) -> tuple[Dynamics, NDArray[np.float64], Gap]:
    """A network that is not zero, states (rows, d) and gaps, all random."""
    random = np.random.default_rng(seed)
    network = {
        name: 0.6 * random.standard_normal(shape)
        for name, shape in network_shapes("neural", _D, _HIDDEN).items()
    }
    ones = np.ones(_D)
    dynamics = Dynamics(0.1 * ones, 0.1 * ones, ones, 0 * ones, np.array(1.0), np.array(1.0), network)
    days = np.array([2.0, 40.0, 300.0])
    gap = Gap(days, np.ones(_ROWS, bool), days, np.array([0.0, 10.0, 900.0]), np.array([1e4, 1.2e4, 1.3e4]))
    return dynamics, random.standard_normal((_ROWS, _D)), gap


def gradients(steps: int) -> tuple[NDArray[np.float64], ...]:
    """Of Σ n(1)² by the numbers of the network: by checkpoints, by the adjoint equation, by central differences.

    In double precision, which the caller switches on.
    """
    dynamics, m, gap = example()
    first = dynamics.network["w1"]

    def loss(w1: NDArray[np.float64], adjoint: str) -> jax.Array:
        given = dynamics._replace(network={**dynamics.network, "w1": w1})
        return jnp.sum(ode.solve(given, jnp.asarray(m), gap, "heun", steps, adjoint) ** 2)

    def by_numpy(w1: NDArray[np.float64]) -> float:
        given = dynamics._replace(network={**dynamics.network, "w1": w1})
        return float((solve(given, m, gap, "heun", steps) ** 2).sum())

    found = [
        np.asarray(jax.grad(loss)(jnp.asarray(first), adjoint)) for adjoint in ("checkpoint", "backsolve")
    ]
    differences = np.empty_like(first)
    for at in np.ndindex(first.shape):
        change = np.zeros_like(first)
        change[at] = 1e-5
        differences[at] = (by_numpy(first + change) - by_numpy(first - change)) / 2e-5
    return found[0], found[1], differences


def order_of(solver: str) -> float:
    """The slope of log error against log step of diffrax's solver, beside a much finer solution."""
    dynamics, m, gap = example()
    right = solve(dynamics, m, gap, "heun", 20_000)
    steps = np.array([64, 128, 256])
    errors = [
        float(
            np.abs(
                np.asarray(ode.solve(dynamics, jnp.asarray(m), gap, solver, int(n), "checkpoint")) - right
            ).max()
        )
        for n in steps
    ]
    return float(-np.polyfit(np.log(steps), np.log(errors), 1)[0])
