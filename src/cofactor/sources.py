"""Any table, in a file or in memory, as something DuckDB can read, its columns known by number.

Nothing is guessed by sampling: columns of text files are text, columns of JSON files are JSON, and what
they mean is decided by those who ask for them, from all rows.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from cofactor import kernels
from cofactor.errors import BadParameter, BadRatings, first_sentence, shorten
from cofactor.frames import to_arrow
from cofactor.sniffing import (
    find_separator,
    first_bad_json,
    first_keys,
    first_line,
    is_object,
    split_line,
)

_KINDS = {
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".dat": "text",
    ".data": "text",
    ".tab": "text",
    ".item": "text",
    ".base": "text",
    ".test": "text",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}


_IN_MEMORY = "the table"
_PARQUET = "read_parquet(?, hive_partitioning=false)"  # the columns of the file, none from names of folders


@dataclass(frozen=True)
class Table:
    """One table to read: a file, or an object in memory.

    Attributes:
        where: what to call it in a message: a file name, or "the table".
        names: column names as they stand there; columns 0, 1, … where there is no header.
        header: whether the names stand in the table.
        first_line: the line of a text file on which its first row stands, from 1.
        types: DuckDB types of the columns; "VARCHAR" in a text file, "JSON" in a JSON file.
        sql: ``FROM`` clause under which the columns are called c0, c1, …
        parameters: of the clause.
        kind: "text", "json", "parquet" or "memory".
    """

    where: str
    names: tuple[str, ...]
    header: bool
    types: tuple[str, ...]
    sql: str
    parameters: tuple[Any, ...]
    kind: str
    first_line: int = 1


class Sources:
    """Tables of a path, folder, glob, or object in memory, behind one DuckDB connection.

    ``with Sources(source) as tables: for table in tables: ...``. Raises ``BadRatings`` for what cannot be
    opened, in one paragraph. ``drop`` skips lines that are not of the table's form, and counts them;
    ``is_row`` tells by the fields of a text file's first line that it is a row and not a header.
    """

    def __init__(
        self,
        source: Any,
        sep: str | None = None,
        drop: bool = False,
        is_row: Callable[[list[str]], bool] = lambda fields: False,
    ) -> None:
        """Looks at the source; nothing is read but first lines."""
        import duckdb

        if sep is not None and (
            not isinstance(sep, str) or not 1 <= len(sep) <= 4 or set(sep) & set('"\n\r\0')
        ):
            raise BadParameter(
                f"sep is {sep!r}; give the character or two between columns, such as ',' or '::'."
            )
        self._sep, self._drop, self._is_row = sep, drop, is_row
        self._files: list[Path] = []
        self._object: Any = None
        if isinstance(source, (str, os.PathLike)):
            self._files = find_files(source)
        else:
            self._object = to_arrow(source)
        config = {"threads": str(kernels.thread_count()), "autoinstall_known_extensions": "false"}
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._failures = (duckdb.Error, OSError, UnicodeDecodeError, EOFError)

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def __len__(self) -> int:
        return max(1, len(self._files))

    def __iter__(self) -> Iterator[Table]:
        if self._object is not None:
            yield self._open_object()
        first: Table | None = None
        for path in self._files:
            table = self._open_file(path)
            first = first or table
            if table.kind != first.kind:  # whatever their names say; ids of JSON come marked
                raise BadRatings(
                    f"{first.where} is {first.kind} and {table.where} is {table.kind}. Give files of one kind."
                )
            yield table

    # -- asking ----------------------------------------------------------------------------------

    def query(self, table: Table, select: str, tail: str = "") -> Any:
        """An Arrow stream of ``SELECT select FROM table tail``; failures name the table and, where it can be
        told, the line.
        """
        statement = f"SELECT {select} {table.sql} {tail}"
        try:
            asked = self._connection.sql(statement, params=list(table.parameters))
            return asked.to_arrow_reader(1 << 18)  # rows a batch
        except self._failures as error:
            raise self._table_failure(table, error) from None

    def batches(self, table: Table, select: str) -> Iterator[Any]:
        """The record batches of ``query``."""
        stream = self.query(table, select)
        while True:
            try:
                batch = stream.read_next_batch()
            except StopIteration:
                return
            except self._failures as error:
                raise self._table_failure(table, error) from None
            yield batch

    def skipped_lines(self) -> list[tuple[int, str]]:
        """Line numbers (from 1) and reasons of lines that ``drop`` has skipped since the last call."""
        if not self._drop:
            return []
        try:
            rows = self._connection.execute(
                "SELECT line, any_value(error_message) FROM reject_errors GROUP BY line ORDER BY line"
            ).fetchall()
            self._connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
        except self._failures:
            return []  # no text file has been read with rejects
        return [(int(line), first_sentence(str(reason))) for line, reason in rows]

    def _run(self, where: str, statement: str, parameters: Sequence[Any]) -> Any:
        try:
            return self._connection.execute(statement, list(parameters))
        except self._failures as error:
            raise self._failure(where, error) from None

    def _table_failure(self, table: Table, error: BaseException) -> BadRatings:
        if table.kind == "json":
            line = first_bad_json(Path(table.parameters[0]))
            if line is not None:
                return BadRatings(
                    f"{table.where}, line {line} is not a JSON object. Mend that line, or pass "
                    f'on_bad="drop" to leave such lines out.'
                )
        return self._failure(table.where, error)

    def _failure(self, where: str, error: BaseException) -> BadRatings:
        text = str(error)
        line = re.search(r"CSV Error on Line: (\d+)", text)
        if line:
            what = text.split("\n\n")[0].split("\n")
            reason = next(
                (w for w in what[1:] if w.startswith(("Expected", "Value", "Invalid", "Maximum"))), ""
            )
            found = re.search(
                r"(Expected Number of Columns.*|Value with unterminated.*|Invalid unicode.*)", text
            )
            reason = found.group(1) if found else reason or first_sentence(what[0])
            mend = (
                "Save the file as UTF-8, for example with iconv -f latin1 -t utf-8,"
                if "unicode" in reason
                else "Mend that line, give sep= if the separator is another one,"
            )
            return BadRatings(
                f"{where}, line {line.group(1)}: {reason.strip().rstrip('.')}. {mend} or pass "
                f'on_bad="drop" to leave such lines out.'
            )
        if "state machine reached an invalid state" in text:
            return BadRatings(
                f"{where} has line ends of several kinds (LF, CRLF, CR). Write it with one, for example with dos2unix."
            )
        if where == _IN_MEMORY:
            return BadRatings(
                f"{where} cannot be read: {first_sentence(text)}. Convert that column, or leave it out."
            )
        return BadRatings(
            f"{where} cannot be read: {first_sentence(text)}. It may be damaged, cut short, or of another "
            f"kind than its name says; write or download it again."
        )

    # -- opening ---------------------------------------------------------------------------------

    def _open_object(self) -> Table:
        arrow = self._object
        names = tuple(str(name) for name in arrow.column_names)
        try:
            self._connection.register("given", arrow.rename_columns([f"c{k}" for k in range(len(names))]))
        except self._failures as error:
            raise self._failure(_IN_MEMORY, error) from None
        return self._described(_IN_MEMORY, names, "FROM given", (), "memory")

    def _open_file(self, path: Path) -> Table:
        where = str(path) if len(str(path)) <= 200 and str(path).isprintable() else shorten(str(path), 200)
        try:
            with path.open("rb") as file:
                start = file.read(4)
        except OSError as error:
            raise BadRatings(
                f"{where} cannot be opened: {error.strerror}. Check its name and rights."
            ) from None
        if not start:
            raise BadRatings(
                f"{where} is empty. Give a file with a row of user, item, rating for each rating."
            )
        kind = _kind(path)
        if start == b"PAR1" or kind == "parquet":
            return self._open_parquet(path, where)
        packed = start[:2] == b"\x1f\x8b"
        compression = "'gzip'" if packed else "'uncompressed'"
        if start == b"\x28\xb5\x2f\xfd" or start[:2] in (b"PK", b"BZ"):
            raise BadRatings(f"{where} is compressed in a way that is not read here. Unpack it, or use gzip.")
        try:
            line, blank = first_line(path, packed)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise self._failure(where, error) from None
        if kind == "json" or line.lstrip().startswith("{"):
            if start[:3] == codecs.BOM_UTF8:
                raise BadRatings(
                    f"{where} starts with a byte order mark, which JSON has not. Save it as UTF-8 without one."
                )
            return self._open_json(path, where, compression, line)
        return self._open_text(path, where, compression, line, blank)

    def _open_parquet(self, path: Path, where: str) -> Table:
        described = self._run(where, f"DESCRIBE SELECT * FROM {_PARQUET}", (_literal(path),)).fetchall()
        names = tuple(str(row[0]) for row in described)
        columns = ", ".join(f"{_quoted(name)} AS c{k}" for k, name in enumerate(names))
        sql = f"FROM (SELECT {columns} FROM {_PARQUET})"
        return Table(
            where, names, True, tuple(str(row[1]) for row in described), sql, (_literal(path),), "parquet"
        )

    def _open_json(self, path: Path, where: str, compression: str, line: str) -> Table:
        if not is_object(line):
            raise BadRatings(
                f"{where}, line 1 is not a JSON object. Give JSON lines: one object such as "
                f'{{"user": 1, "item": 2, "rating": 3}} on each line.'
            )
        names = first_keys(path)
        columns = ", ".join(f"{_string(name)}: 'JSON'" for name in names)
        renamed = ", ".join(f"{_quoted(name)} AS c{k}" for k, name in enumerate(names))
        sql = (
            f"FROM (SELECT {renamed} FROM read_json(?, format='newline_delimited', columns={{{columns}}}, "
            f"compression={compression}, ignore_errors={str(self._drop).lower()}, maximum_object_size=16777216, "
            f"hive_partitioning=false))"
        )
        return Table(where, names, True, ("JSON",) * len(names), sql, (_literal(path),), "json")

    def _open_text(self, path: Path, where: str, compression: str, line: str, blank: int) -> Table:
        sep = self._sep or find_separator(line)
        try:
            cells = split_line(line, sep)
        except csv.Error as error:
            raise self._failure(where, error) from None
        header = not self._is_row(cells)
        names = tuple(cells) if header else tuple(str(k) for k in range(len(cells)))
        columns = ", ".join(f"c{k}: 'VARCHAR'" for k in range(len(names)))
        quote = "''" if len(sep) > 1 else "'\"'"
        options = (
            f"auto_detect=false, header={str(header).lower()}, delim={_string(sep)}, quote={quote}, escape={quote}, "
            f"columns={{{columns}}}, compression={compression}, nullstr='', skip={blank}, "
            f"max_line_size=16777216, hive_partitioning=false"
        )
        if self._drop:
            options += ", store_rejects=true"
        sql = f"FROM read_csv(?, {options})"
        types = ("VARCHAR",) * len(names)
        return Table(where, names, header, types, sql, (_literal(path),), "text", 1 + blank + header)

    def _described(
        self, where: str, names: tuple[str, ...], sql: str, parameters: tuple[Any, ...], kind: str
    ) -> Table:
        described = self._run(where, f"DESCRIBE SELECT * {sql}", parameters).fetchall()
        return Table(where, names, True, tuple(str(row[1]) for row in described), sql, parameters, kind)


def _kind(path: Path) -> str | None:
    suffix = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    return _KINDS.get(suffix.lower())


def find_files(source: str | os.PathLike[str]) -> list[Path]:
    """The files a path, folder or glob means, in order of name."""
    text = os.fspath(source)
    if not text or "\0" in text:
        raise BadRatings(f"{shorten(text)} is not the name of a file. Give the path of a ratings file.")
    path = Path(text).expanduser()
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.is_file() and _kind(p) and p.name[0] not in "._")
            kinds = sorted({str(_kind(p)) for p in files})
            if len(kinds) > 1:
                raise BadRatings(
                    f"The folder {shorten(text)} holds files of several kinds ({', '.join(kinds)}). "
                    f"Give one kind, for example {str(path / '*.parquet')!r}."
                )
            if not files:
                raise BadRatings(
                    f"{shorten(text)} is a folder without ratings files. Give a CSV, TSV, JSON lines or Parquet "
                    f"file, or a folder of them."
                )
            return files
        if path.exists():
            raise BadRatings(f"{shorten(text)} is neither a file nor a folder. Give a ratings file.")
        if has_magic(text):
            files = sorted(Path(p) for p in glob(str(path), recursive=True) if Path(p).is_file())
            if files:
                return files
    except OSError as error:
        raise BadRatings(f"{shorten(text)} cannot be looked at: {error.strerror}. Check the path.") from None
    raise BadRatings(f"There is no file {shorten(text, 200)}. Check the path; it is taken from {Path.cwd()}.")


def _literal(path: Path) -> str:
    """The path such that DuckDB takes it for this one file: no glob, no scheme before a colon."""
    return str(path.absolute())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
