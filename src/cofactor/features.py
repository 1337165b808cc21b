"""What is known of items, or of users, as numbers that a model can learn from.

A table becomes one row of numbers for each id, column by column; images and sounds stay arrays (``media.py`` reads
them from files). How a table was turned into numbers is kept, so that a new item is turned into numbers alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadData, BadParameter, shorten
from cofactor.ids import Id, IdMap, id_array

Kind: TypeAlias = Literal["number", "category", "labels", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_KNOTS = 8  # of a number, at most
_BUCKETS = 256  # of the words of a text
_MOST_KNOWN = 4096  # categories or labels of a column; rarer ones are left out
_FEW = 50  # values that a column of text has at most where it is taken for categories
_LARGEST = 1e15  # a number beyond is a mistake


@dataclass(frozen=True)
class Column:
    """How one column of a table becomes numbers.

    - number: piecewise linear between ``known`` knots, which stand at quantiles: as many numbers as knots, of which
      two neighbours are not 0 and add up to 1. So a straight line on them bends at the knots. Beyond the last knot all
      is as at the knot. One number more says that the value is missing.
    - category, labels: one number for each of ``known``: 1 where it is the value, or among the values. Others, and
      missing ones, are zeros.
    - text: words and pairs of words that follow each other, in lower case and without accents, counted in ``known[0]``
      buckets by MD5; a row has length 1, an empty one 0.
    """

    name: str
    kind: Kind
    known: tuple[Any, ...]

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        if self.kind == "text":
            return int(self.known[0])
        return len(self.known) + (self.kind == "number")

    def encode(self, cells: Sequence[Any], ids: Sequence[Id]) -> NDArray[np.float32]:
        """Numbers (rows, width) of cells; ``ids`` are for messages. Raises ``BadData``."""
        if self.kind == "number":
            return self._hats(_numbers(cells, self.name, ids))
        if self.kind == "text":
            return _hashed([_text(cell) for cell in cells], int(self.known[0]))
        out = np.zeros((len(cells), self.width), np.float32)
        place = {value: at for at, value in enumerate(self.known)}
        for row, cell in enumerate(cells):
            for label in labels_of(cell) if self.kind == "labels" else (_text(cell),):
                if label in place:
                    out[row, place[label]] = 1
        return out

    def _hats(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        out = np.zeros((len(values), self.width), np.float32)
        missing = np.isnan(values)
        out[missing, -1] = 1
        knots = np.array(self.known, np.float64)
        for k, unit in enumerate(np.eye(len(knots))):
            out[~missing, k] = np.interp(values[~missing], knots, unit)
        return out

    @classmethod
    def of(cls, name: str, kind: Kind, cells: Sequence[Any], ids: Sequence[Id]) -> Self:
        """How such cells become numbers. Raises ``BadData``."""
        known: tuple[Any, ...]
        if kind == "number":
            values = _numbers(cells, name, ids)
            values = values[~np.isnan(values)]
            quantiles = np.quantile(values, np.linspace(0, 1, _KNOTS)) if len(values) else np.zeros(1)
            known = tuple(np.unique(quantiles).tolist())
        elif kind == "text":
            known = (_BUCKETS,)
        else:
            split = labels_of if kind == "labels" else lambda cell: (_text(cell),)
            counts: dict[str, int] = {}
            for cell in cells:
                for label in set(split(cell)) - {""}:
                    counts[label] = counts.get(label, 0) + 1
            known = tuple(sorted(sorted(counts, key=lambda label: (-counts[label], label))[:_MOST_KNOWN]))
        return cls(name, kind, known)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"name": self.name, "kind": self.kind, "known": list(self.known)}

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """What ``to_dict`` gave. Raises ``BadData`` where it cannot be that."""
        sound = isinstance(given, dict) and set(given) == {"name", "kind", "known"}
        sound = sound and isinstance(given["name"], str) and given["kind"] in KINDS
        sound = sound and isinstance(given["known"], list)
        if sound:
            known, kind = given["known"], given["kind"]
            if kind == "number":
                sound = len(known) > 0 and all(type(x) is float and math.isfinite(x) for x in known)
                sound = sound and known == sorted(set(known))
            elif kind == "text":
                sound = len(known) == 1 and type(known[0]) is int and 1 <= known[0] <= 1 << 20
            else:
                sound = all(type(x) is str for x in known) and len(set(known)) == len(known) <= _MOST_KNOWN
        if not sound:
            raise BadData(f"{shorten(given)} does not describe a column of features. Save the model again.")
        return cls(given["name"], given["kind"], tuple(given["known"]))


def encode(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], ids: Sequence[Id]) -> Features:
    """The features of new ids, one mapping of cells by name each; a cell that is not there is missing."""
    parts = [column.encode([row.get(column.name) for row in rows], ids) for column in columns]
    width = sum(column.width for column in columns)
    values = np.hstack(parts) if parts else np.zeros((len(rows), width), np.float32)
    return Features.of_arrays(ids, values, columns=tuple(columns))


@dataclass(frozen=True, eq=False)
class Features:
    """Numbers for ids: one row each of a table, an image or a sound.

    Attributes:
        ids: raw id <-> position.
        values: float32, all finite: (ids, columns), (ids, samples, channels) or (ids, height, width, channels).
        columns: how the columns of a table became numbers; None of arrays.
    """

    ids: IdMap
    values: NDArray[np.float32]
    columns: tuple[Column, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Features({len(self):,} ids, {' × '.join(map(str, self.values.shape[1:]))})"

    @classmethod
    def of_arrays(cls, ids: Iterable[Id], values: Any, *, columns: tuple[Column, ...] | None = None) -> Self:
        """From an array whose first axis goes with ``ids``, in any order.

        Raises ``BadParameter`` where the array is of a wrong shape or kind or an id stands there twice, ``BadData``
        where a number is not finite.
        """
        raw = id_array(ids, "id")
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise BadParameter(
                f"Features are numbers, not {array.dtype}. Give an array of floats or integers."
            )
        if not 2 <= array.ndim <= 4 or len(array) != len(raw) or 0 in array.shape:
            raise BadParameter(
                f"Features of shape {array.shape} do not go with {len(raw)} ids. Give (ids, columns), "
                f"(ids, samples, channels) or (ids, height, width, channels)."
            )
        with np.errstate(over="ignore"):
            kept = array.astype(np.float32)
        good = np.isfinite(kept.reshape(len(kept), -1)).all(axis=1)
        if not good.all():
            first = raw[int(np.argmin(good))].as_py()
            raise BadData(
                f"The features of {shorten(first)} hold values that are not finite ({int((~good).sum())} ids do). "
                f"Leave out such an id: it is then treated as one without features."
            )
        known, place = IdMap.encode(raw)
        if len(known) < len(raw):
            raise BadParameter(
                f"{len(raw) - len(known)} of {len(raw)} ids stand there twice. Keep one row each."
            )
        ordered = np.empty_like(kept)
        ordered[place] = kept
        ordered.flags.writeable = False
        return cls(known, ordered, columns)

    @classmethod
    def of_table(cls, ids: IdMap, cells: Mapping[str, tuple[Kind | None, Sequence[Any]]]) -> Self:
        """From columns of cells, each with its kind or None for what it looks like. See ``Catalog.features``."""
        raw = ids.ids(np.arange(len(ids)))
        columns, parts = [], []
        for name, (kind, values) in cells.items():
            column = Column.of(name, kind or guess(values), values, raw)
            if column.width == 0:
                raise BadData(
                    f"The column {name!r} is empty: there is nothing to learn from it. Leave it out."
                )
            columns.append(column)
            parts.append(column.encode(values, raw))
        if not parts:
            raise BadParameter("Features need at least one column. Name columns of the table.")
        return cls.of_arrays(ids.array, np.hstack(parts), columns=tuple(columns))

    def select(self, ids: Iterable[Id]) -> Features:
        """Those of some ids; the others are left out."""
        at = self.ids.positions(ids)
        at = np.unique(at[at >= 0])
        return Features(self.ids.subset(at), self.values[at], self.columns)


def guess(cells: Sequence[Any]) -> Kind:
    """What a column looks like: lists are labels, numbers numbers; of text, a few values are categories."""
    there = [cell for cell in cells if cell is not None and cell != ""]
    if any(isinstance(cell, (list, tuple)) for cell in there):
        return "labels"
    if all(_is_number(cell) for cell in there):
        return "number"
    texts = [str(cell) for cell in there]
    if any("|" in text for text in texts):
        return "labels"
    distinct = len(set(texts))
    return "category" if distinct <= _FEW and 2 * distinct <= len(texts) else "text"


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _numbers(cells: Sequence[Any], name: str, ids: Sequence[Id]) -> NDArray[np.float64]:
    """NaN where a cell is missing."""
    out = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        value = float(cell) if _is_number(cell) else math.inf
        if abs(value) > _LARGEST:
            raise BadData(
                f"The {name!r} of {shorten(ids[row])} is {shorten(cell)}, which is no number below 1e15. "
                f"Correct it, leave it empty, or give the column another kind than number."
            )
        out[row] = value
    return out


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def labels_of(cell: Any) -> tuple[str, ...]:
    """The labels of a cell: those of a list, or of text with "|" between them."""
    parts = cell if isinstance(cell, (list, tuple)) else _text(cell).split("|")
    return tuple(label for part in parts if (label := _text(part)) not in ("", "(no genres listed)"))


def _hashed(texts: Sequence[str], buckets: int) -> NDArray[np.float32]:
    """Words and pairs of words counted by bucket (texts, buckets), each row of length 1 or 0. DuckDB does the words."""
    import duckdb
    import pyarrow as pa

    with duckdb.connect() as connection:
        connection.register(
            "given", pa.table({"row": np.arange(len(texts)), "said": pa.array(texts, pa.string())})
        )
        found = connection.execute(
            r"""
            WITH split AS (
                SELECT row, regexp_extract_all(lower(strip_accents(said)), '[\pL\pN]+') AS words FROM given
            ), terms AS (
                SELECT row, unnest(words) AS term FROM split
                UNION ALL
                SELECT row, unnest(list_transform(range(1, len(words)), lambda k: words[k] || ' ' || words[k + 1]))
                FROM split
            )
            SELECT row, (md5_number_lower(term) % ?)::INTEGER AS bucket, count(*)::INTEGER AS times
            FROM terms GROUP BY ALL
            """,
            [buckets],
        ).fetchnumpy()
    out = np.zeros((len(texts), buckets), np.float32)
    out[found["row"], found["bucket"]] = found["times"]
    length = np.linalg.norm(out, axis=1, keepdims=True)
    out /= np.where(length > 0, length, 1)
    return out
