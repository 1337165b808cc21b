"""Small tables in and out of files: columns of text in, CSV or Parquet out; every file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from cofactor.errors import BadParameter, BadRatings, shorten


def printable(value: object) -> str:
    """``value`` as one line of text: control characters, which could steer a terminal, become spaces."""
    return "".join(c if c.isprintable() or c == " " else " " for c in str(value))


def check_target(path: str | Path, suffixes: tuple[str, ...] = ()) -> Path:
    """``path`` as a place where a file can be written; else ``BadParameter``. Called before the work starts."""
    path = Path(path)
    if path.is_dir():
        raise BadParameter(f"{shorten(str(path))} is a folder. Give the name of a file to write.")
    if not path.parent.is_dir():
        raise BadParameter(f"There is no folder {shorten(str(path.parent))} to write to. Make it first.")
    if suffixes and path.suffix.lower() not in suffixes:
        raise BadParameter(
            f"{shorten(path.name)} ends in {path.suffix or 'nothing'!r}; "
            f"the ending says what to write: {' or '.join(suffixes)}."
        )
    return path


def write_whole(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside and rename it into place: a reader sees the old one or the new one, never half."""
    path = check_target(path).resolve()
    if path.exists() and not path.is_file():  # a pipe or a device, such as /dev/stdout
        with path.open("wb") as file:
            write(file)
        return
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with beside.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_table(table: Any, path: str | Path) -> None:
    """An Arrow table -> a ``.csv`` or ``.parquet`` file."""
    path = check_target(path, (".csv", ".parquet"))
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        write_whole(path, lambda file: pq.write_table(table, file))
    else:
        import pyarrow.csv as pc

        options = pc.WriteOptions(quoting_style="needed")
        write_whole(path, lambda file: pc.write_csv(table, file, options))


def read_columns(path: str | Path, names: tuple[str, ...]) -> Any:
    """The named columns of a small table in a file, as an Arrow table; ids of text files stay text.

    Columns are found as ``read_ratings`` finds them. Raises ``BadRatings`` where the file cannot be read,
    lacks a column, has no rows, or has a gap.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from cofactor.columns import find_columns
    from cofactor.sources import Sources

    parts: list[Any] = []
    with Sources(path) as tables:
        for source in tables:
            places = find_columns(source, dict.fromkeys(names), names)
            chosen = []
            for name in names:
                column, text = f"c{places[name]}", source.types[places[name]] in ("VARCHAR", "JSON")
                value = f"({column}->>'$')" if source.types[places[name]] == "JSON" else column
                chosen.append(f"nullif({value}, '') AS {name}" if text else f"{value} AS {name}")
            parts += tables.batches(source, ", ".join(chosen))
    table = pa.concat_tables([pa.Table.from_batches([part]) for part in parts]) if parts else None
    if table is None or len(table) == 0:
        raise BadRatings(f"{path} has no rows below its header. Give at least one.")
    for name in names:
        if table[name].null_count:
            row = pc.index(table[name].is_null(), True).as_py() + 1
            raise BadRatings(f"{path}, row {row}: the {name} is missing. Mend that row, or leave it out.")
    return table
