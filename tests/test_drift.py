"""Taste that drifts."""

from __future__ import annotations

import pytest

pytest.importorskip("diffrax")
from cofactor.models.drift import TasteDrift
from tests.contract import check_model


def small(**given) -> TasteDrift:
    return TasteDrift(**{"rank": 2, "epochs": 2, "truncate": 8, "threads": 1, **given})


@pytest.mark.parametrize("drift", ["two-scale", "neural"])
def test_contract(drift: str) -> None:
    check_model(lambda: small(drift=drift, items="als"))
