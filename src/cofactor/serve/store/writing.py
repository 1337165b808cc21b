"""Single ratings, written together: who comes while a transaction runs shares the next one."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from cofactor.serve.store import ratings
from cofactor.serve.store.database import Database
from cofactor.serve.store.ratings import Stored

_MOST = 500  # ratings in a transaction


class Writer:
    """Puts ratings; each call returns once its rating is committed to the disk."""

    def __init__(self, database: Database) -> None:
        """Of one database. Any thread may call ``put``."""
        self._database = database
        self._lock = threading.Lock()
        self._waiting: list[tuple[Stored, Future[Stored | None]]] = []
        self._writing = False

    def put(self, given: Stored) -> Stored | None:
        """Store a rating; returns what is stored now: it, or one with a later time. None: erased in between.

        Raises ``StoreUnavailable`` and ``StoreFull``: nothing was stored then.
        """
        mine: Future[Stored | None] = Future()
        with self._lock:
            self._waiting.append((given, mine))
            leads, self._writing = not self._writing, True
        while leads:  # one thread writes for all who wait, until nobody does
            with self._lock:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                if not batch:
                    self._writing = leads = False
            if batch:
                self._write(batch)
        return mine.result()

    def _write(self, batch: list[tuple[Stored, Future[Stored | None]]]) -> None:
        newest: dict[tuple[str, str], Stored] = {}
        for given, _ in batch:
            old = newest.get((given.user, given.item))
            if old is None or old.time <= given.time:
                newest[given.user, given.item] = given
        try:
            with self._database.write() as connection:
                ratings.put(connection, list(newest.values()))
                there = {key: ratings.get(connection, *key) for key in newest}
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for given, future in batch:
            future.set_result(there[given.user, given.item])
