"""The numbers that are learnt, without bounds, and the ``Dynamics`` they stand for."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor.models.drifting.dynamics import Array, Dynamics, network_shapes
from cofactor.models.drifting.items import Items

Raw: TypeAlias = dict[str, Any]

# Days after which 1/e is left, in the beginning: of the fast bias, the slow bias, the factors.
_DAYS = {"fast": 0.02, "slow": 500.0, "taste": 200.0}
_SHARE = 0.25  # of the variance of a user's bias that is given to the fast one


def first_parameters(items: Items, drift: str, rank: int, hidden: int, seed: int) -> Raw:
    """Where learning starts: the prior of ``items``, drift that keeps its variance, and a network that gives zero."""
    variances = {
        "fast": _SHARE * items.bias_variance,
        "slow": items.bias_variance,
        "taste": items.user_variance,
    }
    raw: Raw = {"noise": np.log(items.noise), "item_noise": 0.0, "mean": 0.0}
    for name, days in _DAYS.items():
        raw[f"rate_{name}"] = -np.log(days)
        raw[f"prior_{name}"] = np.log(variances[name])
        raw[f"diffusion_{name}"] = np.log(2 * variances[name] / days)
    random = np.random.default_rng([seed, 4])
    for name, shape in network_shapes(drift, rank + 2, hidden).items():
        last = name in ("w2", "b2") or len(shape) == 1
        raw[name] = np.zeros(shape) if last else random.standard_normal(shape) / np.sqrt(shape[1])
    return raw


def dynamics_of(xp: Any, raw: Raw, drift: str, rank: int) -> Dynamics:
    """What parameters stand for."""

    def three(what: str, fast: bool = True) -> Array:
        first = xp.exp(raw[f"{what}_fast"]) * xp.ones(1) if fast else xp.zeros(1)
        slow = xp.exp(raw[f"{what}_slow"]) * xp.ones(1)
        return xp.concatenate([first, slow, xp.exp(raw[f"{what}_taste"]) * xp.ones(rank)])

    zeros = xp.zeros(rank + 2)
    if drift in ("none", "bins"):
        rates, diffusion = zeros, zeros
    elif drift == "forgetting":
        rates, diffusion = xp.exp(raw["rate_slow"]) + zeros, zeros
    elif drift == "linear":
        rates, diffusion = xp.exp(raw["rate_slow"]) + zeros, three("diffusion", False)
    else:
        rates, diffusion = three("rate"), three("diffusion")
    two = drift not in ("none", "forgetting", "linear")
    return Dynamics(
        rates,
        diffusion,
        three("prior", two),
        xp.concatenate([xp.zeros(1), raw["mean"] * xp.ones(1), xp.zeros(rank)]),
        xp.exp(raw["noise"]),
        xp.exp(raw["item_noise"]),
        {name: raw[name] for name in network_shapes(drift, rank + 2, 1) if name in raw},
    )


def packed(dynamics: Dynamics) -> dict[str, NDArray[np.float64]]:
    """As arrays, for storage."""
    network = [np.ravel(dynamics.network[name]) for name in sorted(dynamics.network)]
    noise = [dynamics.noise, dynamics.item_noise]
    return {
        "rates": np.asarray(dynamics.rates, np.float64),
        "diffusion": np.asarray(dynamics.diffusion, np.float64),
        "prior_variance": np.asarray(dynamics.prior, np.float64),
        "prior_mean": np.asarray(dynamics.mean, np.float64),
        "noise": np.array(noise, np.float64),
        "network": np.concatenate([np.empty(0), *network]).astype(np.float64),
    }


def unpacked(arrays: Any, drift: str, rank: int, hidden: int) -> Dynamics:
    """From what ``packed`` gave."""
    network, begin = {}, 0
    for name, shape in sorted(network_shapes(drift, rank + 2, hidden).items()):
        size = int(np.prod(shape))
        network[name] = arrays["network"][begin : begin + size].reshape(shape)
        begin += size
    rates, diffusion, prior, mean = (
        arrays[name] for name in ("rates", "diffusion", "prior_variance", "prior_mean")
    )
    noise, item_noise = arrays["noise"]
    return Dynamics(rates, diffusion, prior, mean, noise, item_noise, network)
