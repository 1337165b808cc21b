"""Passes on Spark: a task for each part, a shuffle of sums by block of items, and a fold in the order of parts."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cofactor import errors, kernels
from cofactor.errors import CofactorError, NotSupported
from cofactor.scale.checkpoint import read_items
from cofactor.scale.dataset import Dataset
from cofactor.scale.engine import Advance, added, blocks_of, check_singular, joined
from cofactor.scale.passes import Items, Part, Problem, Totals, fold, map_groups, shards, solve_items

_GROUP_BYTES = 256 << 20  # of the sums of a block of items, of all parts: they are in the memory of one task
_TOTALS = -1  # in place of a block: a row with the totals of a part, or with what went wrong
_SUMS = "part int, block int, sums binary"
_SOLVED = "block int, part int, factors binary, bias binary, singular int, told binary"


class SparkEngine:
    """Executors read the dataset and the state by their paths, which must lead to the same files everywhere."""

    rounds = 1

    def __init__(self, dataset: Dataset, problem: Problem, address: str | None, threads: int | None) -> None:
        """``address`` is Spark's master URL; None: the active session, or local[threads]."""
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise NotSupported(
                'engine="spark" needs Spark. Install it: pip install "cofactor[spark]".'
            ) from None
        if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
            raise NotSupported('engine="spark" needs Java 17 or later, and there is no java. Install it.')
        self._problem = problem
        self._counts = dataset.item_counts
        self._shards = [[dataset.files(group) for group in shard] for shard in shards(dataset.n_groups)]
        self._blocks = blocks_of(problem, _GROUP_BYTES // len(self._shards))
        self._groups = dataset.n_groups
        active = SparkSession.getActiveSession()
        self._started = active is None
        if active is None:
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
            builder = SparkSession.builder.appName("cofactor").config("spark.ui.enabled", "false")
            builder = builder.master(address or f"local[{kernels.thread_count(threads)}]")
            active = builder.config("spark.log.level", "ERROR").getOrCreate()
        self._session = active

    def sweep(self, items: Items, state: Path, advance: Advance) -> tuple[Totals, Items]:
        """See ``Engine.sweep``."""
        return self._pass(state, self._blocks, advance)

    def measure(self, items: Items, state: Path, advance: Advance) -> Totals:
        """See ``Engine.measure``."""
        return self._pass(state, [], advance)[0]

    def close(self) -> None:
        """See ``Engine.close``."""
        if self._started:
            self._session.stop()

    def _pass(self, state: Path, blocks: list[range], advance: Advance) -> tuple[Totals, Items]:
        whole = range(self._problem.n_items) if blocks else range(0)
        works = [
            partial(map_groups, files, problem=self._problem, block=whole, threads=1)
            for files in self._shards
        ]
        counts, problem, path = self._counts, self._problem, str(state)

        def map_parts(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return _map(works, path, blocks, batches)

        def solve(table: pa.Table) -> pa.Table:
            return _fold_and_solve(blocks, counts, problem, table)

        parts = self._session.range(0, len(works), 1, len(works))
        rows = parts.mapInArrow(map_parts, _SUMS).groupBy("block").applyInArrow(solve, _SOLVED).collect()
        told = {row.part: json.loads(bytes(row.told)) for row in rows if row.block == _TOTALS}
        for _, what in sorted(told.items()):
            if "error" in what:
                raise getattr(errors, what["error"], CofactorError)(what["message"])
        total = added([Totals(**told[part]) for part in range(len(works))])
        solved = []
        for row in sorted((row for row in rows if row.block != _TOTALS), key=lambda row: row.block):
            check_singular(row.singular, blocks[row.block], self._problem)
            factors = np.frombuffer(row.factors, np.float32).reshape(-1, self._problem.rank)
            solved.append(Items(factors, np.frombuffer(row.bias, np.float32)))
        for _ in range(self._groups):
            advance()
        return total, joined(solved) if solved else Items(
            np.empty((0, 0), np.float32), np.empty(0, np.float32)
        )


def _map(
    works: Sequence[Callable[..., Part]], state: str, blocks: list[range], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Rows (part, block, sums) of the parts in ``batches``, and one with the totals of each."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            try:
                part = works[number](items=read_items(Path(state)))
                told = vars(part.totals)
            except CofactorError as error:  # Spark would make text of it
                yield _sums_row(
                    number, _TOTALS, json.dumps({"error": type(error).__name__, "message": str(error)})
                )
                continue
            yield _sums_row(number, _TOTALS, json.dumps(told))
            for k, block in enumerate(blocks):
                yield _sums_row(number, k, part.equations[block.start : block.stop].tobytes())


def _sums_row(part: int, block: int, sums: str | bytes) -> pa.RecordBatch:
    data = sums.encode() if isinstance(sums, str) else sums
    return pa.RecordBatch.from_arrays(
        [pa.array([part], pa.int32()), pa.array([block], pa.int32()), pa.array([data], pa.binary())],
        ["part", "block", "sums"],
    )


def _fold_and_solve(
    blocks: list[range], counts: NDArray[np.int64], problem: Problem, table: pa.Table
) -> pa.Table:
    """The items of one block from the sums of all parts; totals are passed through."""
    block = table["block"][0].as_py()
    order = np.argsort(table["part"].to_numpy())
    if block == _TOTALS:
        n = len(table)
        none = pa.nulls(n, pa.binary())
        columns = [table["block"], table["part"], none, none, pa.nulls(n, pa.int32()), table["sums"]]
    else:
        sums = table["sums"].combine_chunks()
        size = problem.sums_size
        parts = (Part(np.frombuffer(sums[int(k)].as_buffer()).reshape(-1, size), Totals()) for k in order)
        of = counts[blocks[block].start : blocks[block].stop]
        items, singular = solve_items(fold(parts), of, problem, threads=1)
        columns = [
            pa.array([block], pa.int32()),
            pa.array([0], pa.int32()),
            pa.array([items.factors.tobytes()], pa.binary()),
            pa.array([items.bias.tobytes()], pa.binary()),
            pa.array([singular], pa.int32()),
            pa.nulls(1, pa.binary()),
        ]
    return pa.table(columns, names=[name.split()[0] for name in _SOLVED.split(", ")])
