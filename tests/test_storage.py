"""Saving, loading, and what is left when a save is stopped on its way."""

from __future__ import annotations

import dataclasses
import io
import json
import mmap
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.ratings import Ratings
from cofactor.storage import replacing
from cofactor.storage.id_table import read_ids, write_ids
from tests.conftest import make_ratings
from tests.golden.make_model_v1 import ratings as golden_ratings

GOLDEN = Path(__file__).parent / "golden" / "model-v1"
MODELS = {
    "joint": cf.ALS(rank=5, sweeps=2),
    "sequential": cf.ALS(rank=1, sweeps=3, biases="sequential", solver="cg"),
    "plain": cf.ALS(rank=40, sweeps=2, biases=None, dtype="float64", reg=2, seed=2**100),
    "baseline": cf.Baseline(threads=2),
    "bayesian": cf.BayesianMF(rank=2, burn_in=2, samples=3),
    "neighbours": cf.CosineNeighbours(of="users", shrinkage=5),
}
KINDS = {
    "int64": np.arange(-30, 60 - 30),
    "uint64": np.arange(2**64 - 60, 2**64, dtype=np.uint64),
    "string": np.array(["", "01", "1", "\0", "x" * 10_000, *(f"é映{k}" for k in range(55))], dtype=object),
}


def fitted(name: str, ratings: Ratings) -> cf.Model:
    return dataclasses.replace(MODELS[name]).fit(ratings)


def same(first: cf.Model, second: cf.Model) -> bool:
    """Whether two models are the same to the bit."""
    arrays, facts = first.state()
    others, other_facts = second.state()
    return (
        type(first) is type(second)
        and first.get_params() == second.get_params()
        and first.user_ids_ == second.user_ids_
        and first.item_ids_ == second.item_ids_
        and facts == other_facts
        and arrays.keys() == others.keys()
        and all(arrays[k].dtype == others[k].dtype and arrays[k].shape == others[k].shape for k in arrays)
        and all(arrays[k].tobytes() == others[k].tobytes() for k in arrays)
    )


# Both ways in which a folder is replaced: in one step, or in two where the system has no such step.
BOTH_WAYS = pytest.mark.parametrize(
    "exchange", [replacing._exchange_call, lambda: None], ids=["swap", "renames"]
)


# -- what is saved is what is loaded ---------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_is_the_saved_one_to_the_bit(name, ratings, tmp_path):
    model = fitted(name, ratings)
    assert cf.save(model, tmp_path / "model") == tmp_path / "model"
    loaded = cf.load(tmp_path / "model")
    assert same(model, loaded)
    assert_array_equal(
        model.predict(ratings.users, ratings.items), loaded.predict(ratings.users, ratings.items)
    )
    assert list(model.recommend(100)) == list(loaded.recommend(100))
    assert model.explain(100, "i001") == loaded.explain(100, "i001")
    assert same(model.fold_in(make_ratings(1)), loaded.fold_in(make_ratings(1)))


@pytest.mark.parametrize("items", KINDS)
@pytest.mark.parametrize("users", KINDS)
def test_ids_of_every_kind_are_kept_exactly(users, items, ratings, tmp_path):
    table = Ratings.from_positions(
        IdMap(KINDS[users]),
        IdMap(KINDS[items][:40]),
        ratings.user_positions,
        ratings.by_user.indices,
        ratings.values,
    )
    model = fitted("joint", table)
    cf.save(model, tmp_path / "model")
    loaded = cf.load(str(tmp_path / "model"))
    assert same(model, loaded)
    assert loaded.user_ids_.array.type == model.user_ids_.array.type
    assert loaded.item_ids_.array.to_pylist() == sorted(KINDS[items][:40].tolist())


ids = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, unique=True).map(np.int64),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, unique=True).map(np.uint64),
    st.lists(st.text(max_size=20), min_size=1, unique=True),
)


@given(ids, ids)
def test_any_ids_pass_through_the_table(users, items):
    users, items, file = IdMap(users), IdMap(items), io.BytesIO()
    write_ids(file, users, items)
    assert read_ids(memoryview(file.getvalue()), "ids.parquet", len(users), len(items)) == (users, items)


def test_unsigned_ids_stay_unsigned_when_all_are_small(tmp_path):
    """As after a split that leaves the large ones to the other part."""
    table = golden_ratings()
    table = table.select(table.user_positions < 6)
    model = cf.Baseline().fit(table)
    cf.save(model, tmp_path / "model")
    assert cf.load(tmp_path / "model").user_ids_ == model.user_ids_


def test_arrays_are_mapped_read_only_aligned_and_plain(ratings, tmp_path):
    cf.save(fitted("joint", ratings), tmp_path / "model")
    arrays, _ = cf.load(tmp_path / "model").state()
    for array in arrays.values():
        assert type(array) is np.ndarray
        assert not array.flags.writeable
        assert array.flags.aligned
        assert array.ctypes.data % array.itemsize == 0
        with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
            array.flags.writeable = True
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(base, mmap.mmap)


@BOTH_WAYS
def test_a_loaded_model_is_saved_onto_the_folder_it_is_mapped_from(ratings, tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(replacing, "_exchange_call", exchange)
    model = fitted("joint", ratings)
    cf.save(model, tmp_path / "model")
    loaded = cf.load(tmp_path / "model")
    cf.save(loaded, tmp_path / "model")
    assert same(loaded, model)
    assert same(cf.load(tmp_path / "model"), model)
    assert os.listdir(tmp_path) == ["model"]


def test_the_same_model_makes_the_same_files(ratings, tmp_path):
    model = fitted("joint", ratings)
    first, second = (cf.verify(cf.save(model, tmp_path / name)) for name in "ab")
    assert [file.sha256 for file in first.files[:2]] == [file.sha256 for file in second.files[:2]]


def test_the_golden_model_is_still_read():
    expected = json.loads(GOLDEN.with_suffix(".json").read_text())
    model = cf.load(GOLDEN)
    users = np.array(expected["users"], np.uint64)
    assert_allclose(model.predict(users, expected["items"]), expected["predictions"], rtol=1e-6)
    assert model.get_params() == cf.ALS(rank=3, reg=0.5, sweeps=4, seed=1).get_params()
    assert (model.user_ids_, model.item_ids_) == (golden_ratings().user_ids, golden_ratings().item_ids)
    assert sum(file.stat().st_size for file in GOLDEN.iterdir()) < 20_000


def test_verify_reports_what_is_there(ratings, tmp_path):
    model = fitted("joint", ratings)
    cf.save(model, tmp_path / "model")
    report = cf.verify(tmp_path / "model")
    assert report.ok
    assert report.kind == "ALS"
    assert report.cofactor_version == cf.__version__
    assert (report.users, report.items, report.ratings) == (60, 40, len(ratings))
    assert report.objective == model.objective_[-1]
    assert report.arrays["user_factors"] == {"dtype": "float32", "shape": [60, 5]}
    assert all(
        file.ok and file.bytes == (tmp_path / "model" / file.name).stat().st_size for file in report.files
    )
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False)) == report.to_dict()
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.ok = False


# -- where a model is saved ------------------------------------------------------------------------


def test_parents_are_made_and_an_empty_folder_is_taken(ratings, tmp_path):
    model = fitted("baseline", ratings)
    cf.save(model, tmp_path / "a" / "b" / "model")
    (tmp_path / "empty").mkdir(mode=0o700)
    cf.save(model, tmp_path / "empty")
    assert same(cf.load(tmp_path / "a/b/model/"), cf.load(tmp_path / "empty"))
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o700  # a private folder stays private
    modes = {file.stat().st_mode & 0o777 for file in (tmp_path / "a/b/model").iterdir()}
    assert len(modes) == 1  # all files as readable as the umask lets them be


@BOTH_WAYS
def test_a_relative_path_and_a_link_to_a_folder(ratings, tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(replacing, "_exchange_call", exchange)
    monkeypatch.chdir(tmp_path)
    first, second = fitted("baseline", ratings), fitted("joint", ratings)
    cf.save(first, "v1")
    os.symlink("v1", "current")
    assert same(cf.load("current"), first)
    cf.save(second, "current")
    assert os.path.islink("current")
    assert same(cf.load("v1"), second)
    assert sorted(os.listdir()) == ["current", "v1"]
    monkeypatch.chdir("v1")
    with pytest.raises(cf.BadParameter, match="in use"):
        cf.save(first, ".")


@BOTH_WAYS
def test_nothing_that_is_not_a_model_is_replaced(ratings, tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(replacing, "_exchange_call", exchange)
    model = fitted("baseline", ratings)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    cf.save(model, tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    cf.save(model, tmp_path / "unsound")
    (tmp_path / "unsound" / "manifest.json").write_text('{"format": "of another program"}')
    before = sorted(tmp_path.rglob("*"))
    for name, words in {
        "file": "is a file",
        "folder": "holds 'notes.txt'",
        "model": "holds 'notes.txt'",
        "unsound": "no manifest.json of a model",
    }.items():
        with pytest.raises(cf.BadParameter, match=words):
            cf.save(model, tmp_path / name)
    with pytest.raises(cf.CofactorError, match="What was there before is unchanged"):
        cf.save(model, tmp_path / "file" / "model")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("path", ["", "a\0b", 7, None, b"model", "/"])
def test_what_is_no_path_is_refused(path, ratings):
    with pytest.raises(cf.BadParameter):
        cf.save(fitted("baseline", ratings), path)
    if path != "/":
        with pytest.raises(cf.BadParameter, match="is not a path"):
            cf.load(path)


def test_a_current_folder_that_is_gone(ratings, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    cf.save(fitted("baseline", ratings), tmp_path / "model")
    assert cf.load(tmp_path / "model").is_fitted
    with pytest.raises(cf.BadParameter, match="is not a path"):
        cf.save(fitted("baseline", ratings), "model")


def test_what_cannot_be_loaded_again_is_not_saved(ratings, tmp_path):
    class Own(cf.Baseline):
        pass

    with pytest.raises(cf.NotFitted):
        cf.save(cf.ALS(), tmp_path / "model")
    with pytest.raises(cf.BadParameter, match="not dict"):
        cf.save({}, tmp_path / "model")
    with pytest.raises(cf.BadParameter, match="class Own"):
        cf.save(Own().fit(ratings), tmp_path / "model")
    with pytest.raises(cf.BadParameter, match="reg is nan"):
        cf.save(fitted("joint", ratings).set_params(reg=float("nan")), tmp_path / "model")
    with pytest.raises(cf.BadParameter, match="'rank' is 6, but factors"):
        cf.save(fitted("joint", ratings).set_params(rank=6), tmp_path / "model")
    broken = fitted("joint", ratings)
    broken.item_factors_[3, 2] = np.nan
    with pytest.raises(cf.BadParameter, match="not finite"):
        cf.save(broken, tmp_path / "deep" / "model")
    assert os.listdir(tmp_path) == []
    counted = fitted("joint", ratings).set_params(rank=np.int64(5), reg=np.float64(1.0))
    assert type(cf.load(cf.save(counted, tmp_path / "model")).rank) is int
