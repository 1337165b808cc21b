"""Data that the tests share, and how a missing part of the system is treated."""

from __future__ import annotations

import os
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from cofactor.ids import IdMap
from cofactor.ratings import Ratings

settings.register_profile(
    "cofactor", deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck)
)
settings.load_profile("cofactor")


def missing(what: str) -> NoReturn:
    """Skip for want of a part of the system, or fail where all parts must be there."""
    if os.environ.get("COFACTOR_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is missing, and COFACTOR_REQUIRE_ALL=1")
    pytest.skip(f"{what} is missing")


def make_ratings(
    seed: int = 0,
    users: int = 60,
    items: int = 40,
    density: float = 0.3,
    rank: int = 3,
    noise: float = 0.3,
    step: float | None = None,
) -> Ratings:
    """Ratings of a planted model on a scale of about 1 to 5; every user and item has at least one.

    ``step`` rounds them.
    """
    rng = np.random.default_rng(seed)
    known = rng.random((users, items)) < density
    known[np.arange(users), rng.integers(0, items, users)] = True
    known[rng.integers(0, users, items), np.arange(items)] = True
    scores = (
        3.2
        + rng.normal(0, 0.4, (users, 1))
        + rng.normal(0, 0.4, items)
        + rng.normal(0, 0.7, (users, rank)) @ rng.normal(0, 0.7, (rank, items))
        + rng.normal(0, noise, (users, items))
    )
    user_at, item_at = np.nonzero(known)
    order = rng.permutation(len(user_at))
    user_at, item_at = user_at[order], item_at[order]
    values = np.clip(scores[user_at, item_at], 1, 5).astype(np.float32)
    values = values if step is None else np.round(values / step) * np.float32(step)
    times = rng.integers(1_400_000_000, 1_500_000_000, len(values))
    user_ids, user_positions = IdMap.encode(user_at + 100)
    item_ids, item_positions = IdMap.encode(np.array([f"i{j:03d}" for j in item_at], dtype=object))
    return Ratings.from_positions(
        user_ids, item_ids, user_positions, item_positions, values, times, (1.0, 5.0)
    )


@pytest.fixture(scope="session")
def ratings() -> Ratings:
    """60 users, 40 items, about 700 ratings."""
    return make_ratings()
