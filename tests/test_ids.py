"""Ids are kept exactly, and found again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import cofactor as cf
from cofactor.ids import IdMap, id_array

integers = st.integers(-(2**63), 2**63 - 1)
unsigned = st.integers(0, 2**64 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
columns = st.one_of(*(st.lists(kind, min_size=1, max_size=30) for kind in (integers, unsigned, texts)))


@given(columns)
def test_encode_and_back(values):
    ids, codes = IdMap.encode(values)
    assert ids.ids(codes) == values
    assert ids.ids(np.arange(len(ids))) == sorted(set(values))
    assert codes.dtype == np.int32
    assert_array_equal(ids.positions(values), codes)
    for value, code in zip(values, codes):
        assert ids.position(value) == code
        assert ids.id(code) == value
        assert value in ids
    assert ids == IdMap(sorted(set(values), key=str))


@given(st.lists(integers, min_size=1, unique=True), st.lists(st.one_of(integers, unsigned)))
def test_unknown_integers(known, asked):
    ids = IdMap(known)
    try:
        got = ids.positions(asked)
    except cf.BadParameter:  # negative ones beside those above 2**63: no 64-bit kind holds both
        assert min(asked) < 0 <= 2**63 <= max(asked)
        return
    assert_array_equal(got, [sorted(known).index(a) if a in known else -1 for a in asked])


@given(st.lists(texts, min_size=1, unique=True), st.lists(texts))
def test_unknown_strings(known, asked):
    got = IdMap(known).positions(asked)
    assert_array_equal(got, [sorted(known).index(a) if a in known else -1 for a in asked])


def test_an_id_of_the_other_kind_is_never_converted():
    numbers, words = IdMap([1, 2]), IdMap(["01", "1"])
    assert numbers.position("1") == -1
    assert words.position(1) == -1
    assert numbers.position(True) == -1
    assert words.position("1") == 1
    assert words.position("01") == 0
    with pytest.raises(cf.BadParameter, match="integers"):
        numbers.positions(["1"])
    with pytest.raises(cf.BadParameter, match="strings"):
        words.positions([1])
    assert (numbers.parse("2"), numbers.parse("02"), words.parse("1")) == (2, "02", "1")


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0],
        [True],
        [1, "1"],
        [None],
        ["a", None],
        [2**64],
        [-1, 2**63],
        [b"x"],
        "abc",
        3,
        ["\ud800"],
        [[1]],
    ],
    ids=repr,
)
def test_what_is_no_column_of_ids(values):
    with pytest.raises(cf.BadParameter) as caught:
        id_array(values)
    assert len(str(caught.value)) < 500


def test_every_container_gives_the_same():
    for values in ([3, 1, 2], ["b", "", "a"]):
        array = pa.array(values)
        forms = [values, tuple(values), np.array(values), array, pa.chunked_array([array[:1], array[1:]])]
        forms += [array.dictionary_encode()]
        assert all(id_array(form).equals(id_array(values)) for form in forms)
    assert id_array(np.array([1, 2], np.uint8)).type == pa.int64()
    with pytest.raises(cf.BadParameter, match="twice"):
        IdMap([1, 1])


def test_huge_ids():
    long = "x" * 10_000
    ids = IdMap([long, "y"])
    assert ids.position(long) == 0
    with pytest.raises(cf.BadParameter) as caught:
        IdMap([1]).positions([long])
    assert len(str(caught.value)) < 300


def test_many_at_once_as_one_by_one():
    rng = np.random.default_rng(0)
    for known in (
        rng.choice(10**6, 500, replace=False),
        [f"{k:x}" for k in rng.choice(10**6, 500, replace=False)],
    ):
        ids = IdMap(known)
        asked = [
            *np.asarray(known).tolist(),
            *np.asarray(known)[:9].tolist(),
            *([7, -1] if ids.kind == "integer" else ["z"]),
        ]
        assert_array_equal(ids.positions(asked), [ids.position(a) for a in asked])
