"""The state of a user between ratings and at a rating: Gaussian, N(m, S) over z = [fast bias, slow bias, p ∈ R^k].

    between    dm/dt = −A (m − m̄) + g_θ(m, age, gap, season)        dS/dt = −AS − SAᵀ + Q        A, Q diagonal
    at         r = μ + c_j + h·z + ε,  h = [1, 1, v_j],  ε ~ N(0, σ² + ρ·(how unsure item j is))

Without g the gap τ is passed exactly:  m̄ + e^{−Aτ}(m − m̄)  and  S_ij e^{−(a_i + a_j)τ},  on the diagonal besides
q_i (1 − e^{−2 a_i τ}) / 2a_i. With it,  m = m̄ + e^{−Aτ}(n − m̄),  and n follows what is left of the equation, where
nothing is stiff however long the gap. What the network gives, G, counts by the logarithm of time, for most changes
shortly after somebody has left, and fades as all else does:  g_θ = e^{−Aτ} G / (T + τ).  In the warped time s of
τ = T (e^{sL} − 1),  L = log(1 + gap / T),  this is  dn/ds = L·G  on [0, 1] for every user.

R. Chen et al., "Neural Ordinary Differential Equations", NeurIPS 2018; R. E. Kalman, "A New Approach to Linear
Filtering and Prediction Problems", 1960; J. D. Lawson, "Generalized Runge-Kutta processes for stable systems with large
Lipschitz constants", SIAM J. Numer. Anal. 4(3), 1967, for n; Y. Rubanova et al., "Latent ODEs for Irregularly-Sampled
Time Series", NeurIPS 2019, for equations between and jumps at observations.

All functions take ``xp``, NumPy or jax.numpy, and rows of a batch: m (rows, d), S (rows, d, d), times in days.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = Any  # of NumPy or of JAX
Network: TypeAlias = dict[str, Array]

DRIFTS = ("none", "forgetting", "bins", "linear", "two-scale", "neural", "gru")
TWO_BIASES = ("bins", "two-scale", "neural", "gru")  # those in which the fast bias is in use
LEARNS_A_MEAN = ("neural", "gru")  # those with a network
SOLVERS = ("heun", "euler")

FIRST = 0.25  # T, days: from when on the logarithm of time counts
YEAR = 365.25
_LONG = 4.0  # logarithms of times are divided by it, so that they are near one


class Dynamics(NamedTuple):
    """What drives all users: rates A and diffusion Q (d,) per day, prior variance (d,) and mean m̄ (d,), noise σ²,
    ``item_noise`` ρ, and the arrays of the network."""

    rates: Array
    diffusion: Array
    prior: Array
    mean: Array
    noise: Array
    item_noise: Array
    network: Network


class Gap(NamedTuple):
    """What passes before a rating, for rows of users.

    days: since the last rating. fresh: whether it is another day of the calendar (UTC). session: days that the
    network sees, 0 within a session. age: days from the first rating to the last. when: the moment of the last, days
    since 1970.
    """

    days: Array
    fresh: Array
    session: Array
    age: Array
    when: Array


def start(xp: Any, dynamics: Dynamics, rows: int) -> tuple[Array, Array]:
    """m and S of users nothing is known of."""
    d = len(dynamics.mean)
    m = xp.broadcast_to(dynamics.mean, (rows, d))
    return m, xp.broadcast_to(xp.eye(d) * dynamics.prior, (rows, d, d))


# -- between ratings -------------------------------------------------------------------------------


def spread(xp: Any, drift: str, dynamics: Dynamics, S: Array, gap: Gap) -> tuple[Array, Array]:
    """S after a gap, and the transition Φ of  m − m̄ → Φ (m − m̄)  without g: (rows, d) where it is diagonal."""
    if drift == "forgetting":
        return _forget(xp, dynamics, S, gap.days)
    if drift == "bins":
        first = xp.arange(S.shape[-1]) == 0
        stays = xp.where(first & gap.fresh[:, None], 0.0, 1.0)
        anew = xp.where(gap.fresh[:, None] & first, dynamics.prior, 0.0)
        return S * stays[:, :, None] * stays[:, None, :] + _diagonal(xp, anew), stays
    days = gap.days[:, None]
    decay = xp.exp(-dynamics.rates * days)
    x = 2 * dynamics.rates * days + 1e-12
    grown = dynamics.diffusion * days * (-xp.expm1(-x) / x)
    return S * decay[:, :, None] * decay[:, None, :] + _diagonal(xp, grown), decay


def _diagonal(xp: Any, values: Array) -> Array:
    return values[:, :, None] * xp.eye(values.shape[1])


def _forget(xp: Any, dynamics: Dynamics, S: Array, days: Array) -> tuple[Array, Array]:
    """Every rating counts e^{−a·age}: the ridge regression with such weights, in terms of S."""
    prior = xp.diag(1 / dynamics.prior[1:])  # the fast bias is not in use, and zero
    weight = xp.exp(-dynamics.rates[1] * days)[:, None, None]
    information = xp.linalg.inv(S[:, 1:, 1:])
    inner = xp.linalg.inv(prior + weight * (information - prior))
    inner = 0.5 * (inner + xp.swapaxes(inner, 1, 2))
    edges = ((0, 0), (1, 0), (1, 0))
    return xp.pad(inner, edges), xp.pad(weight * inner @ information, edges)


def moved(xp: Any, transition: Array, x: Array) -> Array:
    """Φ x for rows x (rows, …, d)."""
    if transition.ndim == 2:
        return x * (transition if x.ndim == 2 else transition[:, None, :])
    return xp.einsum("nij,n...j->n...i", transition, x)


def field(xp: Any, dynamics: Dynamics, s: Any, n: Array, gap: Gap) -> Array:
    """dn/ds, see above."""
    stretch = xp.log1p(gap.session / FIRST)[:, None]  # L
    passed = FIRST * xp.expm1(s * stretch)  # τ (rows, 1)
    m = dynamics.mean + xp.exp(-dynamics.rates * passed) * (n - dynamics.mean)
    net, x = dynamics.network, inputs(xp, dynamics, m, passed, gap)
    inner = xp.tanh(x @ net["w1"].T + net["b1"])
    return stretch * xp.sqrt(dynamics.prior) * xp.tanh(inner @ net["w2"].T + net["b2"])


def inputs(xp: Any, dynamics: Dynamics, m: Array, passed: Array, gap: Gap) -> Array:
    """What a network sees (rows, d + 4): the state, age, gap so far and season."""
    season = 2 * np.pi / YEAR * (gap.when[:, None] + passed)
    columns = (
        (m - dynamics.mean) / xp.sqrt(dynamics.prior),
        xp.log1p(gap.age[:, None] + passed) / _LONG,
        xp.log1p(passed / FIRST) / _LONG,
        xp.sin(season),
        xp.cos(season),
    )
    return xp.concatenate(columns, axis=1)


def solve(dynamics: Dynamics, m: Array, gap: Gap, solver: str, steps: int) -> Array:
    """n at s = 1 from n = m at s = 0, in NumPy; ``ode.solve`` is the same by diffrax."""
    h, n = 1 / steps, m
    for step in range(steps):
        slope = field(np, dynamics, step * h, n, gap)
        if solver == "heun":
            slope = (slope + field(np, dynamics, (step + 1) * h, n + h * slope, gap)) / 2
        n = n + h * slope
    return n


def remember(xp: Any, dynamics: Dynamics, memory: Array, m: Array, gap: Gap) -> tuple[Array, Array]:
    """The network of ``drift="gru"`` at the end of a gap: its memory (rows, q), and what it adds to m.

    K. Cho et al., "Learning Phrase Representations using RNN Encoder–Decoder", EMNLP 2014.
    """
    net = dynamics.network
    x = inputs(xp, dynamics, m, gap.session[:, None], gap)
    both = xp.concatenate([x, memory], axis=1)
    update, reset = (1 / (1 + xp.exp(-(both @ net[w].T + net[b]))) for w, b in (("wu", "bu"), ("wr", "br")))
    new = xp.tanh(xp.concatenate([x, reset * memory], axis=1) @ net["wn"].T + net["bn"])
    here = (gap.session > 0)[:, None]
    memory = xp.where(here, update * memory + (1 - update) * new, memory)
    added = xp.sqrt(dynamics.prior) * xp.tanh(memory @ net["w2"].T + net["b2"])
    return memory, xp.where(here, added, 0.0)


def network_shapes(drift: str, d: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The arrays of a network; that of ``"gru"`` has about as many numbers as that of ``"neural"``."""
    if drift == "neural":
        return {"w1": (hidden, d + 4), "b1": (hidden,), "w2": (d, hidden), "b2": (d,)}
    if drift == "gru":
        wanted = hidden * (2 * d + 5)
        # 3 q (q + d + 5) + q d = wanted
        q = max(1, round((-(4 * d + 15) + np.sqrt((4 * d + 15) ** 2 + 12 * wanted)) / 6))
        gates = {f"w{gate}": (q, d + 4 + q) for gate in "urn"} | {f"b{gate}": (q,) for gate in "urn"}
        return {**gates, "w2": (d, q), "b2": (d,)}
    return {}


def memory_size(network: Network) -> int:
    """How many numbers ``"gru"`` remembers of a user; 0 of other networks."""
    return len(network["bu"]) if "bu" in network else 0


# -- at a rating -----------------------------------------------------------------------------------


def observe(
    xp: Any, dynamics: Dynamics, S: Array, factors: Array, unsure: Array
) -> tuple[Array, Array, Array]:
    """Of a rating of items with ``factors`` (rows, k): h (rows, d), S h (rows, d), and the variance of the rating."""
    h = xp.concatenate([xp.ones((len(factors), 2), factors.dtype), factors], axis=1)
    Sh = xp.einsum("nij,nj->ni", S, h)
    return h, Sh, xp.sum(Sh * h, axis=1) + dynamics.noise + dynamics.item_noise * unsure


def update(S: Array, Sh: Array, variance: Array, seen: Array) -> tuple[Array, Array]:
    """The gain (rows, d) by which m moves for each point of surprise, and S after it; nothing where not ``seen``."""
    gain = Sh * (seen / variance)[:, None]
    return gain, S - gain[:, :, None] * Sh[:, None, :]
