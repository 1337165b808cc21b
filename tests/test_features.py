"""Facts of items as numbers: what each kind of column becomes, and what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.features import Column, Features, encode

TABLE = pa.table(
    {
        "item": ["c", "a", "b", "d"],
        "year": [1990.0, 1980.0, None, 2000.0],
        "studio": ["red", "blue", "red", "blue"],
        "genres": [["Drama", "War"], ["Drama"], None, []],
        "plot": ["The Café, by the sea", "the cafe BY the sea", "", "war"],
    }
)


def test_each_kind_of_column():
    features = cf.read_catalog(TABLE).features()
    assert [(c.name, c.kind) for c in features.columns] == [
        ("year", "number"),
        ("studio", "category"),
        ("genres", "labels"),
        ("plot", "text"),
    ]
    assert features.ids.array.to_pylist() == [
        "a",
        "b",
        "c",
        "d",
    ]  # rows go with ids, whatever their order was
    year, studio, genres, plot = np.split(
        features.values, np.cumsum([c.width for c in features.columns])[:-1], axis=1
    )
    assert_allclose(year.sum(axis=1), 1)  # neighbours add up to 1; what is missing has a number of its own
    assert_array_equal(year[:, -1], [0, 1, 0, 0])
    assert_array_equal(studio, [[1, 0], [0, 1], [0, 1], [1, 0]])
    assert_array_equal(genres, [[1, 0], [0, 0], [1, 1], [0, 0]])
    assert_allclose(plot[0], plot[2])  # case, accents and commas do not count
    assert_allclose(np.linalg.norm(plot, axis=1), [1, 0, 1, 1], rtol=1e-6)
    assert plot.shape[1] == 256


def test_named_columns_and_kinds():
    catalog = cf.read_catalog(TABLE)
    assert [c.kind for c in catalog.features("year", studio="text").columns] == ["number", "text"]
    assert len(catalog.features(year="category").columns[0].known) == 3
    with pytest.raises(cf.BadParameter, match="no column 'colour'; there are 'item, year"):
        catalog.features("colour")
    with pytest.raises(cf.BadParameter, match="the kind of 'year'"):
        catalog.features(year="date")
    with pytest.raises(cf.BadData, match=r"The 'studio' of 'a' is 'blue', which is no number"):
        catalog.features(studio="number")


def test_numbers_in_text_files_and_lists_in_json(tmp_path):
    (tmp_path / "i.csv").write_text("item,year,genres\n1,1990,A|B\n2,,A\n3,2001,(no genres listed)\n")
    (tmp_path / "i.jsonl").write_text(
        '{"item": 1, "year": 1990, "genres": ["A", "B"]}\n{"item": 2, "genres": ["A"]}\n'
        '{"item": 3, "year": 2001, "genres": []}\n'
    )
    one, two = (cf.read_catalog(tmp_path / name).features() for name in ("i.csv", "i.jsonl"))
    assert one.columns == two.columns
    assert [c.kind for c in one.columns] == ["number", "labels"]
    assert_array_equal(one.values, two.values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(-1e6, 1e6))
def test_a_number_lies_between_its_knots(values, other):
    column = Column.of("x", "number", values, range(len(values)))
    weights = column.encode([*values, other], range(len(values) + 1))[:, :-1].astype(float)
    assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert ((weights > 0).sum(axis=1) <= 2).all()
    size = max(1.0, *map(abs, values))
    back = weights @ column.known
    assert_allclose(back, np.clip([*values, other], min(values), max(values)), atol=1e-5 * size)


def test_new_rows_become_numbers_in_the_same_way():
    features = cf.read_catalog(TABLE).features()
    again = [Column.from_dict(c.to_dict()) for c in features.columns]
    rows = [
        {"year": 1980.0, "studio": "blue", "genres": ["Drama"], "plot": "the cafe by the sea"},
        {"studio": "green"},
    ]
    new = encode(again, rows, ["x", "y"])
    assert_array_equal(new.values[0], features.values[0])
    assert_array_equal(np.flatnonzero(new.values[1]), [again[0].width - 1])  # all missing or never seen


def test_what_describes_no_column():
    good = Column("x", "number", (1.0, 2.0)).to_dict()
    assert Column.from_dict(good).known == (1.0, 2.0)
    for change in (
        {"kind": "date"}, {"known": []}, {"known": [2.0, 1.0]}, {"known": [float("nan")]}, {"known": 3}, {"name": 1},
        {"kind": "text"}, {"kind": "text", "known": [0]}, {"kind": "text", "known": [2**40]},
        {"kind": "labels", "known": ["a", "a"]}, {"kind": "labels", "known": [1]}, {"more": 1},
    ):  # fmt: skip
        with pytest.raises(cf.BadData, match="does not describe a column"):
            Column.from_dict({**good, **change})
    with pytest.raises(cf.BadData):
        Column.from_dict(None)


def test_arrays():
    features = Features.of_arrays([3, 1], np.arange(8).reshape(2, 2, 2))
    assert features.ids.array.to_pylist() == [1, 3]
    assert_array_equal(features.values[0], [[4, 5], [6, 7]])
    assert repr(features) == "Features(2 ids, 2 × 2)"
    assert len(features.select([3, 99])) == 1


@pytest.mark.parametrize(
    ("ids", "values", "error", "told"),
    [
        ([1, 2], np.zeros((3, 2)), cf.BadParameter, "do not go with 2 ids"),
        ([1, 2], np.zeros(2), cf.BadParameter, "do not go with 2 ids"),
        ([1, 2], np.zeros((2, 0)), cf.BadParameter, "do not go with"),
        ([1, 2], np.zeros((2, 1, 1, 1, 1)), cf.BadParameter, "do not go with"),
        ([1, 1], np.zeros((2, 1)), cf.BadParameter, "stand there twice"),
        ([1, 2], [["a"], ["b"]], cf.BadParameter, "are numbers"),
        ([1, 2], [[1.0], [np.nan]], cf.BadData, "The features of 2 hold values that are not finite"),
        ([1, 2], [[1e300], [0]], cf.BadData, "not finite"),
        ([1.5], [[1.0]], cf.BadParameter, "integer or a string"),
    ],
)
def test_arrays_that_are_refused(ids, values, error, told):
    with pytest.raises(error, match=told):
        Features.of_arrays(ids, values)


def test_a_column_of_nothing():
    table = {"item": [1, 2], "empty": [None, None], "labels": [[], []]}
    catalog = cf.read_catalog(table)
    assert catalog.features(empty="number").values.tolist() == [[0, 1], [0, 1]]
    with pytest.raises(cf.BadData, match="nothing to learn"):
        catalog.features("labels")
