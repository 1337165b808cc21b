"""Errors of predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cofactor as cf

columns = st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1, max_size=50)


@given(columns)
def test_rmse_and_mae_are_their_formulas(pairs):
    given_, predicted = zip(*pairs)
    squares = sum((p - r) ** 2 for r, p in pairs)
    assert cf.rmse(given_, predicted) == pytest.approx((squares / len(pairs)) ** 0.5)
    assert cf.mae(given_, predicted) == pytest.approx(sum(abs(p - r) for r, p in pairs) / len(pairs))
    assert cf.mae(given_, predicted) <= cf.rmse(given_, predicted) * (1 + 1e-12)
    assert cf.rmse(given_, given_) == 0


@pytest.mark.parametrize(
    ("ratings", "predictions"), [([], []), ([1, 2], [1]), ([1, np.nan], [1, 2]), ([1], [np.inf]), (3, 4)]
)
def test_an_error_over_nothing_is_refused(ratings, predictions):
    for metric in (cf.rmse, cf.mae):
        with pytest.raises(cf.BadParameter):
            metric(ratings, predictions)
