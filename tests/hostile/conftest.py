"""A model to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cofactor as cf


@pytest.fixture(scope="module")
def sound(ratings, tmp_path_factory) -> Path:
    """The folder of a small model that nothing is wrong with."""
    folder = tmp_path_factory.mktemp("models") / "sound"
    return cf.save(cf.ALS(rank=2, sweeps=2).fit(ratings.select(ratings.user_positions < 20)), folder)


@pytest.fixture
def folder(sound, tmp_path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(sound, tmp_path / "model"))
