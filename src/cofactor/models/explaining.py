"""What each rating of a user adds to a score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16  # ratings whose factors are held in double precision at a time


def explain_row(
    target: NDArray[np.float64],
    factors: Callable[[slice], NDArray[Any]],
    residual: Callable[[slice], NDArray[np.float64]],
    n: int,
    reg: float,
    with_bias: bool,
) -> NDArray[np.float64]:
    """Parts of  u·v  by rating (n,), where u solves the row's ridge regression.

    A [u, b] = Σ_j z_j t_j  with  z_j = [v_j, 1]  and  A = Σ_j z_j z_jᵀ + reg I,  so  u·v = Σ_j (wᵀz_j) t_j
    where  A w = [v, 0].  ``target`` is v, ``factors`` and ``residual`` give the v_j and t_j of a slice of
    the ratings; without a bias z_j is v_j alone.
    """
    rank = len(target)
    if rank == 0 or n == 0:
        return np.zeros(n)  # without factors, ratings speak through the user's bias alone

    def rows(part: slice) -> NDArray[np.float64]:
        z = factors(part).astype(np.float64)
        return np.hstack([z, np.ones((len(z), 1))]) if with_bias else z

    parts = [slice(begin, min(begin + _BLOCK, n)) for begin in range(0, n, _BLOCK)]
    system = reg * np.eye(rank + with_bias)
    for part in parts:
        z = rows(part)
        system += z.T @ z
    wanted = np.concatenate([target, np.zeros(int(with_bias))])
    # With reg = 0 the system may be singular.
    weight = np.linalg.solve(system, wanted) if reg > 0 else np.linalg.lstsq(system, wanted, rcond=None)[0]
    return np.concatenate([(rows(part) @ weight) * residual(part) for part in parts])
