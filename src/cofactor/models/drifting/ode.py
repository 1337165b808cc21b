"""The drift that a network learns, solved by diffrax: for learning, where gradients go through the solver."""

from __future__ import annotations

from typing import Any

import diffrax
import jax.numpy as jnp

from cofactor.models.drifting.dynamics import Array, Dynamics, Gap, field

ADJOINTS: dict[str, Any] = {
    "checkpoint": diffrax.RecursiveCheckpointAdjoint,
    "backsolve": diffrax.BacksolveAdjoint,
}
SOLVERS: dict[str, Any] = {"heun": diffrax.Heun, "euler": diffrax.Euler}


def solve(dynamics: Dynamics, m: Array, gap: Gap, solver: str, steps: int, adjoint: str) -> Array:
    """See ``dynamics.solve``, which takes the same steps."""

    def slope(s: Any, n: Array, given: tuple[Dynamics, Gap]) -> Array:
        return field(jnp, given[0], s, n, given[1])

    found = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        SOLVERS[solver](),
        t0=0.0,
        t1=1.0,
        dt0=1 / steps,
        y0=m,
        args=(dynamics, gap),  # as arguments, since the adjoint equation gives gradients of these alone
        stepsize_controller=diffrax.ConstantStepSize(),
        adjoint=ADJOINTS[adjoint](),
        max_steps=steps + 1,  # rounding may leave a last, tiny one
    )
    assert found.ys is not None
    return found.ys[0]
