"""The ids of a model as a Parquet table, one row an id: users first, then items, in order of position.

    side      string   "user" or "item"
    integer   int64    the id, where this side's ids are of type int64
    unsigned  uint64   the id, where they are of type uint64
    text      string   the id, where they are strings

Exactly one of the last three is set in a row, the same one in all rows of a side. The columns are
neither compressed nor encoded by a dictionary, so that a small file cannot grow large in memory.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cofactor.errors import BadModel, shorten
from cofactor.ids import IdMap

_TYPES = {"integer": pa.int64(), "unsigned": pa.uint64(), "text": pa.large_string()}
_SCHEMA = pa.schema([("side", pa.large_string()), *_TYPES.items()])
_ROWS_PER_GROUP = 1_000_000
_ROWS_AT_A_TIME = 1024
_ENCODINGS = {"PLAIN", "RLE"}  # RLE: which rows are set
_FEWEST_BYTES = 4  # that a row takes: the length of its side


def write_ids(file: BinaryIO, users: IdMap, items: IdMap) -> None:
    """Write both id maps to an open file."""
    parts = []
    for side, ids in (("user", users), ("item", items)):
        columns = {name: pa.nulls(len(ids), kind) for name, kind in _TYPES.items()}
        columns[next(name for name, kind in _TYPES.items() if kind == ids.array.type)] = ids.array
        sides = pa.repeat(pa.scalar(side, pa.large_string()), len(ids))
        parts.append(pa.table({"side": sides, **columns}, schema=_SCHEMA))
    pq.write_table(
        pa.concat_tables(parts).combine_chunks(),
        file,
        row_group_size=_ROWS_PER_GROUP,
        compression="NONE",
        use_dictionary=False,
        write_statistics=False,
    )


def read_ids(data: memoryview, name: str, users: int, items: int) -> tuple[IdMap, IdMap]:
    """The id maps of so many users and items, from all bytes of the file ``name``.

    Raises ``BadModel`` where the file is no such table, or ids are missing, doubled or out of order.
    """
    try:
        table = _read_table(data, name, users + items)
        return _side(table, 0, users, "user", name), _side(table, users, items, "item", name)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, BadModel):
            raise
        raise BadModel(f"{name} cannot be read as Parquet ({shorten(str(error), 120)}).") from None


def _read_table(data: memoryview, name: str, rows: int) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)))
    schema = file.schema_arrow
    # Other writers, and readers that pass over Arrow's own metadata, have string for large_string.
    plain = [pa.large_string() if pa.types.is_string(kind) else kind for kind in schema.types]
    if schema.names != _SCHEMA.names or plain != _SCHEMA.types:
        found = ", ".join(f"{field.name} {field.type}" for field in schema)
        raise BadModel(f"{name} has the columns {shorten(found, 160)}, not those of a table of ids.")
    if file.metadata.num_rows != rows:
        raise BadModel(
            f"{name} has {file.metadata.num_rows:,} ids, where the manifest counts {rows:,} users and items."
        )
    if rows * _FEWEST_BYTES > len(data):
        raise BadModel(f"{name} is said to hold {rows:,} ids in {len(data):,} bytes, which cannot be.")
    for group in range(file.metadata.num_row_groups):
        # One row first: Arrow ends the process when asked for the metadata of a column that it finds
        # unsound, but raises an error when it finds so while reading.
        if next(file.iter_batches(1, row_groups=[group], use_threads=False), None) is None:
            continue
        for column in range(len(_SCHEMA)):
            chunk = file.metadata.row_group(group).column(column)
            if chunk.compression != "UNCOMPRESSED" or not _ENCODINGS.issuperset(chunk.encodings):
                raise BadModel(
                    f"{name}: the column {chunk.path_in_schema} is {shorten(chunk.compression)} and encoded as "
                    f"{shorten(chunk.encodings)}; it must be uncompressed and plain."
                )
    batches = []
    room = len(data) + 64 * rows  # a text takes as much here as there; numbers and offsets 64 bytes a row
    for batch in file.iter_batches(_ROWS_AT_A_TIME, use_threads=False):
        batches.append(batch)
        room -= batch.nbytes
        if room < 0:
            raise BadModel(f"{name} grows beyond its {len(data):,} bytes when read: it was tampered with.")
    table = pa.Table.from_batches(batches, schema).cast(_SCHEMA).combine_chunks()
    table.validate(full=True)  # of strings, that they are UTF-8
    if len(table) != rows:
        raise BadModel(f"{name} has {len(table):,} ids, and says it has {rows:,}.")
    return table


def _side(table: pa.Table, start: int, count: int, side: str, name: str) -> IdMap:
    rows = table.slice(start, count)
    if count and not pc.all(pc.equal(rows["side"], side).fill_null(False)).as_py():
        raise BadModel(f"{name}: rows {start:,} to {start + count - 1:,} should be {side}s, and are not all.")
    filled = {column: count - rows[column].null_count for column in _TYPES}
    used = [column for column, present in filled.items() if present]
    if count and (len(used) != 1 or filled[used[0]] != count):
        raise BadModel(
            f"{name}: the {side}s have {', '.join(f'{filled[c]:,} {c}' for c in _TYPES)} ids; "
            f"all {count:,} must be of one kind."
        )
    column = rows[used[0] if used else "integer"]
    ids: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    ascending = np.asarray(pc.less(ids[:-1], ids[1:]))
    if not ascending.all():
        place = start + 1 + int(np.argmin(ascending))
        raise BadModel(
            f"{name}: the {side} in row {place:,} does not come after the one before it; "
            f"ids must be distinct and in order."
        )
    return IdMap._of_sorted(ids)  # exactly as stored: IdMap(ids) would sort again, and narrow uint64
