"""What the command prints: tables for people, JSON for programs, notes on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from cofactor.tables import printable

_LONGEST = 40  # characters of an id in a table
_SHORTEST = 16  # to which a flexible column shrinks


def show_json(value: Any) -> None:
    """One JSON object on stdout, in plain ASCII, so that it survives every pipe."""
    print(json.dumps(value, indent=2, allow_nan=False))


def error_object(kind: str, message: str) -> str:
    """What ``--json`` prints where the command fails."""
    return json.dumps({"error": {"type": kind, "message": message}}, indent=2)


def note(text: str) -> None:
    """A remark beside the result, on stderr."""
    print(f"Note: {text}", file=sys.stderr)


def say(text: str = "") -> None:
    """A line of the result, on stdout."""
    print(text)


def count(number: int, what: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def show_table(
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    right: Collection[int] = (),
    flexible: Sequence[int] = (),
) -> None:
    """A table on stdout, plain text, as wide as the terminal, else 80 columns.

    Columns in ``right`` are flush right. Where the table is too wide, cells of ``flexible`` columns end
    in an ellipsis, those of the last column first; other columns stay whole, but for cells of more than 40 characters.
    """
    from rich.cells import cell_len, set_cell_size

    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(cell_len(row[k]) for row in cells) for k in range(len(header))]
    widths = [width if k in flexible else min(width, _LONGEST) for k, width in enumerate(widths)]
    room = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80
    for k in reversed(flexible):
        widths[k] = max(
            min(widths[k], _SHORTEST), widths[k] - max(0, sum(widths) + 2 * (len(header) - 1) - room)
        )
    for place, row in enumerate(cells):
        parts = []
        for k, cell in enumerate(row):
            if cell_len(cell) > widths[k]:
                cell = set_cell_size(cell, widths[k] - 1).rstrip() + "…"
            gap = " " * (widths[k] - cell_len(cell))
            parts.append(gap + cell if k in right else cell + gap)
        line = "  ".join(parts).rstrip()
        bold = place == 0 and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(f"\033[1m{line}\033[0m" if bold else line)
