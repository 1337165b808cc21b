"""Items: titles, categories, whether they can be had; and the generation that tells of changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select, update

from cofactor.serve.store.ratings import upsert
from cofactor.serve.store.schema import items, ratings, state


@dataclass(frozen=True, slots=True)
class Item:
    """What is known of an item beside its ratings."""

    item: str
    title: str | None = None
    categories: tuple[str, ...] = ()
    available: bool = True
    features: Mapping[str, Any] = field(default_factory=dict)


def generation(connection: Connection) -> int:
    """The number that rises with every change of items and of the active model."""
    return int(connection.execute(select(state.c.value).where(state.c.name == "generation")).scalar_one())


def next_generation(connection: Connection) -> int:
    """Raise it; it holds once the transaction is committed."""
    raised = update(state).where(state.c.name == "generation").values(value=state.c.value + 1)
    return int(connection.execute(raised.returning(state.c.value)).scalar_one())


def put(connection: Connection, given: Sequence[Item]) -> None:
    """Store items, in place of what was known of them."""
    _write(connection, given, removed=False)


def remove(connection: Connection, item: str) -> bool:
    """Forget what is known of an item, and never list it again; its ratings stay. False where nothing was known."""
    if get(connection, item) is None:
        return False
    _write(connection, [Item(item, available=False)], removed=True)
    return True


def _write(connection: Connection, given: Sequence[Item], removed: bool) -> None:
    changed = next_generation(connection)
    statement = upsert(connection, items)
    names = ("title", "categories", "available", "removed", "changed", "features")
    statement = statement.on_conflict_do_update(
        index_elements=[items.c.item_id], set_={name: statement.excluded[name] for name in names}
    )
    rows = [
        {
            "item_id": it.item,
            "title": it.title,
            "categories": list(it.categories),
            "available": it.available,
            "features": dict(it.features),
        }
        for it in sorted(given, key=lambda it: it.item)
    ]
    connection.execute(statement, [{**row, "removed": removed, "changed": changed} for row in rows])


def get(connection: Connection, item: str) -> Item | None:
    """One item; None where nothing is known of it."""
    row = connection.execute(select(items).where(items.c.item_id == item, ~items.c.removed)).first()
    return None if row is None else _item(row)


def changed_since(connection: Connection, since: int) -> list[Item]:
    """Items changed in a later generation than this."""
    rows = connection.execute(select(items).where(items.c.changed > since))
    return [_item(row) for row in rows]


def count(connection: Connection) -> int:
    """How many items something is known of."""
    return int(
        connection.execute(select(func.count()).select_from(items).where(~items.c.removed)).scalar_one()
    )


def rated(connection: Connection, item: str) -> int:
    """How many ratings an item has."""
    chosen = select(func.count()).where(ratings.c.item_id == item, ratings.c.rating.is_not(None))
    return int(connection.execute(chosen).scalar_one())


def _item(row: Any) -> Item:
    return Item(row.item_id, row.title, tuple(row.categories), row.available, row.features or {})
