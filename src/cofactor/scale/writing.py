"""Writing a dataset, or further files of one. What is in them: ``dataset.py``."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cofactor.scale.dataset import (
    FORMAT,
    LONGEST_BOOK,
    META,
    USER_TYPES,
    VERSION,
    Columns,
    Dataset,
    FileEntry,
    Group,
    GroupEntry,
    runs,
)
from cofactor.tables import write_whole

_ROW_GROUP = 1 << 20  # ratings


class DatasetWriter:
    """Writes a dataset group by group; or, given ``base``, further files of its groups.

    What is counted is what is written: users, ratings, those of each item, and the mean, from whole numbers where
    there is a code book, so that the order of the groups does not matter. There is no dataset before ``close``, and a
    ``base`` stays as it is until then.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_groups: int,
        item_ids: pa.Array,
        code_book: NDArray[np.float32] | None,
        user_type: pa.DataType,
        scale: tuple[float, float],
        holdout: float = 0.0,
        seed: int = 0,
        base: Dataset | None = None,
        after: Dataset | None = None,
    ) -> None:
        """``item_ids`` (items,) stand in the order of item numbers; ``code_book`` (codes,) has distinct ratings.

        With ``base`` both begin with what the base has. ``after`` is a dataset at the same path that this one
        replaces: no file of it is written over.
        """
        self._path, self._base = Path(path), base
        self._item_ids, self._book = item_ids, code_book
        self._user_type = next((name for name, kind in USER_TYPES.items() if kind == user_type), "string")
        self._facts = {
            "scale": [float(scale[0]), float(scale[1])],
            "holdout": float(holdout),
            "seed": int(seed),
        }
        self._groups: list[GroupEntry | None] = [None] * n_groups
        self._counts = np.zeros(len(item_ids), np.int64)
        self._held = 0
        self._code_counts = np.zeros(LONGEST_BOOK, np.int64)
        self._sums = np.zeros(n_groups)  # of ratings that have no code
        self._number = 0
        if base is not None:
            self._groups = list(base.groups)
            self._counts[: base.n_items] = base.item_counts
            self._held = base.n_held
            self._code_counts[: len(base.meta["code_counts"])] = base.meta["code_counts"]
            self._sums = np.array(base.meta["sums"])
        if base is not None or after is not None:
            files = [file for there in (base, after) if there is not None for file in there.all_files]
            self._number = 1 + max(_number_of(file) for file in files)
        (self._path / "groups").mkdir(parents=True, exist_ok=True)

    def written(self, number: int) -> Columns | None:
        """The rows of a group that an interrupted writer with the same data wrote; None where it did not."""
        path = self._path / self._group_name(number)
        if not path.exists():
            return None
        try:
            table = pq.read_table(path, use_threads=False).combine_chunks()
        except (pa.ArrowException, OSError, ValueError):
            return None
        columns = [table[name].combine_chunks() for name in table.column_names]
        items, ratings = (column.to_numpy() for column in columns[1:3])
        held = columns[3].to_numpy(zero_copy_only=False) if len(columns) > 3 else None
        return Columns(columns[0], items, ratings, held)

    def write_group(
        self,
        number: int,
        users: pa.Array | NDArray[Any],
        items: NDArray[np.int32],
        ratings: NDArray[Any],
        held: NDArray[np.bool_] | None = None,
        replaced: Group | None = None,
        n_users: int | None = None,
    ) -> FileEntry:
        """Write rows (ratings,) of a group, sorted by user and item number: raw ids, item numbers, codes, held.

        Where there is no code book ``ratings`` are float32. Beside a ``base``: ``replaced`` are the ratings in its
        files that no longer count, ``n_users`` how many users the group has now.
        """
        kind = USER_TYPES[self._user_type]
        users = users.cast(kind) if isinstance(users, pa.Array) else pa.array(users, kind)
        columns = {"user": users, "item": pa.array(items, pa.int32())}
        columns["rating"] = pa.array(ratings, pa.float32() if self._book is None else pa.uint8())
        if held is not None and self._facts["holdout"]:
            columns["held"] = pa.array(held, pa.bool_())
        table = pa.table(columns)
        entry = self._write(self._group_name(number), lambda file: _write_rows(file, table))
        kept = slice(None) if held is None else ~held
        self._count(number, items[kept], ratings[kept], 1)
        n_held = 0 if held is None else int(np.count_nonzero(held))
        n_rows = len(items)
        if replaced is not None:
            codes = replaced.values if self._book is None else self._codes(replaced.values)
            self._count(number, replaced.items, codes, -1)
            n_held -= len(replaced.held_items)
            n_rows -= len(replaced.items) + len(replaced.held_items)
        self._held += n_held
        if n_users is None:
            n_users = len(runs(users)[0])
        before = self._groups[number] if self._base is not None else None
        if before is None:
            self._groups[number] = GroupEntry(n_users, n_rows, (entry,))
        else:
            self._groups[number] = GroupEntry(n_users, before.ratings + n_rows, (*before.files, entry))
        return entry

    def close(self) -> Dataset:
        """Write the items and ``meta.json``: from here on there is a dataset. Every group must have been written."""
        if any(group is None for group in self._groups):
            raise ValueError("a group has not been written")
        groups = [group for group in self._groups if group is not None]
        ratings = int(self._counts.sum())
        total = float(np.sum(self._sums))
        if self._book is not None:
            total = float(self._code_counts[: len(self._book)] @ self._book.astype(np.float64))
        table = pa.table({"item": self._item_ids, "count": self._counts})
        items = self._write(
            f"items-{self._number}.parquet", lambda file: pq.write_table(table, file, compression="zstd")
        )
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "user_type": self._user_type,
            "n_users": sum(group.users for group in groups),
            "n_items": len(self._item_ids),
            "n_ratings": ratings,
            "n_held": self._held,
            "mean": total / ratings,
            **self._facts,
            "code_book": None if self._book is None else self._book.astype(float).tolist(),
            "code_counts": self._code_counts.tolist(),
            "sums": self._sums.tolist() if self._book is None else [],
            "items": items,
            "groups": [
                {"users": group.users, "ratings": group.ratings, "files": group.files} for group in groups
            ],
        }
        write_whole(self._path / META, lambda file: file.write(json.dumps(meta, indent=1).encode()))
        return Dataset.open(self._path)

    def _group_name(self, number: int) -> str:
        return f"groups/{number:05d}-{self._number}.parquet"

    def _codes(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        assert self._book is not None
        order = np.argsort(self._book)
        return order[np.searchsorted(self._book, values, sorter=order)]

    def _count(self, group: int, items: NDArray[np.int32], ratings: NDArray[Any], sign: int) -> None:
        self._counts += sign * np.bincount(items, minlength=len(self._counts))
        if self._book is None:
            self._sums[group] += sign * float(np.sum(ratings, dtype=np.float64))
        else:
            self._code_counts += sign * np.bincount(ratings, minlength=LONGEST_BOOK)

    def _write(self, name: str, write: Any) -> FileEntry:
        path = self._path / name
        write_whole(path, write)
        with open(path, "rb") as file:
            return FileEntry(
                name, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
            )


def _number_of(file: FileEntry) -> int:
    return int(file.name.rpartition("-")[2].partition(".")[0])


def _write_rows(file: Any, table: pa.Table) -> None:
    """Row groups of about ``_ROW_GROUP`` ratings, each of whole users."""
    encodings = {"item": "BYTE_STREAM_SPLIT"}
    text = not pa.types.is_integer(table["user"].type)
    encodings["user"] = "DELTA_BYTE_ARRAY" if text else "DELTA_BINARY_PACKED"
    if table["rating"].type != pa.uint8():
        encodings["rating"] = "BYTE_STREAM_SPLIT"
    _, ends, _ = runs(table["user"].combine_chunks())
    with pq.ParquetWriter(
        file,
        table.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["rating"] if "rating" not in encodings else False,
        column_encoding=encodings,
        write_statistics=["user"],
    ) as writer:
        begin = 0
        while begin < len(table) or begin == 0:
            at = np.searchsorted(ends, begin + _ROW_GROUP)
            end = int(ends[at]) if at < len(ends) else len(table)
            writer.write_table(table.slice(begin, end - begin), row_group_size=max(1, end - begin))
            if end == begin:
                break
            begin = end
