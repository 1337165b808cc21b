"""The snapshot at hand: made of the store, and made anew once the store has changed."""

from __future__ import annotations

import threading
from pathlib import Path

from cofactor import storage
from cofactor.errors import BadModel
from cofactor.models.factors import FactorModel
from cofactor.serve.snapshot import Snapshot
from cofactor.serve.store import items, models, ratings
from cofactor.serve.store.database import Database


class Registry:
    """Gives snapshots. All methods may be called by any thread."""

    def __init__(self, database: Database, folder: Path) -> None:
        """Of the models in ``folder``. Nothing is read yet."""
        self._database, self._folder = database, folder
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None

    @property
    def latest(self) -> Snapshot | None:
        """The snapshot at hand, without looking whether there is a newer one."""
        return self._snapshot

    def current(self, generation: int | None = None) -> Snapshot:
        """A snapshot of at least this generation of the store; without one, of the generation it is in."""
        if generation is None:
            with self._database.read() as connection:
                generation = items.generation(connection)
        snapshot = self._snapshot
        if snapshot is not None and snapshot.generation >= generation:
            return snapshot
        with self._lock:  # one thread reads, the others wait for it
            snapshot = self._snapshot
            if snapshot is None or snapshot.generation < generation:
                snapshot = self._snapshot = self._following(snapshot)
            return snapshot

    def count_again(self) -> None:
        """Bring the numbers of ratings up to date."""
        with self._database.read() as connection:
            counts = ratings.counts(connection)
        with self._lock:
            if self._snapshot is not None:
                self._snapshot = self._snapshot.with_counts(counts)

    def _following(self, old: Snapshot | None) -> Snapshot:
        with self._database.read() as connection:
            generation = items.generation(connection)
            active = models.active(connection)
            version = None if active is None else active.version
            if old is not None and old.version == version:
                changed = items.changed_since(connection, old.generation)
                if not old.knows_less(changed):
                    return old.with_items(generation, changed)
            known = items.changed_since(connection, -1)
            counts = ratings.counts(connection)
        if active is None:
            return Snapshot.make(generation, None, None, 0, known, counts)
        model = open_model(self._folder / active.folder)
        return Snapshot.make(generation, model, version, active.trained_at, known, counts)


def open_model(path: Path) -> FactorModel:
    """A model that can serve. Raises ``BadModel`` where it is of a kind that cannot."""
    model = storage.load(path)
    if not isinstance(model, FactorModel) or not (model.predicts_ratings and model.predicts_by_sum):
        raise BadModel(
            f"{type(model).__name__} cannot be served: it answers by sums of factors and biases. "
            f"Train ALS, SGD, BayesianMF or TasteDrift, as `cofactor train` does."
        )
    return model
