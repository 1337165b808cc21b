"""What is in a table of ratings, and what is wrong with it: counts, scale, histogram, dates, extremes, warnings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from cofactor.ids import IdMap
from cofactor.ratings import Compressed, Ratings
from cofactor.reading import Gathered, gather

_LISTED = 20  # bad rows named one by one
_BARS = 20  # bars of the histogram at most


@dataclass(frozen=True)
class RatingsReport:
    """A table of ratings at a glance. ``to_dict`` is ready for JSON.

    Attributes:
        ratings, users, items, density: counts, and the share of the users × items table that is known.
        user_ids, item_ids: "integer" or "string".
        scale, mean: lowest and highest rating seen, and their mean; None without ratings.
        histogram: {"from", "to", "count"} for each bar; "from" equals "to" where the bar is one value.
        dates: {"first", "last"} in ISO form, UTC; None without times.
        user_rows, item_rows: {"shortest", "longest"} as {"id", "ratings"}, and "median".
        duplicates: rows that a later row for the same user and item replaces.
        bad_rows, bad_by_reason, bad_examples: rows that cannot be used: how many, why, and the first of them.
        warnings: what is allowed but seldom meant.
    """

    source: str
    ratings: int
    users: int
    items: int
    density: float
    user_ids: str | None
    item_ids: str | None
    scale: tuple[float, float] | None
    mean: float | None
    histogram: list[dict[str, float]]
    dates: dict[str, str] | None
    user_rows: dict[str, Any] | None
    item_rows: dict[str, Any] | None
    duplicates: int
    bad_rows: int
    bad_by_reason: dict[str, int]
    bad_examples: list[dict[str, Any]]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain dictionaries, lists, numbers and strings."""
        return asdict(self)


def check_ratings(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | Literal[False] | None = None,
    scale: tuple[float, float] | None = None,
    sep: str | None = None,
) -> RatingsReport:
    """Look at a table as ``read_ratings`` would read it, and report; bad rows are reported, not raised.

    Takes the same ``source`` and keywords. Raises ``BadRatings`` for what cannot be read at all.
    """
    wanted = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    found = gather(source, wanted, scale, sep, drop=True, listed=_LISTED)
    ratings = found.ratings
    common: dict[str, Any] = {
        "source": str(source)
        if isinstance(source, str) or hasattr(source, "__fspath__")
        else type(source).__name__,
        "bad_rows": found.rejected,
        "bad_by_reason": dict(found.reasons.most_common()),
        "bad_examples": [asdict(bad) for bad in found.bad[:_LISTED]],
        "warnings": [] if ratings is None else _warnings(found, ratings),
    }
    if ratings is None:
        return RatingsReport(
            **common,
            ratings=0,
            users=0,
            items=0,
            density=0.0,
            user_ids=None,
            item_ids=None,
            scale=None,
            mean=None,
            histogram=[],
            dates=None,
            user_rows=None,
            item_rows=None,
            duplicates=0,
        )
    values = ratings.values
    return RatingsReport(
        **common,
        ratings=len(ratings),
        users=ratings.n_users,
        items=ratings.n_items,
        density=ratings.density,
        user_ids=ratings.user_ids.kind,
        item_ids=ratings.item_ids.kind,
        scale=(float(values.min()), float(values.max())),
        mean=float(values.mean(dtype=np.float64)),
        histogram=_histogram(values),
        dates=None
        if ratings.times is None
        else {"first": _date(int(ratings.times.min())), "last": _date(int(ratings.times.max()))},
        user_rows=_rows(ratings.user_ids, ratings.by_user),
        item_rows=_rows(ratings.item_ids, ratings.by_item),
        duplicates=ratings.duplicates,
    )


def _histogram(values: Any) -> list[dict[str, float]]:
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _BARS:
        return [{"from": float(v), "to": float(v), "count": int(n)} for v, n in zip(distinct, counts)]
    counts, edges = np.histogram(values, bins=_BARS)
    return [
        {"from": float(low), "to": float(high), "count": int(n)}
        for low, high, n in zip(edges, edges[1:], counts)
    ]


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s after 1970, beyond all calendars"


def _rows(ids: IdMap, rows: Compressed) -> dict[str, Any]:
    counts = rows.counts
    ends = {"shortest": int(np.argmin(counts)), "longest": int(np.argmax(counts))}
    told: dict[str, Any] = {name: {"id": ids.id(at), "ratings": int(counts[at])} for name, at in ends.items()}
    return {**told, "median": float(np.median(counts))}


def _warnings(found: Gathered, ratings: Ratings) -> list[str]:
    told = []
    for name, ids in (("user", ratings.user_ids), ("item", ratings.item_ids)):
        if ids.kind != "string":
            continue
        padded = pc.sum(pc.match_substring_regex(ids.array, r"^0[0-9]+$")).as_py() or 0
        if padded:
            told.append(
                f'{padded:,} {name} ids are numbers with leading zeros; they are kept as strings ("01" is not 1).'
            )
        trimmed = pc.utf8_trim_whitespace(ids.array)
        spaced = pc.sum(pc.not_equal(trimmed, ids.array)).as_py() or 0
        if spaced:
            told.append(f"{spaced:,} {name} ids begin or end with a space, which is kept.")
    if len(ratings) > 1 and float(ratings.values.min()) == float(ratings.values.max()):
        told.append("All ratings are alike: there is nothing to learn from them but who met what.")
    single = float((ratings.by_user.counts == 1).mean())
    if ratings.n_users > 1 and single > 0.5:
        told.append(f"{single:.0%} of the users have a single rating: little can be said of them.")
    if ratings.times is not None and int(np.median(ratings.times)) > 10**11:
        told.append("The times look like milliseconds; they are read as seconds.")
    if ratings.duplicates:
        told.append(
            f"{ratings.duplicates:,} rows rate the same item by the same user again; the latest counts."
        )
    return told
