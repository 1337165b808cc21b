"""Passes as Ray tasks: one for each part, and for each block of items a chain that adds the parts up in order."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import NotSupported
from cofactor.scale.checkpoint import read_items
from cofactor.scale.dataset import Dataset
from cofactor.scale.engine import Advance, added, blocks_of, check_singular, joined
from cofactor.scale.passes import Items, Part, Problem, Totals, map_groups, shards, solve_items

_RETRIES = 5  # of a task whose worker died
_BLOCK_BYTES = 64 << 20  # of the sums of a block of items


class RayEngine:
    """Workers read the dataset and the state by their paths, which must lead to the same files everywhere."""

    rounds = 1

    def __init__(self, dataset: Dataset, problem: Problem, address: str | None, threads: int | None) -> None:
        """``address`` of the cluster; None: the one this process is connected to, or $RAY_ADDRESS, or one started
        here with so many ``threads``.
        """
        try:
            import ray
        except ImportError:
            raise NotSupported('engine="ray" needs Ray. Install it: pip install "cofactor[ray]".') from None
        self._ray, self._problem = ray, problem
        self._counts = dataset.item_counts
        self._shards = [[dataset.files(group) for group in shard] for shard in shards(dataset.n_groups)]
        self._blocks = blocks_of(problem, _BLOCK_BYTES)
        self._started = not ray.is_initialized()
        if self._started:
            quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
            address = address or os.environ.get("RAY_ADDRESS")
            if address:
                ray.init(address=address, **quiet)
            else:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                ray.init("local", num_cpus=kernels.thread_count(threads), include_dashboard=False, **quiet)

    def sweep(self, items: Items, state: Path, advance: Advance) -> tuple[Totals, Items]:
        """See ``Engine.sweep``."""
        sums, totals = self._pass(state, self._blocks, advance)
        solve = self._ray.remote(num_cpus=1, max_retries=_RETRIES)(_solve)
        found = []
        for block, part in zip(self._blocks, sums):
            found.append(solve.remote(part, self._counts[block.start : block.stop], self._problem))
        del sums
        solved = []
        for block, (factors, bias, singular) in zip(self._blocks, self._get(found)):
            check_singular(singular, block, self._problem)
            solved.append(Items(factors, bias))
        return totals, joined(solved)

    def measure(self, items: Items, state: Path, advance: Advance) -> Totals:
        """See ``Engine.measure``."""
        return self._pass(state, [], advance)[1]

    def close(self) -> None:
        """See ``Engine.close``."""
        if self._started:
            self._ray.shutdown()

    def _pass(self, state: Path, blocks: list[range], advance: Advance) -> tuple[list[Any], Totals]:
        """References to the sums of each block of items, and the totals."""
        ray = self._ray
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)
        map_part, add = task(_map).options(num_returns=1 + len(blocks)), task(_add)
        whole = range(self._problem.n_items) if blocks else range(0)
        most = 2 * int(ray.cluster_resources().get("CPU", 1))  # parts at a time: their sums take memory
        sums: list[Any] = []
        totals: list[Any] = []
        running: list[Any] = []
        for files in self._shards:
            if len(running) == most:
                done, running = ray.wait(running, num_returns=1)
                self._get(done)
            work = partial(map_groups, files, problem=self._problem, block=whole, threads=1)
            told = map_part.remote(work, str(state), blocks)
            first, *parts = told if blocks else [told]
            totals.append(first)
            running.append(first)
            sums = [add.remote(*pair) for pair in zip(sums, parts)] if sums else parts
        found = []
        for reference, files in zip(totals, self._shards):
            found.append(self._get(reference))
            for _ in files:
                advance()
        return sums, added(found)

    def _get(self, references: Any) -> Any:
        """Results; what a task raised comes out as itself."""
        try:
            return self._ray.get(references)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None


def _map(work: Callable[..., Part], state: str, blocks: list[range]) -> Any:
    """Totals of a part, then its sums for each block of items."""
    part = work(items=read_items(Path(state)))
    return [part.totals, *(part.equations[b.start : b.stop] for b in blocks)] if blocks else part.totals


def _add(sums: NDArray[np.float64], part: NDArray[np.float64]) -> NDArray[np.float64]:
    return sums + part


def _solve(
    equations: NDArray[np.float64], counts: NDArray[np.int64], problem: Problem
) -> tuple[NDArray[Any], NDArray[Any], int]:
    items, singular = solve_items(Part(equations, Totals()), counts, problem, threads=1)
    return items.factors, items.bias, singular
