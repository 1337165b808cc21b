"""Ratings: given, taken back, read, erased."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from cofactor.serve.store.schema import ratings, state

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True, slots=True)
class Stored:
    """A rating as it is stored: ``rating`` is None where it was taken back; times in microseconds since 1970."""

    user: str
    item: str
    rating: float | None
    time: int


def now() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def upsert(connection: Connection, table: Any) -> Any:
    """INSERT that can say ON CONFLICT, in the words of this database."""
    return _INSERTS[connection.dialect.name](table)


def put(connection: Connection, given: Sequence[Stored]) -> None:
    """Store ratings. Of two for the same user and item the one with the later time stays, whichever comes first."""
    statement = upsert(connection, ratings)
    statement = statement.on_conflict_do_update(
        index_elements=[ratings.c.user_id, ratings.c.item_id],
        set_={name: statement.excluded[name] for name in ("rating", "time", "written")},
        where=statement.excluded.time >= ratings.c.time,
    )
    written = now()
    # In one order everywhere: two writers of the same ratings wait for each other, and never both.
    rows = sorted(given, key=lambda r: (r.user, r.item))
    connection.execute(
        statement,
        [
            {"user_id": r.user, "item_id": r.item, "rating": r.rating, "time": r.time, "written": written}
            for r in rows
        ],
    )


_ONE = select(ratings.c.rating, ratings.c.time).where(
    ratings.c.user_id == bindparam("user"), ratings.c.item_id == bindparam("item")
)
# The generation and the user's ratings in one question, so that they are of one moment.
_STATE = (
    select(state.c.value, ratings.c.item_id, ratings.c.rating, ratings.c.time, ratings.c.written)
    .select_from(
        state.outerjoin(ratings, and_(ratings.c.user_id == bindparam("user"), ratings.c.rating.is_not(None)))
    )
    .where(state.c.name == "generation")
)


def get(connection: Connection, user: str, item: str) -> Stored | None:
    """One rating, taken back or not; None where there never was one."""
    row = connection.execute(_ONE, {"user": user, "item": item}).first()
    return None if row is None else Stored(user, item, row.rating, row.time)


@dataclass(frozen=True, slots=True)
class UserState:
    """The generation of the store, a user's ratings and their times by item, and when the last was written."""

    generation: int
    ratings: dict[str, float]
    times: dict[str, int]
    written: int


def of_user(connection: Connection, user: str) -> UserState:
    """All that an answer about a user needs of the store."""
    rows = connection.execute(_STATE, {"user": user}).all()
    if rows[0][1] is None:
        return UserState(rows[0][0], {}, {}, 0)
    _, names, values, times, written = zip(*rows)
    return UserState(rows[0][0], dict(zip(names, values)), dict(zip(names, times)), max(written))


def page(connection: Connection, user: str, limit: int, after: str | None) -> list[Stored]:
    """Some ratings of a user, by item id; those behind ``after``."""
    chosen = select(ratings).where(ratings.c.user_id == user, ratings.c.rating.is_not(None))
    if after is not None:
        chosen = chosen.where(ratings.c.item_id > after)
    rows = connection.execute(chosen.order_by(ratings.c.item_id).limit(limit))
    return [Stored(row.user_id, row.item_id, row.rating, row.time) for row in rows]


def erase(connection: Connection, user: str) -> int:
    """Remove all of a user, as if they had never been; returns the number of ratings removed."""
    return connection.execute(delete(ratings).where(ratings.c.user_id == user)).rowcount


def counts(connection: Connection) -> dict[str, int]:
    """How many ratings every rated item has."""
    chosen = (
        select(ratings.c.item_id, func.count())
        .where(ratings.c.rating.is_not(None))
        .group_by(ratings.c.item_id)
    )
    return {row[0]: row[1] for row in connection.execute(chosen)}


def totals(connection: Connection) -> tuple[int, int]:
    """Ratings, and users who have some."""
    chosen = select(func.count(), func.count(ratings.c.user_id.distinct())).where(
        ratings.c.rating.is_not(None)
    )
    row = connection.execute(chosen).one()
    return row[0], row[1]


def written_since(connection: Connection, since: int) -> list[tuple[int, int]]:
    """Minutes since 1970 and how many ratings were written in each."""
    minute = ratings.c.written // 60_000_000
    chosen = select(minute.label("minute"), func.count()).where(ratings.c.written >= since).group_by("minute")
    return [(int(at), count) for at, count in connection.execute(chosen)]


def any_since(connection: Connection, since: int) -> bool:
    """Whether anything was written at or after a time."""
    return (
        connection.execute(select(ratings.c.written).where(ratings.c.written >= since).limit(1)).first()
        is not None
    )


def is_empty(connection: Connection) -> bool:
    """Whether there is no rating at all."""
    return connection.execute(select(ratings.c.item_id).limit(1)).first() is None
