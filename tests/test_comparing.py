"""compare: every model on the same split, told as it was measured."""

import json

import numpy as np
import pytest

import cofactor as cf
from cofactor.comparing import usual_models
from cofactor.models import MODELS
from cofactor.ratings import Ratings
from tests.conftest import make_ratings


@pytest.fixture(scope="module")
def table() -> Ratings:
    return make_ratings(seed=5, users=120, items=60, density=0.4, rank=2, noise=0.3)


@pytest.fixture(scope="module")
def found(table) -> cf.Comparison:
    return cf.compare(table, bootstrap=50)


def test_all_models_compete(found):
    assert {type(entry.model).__name__ for entry in found.entries} == set(MODELS) - {"ContentMap"}
    errors = [entry.evaluation.rmse for entry in found.entries]
    known = [error for error in errors if error is not None]
    assert known == sorted(known)
    assert errors[: len(known)] == known  # what only ranks stands at the end
    assert errors[-1] is None


def test_each_model_is_measured_on_the_split_it_says(found, table):
    train, test = cf.split(table, 0.1, "random", 0, warn=False)
    assert (found.train, found.test) == (len(train), len(test))
    for entry in found.entries:
        again = type(entry.model)(**entry.model.get_params()).fit(train)
        assert cf.evaluate(again, test, bootstrap=50).metrics == entry.evaluation.metrics


def test_models_of_ones_own(table):
    mine = {"small": cf.ALS(rank=1), "large": cf.ALS(rank=8, reg=0.5), "none": cf.Popular()}
    found = cf.compare(table, mine, by="time", k=5, bootstrap=0)
    assert {entry.name for entry in found.entries} == set(mine)
    assert not any(model.is_fitted for model in mine.values())
    assert found.k == 5
    assert "ndcg@5" in found.table.column_names
    assert found.table["rmse"].to_pylist()[-1] is None
    assert not any("leaks" in note for note in found.notes)


def test_it_tells_what_it_found(found):
    assert any("leaks the future" in note for note in found.notes)  # the ratings have times
    assert len(found.notes) == len(set(found.notes))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [model["name"] for model in told["models"]] == [entry.name for entry in found.entries]
    for entry in found.entries:
        assert entry.name in str(found)


def test_the_usual_regularization_goes_with_the_ratings(table):
    twice = Ratings.from_positions(
        table.user_ids, table.item_ids, table.user_positions, table.by_user.indices, 2 * table.values
    )
    one, two = (usual_models(ratings)["ALS"].reg for ratings in (table, twice))
    assert two == pytest.approx(2 * one, rel=0.05)


def test_next_to_nothing_is_compared_all_the_same():
    tiny = make_ratings(users=3, items=3, density=0.9)
    found = cf.compare(tiny, bootstrap=10)
    assert all(
        np.isfinite(entry.evaluation.rmse) for entry in found.entries if entry.evaluation.rmse is not None
    )


def test_bad_input(table):
    with pytest.raises(cf.BadParameter, match="no models"):
        cf.compare(table, {})
    with pytest.raises(cf.BadParameter, match="'x' is int"):
        cf.compare(table, {"x": 3})  # type: ignore[dict-item]
    with pytest.raises(cf.BadParameter, match="read_ratings"):
        cf.compare([(1, 2, 3)])  # type: ignore[arg-type]
    with pytest.raises(cf.BadParameter, match="holdout"):
        cf.compare(table, holdout=2)
