"""Models that were registered, and which of them is active."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from cofactor.serve.store.items import next_generation
from cofactor.serve.store.ratings import now
from cofactor.serve.store.schema import models


def register(connection: Connection, **facts: Any) -> int:
    """Note a model that was saved; returns its version. ``facts`` are the columns of ``schema.models``."""
    row = {"created": now(), "activated": None, "active": False, **facts}
    return int(connection.execute(insert(models).values(row).returning(models.c.version)).scalar_one())


def activate(connection: Connection, version: int) -> bool:
    """Make it the one that answers, for all processes; False where there is no such version."""
    generation = next_generation(connection)  # taken first: two activations wait for each other here
    known = connection.execute(select(models.c.version).where(models.c.version == version)).first()
    if known is None:
        return False
    connection.execute(update(models).where(models.c.active).values(active=False))
    # Times of two activations could be the same; generations are not.
    connection.execute(
        update(models).where(models.c.version == version).values(active=True, activated=generation)
    )
    return True


def active(connection: Connection) -> Row[Any] | None:
    """The active model's row, or None."""
    return connection.execute(select(models).where(models.c.active)).first()


def before_active(connection: Connection) -> int | None:
    """The version that was active before the active one: where a rollback goes."""
    chosen = select(models.c.version).where(~models.c.active, models.c.activated.is_not(None))
    return connection.execute(chosen.order_by(models.c.activated.desc()).limit(1)).scalar()


def get(connection: Connection, version: int) -> Row[Any] | None:
    """One model's row, or None."""
    return connection.execute(select(models).where(models.c.version == version)).first()


def forget_old(connection: Connection, keep: int) -> list[str]:
    """Remove all but the newest ``keep`` of those that are neither active nor where a rollback goes; their folders."""
    before = before_active(connection)
    idle = select(models.c.version, models.c.folder).where(~models.c.active).order_by(models.c.version.desc())
    old = [row for row in connection.execute(idle) if row.version != before][keep:]
    if old:
        connection.execute(delete(models).where(models.c.version.in_([row.version for row in old])))
    return [row.folder for row in old]


def newest_first(connection: Connection, limit: int = 100) -> list[Row[Any]]:
    """Rows of models."""
    return list(connection.execute(select(models).order_by(models.c.version.desc()).limit(limit)))
