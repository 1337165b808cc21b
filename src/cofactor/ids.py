"""Raw ids <-> dense positions, frozen.

An id is an integer (64 bits, signed or unsigned) or a string, and is kept exactly as it came: "01" is
not "1" and neither is 1. The positions of n ids are 0 .. n − 1 in the order of the ids: integers by
value, strings by code point. So they do not depend on the order of the rows they were read from.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cofactor.errors import BadParameter, shorten

Id: TypeAlias = int | str
Ids: TypeAlias = Iterable[Id]

_FEW = 32
_INT64_MAX = np.iinfo(np.int64).max


def id_array(values: Any, what: str = "id") -> pa.Array:
    """Ids of any integer or string kind -> an Arrow array of int64, uint64 or large_string.

    Raises ``BadParameter`` for floats, booleans, missing values, and integers mixed with strings.
    """
    if isinstance(values, (str, bytes, int, float, np.generic)):
        raise BadParameter(f"Give a list of {what}s, not the single value {shorten(values)}.")
    try:
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        else:
            if not isinstance(values, np.ndarray):
                values = values.to_numpy() if hasattr(values, "to_numpy") else list(values)
            array = _arrow(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError, UnicodeEncodeError) as error:
        raise BadParameter(
            f"These {what}s are neither all integers nor all strings ({error}). "
            f"Make them one kind: an id is a whole number below 2**64 or a string."
        ) from None
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count:
        missing = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise BadParameter(
            f"The {what} in place {missing} is missing. Every rating needs a user and an item."
        )
    kind = array.type
    if pa.types.is_integer(kind):
        if kind == pa.uint64() and len(array) and pc.max(array).as_py() > _INT64_MAX:
            return array
        return array.cast(pa.int64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    raise BadParameter(
        f"The {what}s are of type {kind}. An id is an integer or a string: "
        f"convert the column first, for example with astype('int64') or astype(str)."
    )


def _arrow(values: Any) -> Any:
    if len(values) == 0:
        return pa.array([], pa.int64())
    try:
        return pa.array(values)
    except OverflowError:  # Arrow takes int64 for granted
        return pa.array(values, pa.uint64())


class IdMap:
    """Distinct raw ids, sorted, and their positions 0 .. n − 1. Immutable."""

    def __init__(self, ids: Any) -> None:
        """Keep ``ids``: distinct integers or strings, in any order."""
        array, codes = _sorted_distinct(id_array(ids))
        if len(array) != len(codes):
            raise BadParameter(f"{len(codes) - len(array)} of {len(codes)} ids stand there twice.")
        self._array: pa.Array = array

    @classmethod
    def encode(cls, column: Any, what: str = "id") -> tuple[IdMap, NDArray[np.int32]]:
        """A column of ids -> the map of its distinct ids, and each row's position (rows,) int32."""
        array, codes = _sorted_distinct(id_array(column, what))
        return cls._of_sorted(array), codes

    @classmethod
    def of_distinct(cls, distinct: Any, codes: NDArray[Any]) -> tuple[IdMap, NDArray[np.int32]]:
        """Distinct ids in any order, and each row's place among them -> the map and each row's position."""
        order, place = _order(id_array(distinct))
        return cls._of_sorted(id_array(distinct).take(order)), place[codes] if len(place) else codes.astype(
            np.int32
        )

    @classmethod
    def _of_sorted(cls, array: pa.Array) -> IdMap:
        self = cls.__new__(cls)
        self._array = array
        return self

    @property
    def kind(self) -> Literal["integer", "string"]:
        """Whether the ids are integers or strings."""
        return "integer" if pa.types.is_integer(self._array.type) else "string"

    @property
    def array(self) -> pa.Array:
        """The ids in order of position: int64, uint64 or large_string."""
        return self._array

    def __len__(self) -> int:
        return len(self._array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and bool(self._array.equals(other._array))

    def __hash__(self) -> int:
        return hash((self.kind, len(self)))

    def __repr__(self) -> str:
        return f"IdMap({len(self):,} {self.kind} ids)"

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, str, np.integer)) and self.position(value) >= 0

    def position(self, value: Any) -> int:
        """Position of one id, or −1. An id of the other kind is unknown, never converted."""
        if isinstance(value, np.integer):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, str if self.kind == "string" else int):
            return -1
        at = bisect.bisect_left(range(len(self)), value, key=lambda p: self._array[p].as_py())
        return at if at < len(self) and self._array[at].as_py() == value else -1

    def positions(self, values: Any, what: str = "id") -> NDArray[np.int32]:
        """Positions (n,) int32 of many ids; −1 where one is unknown.

        Raises ``BadParameter`` where all ``values`` are of the other kind than the ids here: that is
        a mistake, not n unknown ids.
        """
        array = id_array(values, what)
        if len(array) == 0 or len(self) == 0:
            return np.full(len(array), -1, np.int32)
        if pa.types.is_integer(array.type) != pa.types.is_integer(self._array.type):
            given = "integers" if pa.types.is_integer(array.type) else "strings"
            raise BadParameter(
                f"The {what}s here are {self.kind}s, such as {shorten(self._array[0].as_py())}; "
                f"these are {given}. Convert them: an id is never converted silently."
            )
        few = len(array) <= _FEW  # then a search for each is quicker than a hash table of all ids
        if few or array.type != self._array.type:  # or int64 against uint64
            return np.fromiter((self.position(v) for v in array.to_pylist()), np.int32, len(array))
        found = pc.index_in(array, value_set=self._array)
        return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int32)

    def ids(self, positions: NDArray[Any]) -> list[Id]:
        """Raw ids, as Python integers or strings, at these positions."""
        taken: list[Id] = self._array.take(pa.array(positions)).to_pylist()
        return taken

    def id(self, position: int) -> Id:
        """The raw id at one position."""
        value: Id = self._array[int(position)].as_py()
        return value

    def take(self, positions: NDArray[Any]) -> pa.Array:
        """Raw ids at these positions, as an Arrow array."""
        return self._array.take(pa.array(positions))

    def subset(self, positions: NDArray[Any]) -> IdMap:
        """The map of the ids at these ascending positions."""
        return IdMap._of_sorted(self.take(positions))

    def parse(self, text: str) -> Id:
        """An id typed on a command line: an integer where the ids are integers, else the text itself."""
        if self.kind == "integer":
            try:
                if str(int(text)) == text:
                    return int(text)
            except ValueError:
                pass
        return text


def _sorted_distinct(array: pa.Array) -> tuple[pa.Array, NDArray[np.int32]]:
    """Distinct values in order, and for each row the position of its value."""
    encoded = array.dictionary_encode()
    order, place = _order(encoded.dictionary)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    return encoded.dictionary.take(order), place[codes] if len(place) else np.empty(0, np.int32)


def _order(distinct: pa.Array) -> tuple[pa.Array, NDArray[np.int32]]:
    """The order of distinct ids, and the position each takes in it."""
    if len(distinct) > np.iinfo(np.int32).max:
        raise BadParameter(f"{len(distinct):,} distinct ids: positions are 32-bit, so at most 2**31 − 1 fit.")
    order = pc.sort_indices(distinct)
    place = np.empty(len(order), np.int32)
    place[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return order, place
