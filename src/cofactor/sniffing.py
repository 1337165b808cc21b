"""What a text file says of itself: its first line, separator and header, and the first line that is broken."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import itertools
import json
import zlib
from pathlib import Path
from typing import IO, cast

_SEPARATORS = (",", "\t", ";", "|")
_LONGEST = 1 << 20  # bytes of a first line, with the blank ones before it


def first_line(path: Path, packed: bool) -> tuple[str, int]:
    """The first line that is not blank, and how many blank ones stand before it."""
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        raw, blank, read = b"", -1, 0
        while not raw.strip():
            raw, blank = file.readline(_LONGEST), blank + 1
            read += len(raw)
            if not raw:
                raise ValueError("it holds nothing but empty lines")
            if read >= _LONGEST:
                raise ValueError(f"no line begins and ends in its first {_LONGEST:,} bytes")
            raw = raw if blank else raw.removeprefix(codecs.BOM_UTF8)
            if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise ValueError("it is UTF-16 text; save it as UTF-8")
            if b"\0" in raw:
                raise ValueError("its first line holds NUL bytes, so it is no text")
            raw = raw.split(b"\r")[0] if b"\r" in raw.rstrip(b"\r\n") else raw
    try:
        return raw.decode().rstrip("\r\n"), blank
    except UnicodeDecodeError:
        raise ValueError("its first line is not UTF-8 text") from None


def first_bad_json(path: Path) -> int | None:
    """The first line, from 1, that is not blank and no JSON object: DuckDB's own count can be one off."""
    try:
        with _open_lines(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip() and not is_object(line):
                    return number
    except (OSError, EOFError, zlib.error):
        pass  # the packing is at fault, not a line
    return None


def first_keys(path: Path) -> tuple[str, ...]:
    """Names in the first thousand lines of JSON, in the order in which they come: not every line has all."""
    names: dict[str, None] = {}
    with contextlib.suppress(OSError, EOFError, zlib.error), _open_lines(path) as file:
        for line in itertools.islice(file, 1000):
            if is_object(line):
                names |= dict.fromkeys(json.loads(line))
    return tuple(name for name in names if name)  # SQL has no empty names


def _open_lines(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


def is_object(line: bytes | str) -> bool:
    """Whether a line is a JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def find_separator(line: str) -> str:
    """What separates the columns: ``::`` where it stands there, else the most frequent of the usual ones."""
    if line.count("::") >= 2:
        return "::"
    return max(_SEPARATORS, key=lambda sep: (line.count(sep), -_SEPARATORS.index(sep)))


def split_line(line: str, sep: str) -> list[str]:
    """The cells of a line; quotes mean something only beside separators of one character."""
    if len(sep) > 1:
        return line.split(sep)
    return next(csv.reader([line], delimiter=sep), [])


def is_rating(cells: list[str]) -> bool:
    """Whether a first line is a rating, not a header: user, item, rating[, time] with a numeric rating."""
    if len(cells) not in (3, 4):
        return False
    try:
        float(cells[2])
    except ValueError:
        return False
    return True


def is_item(cells: list[str]) -> bool:
    """Whether a first line is an item, not a header: a numeric id, and more."""
    return len(cells) > 1 and cells[0].isascii() and cells[0].isdigit()
