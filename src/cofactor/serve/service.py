"""What the requests of one process share: the store, the snapshot, the keys, and the thread that looks after them."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from cofactor.serve.registry import Registry
from cofactor.serve.settings import Settings
from cofactor.serve.store import jobs, keys, models, ratings
from cofactor.serve.store.database import Database, StoreUnavailable
from cofactor.serve.store.writing import Writer

TICK = 1.0  # seconds between two looks at what there is to do
COUNT_EVERY = 60.0  # seconds between two counts of all ratings

SMALL = 2_000_000  # numbers in a model whose items are all scored within half a millisecond
T = TypeVar("T")
DRAINING = threading.Event()  # set once the process was told to end

log = logging.getLogger("cofactor.serve")


class Service:
    """One process of a service.

    Attributes:
        settings, database, registry, writer: what it is made of.
        latencies: seconds of the last requests, and when they ended.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened before ``start``."""
        self.settings = settings
        self.database = Database(settings.url)
        self.registry = Registry(self.database, settings.models)
        self.writer = Writer(self.database)
        self.latencies: deque[tuple[float, float]] = deque(maxlen=5000)
        self._keys: dict[str, tuple[int, str]] = {}
        self._keys_needed = True
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._training: tuple[int, subprocess.Popen[bytes]] | None = None

    def start(self) -> None:
        """Bring the tables up to date, load the active model, and begin to look after things."""
        self.database.upgrade()
        self._read_keys()
        self.registry.current()
        self._thread = threading.Thread(target=self._look_after, name="cofactor-service", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and a training that this process began."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self._training is not None:
            job, process = self._training
            process.terminate()
            process.wait(timeout=10)
            self._close(job, "It was stopped together with the service. Start another job.")
        self.database.close()

    async def quickly(self, work: Callable[[], T], slow: bool = False) -> T:
        """Do what takes well below a millisecond here and now, where a thread to do it in would cost as much again.

        That is so if the store is a file on this machine and the model is small; else, or if ``slow``, in a thread.
        """
        snapshot = self.registry.latest
        if (
            slow
            or not self.database.is_sqlite
            or snapshot is None
            or snapshot.n_known * snapshot.rank > SMALL
        ):
            return await run_in_threadpool(work)
        return work()

    # -- keys --------------------------------------------------------------------------------------

    def keys(self) -> tuple[bool, dict[str, tuple[int, str]]]:
        """Whether a key is needed, and id and scope of the valid ones by hash, as of the last tick."""
        return self._keys_needed, self._keys

    def _read_keys(self) -> None:
        with self.database.read() as connection:
            valid, needed = keys.valid(connection), keys.are_there(connection)
        self._keys, self._keys_needed = valid, needed

    # -- jobs --------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        counted, trouble = time.monotonic(), False
        while not self._end.wait(TICK):
            try:
                self._read_keys()
                self.registry.current()
                self._train()
                if time.monotonic() - counted > COUNT_EVERY:
                    counted = time.monotonic()
                    self.registry.count_again()
                trouble = False
            except StoreUnavailable:
                if not trouble:
                    log.warning("the database does not answer")
                trouble = True
            except Exception:
                log.exception("the service's own work failed")

    def _train(self) -> None:
        """Begin a job that waits, and see to one that this process began."""
        if self._training is not None:
            job, process = self._training
            if process.poll() is not None:
                self._training = None
                self._close(job, f"Its process ended with code {process.returncode} and gave no reason.")
            return
        with self.database.read() as connection:
            due = self.settings.retrain_every > 0 and self._is_due(connection)
            if not due and not jobs.to_do(connection):
                return
        with self.database.write() as connection:
            jobs.bury(connection)
            if due and self._is_due(connection):
                jobs.ask(connection)
            taken = jobs.take(connection)
        if taken is not None:
            self.settings.export()
            command = [sys.executable, "-m", "cofactor.serve.training", str(taken)]
            self._training = (
                taken,
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL),
            )

    def _is_due(self, connection: Connection) -> bool:
        last = jobs.last_asked(connection)
        active = models.active(connection)
        since = max(last, active.created if active is not None else 0)
        if ratings.now() - since < self.settings.retrain_every * 1e6:
            return False
        return active is None or ratings.any_since(connection, active.trained_at)

    def _close(self, job: int, message: str) -> None:
        try:
            with self.database.write() as connection:
                jobs.end(connection, job, "failed", message)
        except StoreUnavailable:
            log.warning("the end of job %d could not be noted", job)
