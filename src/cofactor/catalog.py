"""Titles, genres and other facts of items."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cofactor.columns import encode_ids, find_columns, id_expression
from cofactor.errors import BadParameter, BadRatings, first_sentence, shorten
from cofactor.features import KINDS, Features, Kind, encode, labels_of
from cofactor.ids import Id, IdMap
from cofactor.models.base import check_choice
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

    def features(self, *columns: str, like: Features | None = None, **kinds: Kind) -> Features:
        """The facts as numbers that ``ContentMap`` learns from; without any argument, all but the ids.

        ``columns`` are taken for what they look like, those in ``kinds`` for what is said there:

            catalog.features("year", "genres", title="text")

        A "number" may bend the line at a few knots, a "category" is one of some values, "labels" are a list or text
        with "|" between, "text" is hashed by words and pairs of words. What is missing is told from what is 0, except
        in text; see ``features.Column``. With ``like`` the columns are those of other features, and turned into numbers
        as they were: of items that are new since. Raises ``BadParameter`` for an unknown column or kind, ``BadData``
        for what is not a number in a column of numbers.
        """
        facts = {name: self.facts[name].to_pylist() for name in self.facts.column_names}
        if like is not None:
            return self._features_like(like, facts, bool(columns or kinds))
        if not columns and not kinds:
            columns = tuple(name for name, cells in facts.items() if not self._are_ids(cells))
        asked: dict[str, Kind | None] = {**dict.fromkeys(columns), **kinds}
        for name, kind in asked.items():
            if name not in facts:
                raise BadParameter(
                    f"There is no column {name!r}; there are {shorten(', '.join(facts), 300)}."
                )
            if kind is not None:
                check_choice(f"the kind of {name!r}", kind, KINDS)
        return Features.of_table(self.item_ids, {name: (kind, facts[name]) for name, kind in asked.items()})

    def _features_like(self, like: Features, facts: dict[str, list[Any]], more: bool) -> Features:
        if not isinstance(like, Features) or like.columns is None or more:
            raise BadParameter(
                "like= takes features of a table, and names the columns itself. Give nothing else."
            )
        rows = [dict(zip(facts, cells)) for cells in zip(*facts.values())]
        return encode(like.columns, rows, self.item_ids.ids(np.arange(len(self))))

    def _are_ids(self, cells: list[Any]) -> bool:
        return list(map(str, cells)) == list(map(str, self.item_ids.array.to_pylist()))


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
            facts = _decoded(facts) if kind == "json" else facts
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
    labels = [labels_of(g) for _, chosen, n in tables_read for g in _values(chosen.get("genres"), n, kind)]
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


def _decoded(facts: pa.Table) -> pa.Table:
    """Columns of JSON text as values, where those of a column are of one kind."""
    for at, name in enumerate(facts.column_names):
        try:
            values = pa.array([None if text is None else json.loads(text) for text in facts[at].to_pylist()])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            continue
        facts = facts.set_column(at, name, values)
    return facts
