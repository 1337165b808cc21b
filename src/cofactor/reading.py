"""Any table of ratings -> ``Ratings``: columns found, ids kept exactly, every value checked."""

from __future__ import annotations

import csv
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cofactor.columns import encode_ids, find_columns, id_expression, number_expression, time_expression
from cofactor.errors import BadParameter, BadRatings, shorten
from cofactor.ratings import LARGEST_RATING, Ratings
from cofactor.sources import Sources, Table

_LISTED = 20


@dataclass(frozen=True)
class BadRow:
    """A row that is not a rating: where it stands, what it says, and what is wrong with it."""

    where: str
    row: int
    user: str | None
    item: str | None
    rating: str | None
    timestamp: str | None
    reason: str


def read_ratings(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | Literal[False] | None = None,
    scale: tuple[float, float] | None = None,
    on_bad: Literal["raise", "drop"] = "raise",
    rejects: str | Path | None = None,
    sep: str | None = None,
) -> Ratings:
    """Read a table of ratings, one row each, from a file or from memory.

    Args:
        source: a CSV, TSV, ``::``-separated, JSON lines or Parquet file, plain or gzipped text; a folder or
            glob of files of one kind; or a pandas, polars or Arrow table, a SciPy sparse matrix (rows are
            users), or a dictionary of columns.
        user, item, rating, timestamp: names of the columns, where they are not the usual ones. A file
            without header has its columns in this order. ``timestamp=False`` reads no times.
        scale: lowest and highest rating there can be; others are bad. Default: as found.
        on_bad: "raise" refuses a table with a bad row; "drop" leaves such rows out and counts them in
            ``Ratings.rejected``.
        rejects: a CSV file to write the dropped rows to.
        sep: what separates the columns of a text file. Default: found in the first line.

    Ids are kept exactly. In a text file a column of ids is integer where every id is written the way
    Python writes an integer of 64 bits, else all its ids are strings. Times are Unix seconds, or dates and
    times in ISO form, taken as UTC. Where a user rates an item twice the latest time counts, else the last row.

    Raises ``BadRatings``, naming row and mend; ``BadParameter``.
    """
    low, high = _check_scale(scale)
    if on_bad not in ("raise", "drop"):
        raise BadParameter(f'on_bad is {on_bad!r}; give "raise" or "drop".')
    if rejects is not None and on_bad != "drop":
        raise BadParameter('rejects= names a file for dropped rows; it needs on_bad="drop".')
    wanted = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    parts: list[_Columns] = []
    bad: list[BadRow] = []
    rejected = 0
    with Sources(source, sep, drop=on_bad == "drop") as tables:
        for table in tables:
            question = _Question(table, find_columns(table, wanted, ("user", "item", "rating")), low, high)
            columns, n_bad = _read(tables, table, question)
            skipped = tables.skipped_lines()
            rejected += n_bad + len(skipped)
            if n_bad and on_bad == "raise":
                raise _refusal(_list_bad(tables, table, question, [], _LISTED), n_bad, len(tables) > 1)
            if rejects is not None and (n_bad or skipped):
                bad += _list_bad(tables, table, question, skipped, None)
            parts.append(columns)
    if rejects is not None:
        _write_rejects(rejects, bad)
    ids = {}
    for name in ("user", "item"):
        ids[name] = encode_ids([getattr(part, name) for part in parts], name, tables_are_text(parts))
    values = np.concatenate([part.values for part in parts])
    times = None
    if all(part.times is not None for part in parts):
        times = np.concatenate([part.times for part in parts])
    elif any(part.times is not None for part in parts):
        raise BadRatings("Some of the files have times and some have none. Read them with timestamp=False.")
    if len(values) == 0:
        raise BadRatings(
            f"{_name(source)} has no rating{' left' if rejected else ''}: "
            f"{f'all {rejected} rows are bad' if rejected else 'there are no rows below the header'}. "
            f"Give a table with at least one row of user, item, rating."
        )
    del parts
    return Ratings.from_positions(
        ids["user"][0],
        ids["item"][0],
        ids["user"][1],
        ids["item"][1],
        values,
        times,
        scale and (low, high),
        rejected,
    )


def _name(source: Any) -> str:
    return shorten(str(source), 120).strip("'") if isinstance(source, (str, Path)) else "The table"


def _check_scale(scale: Any) -> tuple[float, float]:
    if scale is None:
        return -LARGEST_RATING, LARGEST_RATING
    try:
        low, high = (float(bound) for bound in scale)
    except (TypeError, ValueError):
        low = high = float("nan")
    if not (-LARGEST_RATING <= low < high <= LARGEST_RATING):
        raise BadParameter(
            f"scale is {scale!r}; give the lowest and the highest rating there can be, such as (1, 5)."
        )
    return low, high


# -- rows ----------------------------------------------------------------------------------------


class _Question:
    """The expressions that turn a table's columns into ids, rating and time, and tell what is bad."""

    def __init__(self, table: Table, columns: dict[str, int], low: float, high: float) -> None:
        def typed(role: str) -> tuple[str, str]:
            return f"c{columns[role]}", table.types[columns[role]]

        self.has_times = "timestamp" in columns
        self.user = id_expression(*typed("user"), table, "user")
        self.item = id_expression(*typed("item"), table, "item")
        self.rating, raw_rating = number_expression(*typed("rating"), table)
        self.time = "NULL"
        cases = [
            f"WHEN {self.user} IS NULL THEN 'the user is missing'",
            f"WHEN {self.item} IS NULL THEN 'the item is missing'",
            f"WHEN {raw_rating} IS NULL THEN 'the rating is missing'",
            f"WHEN {self.rating} IS NULL THEN 'the rating is not a number'",
            f"WHEN NOT isfinite({self.rating}) THEN 'the rating is not finite'",
            f"WHEN abs({self.rating}) > {LARGEST_RATING!r} THEN 'the rating is beyond ±{LARGEST_RATING:g}'",
        ]
        if (low, high) != (-LARGEST_RATING, LARGEST_RATING):
            cases.append(
                f"WHEN {self.rating} NOT BETWEEN {low!r} AND {high!r} "
                f"THEN 'the rating is outside the scale {low:g} to {high:g}'"
            )
        if self.has_times:
            self.time = time_expression(*typed("timestamp"), table)
            cases.append(
                f"WHEN {self.time} IS NULL THEN 'the time is missing or not a time (timestamp=False reads none)'"
            )
        self.reason = f"CASE {' '.join(cases)} END"
        self.raw = ", ".join(
            f"CAST(c{columns[role]} AS VARCHAR)" if role in columns else "NULL"
            for role in ("user", "item", "rating", "timestamp")
        )


@dataclass
class _Columns:
    """What was read of one table: ids as dictionary-encoded Arrow chunks, values, times."""

    user: list[Any]
    item: list[Any]
    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    kind: str


def tables_are_text(parts: list[_Columns]) -> str:
    """How the ids are written: "text", "json" or "typed"."""
    kinds = {part.kind if part.kind in ("text", "json") else "typed" for part in parts}
    return kinds.pop() if len(kinds) == 1 else "typed"


def _read(tables: Sources, table: Table, question: _Question) -> tuple[_Columns, int]:
    import pyarrow as pa

    select = (
        f"{question.user} AS u, {question.item} AS i, CAST({question.rating} AS FLOAT) AS r, {question.time} AS t, "
        f"{question.reason} IS NULL AS good"
    )
    if question.has_times is False:
        select = select.replace(", NULL AS t", "")
    users: list[Any] = []
    items: list[Any] = []
    values: list[NDArray[np.float32]] = []
    times: list[NDArray[np.int64]] = []
    n_bad = 0
    for batch in tables.batches(table, select):
        good = batch.column("good")
        wrong = len(good) - (good.true_count if len(good) else 0)
        if wrong:
            n_bad += wrong
            batch = batch.filter(good)
        users.append(batch.column("u").dictionary_encode())
        items.append(batch.column("i").dictionary_encode())
        values.append(batch.column("r").to_numpy(zero_copy_only=False))
        if question.has_times:
            times.append(batch.column("t").to_numpy(zero_copy_only=False).astype(np.int64, copy=False))
    if not users:
        users.append(pa.array([], pa.string()).dictionary_encode())
        items.append(pa.array([], pa.string()).dictionary_encode())
    joined = np.concatenate(values) if values else np.empty(0, np.float32)
    moments = (np.concatenate(times) if times else np.empty(0, np.int64)) if question.has_times else None
    return _Columns(users, items, joined, moments, table.kind), n_bad


# -- bad rows ------------------------------------------------------------------------------------


def _list_bad(
    tables: Sources, table: Table, question: _Question, skipped: list[tuple[int, str]], most: int | None
) -> list[BadRow]:
    """The bad rows of a table, by row number from 1, with lines that are no rows at all among them."""
    first = 2 if table.header else 1
    lost = [BadRow(table.where, line - first + 1, None, None, None, None, why) for line, why in skipped]
    select = f"row_number() OVER () AS row, {question.raw}, {question.reason} AS reason"
    columns = "(row, u, i, r, t, reason)"
    inner = Table(
        table.where,
        table.names,
        True,
        table.types,
        f"FROM (SELECT {select} {table.sql}) AS numbered{columns}",
        table.parameters,
        table.kind,
    )
    found = tables.query(
        inner, "*", "WHERE reason IS NOT NULL" + (f" LIMIT {most}" if most else "")
    ).read_all()
    tables.skipped_lines()
    rows = []
    for row in found.to_pylist():
        number = int(row["row"])
        for gone in lost:  # lines that were skipped have a number too
            number += gone.row <= number
        rows.append(BadRow(table.where, number, row["u"], row["i"], row["r"], row["t"], row["reason"]))
    return sorted(lost + rows, key=lambda bad: bad.row)


def _refusal(bad: list[BadRow], total: int, several: bool) -> BadRatings:
    """One paragraph that names each of the first bad rows."""
    told = []
    for row in bad[:_LISTED]:
        value = row.rating if "rating" in row.reason else row.timestamp if "time" in row.reason else None
        said = f": {shorten(value)}" if value is not None else ""
        told.append(f"{row.where + ', ' if several else ''}row {row.row} ({row.reason}{said})")
    where = "" if several else f"{bad[0].where}: " if bad else ""
    more = f", and {total - len(told):,} more" if total > len(told) else ""
    return BadRatings(
        f"{where}{total:,} bad row{'s' if total != 1 else ''}: {'; '.join(told)}{more}. Mend them, or pass "
        f'on_bad="drop" to leave such rows out (rejects="rejects.csv" keeps a list).'
    )


def _write_rejects(path: str | Path, bad: list[BadRow]) -> None:
    """All or nothing, to a CSV file."""
    target = Path(path)
    if target.is_dir() or not target.parent.is_dir():
        raise BadParameter(
            f"rejects={str(path)!r} is not a place for a file. Give a file name in a folder that exists."
        )
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with beside.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "row", "user", "item", "rating", "timestamp", "reason"])
            writer.writerows([b.where, b.row, b.user, b.item, b.rating, b.timestamp, b.reason] for b in bad)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
