"""A dataset: ratings on disk in groups of users, each small enough to be worked on in memory.

    meta.json              what is there: counts, mean, code book, and each file with its size and SHA-256
    items-0.parquet        item, count: ids in the order of item numbers, the most rated first, and their ratings to
                           learn from
    groups/00007-0.parquet user (raw id), item (number), rating (code), held; sorted by user and item

A user is in the group that the hash of its id says, with all its ratings. Ratings that come later go to further files
of the same groups (``00007-1.parquet``), and of two ratings of an item by a user the one in the later file counts.
``meta.json`` is written last and replaced whole: what it does not name does not exist.

A rating is the place of its value in the code book where there are at most 256 different values, else float32. A row
group ends where a user ends. Encodings are those that made the columns of a planted dataset the smallest at the same
speed (5.8 ratings a user, 500,000 items after Zipf, bytes a rating): user 0.31, item 1.86 (delta-packed 2.5), rating
0.36 (plain 0.70), held 0.03; all of it is read in 11 ns a rating.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cofactor.errors import BadDataset, BadModel, BadParameter, UnknownUser, shorten
from cofactor.ids import IdMap, Ids, id_array
from cofactor.ratings import LARGEST_RATING, Ratings
from cofactor.storage.folders import display
from cofactor.storage.strict_json import parse_json

FORMAT, VERSION = "cofactor-dataset", 1
META = "meta.json"
GROUP_RATINGS = 1 << 21  # of a group, about: two groups at a time are in memory
LONGEST_BOOK = 256
_LONGEST_META = 1 << 28
USER_TYPES = {"int64": pa.int64(), "uint64": pa.uint64(), "string": pa.large_string()}
_FILE = re.compile(r"(items|groups/\d{5,9})-\d{1,9}\.parquet")
_MEND = "Prepare the dataset again, or bring back the whole folder."


class FileEntry(NamedTuple):
    """A file of a dataset as ``meta.json`` has it: its name in the folder, its size, and its SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class GroupEntry:
    """A group: how many users and ratings (held-out ones as well), and its files from the first to the latest."""

    users: int
    ratings: int
    files: tuple[FileEntry, ...]


@dataclass(frozen=True)
class GroupFiles:
    """All that is needed to read a group, also in another process: paths with sizes and sums, and what is in them."""

    folder: str
    files: tuple[FileEntry, ...]
    user_type: str
    n_items: int
    code_book: NDArray[np.float32] | None


@dataclass(frozen=True)
class Group:
    """The ratings of some users, each user with all of them.

    ``users`` (n_users,) are raw ids, ascending; ``indptr`` (n_users + 1,), ``items`` and ``values`` (ratings,) the
    ratings to learn from, by user, item numbers ascending. Those held out are in columns: ``held_users`` (held,) are
    rows of ``users``. A user all of whose ratings are held out has an empty row.
    """

    users: pa.Array
    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    held_users: NDArray[np.int32]
    held_items: NDArray[np.int32]
    held_values: NDArray[np.float32]


class Columns(NamedTuple):
    """Rows of a group as they are written: raw ids, item numbers, codes (or float32 ratings), and what is held out."""

    users: pa.Array
    items: NDArray[np.int32]
    ratings: NDArray[Any]
    held: NDArray[np.bool_] | None


# -- who goes where --------------------------------------------------------------------------------


def hash_ids(ids: pa.Array | NDArray[Any]) -> NDArray[np.uint64]:
    """64 bits for each raw id: the same everywhere and for ever. G. Steele et al., SplittableRandom, OOPSLA 2014."""
    if isinstance(ids, np.ndarray) or pa.types.is_integer(ids.type):
        return _mixed(np.asarray(ids).astype(np.int64, copy=False).view(np.uint64))
    coded = ids.dictionary_encode()
    hashes = [
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        for text in coded.dictionary.to_pylist()
    ]
    by_row: NDArray[np.uint64] = np.array(hashes, np.uint64).take(coded.indices.to_numpy())
    return by_row


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def group_of(users: pa.Array | NDArray[Any], n_groups: int) -> NDArray[np.int64]:
    """The group (users,) of each raw user id."""
    return (hash_ids(users) % np.uint64(n_groups)).astype(np.int64)


def held_out(
    user_hashes: NDArray[np.uint64], item_hashes: NDArray[np.uint64], share: float, seed: int
) -> NDArray[np.bool_]:
    """Which ratings are held out: of each alone it can be told, whatever other ratings there are."""
    drawn = _mixed(user_hashes ^ _mixed(item_hashes + np.uint64(seed)))
    return np.asarray((drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53 < share)


# -- reading ---------------------------------------------------------------------------------------


def read_group(files: GroupFiles) -> Group:
    """One group. Raises ``BadDataset`` where a file is missing, or is not what it was when it was written."""
    tables = [_read_file(files, entry) for entry in files.files]
    table = tables[0] if len(tables) == 1 else _merged(tables, files.n_items)
    users, ends, new = runs(table["user"].combine_chunks())
    where = files.files[-1].name
    if not new:
        raise BadDataset(f"{where}: its users are not in order. {_MEND}")
    items = table["item"].combine_chunks().to_numpy()
    values = table["rating"].combine_chunks().to_numpy()
    if files.code_book is not None:
        values = files.code_book[values]
    counts = np.diff(ends, prepend=0)
    at = np.empty(0, np.int64)
    if "held" in table.column_names:
        held = table["held"].combine_chunks().to_numpy(zero_copy_only=False)
        at = np.flatnonzero(held)
    rows = np.searchsorted(ends, at, side="right").astype(np.int32)
    held_items, held_values = items[at], values[at]
    if len(at):
        counts = counts - np.bincount(rows, minlength=len(users))
        kept = ~held
        items, values = items[kept], values[kept]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Group(users, indptr, items, values, rows, held_items, held_values)


def runs(column: pa.Array) -> tuple[pa.Array, NDArray[np.int64], bool]:
    """Distinct neighbours, where each ends, and whether they ascend."""
    if len(column) == 0:
        return column, np.empty(0, np.int64), True
    runs = pc.run_end_encode(column)
    users, ends = runs.values, runs.run_ends.to_numpy().astype(np.int64)
    rising = pc.all(pc.greater(users[1:], users[:-1])).as_py() if len(users) > 1 else True
    return users, ends, bool(rising)


def _read_file(files: GroupFiles, entry: FileEntry) -> pa.Table:
    """The checked columns of one file."""
    data = _checked_bytes(Path(files.folder), entry)
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadDataset(
            f"{entry.name} cannot be read as Parquet ({shorten(str(error), 120)}). {_MEND}"
        ) from None
    rating = pa.float32() if files.code_book is None else pa.uint8()
    wanted = [("user", USER_TYPES[files.user_type]), ("item", pa.int32()), ("rating", rating)]
    if "held" in table.column_names:
        wanted.append(("held", pa.bool_()))
    schema = pa.schema(wanted)
    if files.user_type == "string" and table.schema.names[:1] == ["user"]:
        table = table.set_column(0, "user", table["user"].cast(pa.large_string()))
    if not table.schema.equals(schema, check_metadata=False) or any(c.null_count for c in table.columns):
        raise BadDataset(
            f"{entry.name} does not have the columns {', '.join(schema.names)} of a group. {_MEND}"
        )
    if len(table) == 0:
        return table
    items = pc.min_max(table["item"]).as_py()
    values = pc.min_max(table["rating"]).as_py()
    if items["min"] < 0 or items["max"] >= files.n_items:
        raise BadDataset(f"{entry.name} names an item that {META} does not know. {_MEND}")
    most = len(files.code_book) - 1 if files.code_book is not None else LARGEST_RATING
    finite = files.code_book is not None or pc.all(pc.is_finite(table["rating"])).as_py()
    if not finite or values["max"] > most or values["min"] < -LARGEST_RATING:
        raise BadDataset(f"{entry.name} has a rating that is not in the code book of {META}. {_MEND}")
    return table


def _checked_bytes(folder: Path, entry: FileEntry) -> bytes:
    try:
        data = (folder / entry.name).read_bytes()
    except FileNotFoundError:
        raise BadDataset(f"{display(folder)}: {entry.name} is missing. {_MEND}") from None
    except OSError as error:
        raise BadDataset(
            f"{display(folder)}: {entry.name} cannot be read ({error.strerror}). {_MEND}"
        ) from None
    if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BadDataset(
            f"{display(folder)}: {entry.name} is not the file that {META} names: it was changed or cut off, or is of "
            f"another dataset. {_MEND}"
        )
    return data


def _merged(tables: Sequence[pa.Table], n_items: int) -> pa.Table:
    """Rows of several files by user and item; of two with the same the later is kept."""
    table = pa.concat_tables(tables).combine_chunks()
    _, users = IdMap.encode(table["user"].combine_chunks())
    keys = users.astype(np.int64) * n_items + table["item"].combine_chunks().to_numpy()
    order = np.argsort(keys, kind="stable")  # runs that are in order already are merged
    keys = keys[order]
    last = np.ones(len(keys), bool)
    last[:-1] = keys[1:] != keys[:-1]
    return table.take(pa.array(order[last]))


# -- the folder ------------------------------------------------------------------------------------


class Dataset:
    """A prepared dataset, opened and checked; ratings are read when they are asked for.

    Attributes:
        path: its folder.
        id: SHA-256 of its ``meta.json``: what a checkpoint belongs to.
        user_type: "int64", "uint64" or "string".
        n_users, n_items, n_ratings, n_held: how many; ``n_ratings`` are those to learn from.
        mean: of the ratings to learn from.
        scale: lowest and highest rating there can be.
        code_book: (codes,) float32, or None where ratings are stored as they are.
        holdout, seed: share of ratings held out, and what it was drawn by.
        groups: a ``GroupEntry`` each.
    """

    def __init__(self, path: Path, text: bytes, meta: dict[str, Any]) -> None:
        """Use ``open``."""
        self.path, self.id = path, hashlib.sha256(text).hexdigest()
        self.meta = meta
        self.user_type: str = meta["user_type"]
        self.n_users: int = meta["n_users"]
        self.n_items: int = meta["n_items"]
        self.n_ratings: int = meta["n_ratings"]
        self.n_held: int = meta["n_held"]
        self.mean: float = meta["mean"]
        self.scale: tuple[float, float] = (meta["scale"][0], meta["scale"][1])
        book = meta["code_book"]
        self.code_book = None if book is None else np.array(book, np.float32)
        self.holdout: float = meta["holdout"]
        self.seed: int = meta["seed"]
        self.groups = tuple(
            GroupEntry(group["users"], group["ratings"], tuple(FileEntry(*file) for file in group["files"]))
            for group in meta["groups"]
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """The dataset in a folder; reads ``meta.json`` and looks whether the files are there.

        Raises ``BadDataset`` where it is none, damaged, or of a later version.
        """
        folder = Path(path)
        try:
            with open(folder / META, "rb") as file:
                text = file.read(_LONGEST_META + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise BadDataset(
                f"{display(folder)} is not a dataset: it has no {META}. Make one with cofactor prepare."
            ) from None
        except OSError as error:
            raise BadDataset(
                f"{display(folder)}: {META} cannot be read ({error.strerror}). {_MEND}"
            ) from None
        try:
            meta = parse_json(text, META)
            trouble = _wrong_in(meta)
        except BadModel as error:
            trouble = str(error)
        if trouble:
            raise BadDataset(f"{display(folder)}: {trouble}. {_MEND}".replace("..", "."))
        self = cls(folder.resolve(), text, meta)
        for entry in self.all_files:
            try:
                size = os.stat(self.path / entry.name).st_size
            except OSError:
                raise BadDataset(f"{display(folder)}: {entry.name} is missing. {_MEND}") from None
            if size != entry.bytes:
                raise BadDataset(
                    f"{display(folder)}: {entry.name} has {size:,} bytes, where {META} says {entry.bytes:,}. {_MEND}"
                )
        return self

    @property
    def n_groups(self) -> int:
        """How many groups."""
        return len(self.groups)

    @property
    def _items_file(self) -> FileEntry:
        return FileEntry(*self.meta["items"])

    @property
    def all_files(self) -> list[FileEntry]:
        """Everything that ``meta.json`` names."""
        return [self._items_file, *(file for group in self.groups for file in group.files)]

    @cached_property
    def _items(self) -> pa.Table:
        data = _checked_bytes(self.path, self._items_file)
        try:
            table = pq.read_table(pa.BufferReader(data)).combine_chunks()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise BadDataset(
                f"{self._items_file.name} cannot be read ({shorten(str(error), 120)}). {_MEND}"
            ) from None
        if (
            table.column_names != ["item", "count"]
            or len(table) != self.n_items
            or table["count"].type != pa.int64()
        ):
            raise BadDataset(f"{self._items_file.name} is not the table of {self.n_items:,} items. {_MEND}")
        return table

    @cached_property
    def item_ids(self) -> IdMap:
        """Raw ids of the items."""
        ids, _ = IdMap.encode(id_array(self._items["item"], "item"))
        if len(ids) != self.n_items:
            raise BadDataset(f"{self._items_file.name} has an item twice. {_MEND}")
        return ids

    @cached_property
    def item_numbers(self) -> NDArray[np.int32]:
        """The item number (items,) of each position of ``item_ids``."""
        at = self.item_ids.positions(id_array(self._items["item"], "item"))
        numbers = np.empty(self.n_items, np.int32)
        numbers[at] = np.arange(self.n_items, dtype=np.int32)
        return numbers

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """Ratings to learn from (items,) by item number."""
        counts: NDArray[np.int64] = self._items["count"].combine_chunks().to_numpy()
        return counts

    @property
    def no_users(self) -> IdMap:
        """The map of no user, of the right kind."""
        return IdMap.encode(pa.array([], USER_TYPES[self.user_type]))[0]

    def files(self, group: int) -> GroupFiles:
        """What ``read_group`` takes."""
        entry = self.groups[group]
        return GroupFiles(str(self.path), entry.files, self.user_type, self.n_items, self.code_book)

    def verify(self) -> None:
        """Read and check everything. Raises ``BadDataset`` at the first fault."""
        counts, held = np.zeros(self.n_items, np.int64), 0
        for number, entry in enumerate(self.groups):
            group = read_group(self.files(number))
            if len(group.users) != entry.users or len(group.items) + len(group.held_items) != entry.ratings:
                raise BadDataset(f"{entry.files[-1].name} is not the group that {META} tells of. {_MEND}")
            counts += np.bincount(group.items, minlength=self.n_items)
            held += len(group.held_items)
        if not np.array_equal(counts, self.item_counts) or held != self.n_held:
            raise BadDataset(f"The groups do not have the ratings that {META} counts. {_MEND}")

    def _as_here(self, users: pa.Array) -> pa.Array:
        """Ids as the type that users have here."""
        if pa.types.is_integer(users.type) != (self.user_type != "string"):
            raise BadParameter(
                f"The users of this dataset are of type {self.user_type}, these ids of type {users.type}. Give ids as "
                f"they stood in the ratings."
            )
        try:
            return users.cast(USER_TYPES[self.user_type])
        except pa.ArrowInvalid:
            raise UnknownUser(
                f"Some of these ids are beyond {self.user_type}, the type of users in {display(self.path)}."
            ) from None

    def ratings_of(self, users: Ids) -> Ratings:
        """All ratings of these users, held-out ones as well. Raises ``UnknownUser`` for one who is not here."""
        wanted = IdMap.encode(self._as_here(id_array(users, "user")))[0]
        of = group_of(wanted.array, self.n_groups)
        parts = [
            _rows_of(self.files(group), wanted.array.filter(pa.array(of == group))) for group in np.unique(of)
        ]
        table = pa.concat_tables(parts).combine_chunks()
        positions = wanted.positions(table["user"].combine_chunks(), "user")
        missing = np.flatnonzero(np.bincount(positions, minlength=len(wanted)) == 0)
        if len(missing):
            raise UnknownUser(
                f"There is no rating by user {shorten(wanted.id(int(missing[0])))} in {display(self.path)}. "
                f"Give the id as it stood in the ratings."
            )
        values = table["rating"].combine_chunks().to_numpy()
        by_number = np.argsort(self.item_numbers)  # position of each item number
        items = by_number[table["item"].combine_chunks().to_numpy()].astype(np.int32)
        known, items = np.unique(items, return_inverse=True)
        return Ratings.from_positions(
            wanted,
            self.item_ids.subset(known),
            positions,
            items.astype(np.int32),
            values if self.code_book is None else self.code_book[values],
            scale=self.scale,
        )


def is_dataset(path: object) -> bool:
    """Whether this is the folder of a dataset."""
    return isinstance(path, (str, os.PathLike)) and (Path(path) / META).is_file()


def _rows_of(files: GroupFiles, users: pa.Array) -> pa.Table:
    """The rows of some users of a group: of each file only the row groups that can have them are read."""
    tables, kind = [], USER_TYPES[files.user_type]
    users = users.cast(kind)
    for entry in files.files:
        data = _checked_bytes(Path(files.folder), entry)
        file = pq.ParquetFile(pa.BufferReader(data))
        chosen = []
        for k in range(file.num_row_groups):
            limits = file.metadata.row_group(k).column(0).statistics
            inside = pc.and_(
                pc.greater_equal(users, pa.scalar(limits.min, kind)),
                pc.less_equal(users, pa.scalar(limits.max, kind)),
            )
            if pc.any(inside).as_py():
                chosen.append(k)
        table = file.read_row_groups(chosen, columns=["user", "item", "rating"])
        table = table.set_column(0, "user", table["user"].cast(kind))
        tables.append(table.filter(pc.is_in(table["user"], value_set=users)))
    return tables[0] if len(tables) == 1 else _merged(tables, files.n_items)


def _wrong_in(meta: dict[str, Any]) -> str:
    """What is wrong with the contents of ``meta.json``; the empty string if nothing is."""
    if meta.get("format") != FORMAT:
        return f"{META} is not that of a dataset"
    if meta.get("version") != VERSION:
        return (
            f"{META} is of version {shorten(meta.get('version'))}, where this cofactor knows {VERSION}; "
            f"pip install --upgrade cofactor may help"
        )

    def whole(value: Any, least: int = 0) -> bool:
        return type(value) is int and least <= value < 2**62

    def number(value: Any) -> bool:
        return type(value) in (int, float) and abs(value) <= LARGEST_RATING

    def file(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) == 3
            and isinstance(value[0], str)
            and _FILE.fullmatch(value[0]) is not None
            and whole(value[1], 1)
            and isinstance(value[2], str)
            and re.fullmatch(r"[0-9a-f]{64}", value[2]) is not None
        )

    def group(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and whole(value.get("users"))
            and whole(value.get("ratings"))
            and isinstance(value.get("files"), list)
            and len(value["files"]) > 0
            and all(map(file, value["files"]))
        )

    book, scale = meta.get("code_book"), meta.get("scale")
    groups: Any = meta.get("groups")
    sound = {
        "user_type": meta.get("user_type") in USER_TYPES,
        "n_users": whole(meta.get("n_users"), 1),
        "n_items": whole(meta.get("n_items"), 1) and meta["n_items"] < 2**31,
        "n_ratings": whole(meta.get("n_ratings"), 1),
        "n_held": whole(meta.get("n_held")),
        "mean": number(meta.get("mean")),
        "scale": isinstance(scale, list)
        and len(scale) == 2
        and all(map(number, scale))
        and scale[0] <= scale[1],
        "code_book": book is None
        or (isinstance(book, list) and 1 <= len(book) <= LONGEST_BOOK and all(map(number, book))),
        "holdout": number(meta.get("holdout")) and 0 <= meta["holdout"] < 1,
        "seed": whole(meta.get("seed")),
        "items": file(meta.get("items")),
        "groups": isinstance(groups, list) and len(groups) > 0 and all(map(group, groups)),
    }
    wrong = [name for name, right in sound.items() if not right]
    if wrong:
        return f"{META} has no usable {', '.join(wrong)}"
    if sum(group["users"] for group in groups) != meta["n_users"]:
        return f"{META} has other users in its groups than in all"
    if sum(group["ratings"] for group in groups) != meta["n_ratings"] + meta["n_held"]:
        return f"{META} has other ratings in its groups than in all"
    return ""
