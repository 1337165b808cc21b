"""Whether chains of draws have settled, and how many independent draws theirs are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def agreement(traces: NDArray[Any], chains: int) -> tuple[float, float]:
    """Medians over quantities of R-hat, of chains cut in half, and of the effective number of draws.

    ``traces`` (quantities, draws), chain after chain. A. Gelman et al., "Bayesian Data Analysis", 3rd edition, 11.4 and
    11.5, where autocorrelations count up to the first pair whose sum is negative (Geyer).
    """
    quantities, draws = traces.shape
    half = draws // (2 * chains)
    parts = (
        traces.astype(np.float64)
        .reshape(quantities, chains, -1)[:, :, : 2 * half]
        .reshape(quantities, -1, half)
    )
    m = parts.shape[1]
    within = np.maximum(parts.var(axis=2, ddof=1).mean(axis=1), 1e-300)
    between = half * parts.mean(axis=2).var(axis=1, ddof=1)
    total = (half - 1) / half * within + between / half
    r_hat = np.sqrt(total / within)
    centred = parts - parts.mean(axis=2, keepdims=True)
    rho = np.ones((quantities, half))
    for lag in range(1, half):
        products = (centred[:, :, lag:] * centred[:, :, :-lag]).sum(axis=2).mean(axis=1) / half
        rho[:, lag] = 1 - (within - products) / total
    pairs = rho[:, : half // 2 * 2].reshape(quantities, -1, 2).sum(axis=2)
    going = np.cumprod(pairs > 0, axis=1)
    tau = np.maximum(2 * (pairs * going).sum(axis=1) - 1, 1 / np.log10(m * half + 10))
    return float(np.median(r_hat)), float(np.median(m * half / tau))
