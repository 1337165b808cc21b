"""Columns of a table: which is which, and what DuckDB is asked to make ids, numbers and times of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter, BadRatings, shorten
from cofactor.ids import IdMap
from cofactor.sources import Table

_USUAL = {
    "user": "user userid uid users username customer customerid reviewer reviewerid member memberid visitor "
    "visitorid account accountid person personid",
    "item": "item itemid iid items movie movieid film filmid product productid asin book bookid isbn track trackid "
    "song songid artist artistid game gameid anime animeid recipe recipeid article articleid business businessid",
    "rating": "rating ratings score stars star value overall preference",
    "title": "title name",
    "genres": "genres genre categories category tags",
    "timestamp": "timestamp time date datetime ts unixreviewtime createdat ratedat",
}
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_NUMBERS = (*_INTEGERS, "HUGEINT", "UHUGEINT", "FLOAT", "DOUBLE")


def plain(name: str) -> str:
    """A column's name without case and everything but letters and digits."""
    return "".join(c for c in name.lower() if c.isalnum())


def find_columns(table: Table, wanted: dict[str, Any], required: tuple[str, ...]) -> dict[str, int]:
    """Which column of the table is which: by the name given in ``wanted``, else by its usual names.

    A role that is not ``required`` may be missing; one that is False is not looked for. Raises ``BadRatings``
    for what is missing or not clear.
    """
    for role, name in wanted.items():
        if not (name is None or isinstance(name, str) or (name is False and role not in required)):
            raise BadParameter(f"{role}={name!r} is not the name of a column. Give a string.")
    have = f"{table.where} has the columns {shorten(', '.join(table.names), 300)}"
    enough = len(required) <= len(table.names) <= len(wanted)
    if not table.header and enough and not any(wanted.values()):
        order = dict(zip(wanted, range(len(table.names))))
        return {role: at for role, at in order.items() if wanted.get(role) is not False}
    found: dict[str, int] = {}
    for role, name in wanted.items():
        if name is False:
            continue
        if name is not None:
            places = [k for k, column in enumerate(table.names) if column == name]
        else:
            names = _USUAL[role].split()
            places = [k for k, column in enumerate(table.names) if plain(column) == names[0]]
            places = places or [k for k, column in enumerate(table.names) if plain(column) in names]
        if len(places) == 1:
            found[role] = places[0]
        elif len(places) > 1:
            both = " and ".join(repr(table.names[k]) for k in places)
            raise BadRatings(
                f"{have}: both {both} could be the {role}. Give {role}= with the name of the right one"
                f"{', after renaming one of the two' if name else ''}."
            )
        elif name is not None or role in required:
            called = f"called {shorten(name)}" if name is not None else f"that looks like the {role}"
            one = (
                ""
                if len(table.names) > 1
                else " It has one column only: give sep= if another character separates."
            )
            raise BadRatings(f"{have}, but none {called}. Give {role}= with the name of its column.{one}")
    taken = list(found.values())
    if len(set(taken)) < len(taken):
        raise BadParameter("The same column is named for two purposes. Give each its own.")
    return found


def id_expression(column: str, kind: str, table: Table, role: str) -> str:
    """The id of a row: NULL where it is missing or, in JSON, no id."""
    if kind == "JSON":  # marked i or s, for 1 and "1" are different ids
        return (
            f"CASE json_type({column}) WHEN 'VARCHAR' THEN nullif('s' || ({column}->>'$'), 's') "
            f"WHEN 'UBIGINT' THEN 'i' || ({column}->>'$') WHEN 'BIGINT' THEN 'i' || ({column}->>'$') END"
        )
    if kind in _INTEGERS:
        return column
    if kind == "VARCHAR" or kind == "UUID" or kind.startswith("ENUM"):
        return f"nullif(CAST({column} AS VARCHAR), '')"
    raise BadRatings(
        f"In {table.where} the {role} column {table.names[int(column[1:])]!r} is of type {kind}. An id is an integer "
        f"or a string: convert the column first, for example with astype('int64') or astype(str)."
    )


def odd_ids(column: str, kind: str, table: Table, role: str) -> list[str]:
    """Cases of a column that can hold what is no id, in a file whose columns have no types."""
    if kind == "JSON":
        return [
            f"WHEN json_type({column}) NOT IN ('NULL', 'VARCHAR', 'UBIGINT', 'BIGINT') "
            f"THEN 'the {role} is neither an integer below 2**64 nor a string'"
        ]
    if table.kind == "text":
        return [f"WHEN contains({column}, chr(0)) THEN 'the {role} holds a NUL byte'"]
    return []


def number_expression(column: str, kind: str, table: Table) -> tuple[str, str]:
    """The rating of a row as a double, NULL where it is not a number; and NULL where there is nothing."""
    if kind in _NUMBERS or kind.startswith("DECIMAL"):
        return f"CAST({column} AS DOUBLE)", column
    if kind == "JSON":
        return f"TRY_CAST(({column}->>'$') AS DOUBLE)", f"({column}->>'$')"
    if kind == "VARCHAR" or kind.startswith("ENUM"):
        return (
            f"TRY_CAST(trim(CAST({column} AS VARCHAR)) AS DOUBLE)",
            f"nullif(trim(CAST({column} AS VARCHAR)), '')",
        )
    raise BadRatings(
        f"In {table.where} the rating column {table.names[int(column[1:])]!r} is of type {kind}. Ratings are numbers: "
        f"convert the column, or name another one with rating=."
    )


def time_expression(column: str, kind: str, table: Table) -> str:
    """The time of a row in whole Unix seconds, NULL where it is missing or not a time."""
    if kind in _INTEGERS or kind in ("HUGEINT", "UHUGEINT"):
        return f"TRY_CAST({column} AS BIGINT)"
    if kind in _NUMBERS or kind.startswith("DECIMAL"):
        return f"TRY_CAST(floor({column}) AS BIGINT)"
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return f"TRY_CAST(floor(epoch({column})) AS BIGINT)"
    if kind in ("VARCHAR", "JSON"):
        text = f"({column}->>'$')" if kind == "JSON" else f"trim({column})"
        return (  # TIMESTAMPTZ minds an offset; where there is none, the connection's time zone is UTC
            f"coalesce(CASE WHEN contains({text}, '.') THEN TRY_CAST(floor(TRY_CAST({text} AS DOUBLE)) AS BIGINT) "
            f"ELSE TRY_CAST({text} AS BIGINT) END, "
            f"TRY_CAST(floor(epoch(TRY_CAST({text} AS TIMESTAMPTZ))) AS BIGINT))"
        )
    raise BadRatings(
        f"In {table.where} the time column {table.names[int(column[1:])]!r} is of type {kind}. Times are Unix seconds, "
        f"dates or timestamps; pass timestamp=False to read none."
    )


def encode_ids(parts: list[list[Any]], role: str, written: str) -> tuple[IdMap, NDArray[np.int32]]:
    """Chunks of dictionary-encoded ids -> the map of all, and each row's position."""
    import pyarrow as pa

    chunks = [chunk for part in parts for chunk in part if len(chunk)] or parts[0][:1]
    kinds = sorted({_family(chunk.type.value_type) for chunk in chunks})
    if len(kinds) > 1:
        raise BadRatings(_mixed_families(role, kinds))
    if len({chunk.type for chunk in chunks}) > 1:
        wide = pa.large_string() if kinds == ["strings"] else _widest(chunks)
        chunks = [pa.DictionaryArray.from_arrays(c.indices, c.dictionary.cast(wide)) for c in chunks]
    column = pa.chunked_array(chunks).unify_dictionaries()
    distinct = column.chunk(0).dictionary
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks])
    if written == "json":
        distinct = _unmarked(distinct, role)
    elif written == "text":
        distinct = _as_integers(distinct)
    return IdMap.of_distinct(distinct, codes)


class IdKinds:
    """Types of ids that come batch by batch: each is taken for an integer until one is not.

    ``found``: "int64", "uint64" or "string" for "user" and "item"; what it says in the end holds for all.
    """

    def __init__(self, found: Mapping[str, str]) -> None:
        """``found``: what is known already."""
        self.found = dict(found)
        self._marks: dict[str, set[str]] = {"user": set(), "item": set()}
        self._families: dict[str, set[str]] = {"user": set(), "item": set()}

    def typed(self, column: Any, role: str, written: str) -> Any:
        """Ids (rows,) as they stand in a table -> an Arrow array of the type found; None where that must change first.

        ``written`` is the ``Table.kind``. After None ``found`` has the new type, and all batches must come again.
        Raises ``BadRatings`` as ``encode_ids`` does.
        """
        import pyarrow as pa

        encoded = column.dictionary_encode()
        distinct = encoded.dictionary
        families = self._families[role]
        families.add(_family(distinct.type))
        if len(families) > 1:
            raise BadRatings(_mixed_families(role, sorted(families)))
        if self.found.get(role) == "string" and "integers" in families:
            self.found[role] = "int64"  # of a dataset that is appended to
            return None
        if written == "json":
            self._marks[role] |= _marks_of(distinct)
            _check_marks(self._marks[role], role)
            distinct = _bare(distinct)
        text = written == "text" or self._marks[role] == {"i"}
        can_be_integer = text or "integers" in families
        for kind, type_ in (("int64", pa.int64()), ("uint64", pa.uint64()), ("string", pa.large_string())):
            if _ORDER.index(kind) < _ORDER.index(self.found.get(role, "int64")):
                continue  # it has been found not to be
            if kind != "string" and (not can_be_integer or (text and not _all_integers(distinct))):
                continue
            if kind == "string" and "integers" in families:
                continue  # numbers stay numbers
            try:
                cast = distinct.cast(type_)
            except pa.ArrowInvalid:
                continue
            known = role in self.found
            changed = known and self.found[role] != kind
            self.found[role] = kind
            return None if changed else cast.take(encoded.indices)
        raise BadRatings(
            f"The {role} ids are neither all integers of 64 bits nor all strings. Write them in quotes."
        )


_ORDER = ("int64", "uint64", "string")


def _family(kind: Any) -> str:
    import pyarrow as pa

    return "integers" if pa.types.is_integer(kind) else "strings"


def _widest(chunks: list[Any]) -> Any:
    import pyarrow as pa

    return pa.uint64() if all(pa.types.is_unsigned_integer(c.type.value_type) for c in chunks) else pa.int64()


def _as_integers(distinct: Any) -> Any:
    """Ids of a text file: integers where every one is written as an integer is, else as they are."""
    import pyarrow as pa

    if len(distinct) == 0 or not _all_integers(distinct):
        return distinct
    for kind in (pa.int64(), pa.uint64()):
        try:
            return distinct.cast(kind)
        except pa.ArrowInvalid:
            continue
    return distinct


def _all_integers(distinct: Any) -> bool:
    """Whether every id is written the way Python writes an integer."""
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(distinct, r"^(0|-?[1-9][0-9]{0,19})$")).as_py())


def _mixed_families(role: str, kinds: list[str]) -> str:
    return (
        f"The {role} ids are {' in some files and '.join(kinds)} in others. Make them one kind in all files."
    )


def _unmarked(distinct: Any, role: str) -> Any:
    """Ids of JSON files, which come marked i or s."""
    marks = _marks_of(distinct)
    _check_marks(marks, role)
    return _as_integers(_bare(distinct)) if marks == {"i"} else _bare(distinct)


def _marks_of(distinct: Any) -> set[str]:
    import pyarrow.compute as pc

    return set(pc.unique(pc.utf8_slice_codeunits(distinct, 0, 1)).to_pylist())


def _bare(distinct: Any) -> Any:
    import pyarrow.compute as pc

    return pc.utf8_slice_codeunits(distinct, 1)


def _check_marks(marks: set[str], role: str) -> None:
    if len(marks) > 1:
        raise BadRatings(
            f'The {role} ids are integers on some lines and strings on others, and 1 is not "1". '
            f"Write all of them with quotes, or all without."
        )
