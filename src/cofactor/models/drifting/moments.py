"""Moments as they are given, in Unix seconds; what could be mistaken is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter, shorten
from cofactor.ratings import Ratings

LATEST = 10**11  # seconds: the year 5138. Milliseconds of our days lie above it
_ADVICE = "Give Unix seconds, a datetime, or text such as '2026-01-31T12:00'; without a zone they are UTC."


def seconds(at: Any, n: int) -> NDArray[np.int64]:
    """One moment, or n of them, as Unix seconds (n,): numbers, datetimes, NumPy's datetime64, or ISO text."""
    single = isinstance(at, (str, int, float, date, np.generic)) or np.ndim(at) == 0
    given = [at] if single else list(at)
    if not single and len(given) != n:
        raise BadParameter(f"at has {len(given)} moments for {n} predictions; give one, or one for each.")
    found = np.array([_second(one) for one in given], np.int64)
    return np.repeat(found, n) if single else found


def _second(at: Any) -> int:
    if isinstance(at, (str, np.str_)):
        try:
            at = datetime.fromisoformat(str(at))
        except ValueError:
            raise BadParameter(f"at is {shorten(at)}, which is not a moment. {_ADVICE}") from None
    if isinstance(at, np.datetime64):
        if np.isnat(at):
            raise BadParameter(f"at is NaT, which is not a moment. {_ADVICE}")
        return int(at.astype("datetime64[s]").astype(np.int64))
    if isinstance(at, date) and not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day)
    if isinstance(at, datetime):
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    if isinstance(at, (bool, np.bool_)) or not isinstance(at, (int, float, np.integer, np.floating)):
        raise BadParameter(f"at is {shorten(at)}, which is not a moment. {_ADVICE}")
    number = float(at)
    if not np.isfinite(number):
        raise BadParameter(f"at is {at}, which is not a moment. {_ADVICE}")
    if abs(number) > LATEST:
        raise BadParameter(f"at is {at}, beyond the year 5000: it looks like milliseconds. {_ADVICE}")
    return int(at)


def times_of(ratings: Ratings, what: str) -> NDArray[np.int64]:
    """The times of ratings (ratings,). Raises ``BadParameter`` where there are none, or they cannot be seconds."""
    if ratings.times is None:
        raise BadParameter(
            f"{what} needs the times of ratings, and these have none. Read them with timestamp=... naming the column, "
            f"or take a model that does without, such as ALS."
        )
    if int(np.abs(ratings.times).max()) > LATEST:
        raise BadParameter(
            f"{what} found the time {int(ratings.times[np.abs(ratings.times).argmax()])}, beyond the year 5000: these "
            f"times look like milliseconds. Divide the column by 1000, so that they are Unix seconds."
        )
    return ratings.times
