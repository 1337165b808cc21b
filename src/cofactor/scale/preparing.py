"""From any source of ratings, larger than memory, to a dataset.

First the rows are read once and dealt out: each batch of ids and ratings that fills the buffer is sorted by group and
spilled, ``.preparing/00000-00007.arrow`` being the eighth of the first file, with a record batch for each group. Then
each group is put together from all spills, sorted, freed of doubles, and written. A spill and a group are whole or not
there, so an interrupted preparation goes on after the last source file, or the last group, that was done.
"""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cofactor.columns import IdKinds, find_columns
from cofactor.errors import BadParameter, BadRatings, CofactorError
from cofactor.ids import IdMap
from cofactor.models.base import check_number, check_whole
from cofactor.progress import Progress
from cofactor.reading import Question, check_scale, good_rows, refusal
from cofactor.scale.dataset import (
    GROUP_RATINGS,
    LONGEST_BOOK,
    Columns,
    Dataset,
    Group,
    group_of,
    hash_ids,
    held_out,
    is_dataset,
    read_group,
)
from cofactor.scale.local import half_of_memory
from cofactor.scale.writing import DatasetWriter
from cofactor.sniffing import is_rating
from cofactor.sources import Sources, find_files
from cofactor.storage.folders import display
from cofactor.tables import write_whole

STAGING = ".preparing"
_STAGED, _WRITTEN = 28, 4  # bytes a rating, on the way and in the end
_INTERPRETER = 300 << 20  # bytes that Python and its libraries take
_RATING = 160  # bytes of working memory for each rating of a group
_LEAST_BUFFER = 32 << 20
_RATE = 1.5e6  # ratings a second, roughly, of both parts together


@dataclass(frozen=True)
class Forecast:
    """What a preparation will take, roughly: ratings, bytes of disk on the way and in the end, seconds."""

    ratings: int
    groups: int
    staging: int
    result: int
    seconds: float


def prepare(
    source: Any,
    path: str | os.PathLike[str],
    *,
    memory: int | None = None,
    holdout: float = 0.0,
    seed: int = 0,
    groups: int | None = None,
    append: bool = False,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | Literal[False] | None = None,
    scale: tuple[float, float] | None = None,
    sep: str | None = None,
    announce: Callable[[Forecast], object] | None = None,
    progress: bool | None = None,
) -> Dataset:
    """Make a dataset at ``path`` from ratings of any size, or ``append`` ratings to the one that is there.

    Args:
        source, user, item, rating, timestamp, scale, sep: as in ``read_ratings``; a bad row ends it.
        path: a folder: new, empty, or a dataset, which stays as it is until the new one is whole.
        memory: bytes that this may take; None is half of the machine's.
        holdout, seed: the share of ratings to hold out, each drawn by its user and item alone. A dataset that is
            appended to goes on with its own.
        groups: into how many groups users are dealt. Default: about two million ratings in each.
        announce: called with a ``Forecast`` before the work starts.
        progress: as in ``Model.fit``.

    Of two ratings of an item by a user the one with the latest time counts, else the last; appended ones replace
    older ones. Called again after an interruption, with the same source and options, it goes on where it was.

    Raises ``BadRatings`` for a row that is no rating, ``BadParameter``, ``BadDataset``, ``OSError``; what was at
    ``path`` is then unchanged.
    """
    check_number("holdout", holdout)
    if holdout >= 1:
        raise BadParameter(f"holdout is {holdout!r}; give a share below 1, such as 0.1.")
    check_whole("seed", seed, 0)
    target = Path(path)
    there = _look_at(target, append)
    base = there if append else None
    columns = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    bounds = check_scale(scale)
    size, known = _source_size(source, sep)
    if groups is not None:
        check_whole("groups", groups, 1)
    n_groups = base.n_groups if base is not None else groups or max(1, -(-size // GROUP_RATINGS))
    memory = half_of_memory() if memory is None else memory
    in_group = max(
        size // n_groups, max((g.ratings for g in base.groups), default=0) if base is not None else 0
    )
    working = _INTERPRETER + _RATING * max(in_group, 1 << 16)
    if memory < working + _LEAST_BUFFER:
        raise BadParameter(
            f"{memory / 2**30:.2f} GiB of memory are too little for groups of {in_group:,} ratings: "
            f"{(working + _LEAST_BUFFER) / 2**30:.2f} GiB are needed. Give more memory, or more groups."
        )
    forecast = Forecast(size, n_groups, size * _STAGED, size * _WRITTEN, size / _RATE)
    options = {
        "source": known,
        "columns": columns,
        "scale": scale,
        "sep": sep,
        "groups": n_groups,
        "base": None if base is None else base.id,
    }
    target.mkdir(parents=True, exist_ok=True)
    staging = _Staging(target / STAGING, json.loads(json.dumps(options)))
    _check_room(target, forecast, staging)
    if announce is not None:
        announce(forecast)
    buffer = _most_in_buffer(memory)
    while not staging.done:
        staging.fill(source, sep, columns, bounds, base, n_groups, buffer, size, progress)
    dataset = _write(staging, target, there, base, scale, holdout, seed, n_groups, progress)
    shutil.rmtree(staging.folder, ignore_errors=True)
    return dataset


# -- before the work -------------------------------------------------------------------------------


def _look_at(target: Path, append: bool) -> Dataset | None:
    """The dataset at a path; None where there is nothing yet."""
    if is_dataset(target):
        return Dataset.open(target)
    if append:
        raise BadParameter(f"{display(target)} is not a dataset to append to. Leave append out to make one.")
    if target.exists():
        if not target.is_dir():
            raise BadParameter(f"{display(target)} is a file; a dataset is a folder. Give another path.")
        strange = sorted(name for name in os.listdir(target) if name not in (STAGING, "groups"))
        strange = [name for name in strange if not name.startswith(("items-", "."))]
        if strange:
            raise BadParameter(
                f"{display(target)} holds {strange[0]!r}: it is not a dataset. Give a new path or an empty folder."
            )
    return None


def _source_size(source: Any, sep: str | None) -> tuple[int, Any]:
    """How many ratings there are, about, and what tells the source from another (None: nothing does)."""
    if not isinstance(source, (str, os.PathLike)):
        return max(1, len(source)) if hasattr(source, "__len__") else 1, secrets.token_hex(8)
    rows, known = 0, []
    for path in find_files(source):
        about = path.stat()
        known.append([str(path.resolve()), about.st_size, about.st_mtime_ns])
        with path.open("rb") as file:
            start = file.read(1 << 16)
        if start[:4] == b"PAR1":
            try:
                rows += pq.read_metadata(path).num_rows
            except (pa.ArrowException, OSError):
                rows += about.st_size // 8  # reading it will say what is wrong
            continue
        expands = 1
        if start[:2] == b"\x1f\x8b":
            expands = 4
            try:
                with gzip.open(path) as unpacked:
                    start = unpacked.read(1 << 16)
            except (OSError, EOFError):
                start = b""
        lines = max(1, start.count(b"\n"))
        rows += about.st_size * expands * lines // max(1, len(start))
    return max(1, rows), known


def _check_room(target: Path, forecast: Forecast, staging: _Staging) -> None:
    free = shutil.disk_usage(target).free
    needed = forecast.result + (0 if staging.done else forecast.staging)
    if free < needed:
        raise CofactorError(
            f"{display(target)} has {free / 2**30:.1f} GiB of disk left; about {forecast.ratings:,} ratings need "
            f"{needed / 2**30:.1f} GiB, of which {forecast.result / 2**30:.1f} GiB stay. Give a path with more room."
        )


def _most_in_buffer(memory: int) -> int:
    """Bytes of rows that wait to be spilled: sorting them takes as much again, and so does reading ahead."""
    return min((memory - _INTERPRETER) // 6, 1 << 29)


# -- dealing rows out ------------------------------------------------------------------------------


class _Staging:
    """The spills of a preparation, and how far it is."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        """What is left of an interrupted preparation with the same options, else nothing."""
        self.folder, self._options = folder, options
        self.done = False  # every source file is dealt out
        self.files: list[int] = []  # spills of each source file
        self.kinds: dict[str, str] = {}
        self.has_times = False
        try:
            state = json.loads((folder / "state.json").read_text())
            if state["options"] == options:
                self.done, self.files = state["done"], state["files"]
                self.kinds, self.has_times = state["kinds"], state["has_times"]
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.done, self.files = False, []

    def _save(self) -> None:
        state = {
            "options": self._options,
            "done": self.done,
            "files": self.files,
            "kinds": self.kinds,
            "has_times": self.has_times,
        }
        write_whole(self.folder / "state.json", lambda file: file.write(json.dumps(state).encode()))

    def fill(
        self,
        source: Any,
        sep: str | None,
        columns: dict[str, Any],
        bounds: tuple[float, float],
        base: Dataset | None,
        n_groups: int,
        buffer: int,
        size: int,
        progress: bool | None,
    ) -> None:
        """Deal out the source files that have not been; or begin anew where ids turn out to be of another kind."""
        kinds = IdKinds(self.kinds or ({} if base is None else _kinds_of(base)))
        with (
            Sources(source, sep, is_row=is_rating) as tables,
            Progress(size, "Reading", progress) as bar,
        ):
            for number, table in enumerate(tables):
                question = Question(table, find_columns(table, columns, ("user", "item", "rating")), *bounds)
                if number and question.has_times != self.has_times:
                    raise BadRatings(
                        "Some of the files have times and some have none. Read them with timestamp=False."
                    )
                if number < len(self.files):
                    continue
                self.has_times = question.has_times
                spills, n_bad, held, rows = 0, 0, 0, 0
                waiting: list[pa.Table] = []
                for batch, wrong in good_rows(tables, table, question):
                    n_bad += wrong
                    bar.advance(steps=len(batch) + wrong)
                    if n_bad or len(batch) == 0:
                        continue
                    ids = {
                        role: kinds.typed(batch.column(name), role, table.kind)
                        for role, name in (("user", "u"), ("item", "i"))
                    }
                    if any(column is None for column in ids.values()):  # not of the kind that all were so far
                        _check_kinds(base, kinds)
                        self._clear()
                        self.kinds = kinds.found
                        return
                    part = pa.table({**ids, "rating": batch.column("r")})
                    if self.has_times:
                        part = part.append_column("time", batch.column("t").cast(pa.int64()))
                    waiting.append(part)
                    held += part.nbytes
                    rows += len(part)
                    if held >= buffer:
                        self._spill(number, spills, waiting, n_groups)
                        waiting, held, spills = [], 0, spills + 1
                if n_bad:
                    raise refusal(tables, table, question, n_bad)
                if waiting:
                    self._spill(number, spills, waiting, n_groups)
                    spills += 1
                self.files.append(spills)
                self.kinds = kinds.found
                self._save()
        if sum(self.files) == 0:
            raise BadRatings(
                "There is not one rating. Give a table with at least one row of user, item, rating."
            )
        _check_kinds(base, kinds)
        self.done = True
        self._save()

    def _spill(self, file: int, number: int, waiting: list[pa.Table], n_groups: int) -> None:
        """Write rows to a file with a record batch for each group."""
        table = pa.concat_tables(waiting).combine_chunks()
        group = group_of(table["user"].combine_chunks(), n_groups)
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], np.arange(n_groups), side="right")
        table = table.take(pa.array(order))

        def write(stream: Any) -> None:
            with pa.ipc.new_file(stream, table.schema) as writer:
                for begin, end in zip([0, *ends], ends):
                    part = table.slice(begin, end - begin).combine_chunks()
                    batches = part.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
                    writer.write_batch(batches[0])

        write_whole(self.folder / f"{file:05d}-{number:05d}.arrow", write)

    def read(self, group: int | None = None) -> Iterator[pa.Table]:
        """The rows of one group, or of all, spill by spill in the order of the source."""
        for file, spills in enumerate(self.files):
            for number in range(spills):
                with pa.memory_map(str(self.folder / f"{file:05d}-{number:05d}.arrow")) as mapped:
                    spill = pa.ipc.open_file(mapped)
                    for k in range(spill.num_record_batches) if group is None else (group,):
                        yield pa.Table.from_batches([spill.get_batch(k)])


def _kinds_of(base: Dataset) -> dict[str, str]:
    return {"user": base.user_type, "item": str(base.item_ids.array.type).removeprefix("large_")}


def _check_kinds(base: Dataset | None, kinds: IdKinds) -> None:
    """``BadRatings`` unless ids are of the kind that the dataset appended to has."""
    for role, kind in _kinds_of(base).items() if base is not None else ():
        if kinds.found.get(role, kind) != kind:
            raise BadRatings(
                f"The {role} ids of the dataset are of type {kind}, those of the ratings {kinds.found[role]}. Give ids "
                f"as they stood in the ratings that it was made of."
            )


# -- putting groups together -----------------------------------------------------------------------


def _write(
    staging: _Staging,
    target: Path,
    there: Dataset | None,
    base: Dataset | None,
    scale: tuple[float, float] | None,
    holdout: float,
    seed: int,
    n_groups: int,
    progress: bool | None,
) -> Dataset:
    """All groups, then ``meta.json``; files of what was there before go last."""
    item_ids, values = _items_and_values(staging, base)
    book = _code_book(values, base)
    seen = (float(min(values)), float(max(values))) if values is not None else _range(staging)
    bounds = scale or seen
    if base is not None:
        bounds = (min(bounds[0], base.scale[0]), max(bounds[1], base.scale[1]))
        holdout, seed = base.holdout, base.seed
    user_type = {"int64": pa.int64(), "uint64": pa.uint64()}.get(staging.kinds["user"], pa.large_string())
    writer = DatasetWriter(
        target,
        n_groups=n_groups,
        item_ids=item_ids,
        code_book=book,
        user_type=user_type,
        scale=bounds,
        holdout=holdout,
        seed=seed,
        base=base,
        after=there,
    )
    begun = staging.folder / "writing"
    if not begun.exists():
        _sweep_out(target, there)
        begun.touch()
    positions, by_position = IdMap.encode(item_ids)
    numbers = np.empty(len(item_ids), np.int32)
    numbers[by_position] = np.arange(len(item_ids), dtype=np.int32)
    with Progress(n_groups, "Writing", progress) as bar:
        for group in range(n_groups):
            _write_group(writer, group, staging, positions, numbers, book, base, holdout, seed, item_ids)
            bar.advance()
    dataset = writer.close()
    _sweep_out(target, dataset)
    return dataset


def _sweep_out(target: Path, dataset: Dataset | None) -> None:
    """Delete the files of groups and items that are not of this dataset."""
    kept = set() if dataset is None else {file.name for file in dataset.all_files}
    for path in (*target.glob("items-*.parquet"), *target.glob("groups/*.parquet")):
        if path.relative_to(target).as_posix() not in kept:
            path.unlink()


def _write_group(
    writer: DatasetWriter,
    group: int,
    staging: _Staging,
    positions: IdMap,
    numbers: NDArray[np.int32],
    book: NDArray[np.float32] | None,
    base: Dataset | None,
    holdout: float,
    seed: int,
    item_ids: pa.Array,
) -> None:
    users, item, stored, held = writer.written(group) or _assembled(
        group, staging, positions, numbers, book, holdout, seed, item_ids
    )
    if base is None:
        writer.write_group(group, users, item, stored, held)
    elif len(item):
        user_ids, user = IdMap.encode(users)
        replaced, n_users = _replaced(read_group(base.files(group)), user_ids, user, item, len(numbers))
        writer.write_group(group, users, item, stored, held, replaced, n_users)


def _assembled(
    group: int,
    staging: _Staging,
    positions: IdMap,
    numbers: NDArray[np.int32],
    book: NDArray[np.float32] | None,
    holdout: float,
    seed: int,
    item_ids: pa.Array,
) -> Columns:
    """The columns of a group from all spills."""
    table = pa.concat_tables(staging.read(group)).combine_chunks()
    item = numbers[positions.positions(table["item"].combine_chunks(), "item")]
    user_ids, user = IdMap.encode(table["user"].combine_chunks())
    key = user.astype(np.int64) * len(numbers) + item
    if staging.has_times:
        order = np.lexsort((table["time"].combine_chunks().to_numpy(), key))
    else:
        order = np.argsort(key, kind="stable")
    key = key[order]
    order = order[np.append(key[1:] != key[:-1], True)[: len(key)]]  # the last of each user and item
    item, user = item[order], user[order]
    users = user_ids.take(user)
    ratings = table["rating"].combine_chunks().to_numpy()[order]
    held = (
        held_out(hash_ids(users), hash_ids(item_ids.take(pa.array(item))), holdout, seed) if holdout else None
    )
    return Columns(users, item, ratings if book is None else _codes(ratings, book), held)


def _codes(ratings: NDArray[np.float32], book: NDArray[np.float32]) -> NDArray[np.uint8]:
    order = np.argsort(book)
    return order[np.searchsorted(book, ratings, sorter=order)].astype(np.uint8)


def _replaced(
    old: Group, new_ids: IdMap, users: NDArray[np.int32], items: NDArray[np.int32], n_items: int
) -> tuple[Group, int]:
    """The ratings of a group that new ones stand in for; and how many users it has with the new ones."""
    at = new_ids.positions(old.users, "user").astype(np.int64)  # −1: no new rating
    keys = users.astype(np.int64) * n_items + items
    row = np.repeat(at, np.diff(old.indptr))
    gone = np.isin(np.where(row >= 0, row * n_items + old.items, -1), keys)
    held_row = at[old.held_users]
    held_gone = np.isin(np.where(held_row >= 0, held_row * n_items + old.held_items, -1), keys)
    replaced = Group(
        old.users,
        old.indptr,
        old.items[gone],
        old.values[gone],
        old.held_users[held_gone],
        old.held_items[held_gone],
        old.held_values[held_gone],
    )
    return replaced, len(old.users) + len(new_ids) - int(np.count_nonzero(at >= 0))


def _items_and_values(staging: _Staging, base: Dataset | None) -> tuple[pa.Array, list[float] | None]:
    """Items by number: those of the base, then the most rated first; and the distinct ratings, None: too many."""
    counted: list[pa.Table] = []
    rows = 0
    values: set[float] | None = set()
    for part in staging.read():
        counts = pc.value_counts(part["item"].combine_chunks())
        counted.append(pa.table({"item": counts.field("values"), "n": counts.field("counts")}))
        rows += len(counts)
        if rows > 1 << 22:
            counted, rows = [_summed(counted)], 0
        if values is not None:
            values.update(pc.unique(part["rating"]).to_pylist())
            values = values if len(values) <= LONGEST_BOOK else None
    table = _summed(counted).sort_by([("n", "descending"), ("item", "ascending")])
    items = table["item"].combine_chunks()
    if pa.types.is_string(items.type):
        items = items.cast(pa.large_string())
    if base is not None:
        known = base.item_ids.array.take(pa.array(np.argsort(base.item_numbers)))
        new = items.filter(pc.invert(pc.is_in(items, value_set=known)))
        items = pa.concat_arrays([known, new])
    return items, None if values is None else sorted(values)


def _summed(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts).group_by("item").aggregate([("n", "sum")]).rename_columns(["item", "n"])


def _range(staging: _Staging) -> tuple[float, float]:
    limits = [pc.min_max(part["rating"]).as_py() for part in staging.read() if len(part)]
    return min(limit["min"] for limit in limits), max(limit["max"] for limit in limits)


def _code_book(values: list[float] | None, base: Dataset | None) -> NDArray[np.float32] | None:
    if base is not None and base.code_book is None:
        return None
    if base is None:
        return None if values is None else np.array(values, np.float32)
    assert base.code_book is not None
    known = set(base.code_book.tolist())
    book = [*base.code_book.tolist(), *(value for value in values or () if value not in known)]
    if values is None or len(book) > LONGEST_BOOK:
        raise BadRatings(
            f"The dataset stores ratings as one of {len(known)} values, and the new ones have so many others that "
            f"there would be more than {LONGEST_BOOK}. Prepare all ratings again."
        )
    return np.array(book, np.float32)
