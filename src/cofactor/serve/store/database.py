"""Connections to SQLite or PostgreSQL, and what their failures mean."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from cofactor.errors import BadParameter, CofactorError
from cofactor.serve.store.schema import upgrade

WAIT = 10.0  # seconds that a write waits for other writers
_UPGRADE_LOCK = 5_264_823_017  # any number: PostgreSQL keeps one upgrade at a time by it


class StoreUnavailable(CofactorError):
    """The database does not answer; it may again."""


class StoreFull(CofactorError):
    """The database has no room for what was to be written. Nothing of it was."""


class Database:
    """A pool of connections. ``read`` and ``write`` give one each, in a transaction of its own."""

    def __init__(self, url: str) -> None:
        """Of an SQLAlchemy URL such as ``sqlite:///service.db`` or ``postgresql+psycopg://user@host/name``.

        Nothing is opened yet. Raises ``BadParameter`` for a URL that is none, or another kind of database.
        """
        try:
            self.url: URL = make_url(url)
            self.is_sqlite = self.url.get_backend_name() == "sqlite"
            if self.url.get_backend_name() not in ("sqlite", "postgresql"):
                raise BadParameter(
                    f"The database is {self.url.get_backend_name()}. Give sqlite:///FILE or postgresql+psycopg://…"
                )
            if self.is_sqlite and self.url.database in (None, "", ":memory:"):
                raise BadParameter("The processes of a service share a database file. Give sqlite:///FILE.")
            options: dict[str, Any] = (
                {"connect_args": {"timeout": WAIT, "check_same_thread": False}}
                if self.is_sqlite
                else {"connect_args": {"connect_timeout": 5}, "pool_use_lifo": True}
            )
            self.engine = create_engine(self.url, pool_size=8, max_overflow=40, pool_timeout=WAIT, **options)
        except (ArgumentError, NoSuchModuleError) as error:
            raise BadParameter(f"This is no URL of a database ({error}). Give sqlite:///FILE.") from None
        except ModuleNotFoundError as error:
            raise BadParameter(
                f"{error.name} is missing, which talks to this database: pip install 'cofactor[postgres]'."
            ) from None
        # SQLite lets one write at a time, and others ask again and again: the threads of a process wait in a queue.
        self._turn = threading.BoundedSemaphore(1 if self.is_sqlite else 48)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    def upgrade(self) -> None:
        """Make the tables, or bring older ones up to date. Raises ``StoreTooNew``."""
        if self.is_sqlite:
            Path(str(self.url.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
            upgrade(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view. Raises ``StoreUnavailable``."""
        with translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, committed to the disk when the block ends without an error.

        Raises ``StoreUnavailable`` and ``StoreFull``; nothing was written then.
        """
        if not self._turn.acquire(timeout=WAIT):
            raise StoreUnavailable("Too much is being written. Try again in a moment.")
        try:
            with (
                translated(),
                self.engine.connect().execution_options(writes=True) as connection,
                connection.begin(),
            ):
                yield connection
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close what is open and not in use."""
        self.engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """Failures of the database as errors of ours."""
    try:
        yield
    except DBAPIError as error:
        cause = error.orig
        state = getattr(cause, "sqlstate", None) or ""
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or state == "53100" or getattr(cause, "errno", 0) == errno.ENOSPC:
            raise StoreFull("The disk of the database is full; nothing was written. Make room.") from error
        gone = code in (
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_READONLY,
        )
        # 08: connection, 53: resources, 57: the server stops; without a state the connection was never made
        if (
            gone
            or error.connection_invalidated
            or state[:2] in ("08", "53", "57")
            or (not code and not state)
        ):
            raise StoreUnavailable("The database does not answer now. Try again in a moment.") from error
        raise


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for a writer
    cursor.execute("PRAGMA synchronous=FULL")  # what was acknowledged survives a power cut
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer that begins as a reader could not wait for another: it would fail.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
