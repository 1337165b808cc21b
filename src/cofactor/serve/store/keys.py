"""API keys. A key is shown once, when it is made; the store has its SHA-256 alone.

A key is 256 random bits, so there is nothing to guess, and a slow hash would add nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from cofactor.errors import BadParameter, shorten
from cofactor.serve.store.ratings import now
from cofactor.serve.store.schema import keys

SCOPES = ("read", "write", "admin")  # each may do what those before it may
PREFIX = "cfk_"


def create(connection: Connection, name: str, scope: str) -> str:
    """Make a key, and return it. Raises ``BadParameter`` for an unknown scope or a name that is in use."""
    if scope not in SCOPES:
        raise BadParameter(f"The scope {shorten(scope)} is none. Give one of {', '.join(SCOPES)}.")
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise BadParameter("A key's name has 1 to 64 characters that can be printed.")
    taken = select(keys.c.id).where(keys.c.name == name, keys.c.revoked.is_(None))
    if connection.execute(taken).first() is not None:
        raise BadParameter(f"There is a key {shorten(name)} already. Revoke it first, or give another name.")
    key = PREFIX + secrets.token_urlsafe(32)
    connection.execute(insert(keys).values(name=name, hash=digest(key), scope=scope, created=now()))
    return key


def revoke(connection: Connection, name: str) -> None:
    """Let a key open nothing more. Raises ``BadParameter`` where there is none of this name."""
    chosen = update(keys).where(keys.c.name == name, keys.c.revoked.is_(None)).values(revoked=now())
    if not connection.execute(chosen).rowcount:
        raise BadParameter(f"There is no key {shorten(name)}. `cofactor keys list` shows those there are.")


def every(connection: Connection) -> list[Row[Any]]:
    """Rows of all keys, those revoked as well."""
    return list(connection.execute(select(keys).order_by(keys.c.id)))


def valid(connection: Connection) -> dict[str, tuple[int, str]]:
    """Id and scope by hash of the keys that open."""
    rows = connection.execute(select(keys).where(keys.c.revoked.is_(None)))
    return {row.hash: (row.id, row.scope) for row in rows}


def are_there(connection: Connection) -> bool:
    """Whether any key was ever made: then one is needed, even when all were revoked."""
    return bool(connection.execute(select(func.count()).select_from(keys)).scalar())


def digest(key: str) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()
