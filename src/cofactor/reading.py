"""Any table of ratings -> ``Ratings``: columns found, ids kept exactly, every value checked."""

from __future__ import annotations

import bisect
import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cofactor.columns import (
    encode_ids,
    find_columns,
    id_expression,
    number_expression,
    odd_ids,
    time_expression,
)
from cofactor.errors import BadParameter, BadRatings, shorten
from cofactor.ratings import LARGEST_RATING, Ratings
from cofactor.sniffing import is_rating
from cofactor.sources import Sources, Table, find_files
from cofactor.tables import check_target, write_whole

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
    if on_bad not in ("raise", "drop"):
        raise BadParameter(f'on_bad is {on_bad!r}; give "raise" or "drop".')
    if rejects is not None and on_bad != "drop":
        raise BadParameter('rejects= names a file for dropped rows; it needs on_bad="drop".')
    if rejects is not None:
        _check_rejects(rejects, source)
    wanted = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    found = gather(
        source, wanted, scale, sep, drop=on_bad == "drop", listed=None if rejects is not None else 0
    )
    if rejects is not None:
        _write_rejects(rejects, found.bad)
    if found.ratings is None:
        left = (
            f" left: all {found.rejected:,} rows are bad"
            if found.rejected
            else ": there are no rows below the header"
        )
        raise BadRatings(
            f"{_name(source)} has no rating{left}. Give a table with at least one row of user, item, rating."
        )
    return found.ratings


@dataclass
class Gathered:
    """What a table gave: ratings, if there is one; how many rows were bad, why, and the first of them."""

    ratings: Ratings | None
    rejected: int
    reasons: Counter[str]
    bad: list[BadRow]


def gather(
    source: Any, wanted: dict[str, Any], scale: Any, sep: str | None, *, drop: bool, listed: int | None
) -> Gathered:
    """Everything in a table; unless ``drop``, raises for the first file with a bad row.

    ``listed`` is how many bad rows of a file to name, None for all of them.
    """
    low, high = check_scale(scale)
    parts: list[_Columns] = []
    bad: list[BadRow] = []
    reasons: Counter[str] = Counter()
    with Sources(source, sep, drop, is_rating) as tables:
        for table in tables:
            question = Question(table, find_columns(table, wanted, ("user", "item", "rating")), low, high)
            columns, n_bad = _read(tables, table, question)
            skipped = tables.skipped_lines()
            if n_bad and not drop:
                raise refusal(tables, table, question, n_bad)
            if n_bad:
                counted = tables.query(
                    table, f"{question.reason} AS reason, count(*) AS n", "GROUP BY reason"
                )
                reasons.update(
                    {row["reason"]: row["n"] for row in counted.read_all().to_pylist() if row["reason"]}
                )
                tables.skipped_lines()
            reasons.update(["the line is not a row of the table"] * len(skipped))
            if (n_bad or skipped) and listed != 0:
                bad += _list_bad(tables, table, question, skipped, listed)
            parts.append(columns)
    rejected = sum(reasons.values())
    if sum(len(part.values) for part in parts) == 0:
        return Gathered(None, rejected, reasons, bad)
    user_ids, users = encode_ids([part.user for part in parts], "user", parts[0].kind)
    item_ids, items = encode_ids([part.item for part in parts], "item", parts[0].kind)
    values = np.concatenate([part.values for part in parts])
    times = [part.times for part in parts if part.times is not None]
    if 0 < len(times) < len(parts):
        raise BadRatings("Some of the files have times and some have none. Read them with timestamp=False.")
    moments = np.concatenate(times) if times else None
    del parts
    ratings = Ratings.from_positions(
        user_ids,
        item_ids,
        users,
        items,
        values,
        moments,
        (low, high) if scale is not None else None,
        rejected,
    )
    return Gathered(ratings, rejected, reasons, bad)


def _name(source: Any) -> str:
    return (
        shorten(os.fspath(source), 120).strip("'") if isinstance(source, (str, os.PathLike)) else "The table"
    )


def check_scale(scale: Any) -> tuple[float, float]:
    """The lowest and the highest rating that a row may have."""
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


class Question:
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
            *odd_ids(*typed("user"), table, "user"),
            *odd_ids(*typed("item"), table, "item"),
            f"WHEN {self.user} IS NULL THEN 'the user is missing'",
            f"WHEN {self.item} IS NULL THEN 'the item is missing'",
            f"WHEN {raw_rating} IS NULL THEN 'the rating is missing'",
            f"WHEN {self.rating} IS NULL THEN 'the rating is not a number'",
            f"WHEN NOT isfinite({self.rating}) THEN 'the rating is not finite'",
            f"WHEN abs({self.rating}) > {LARGEST_RATING!r} THEN 'the rating is beyond ±{LARGEST_RATING:g}'",
        ]
        if (low, high) != (
            -LARGEST_RATING,
            LARGEST_RATING,
        ):  # as float32, like the ratings: 0.1 is on (0.1, 1)
            cases.append(
                f"WHEN CAST({self.rating} AS FLOAT) NOT BETWEEN {low!r}::DOUBLE::FLOAT AND {high!r}::DOUBLE::FLOAT "
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


def good_rows(tables: Sources, table: Table, question: Question) -> Iterator[tuple[Any, int]]:
    """Batches of the rows of a table that can be used, and how many of each batch cannot.

    Columns: u and i, the ids as they stand there, r float32, and t int64 where there are times.
    """
    asked = {
        "u": question.user,
        "i": question.item,
        "r": f"TRY_CAST({question.rating} AS FLOAT)",  # beyond float it is bad, and filtered out
        "good": f"{question.reason} IS NULL",
    }
    if question.has_times:
        asked["t"] = question.time
    for batch in tables.batches(table, ", ".join(f"{sql} AS {name}" for name, sql in asked.items())):
        good = batch.column("good")
        wrong = len(good) - (good.true_count if len(good) else 0)
        yield batch.filter(good) if wrong else batch, wrong


def _read(tables: Sources, table: Table, question: Question) -> tuple[_Columns, int]:
    import pyarrow as pa

    users: list[Any] = []
    items: list[Any] = []
    values: list[NDArray[np.float32]] = []
    times: list[NDArray[np.int64]] = []
    n_bad = 0
    for batch, wrong in good_rows(tables, table, question):
        n_bad += wrong
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
    tables: Sources, table: Table, question: Question, skipped: list[tuple[int, str]], most: int | None
) -> list[BadRow]:
    """The bad rows of a table, by row number from 1, with lines that are no rows at all among them."""
    lost = [
        BadRow(table.where, line - table.first_line + 1, None, None, None, None, why) for line, why in skipped
    ]
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
    # Lines that were skipped have a row number too: the k-th of them, at row s, comes before the r-th row
    # that was read where s − k ≤ r.
    shifts = [gone.row - k for k, gone in enumerate(lost)]
    rows = []
    for row in found.to_pylist():
        number = row["row"] + bisect.bisect_right(shifts, row["row"])
        rows.append(BadRow(table.where, number, row["u"], row["i"], row["r"], row["t"], row["reason"]))
    return sorted(lost + rows, key=lambda bad: bad.row)


def refusal(tables: Sources, table: Table, question: Question, total: int) -> BadRatings:
    """One paragraph about ``total`` bad rows of a table, that names each of the first."""
    bad, several = _list_bad(tables, table, question, [], _LISTED), len(tables) > 1
    told = []
    for row in bad[:_LISTED]:
        named = {"user": row.user, "item": row.item, "rating": row.rating, "time": row.timestamp}
        value = next((said for what, said in named.items() if row.reason.startswith(f"the {what} ")), None)
        said = f": {shorten(value)}" if value is not None else ""
        told.append(f"{row.where + ', ' if several else ''}row {row.row} ({row.reason}{said})")
    where = "" if several else f"{bad[0].where}: " if bad else ""
    more = f", and {total - len(told):,} more" if total > len(told) else ""
    return BadRatings(
        f"{where}{total:,} bad row{'s' if total != 1 else ''}: {'; '.join(told)}{more}. Mend them, or pass "
        f'on_bad="drop" to leave such rows out (rejects="rejects.csv" keeps a list).'
    )


def _check_rejects(path: str | Path, source: Any) -> None:
    """A place for the list, found unfit before the work starts and not after it."""
    target = check_target(path)
    files = find_files(source) if isinstance(source, (str, os.PathLike)) and target.exists() else []
    if any(file.samefile(target) for file in files):
        raise BadParameter(
            f"rejects={str(path)!r} is one of the files to read, and would be replaced. Name another file."
        )


def _write_rejects(path: str | Path, bad: list[BadRow]) -> None:
    """All or nothing, to a CSV file."""

    def write(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(["file", "row", "user", "item", "rating", "timestamp", "reason"])
        writer.writerows([b.where, b.row, b.user, b.item, b.rating, b.timestamp, b.reason] for b in bad)
        text.detach()  # flushes, and leaves the file open

    write_whole(path, write)
