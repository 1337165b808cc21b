"""The arguments and options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from cofactor.errors import BadParameter, shorten

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="The model's folder.", show_default=False)]
RatingsFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="CSV, TSV, MovieLens .dat, JSON lines or Parquet; a folder or a pattern of Parquet files.",
        show_default=False,
    ),
]
Titles = Annotated[
    Path | None,
    typer.Option("--titles", metavar="FILE", help="Items with their titles: CSV or Parquet."),
]
User = Annotated[str, typer.Option("--user", metavar="ID", help="The user.", show_default=False)]
Item = Annotated[str, typer.Option("--item", metavar="ID", help="The item.", show_default=False)]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", help="How many to list.")]

Dataset = Annotated[
    Path | None,
    typer.Option("--dataset", metavar="FOLDER", help="Users are taken from this dataset and folded in."),
]

UserColumn = Annotated[str | None, typer.Option("--user", metavar="COL", help="Column of users.")]
ItemColumn = Annotated[str | None, typer.Option("--item", metavar="COL", help="Column of items.")]
RatingColumn = Annotated[str | None, typer.Option("--rating", metavar="COL", help="Column of ratings.")]
TimeColumn = Annotated[str | None, typer.Option("--timestamp", metavar="COL", help="Column of times.")]
NoTime = Annotated[bool, typer.Option("--no-timestamp", help="Leave times out.")]
Separator = Annotated[
    str | None, typer.Option("--sep", metavar="SEP", help=r"What separates columns: , ; \t :: ...")
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="What it may take, such as 4GB. [half of the machine's]"),
]
Scale = Annotated[
    str | None, typer.Option("--scale", metavar="LO,HI", help="Lowest and highest rating there can be.")
]


def size(text: str | None) -> int | None:
    """``"4GB"`` -> bytes; a bare number is bytes, and a kilobyte 1,024 of them."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?\s*", text, re.IGNORECASE)
    if found is None:
        raise BadParameter(f"--memory is {shorten(text)}; give a size such as 500MB or 4GB.")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def reading(
    user: str | None,
    item: str | None,
    rating: str | None,
    timestamp: str | None,
    no_timestamp: bool,
    sep: str | None,
    scale: str | None,
) -> dict[str, Any]:
    """The column options -> keywords of ``read_ratings`` and ``check_ratings``."""
    if timestamp is not None and no_timestamp:
        raise BadParameter(
            "--timestamp names a column and --no-timestamp leaves it out. Give one of the two."
        )
    return {
        "user": user,
        "item": item,
        "rating": rating,
        "timestamp": False if no_timestamp else timestamp,
        "sep": None if sep is None else sep.replace("\\t", "\t"),
        "scale": None if scale is None else _scale(scale),
    }


def _scale(text: str) -> tuple[float, float]:
    low, comma, high = text.partition(",")
    try:
        if not comma:
            raise ValueError
        return float(low), float(high)
    except ValueError:
        raise BadParameter(f"--scale is {shorten(text)}; give two numbers, such as --scale 1,5.") from None
