"""Models, ratings and items into a store: at the start of a service, and at the end of a training."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from cofactor import storage
from cofactor.catalog import Catalog
from cofactor.models.factors import FactorModel
from cofactor.ratings import Ratings
from cofactor.serve.registry import open_model
from cofactor.serve.settings import Settings
from cofactor.serve.store import items, models, ratings
from cofactor.serve.store.database import Database
from cofactor.serve.store.items import Item
from cofactor.serve.store.ratings import Stored
from cofactor.serve.store.schema import models as models_table
from cofactor.storage.folders import MANIFEST

KEPT = 20  # models beside the active one, and the one before it
_KNOWN = ("title", "genres")  # kept in columns of their own
_AT_ONCE = 50_000  # ratings in one statement


def register(
    database: Database,
    settings: Settings,
    model: FactorModel,
    *,
    n_ratings: int,
    n_users: int,
    trained_at: int,
    quality: dict[str, Any],
    reason: str,
    activate: bool,
    source: str | None = None,
) -> int:
    """Keep the item side of a model, and activate it if asked to; returns its version.

    The folder is written first: one that a crash leaves behind is not in the table, and nobody reads it.
    """
    folder = secrets.token_hex(8)
    settings.models.mkdir(parents=True, exist_ok=True)
    storage.save(model.only_items(), settings.models / folder)
    with database.write() as connection:
        version = models.register(
            connection,
            folder=folder,
            source=source,
            kind=type(model).__name__,
            params=_plain(model.get_params()),
            ratings=n_ratings,
            users=n_users,
            items=len(model.item_ids_),
            trained_at=trained_at,
            quality=quality,
            reason=reason,
        )
        if activate:
            models.activate(connection, version)
        old = models.forget_old(connection, KEPT)
    for name in old:  # a process that still answers by one of them has it open, and keeps it until it lets go
        shutil.rmtree(settings.models / name, ignore_errors=True)
    return version


def install_model(
    database: Database, settings: Settings, path: Path, quality: dict[str, Any] | None = None
) -> int:
    """Register and activate a saved model, once; the ratings in it go into a store that has none.

    Returns its version. Raises ``BadModel``.
    """
    model = open_model(path)
    source = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    with database.read() as connection:
        chosen = select(models_table.c.version).where(models_table.c.source == source)
        version = connection.execute(chosen).scalar()
        empty = ratings.is_empty(connection)
    if version is not None:
        return int(version)
    if empty and len(model.ratings_.indices):
        store_ratings(database, _of_model(model))
    return register(
        database,
        settings,
        model,
        n_ratings=len(model.ratings_.indices),
        n_users=len(model.user_ids_),
        trained_at=ratings.now(),
        quality=quality or {"objective": model.objective_.tolist()},
        reason=f"Given at the start: {path.name}.",
        activate=True,
        source=source,
    )


def _of_model(model: FactorModel) -> Iterator[Stored]:
    """The ratings that a model holds. It does not hold their times: they are as old as can be."""
    users = [str(raw) for raw in model.user_ids_.array.to_pylist()]
    names = [str(raw) for raw in model.item_ids_.array.to_pylist()]
    rows = model.ratings_
    for user, item, value in zip(rows.row_numbers().tolist(), rows.indices.tolist(), rows.values.tolist()):
        yield Stored(users[user], names[item], value, 0)


def of_table(table: Ratings) -> Iterator[Stored]:
    """Ratings that were read, with their times."""
    users = [str(raw) for raw in table.user_ids.array.to_pylist()]
    names = [str(raw) for raw in table.item_ids.array.to_pylist()]
    times = np.zeros(len(table)) if table.times is None else np.maximum(table.times, 0)
    rows = zip(
        table.user_positions.tolist(), table.by_user.indices.tolist(), table.values.tolist(), times.tolist()
    )
    for user, item, value, at in rows:
        yield Stored(users[user], names[item], value, round(at * 1e6))


def store_ratings(database: Database, given: Iterator[Stored]) -> int:
    """Store ratings, some at a time; returns how many."""
    done, some = 0, []
    for one in given:
        some.append(one)
        if len(some) == _AT_ONCE:
            done += _put(database, some)
            some = []
    return done + _put(database, some)


def _put(database: Database, some: list[Stored]) -> int:
    if some:
        with database.write() as connection:
            ratings.put(connection, some)
    return len(some)


def store_catalog(database: Database, catalog: Catalog) -> None:
    """Store titles and categories of items, and what else is known of them."""
    ids = [str(raw) for raw in catalog.item_ids.array.to_pylist()]
    facts = [_features(row, raw) for row, raw in zip(catalog.facts.to_pylist(), ids)]
    rows = zip(ids, catalog.titles, catalog.genres_of, facts)
    with database.write() as connection:
        items.put(connection, [Item(raw, title, kinds, True, more) for raw, title, kinds, more in rows])


def _features(row: dict[str, Any], raw: str) -> dict[str, Any]:
    """Numbers and texts of a row of a catalogue, but for the id, title and genres."""
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, (int, float, str))
        and value == value
        and str(value) != raw
        and name not in _KNOWN
    }


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}
