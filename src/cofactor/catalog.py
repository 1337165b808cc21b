"""Titles, genres and other facts of items."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cofactor.columns import encode_ids, find_columns, id_expression
from cofactor.errors import BadRatings, first_sentence, shorten
from cofactor.ids import Id, IdMap
from cofactor.sniffing import is_item
from cofactor.sources import Sources


@dataclass(frozen=True, eq=False)
class Catalog:
    """What is known of items beside their ratings.

    Attributes:
        item_ids: raw id <-> position.
        titles: (items,) title, or None where there is none.
        genres_of: (items,) tuples of genres.
        facts: a table of all columns of the source, in the order of ``item_ids``.
    """

    item_ids: IdMap
    titles: tuple[str | None, ...]
    genres_of: tuple[tuple[str, ...], ...]
    facts: pa.Table

    def __len__(self) -> int:
        return len(self.item_ids)

    def __repr__(self) -> str:
        return f"Catalog({len(self):,} items)"

    def title(self, item: Id) -> str:
        """The title of an item; its id where it has none here."""
        at = self.item_ids.position(item)
        return (self.titles[at] if at >= 0 else None) or str(item)

    def genres(self, item: Id) -> tuple[str, ...]:
        """The genres of an item; none where it is not here."""
        at = self.item_ids.position(item)
        return self.genres_of[at] if at >= 0 else ()


def read_catalog(
    source: Any,
    *,
    item: str | None = None,
    title: str | None = None,
    genres: str | None = None,
    sep: str | None = None,
) -> Catalog:
    """Read a table of items, one row each, from the kinds of files and tables that ``read_ratings`` takes.

    Columns are found by their usual names, or named by ``item``, ``title``, ``genres``. A text file whose first
    line starts with digits has no header, and its columns in this order. Genres are lists, or text with "|"
    between them. Raises ``BadRatings`` where an item is missing or stands there twice.
    """
    wanted = {"item": item, "title": title, "genres": genres}
    tables_read, encoded, kind = [], [], ""
    with Sources(source, sep, is_row=is_item) as tables:
        for table in tables:
            columns = find_columns(table, wanted, ("item",))
            facts = tables.query(table, "*").read_all()
            ids = tables.query(
                table, id_expression(f"c{columns['item']}", table.types[columns["item"]], table, "item")
            )
            column = ids.read_all().column(0).combine_chunks()
            if column.null_count:
                row = column.is_null().to_pylist().index(True) + 1
                raise BadRatings(
                    f"{table.where}, row {row}: the item is missing, or neither an integer nor a string. "
                    f"Give every row an item id."
                )
            encoded.append([column.dictionary_encode()])
            kind = table.kind
            chosen = {role: facts.column(at) for role, at in columns.items()}
            names = table.names if table.header else tuple(columns)
            tables_read.append((facts.rename_columns(list(names)), chosen, len(column)))
    item_ids, codes = encode_ids(encoded, "item", kind)
    if len(codes) == 0:
        raise BadRatings("There is not one item below the header. Give a table with a row for each item.")
    if len(item_ids) < len(codes):
        twice, times = Counter(codes.tolist()).most_common(1)[0]
        raise BadRatings(
            f"Item {shorten(item_ids.id(twice))} stands there {times} times. Keep one row for each item."
        )
    order = pa.array(codes).to_numpy().argsort()
    titles = [t for _, chosen, n in tables_read for t in _texts(_values(chosen.get("title"), n, kind))]
    labels = [_labels(g) for _, chosen, n in tables_read for g in _values(chosen.get("genres"), n, kind)]
    try:
        every = [facts for facts, _, _ in tables_read]
        joined = pa.concat_tables(every, promote_options="permissive") if len(every) > 1 else every[0]
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadRatings(
            f"The files do not go together: {first_sentence(str(error))}. Give them the same columns."
        ) from None
    return Catalog(
        item_ids,
        tuple(titles[k] for k in order),
        tuple(labels[k] for k in order),
        joined.take(pa.array(order)),
    )


def _values(column: Any, n: int, kind: str) -> list[Any]:
    """The cells of a column, which is None where there is none; those of a JSON file come as JSON text."""
    if column is None:
        return [None] * n
    if kind != "json":
        return list(column.to_pylist())
    return [None if text is None else json.loads(text) for text in column.to_pylist()]


def _texts(values: list[Any]) -> list[str | None]:
    return [None if value is None or str(value).strip() == "" else str(value) for value in values]


def _labels(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else str(value or "").split("|")
    none = ("", "(no genres listed)")
    return tuple(text for part in parts if (text := str(part or "").strip()) not in none)
