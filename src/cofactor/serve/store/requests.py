"""Answers kept by idempotency key, and events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from cofactor.serve.store.ratings import now, upsert
from cofactor.serve.store.schema import events, requests

KEPT = 24 * 3600 * 1_000_000  # microseconds


def known(connection: Connection, key: str) -> Row[Any] | None:
    """What was answered to the request of this key, or None."""
    return connection.execute(select(requests).where(requests.c.key == key)).first()


def keep(connection: Connection, key: str, digest: str, answer: dict[str, Any]) -> bool:
    """Keep an answer for a day; False where another request has taken the key meanwhile."""
    at = now()
    connection.execute(delete(requests).where(requests.c.created < at - KEPT))
    row = {"key": key, "digest": digest, "answer": answer, "created": at}
    kept = upsert(connection, requests).values(row).on_conflict_do_nothing().returning(requests.c.key)
    return connection.execute(kept).first() is not None


def add_event(
    connection: Connection, kind: str, recommendation_id: str, version: int | None, item: str
) -> None:
    """Note what became of an item of an answer."""
    row = {"time": now(), "kind": kind, "recommendation_id": recommendation_id, "model_version": version}
    connection.execute(insert(events).values(item_id=item, **row))
