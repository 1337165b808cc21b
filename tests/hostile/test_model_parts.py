"""Arrays and ids of a model that cannot be, with checksums that are right: each is refused."""

from __future__ import annotations

import copy
import io
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load, save

import cofactor as cf
from cofactor.storage.folders import FACTORS, IDS
from tests.hostile.spoiling import refused, sealed, setting

# -- the arrays ------------------------------------------------------------------------------------


def with_header(folder: Path, change, data=lambda data: data) -> None:
    """Write the safetensors file anew with a header, an object or bytes, that is changed."""
    path = folder / FACTORS
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    changed = change(header)
    text = changed if isinstance(changed, bytes) else json.dumps(changed or header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data(whole[8 + length :]))
    sealed(folder)


def offsets(name, begin, end):
    return lambda header: header[name].update(data_offsets=[begin, end])


def moved(name, by):
    return lambda header: header[name].update(data_offsets=[at + by for at in header[name]["data_offsets"]])


def renamed(old, new):
    return lambda header: {new if name == old else name: entry for name, entry in header.items()}


HEADERS = {
    "offsets below zero": offsets("item_bias", -8, 152),
    "offsets huge": offsets("item_bias", 2**62, 2**62 + 160),
    "offsets beyond 64 bits": offsets("item_bias", 2**64, 2**64 + 160),
    "offsets back to front": offsets("item_bias", 160, 0),
    "offsets fractions": offsets("item_bias", 0.0, 160.0),
    "offsets true": offsets("item_bias", False, True),
    "offsets in words": offsets("item_bias", "0", "160"),
    "overlapping": moved("item_bias", -4),
    "overlapping at the start": lambda header: header["item_bias"].update(
        data_offsets=[0, np.subtract(*header["item_bias"]["data_offsets"][::-1]).item()]
    ),
    "a gap": moved("item_bias", 4),
    "outside": moved("item_bias", 10**6),
    "three offsets": lambda header: header["item_bias"].update(data_offsets=[0, 1, 2]),
    "no offsets": lambda header: header["item_bias"].pop("data_offsets"),
    "a field too many": lambda header: header["item_bias"].update(more=1),
    "no entry": lambda header: header.update(item_bias=None),
    "a list for an entry": lambda header: header.update(item_bias=[]),
    "longer than its bytes": lambda header: header["item_factors"].update(shape=[40, 3]),
    "shape below zero": lambda header: header["item_factors"].update(shape=[-40, -2]),
    "shape huge": lambda header: header["item_factors"].update(shape=[2**40, 2**40]),
    "shape wrapping to right": lambda header: header["item_factors"].update(shape=[40, 2, 2**64 + 1]),
    "shape in words": lambda header: header["item_factors"].update(shape="40,2"),
    "shape of true": lambda header: header["item_factors"].update(shape=[40, 2, True]),
    "shape with a zero and more": lambda header: header.update(
        aaa={"dtype": "F64", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}
    ),
    "shape of many ones": lambda header: header["item_factors"].update(shape=[40, 2, *[1] * 1000]),
    "shape turned": lambda header: header["item_factors"].update(shape=[2, 40]),
    "of other dtype": lambda header: header["item_bias"].update(dtype="I32"),
    "of unknown dtype": lambda header: header["item_bias"].update(dtype="BF16"),
    "of object dtype": lambda header: header["item_bias"].update(dtype="O"),
    "of dtype null": lambda header: header["item_bias"].update(dtype=None),
    "unknown tensor": renamed("item_bias", "item_price"),
    "long tensor": renamed("item_bias", "x" * 10**5),
    "missing tensor": lambda header: {name: e for name, e in header.items() if name != "item_bias"},
    "no tensors": lambda header: b"{}",
    "twice": lambda header: json.dumps(header).encode()[:-1] + b', "item_bias": {}}',
    "NaN": lambda header: json.dumps(header).encode()[:-1] + b', "more": NaN}',
    "deep": lambda header: b"[" * 10**5,
    "a list": lambda header: b"[]",
    "not text": lambda header: b"\xff" * 16,
    "too long a header": lambda header: json.dumps(header).encode() + b" " * 2**20,
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_cannot_be(folder, name):
    with_header(folder, HEADERS[name])
    refused(folder, FACTORS)


def test_a_header_may_carry_metadata(folder):
    with_header(folder, lambda header: {"__metadata__": {"by": "another writer"}, **header})
    assert cf.load(folder).is_fitted


def test_arrays_that_are_not_aligned(folder):
    path = folder / FACTORS
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    path.write_bytes(struct.pack("<Q", length + 1) + whole[8 : 8 + length] + b" " + whole[8 + length :])
    sealed(folder)
    refused(folder, FACTORS, "not aligned")


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 2**64 - 8])
def test_a_header_of_impossible_length(folder, length):
    path = folder / FACTORS
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    sealed(folder)
    refused(folder, FACTORS)


def with_arrays(folder: Path, change) -> None:
    """Write the arrays anew, changed, with a header, a manifest and checksums that go with them."""
    arrays = {name: array.copy() for name, array in load((folder / FACTORS).read_bytes()).items()}
    changed = change(arrays)
    arrays = changed if isinstance(changed, dict) else arrays
    (folder / FACTORS).write_bytes(save(arrays))
    described = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in arrays.items()
    }
    sealed(folder, setting("arrays", described))


def putting(name, place, value):
    return lambda arrays: arrays[name].__setitem__(place, value)


def made(name, function):
    return lambda arrays: {**arrays, name: np.ascontiguousarray(function(arrays[name]))}


def wrapped_pointers(indptr):
    """Pointers whose differences, in 64 bits, are none of them negative."""
    indptr = indptr.copy()
    indptr[1:4] = 2**63 - 1, -2, 0
    return indptr


ARRAYS = {
    "not a number": putting("item_factors", (3, 1), np.nan),
    "infinite": putting("user_bias", 0, -np.inf),
    "infinite rating": putting("ratings_values", 5, np.inf),
    "objective not a number": putting("objective", 0, np.nan),
    "an item too many": made("item_bias", lambda a: np.append(a, a[:1])),
    "a user too few": made("user_factors", lambda a: a[:-1]),
    "of two ranks": made("user_factors", lambda a: a[:, :1]),
    "of other rank": lambda arrays: {k: a[:, :1].copy() if a.ndim == 2 else a for k, a in arrays.items()},
    "flat": made("item_factors", np.ravel),
    "of two dtypes": made("item_bias", lambda a: a.astype("f8")),
    "factors of whole numbers": made("item_factors", lambda a: a.astype("i4")),
    "pointers narrow": made("ratings_indptr", lambda a: a.astype("i4")),
    "pointers back": putting("ratings_indptr", 3, 0),
    "pointers below zero": putting("ratings_indptr", 3, -5),
    "pointers huge": putting("ratings_indptr", 3, 2**62),
    "pointers that wrap around": made("ratings_indptr", wrapped_pointers),
    "pointers past the end": putting("ratings_indptr", -1, 10**6),
    "pointers not from zero": putting("ratings_indptr", 0, 1),
    "no pointers": made("ratings_indptr", lambda a: a[:0]),
    "items too high": putting("ratings_indices", 0, 10**6),
    "items below zero": putting("ratings_indices", 0, -1),
    "items out of order": made("ratings_indices", lambda a: np.roll(a, 1)),
    "ratings too few": made("ratings_values", lambda a: a[:-1]),
    "an array too many": lambda arrays: {**arrays, "user_secret": np.zeros(3)},
    "an array too few": lambda arrays: {k: a for k, a in arrays.items() if k != "objective"},
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_cannot_be(folder, name):
    with_arrays(folder, ARRAYS[name])
    refused(folder, FACTORS)


# -- the ids ---------------------------------------------------------------------------------------


def with_ids(folder: Path, change, **options) -> None:
    """Write the table of ids anew, changed: a dictionary of Arrow columns, or a table."""
    table = pq.read_table(io.BytesIO((folder / IDS).read_bytes()))
    columns = change({name: table[name].combine_chunks() for name in table.column_names})
    how = {"compression": "NONE", "use_dictionary": False, **options}
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), folder / IDS, **how)
    sealed(folder)


def column(name, function):
    """A change of one column, by a function from its values, as a list, to new ones."""

    def change(columns):
        kind = columns[name].type
        return {**columns, name: pa.array(function(columns[name].to_pylist()), kind)}

    return change


def replaced(values, place, value):
    values = copy.copy(values)
    values[place] = value
    return values


def swapped(values):
    return [values[1], values[0], *values[2:]]


def not_utf8(columns):
    text = columns["text"].to_pylist()
    raw = pa.array([None if t is None else b"\xff" + t.encode() for t in text], pa.large_binary())
    buffers = raw.buffers()
    return {**columns, "text": pa.Array.from_buffers(pa.large_string(), len(raw), buffers)}


IDS_TABLES = {
    "doubled": column("integer", lambda v: replaced(v, 1, v[0])),
    "out of order": column("integer", swapped),
    "texts out of order": column("text", lambda v: [*v[:-2], v[-1], v[-2]]),
    "texts doubled": column("text", lambda v: [*v[:-1], v[-2]]),
    "missing": column("integer", lambda v: replaced(v, 5, None)),
    "of two kinds": column("unsigned", lambda v: replaced(v, 5, 7)),
    "of no kind": column("text", lambda v: [None] * len(v)),
    "side missing": column("side", lambda v: replaced(v, 5, None)),
    "side unknown": column("side", lambda v: replaced(v, 5, "users")),
    "a user among the items": column("side", lambda v: [*v[:-1], "user"]),
    "items first": lambda c: pa.concat_tables([pa.table(c).slice(20), pa.table(c).slice(0, 20)]),
    "one too few": lambda c: pa.table(c).slice(1),
    "one too many": lambda c: pa.concat_tables([pa.table(c), pa.table(c).slice(59)]),
    "none": lambda c: pa.table(c).slice(0, 0),
    "a column missing": lambda c: {k: v for k, v in c.items() if k != "unsigned"},
    "a column too many": lambda c: {**c, "more": c["side"]},
    "a column of other type": lambda c: {**c, "integer": c["integer"].cast(pa.int32())},
    "columns in other order": lambda c: dict(reversed(c.items())),
    "not UTF-8": not_utf8,
}


@pytest.mark.parametrize("name", IDS_TABLES)
def test_ids_that_cannot_be(folder, name):
    with_ids(folder, IDS_TABLES[name])
    refused(folder, IDS)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd"},
        {"use_dictionary": True},
        {"column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        {"column_encoding": {"integer": "DELTA_BINARY_PACKED"}},
    ],
)
def test_ids_that_could_grow_when_read(folder, options):
    """A few bytes of these can stand for gigabytes."""
    with_ids(folder, lambda columns: columns, **options)
    refused(folder, IDS, "uncompressed and plain")


def test_ids_that_are_not_parquet(folder):
    for data in (
        b"PAR1",
        b"PAR1" * 100,
        b"PAR1" + b"\xff" * 1000 + b"\xff\xff\xff\x7fPAR1",
        b"\0" * 500,
        b"[1, 2]",
    ):
        (folder / IDS).write_bytes(data)
        sealed(folder)
        refused(folder, IDS)
    shutil.copy(folder / FACTORS, folder / IDS)
    sealed(folder)
    refused(folder, IDS)


def test_ids_as_another_writer_would_write_them(folder):
    """Without Arrow's own notes, and text as short strings."""
    with_ids(folder, lambda c: pa.table({**c, "text": c["text"].cast(pa.string())}), store_schema=False)
    assert cf.load(folder).item_ids_.kind == "string"
