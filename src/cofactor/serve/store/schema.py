"""The tables, and the steps from one version of them to the next.

Ids are text, exactly as they came. Times are whole microseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
    update,
)

from cofactor.errors import CofactorError

metadata = MetaData()
_BIG = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up only what it calls INTEGER

# Numbers by name: "schema", and "generation", which rises with whatever a snapshot is made of.
state = Table(
    "state",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

ratings = Table(
    "ratings",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column(
        "rating", Float
    ),  # NULL: taken back at that time, so that an older rating that arrives late does not count
    Column("time", BigInteger, nullable=False),  # when it was given, as its giver says
    Column("written", BigInteger, nullable=False),  # when it came here
    Index("ratings_by_written", "written"),
    sqlite_with_rowid=False,
)

items = Table(
    "items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("title", Text),
    Column("categories", JSON, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("removed", Boolean, nullable=False),  # the row stays, so that all processes learn of it
    Column("changed", BigInteger, nullable=False, index=True),  # the generation that it changed in
    Column("features", JSON),  # what else is known of it, by name; NULL is nothing
    sqlite_with_rowid=False,
)

# Nobody's name is in an event: only which answer it was about.
events = Table(
    "events",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("recommendation_id", String(64), nullable=False),
    Column("model_version", Integer),
    Column("item_id", Text, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("folder", Text, nullable=False),  # of the models' folder
    Column(
        "source", String(64)
    ),  # SHA-256 of the manifest it was copied from; NULL where it was trained here
    Column("kind", String(32), nullable=False),
    Column("params", JSON, nullable=False),
    Column("ratings", BigInteger, nullable=False),
    Column("users", BigInteger, nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("trained_at", BigInteger, nullable=False),  # it has learnt from what was written before
    Column("activated", BigInteger),  # the generation when it last was, or NULL
    Column("active", Boolean, nullable=False),
    Column("quality", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("status", String(16), nullable=False, index=True),
    Column("stage", String(32), nullable=False),
    Column("progress", Float, nullable=False),
    Column("message", Text, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("started", BigInteger),
    Column("heartbeat", BigInteger),
    Column("finished", BigInteger),
    Column("model_version", Integer),
    sqlite_autoincrement=True,
)

keys = Table(
    "keys",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scope", String(8), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    sqlite_autoincrement=True,
)

# Answers to requests that name themselves, so that a second one is not carried out again.
requests = Table(
    "requests",
    metadata,
    Column("key", String(128), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("answer", JSON, nullable=False),
    Column("created", BigInteger, nullable=False, index=True),
)


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(insert(state), [{"name": "schema", "value": 0}, {"name": "generation", "value": 1}])


def _add_features(connection: Connection) -> None:
    if "features" not in {column["name"] for column in inspect(connection).get_columns("items")}:
        connection.execute(
            text("ALTER TABLE items ADD COLUMN features JSON")
        )  # not where _create has just made it


# MIGRATIONS[v] leads from version v to v + 1. Append; never change one that was released.
MIGRATIONS: list[Callable[[Connection], None]] = [_create, _add_features]


class StoreTooNew(CofactorError):
    """The database was made by a later version of cofactor."""


def upgrade(connection: Connection) -> None:
    """Bring the tables to this version, inside the transaction at hand.

    Raises ``StoreTooNew`` where they are of a later one; nothing has changed then.
    """
    version = 0
    if inspect(connection).has_table("state"):
        version = connection.scalar(select(state.c.value).where(state.c.name == "schema")) or 0
    if version > len(MIGRATIONS):
        raise StoreTooNew(
            f"The database is of version {version}, where this cofactor knows {len(MIGRATIONS)}; "
            f"pip install --upgrade cofactor may help."
        )
    for step in MIGRATIONS[version:]:
        step(connection)
    if version < len(MIGRATIONS):
        connection.execute(update(state).where(state.c.name == "schema").values(value=len(MIGRATIONS)))
