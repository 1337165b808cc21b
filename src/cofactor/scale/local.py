"""Passes on this machine: all its processors, within a limit of memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter
from cofactor.scale.dataset import Dataset
from cofactor.scale.engine import Advance, check_singular, joined
from cofactor.scale.passes import Items, Part, Problem, Totals, fold, map_groups, shards, solve_items

_INTERPRETER = 150 << 20  # bytes that Python and its libraries take
_RATING, _USER, _ITEM = 64, 64, 48  # bytes beside factors, of the group at work and the one being read
_FEWEST_ITEMS = 1024  # in a block: each block takes a pass over all ratings


class LocalEngine:
    """Holds the sums of two parts and two groups of ratings; where that is too much, fewer items at a time."""

    def __init__(self, dataset: Dataset, problem: Problem, threads: int | None, memory: int | None) -> None:
        """``memory`` is in bytes, None for half of the machine's. Raises ``BadParameter`` where it is too little."""
        self._problem, self._threads = problem, threads
        self._files = [dataset.files(group) for group in range(dataset.n_groups)]
        self._counts = dataset.item_counts
        self._blocks = _blocks(dataset, problem, half_of_memory() if memory is None else memory)
        self.rounds = len(self._blocks)
        self._memory: dict[int, list[NDArray[np.float64]]] = {}  # by items of a block; new memory is slow

    def sweep(self, items: Items, state: Path, advance: Advance) -> tuple[Totals, Items]:
        """See ``Engine.sweep``. The users are solved anew for each block of items."""
        solved = []
        for number, block in enumerate(self._blocks):
            part = fold(self._parts(items, block, advance))
            if number == 0:
                totals = part.totals
            counts = self._counts[block.start : block.stop]
            found, singular = solve_items(part, counts, self._problem, threads=self._threads)
            check_singular(singular, block, self._problem)
            solved.append(found)
        return totals, joined(solved)

    def measure(self, items: Items, state: Path, advance: Advance) -> Totals:
        """See ``Engine.measure``."""
        return fold(self._parts(items, range(0), advance)).totals

    def close(self) -> None:
        """See ``Engine.close``: there is nothing."""

    def _parts(self, items: Items, block: range, advance: Advance) -> Iterator[Part]:
        """The parts in order, all from the second on in the same memory: ``fold`` keeps none but the first."""
        kept = self._memory.get(len(block), [])
        for number, shard in enumerate(shards(len(self._files))):
            place = min(number, 1)
            part = map_groups(
                [self._files[group] for group in shard],
                items,
                self._problem,
                block,
                threads=self._threads,
                advance=advance,
                memory=kept[place] if place < len(kept) else None,
            )
            if place == len(kept):
                kept.append(part.equations)
            yield part
        self._memory = {len(block): kept}


def half_of_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _blocks(dataset: Dataset, problem: Problem, memory: int) -> list[range]:
    """Blocks of items of equal size, as few as fit into ``memory`` bytes."""
    row = 4 * (problem.rank + 15) // 16 * 16  # bytes of a row of factors, padded
    ratings = max(group.ratings for group in dataset.groups)
    users = max(group.users for group in dataset.groups)
    beside = (
        _INTERPRETER + _RATING * ratings + (_USER + 2 * row) * users + (_ITEM + 4 * row) * problem.n_items
    )
    item = 2 * 8 * problem.sums_size
    n_blocks = -(-problem.n_items * item // max(1, memory - beside))
    most = -(-problem.n_items // _FEWEST_ITEMS)
    if memory <= beside or n_blocks > most:
        needed = beside + item * min(_FEWEST_ITEMS, problem.n_items)
        raise BadParameter(
            f"{memory / 2**30:.2f} GiB of memory are too little: groups of {ratings:,} ratings, "
            f"{problem.n_items:,} items and rank {problem.rank} need {needed / 2**30:.2f} GiB at least, "
            f"{(beside + item * problem.n_items) / 2**30:.2f} GiB to go over the ratings once a sweep. Give more "
            f"memory, prepare the dataset with more groups, or take a lower rank."
        )
    bounds = np.linspace(0, problem.n_items, n_blocks + 1).astype(int).tolist()
    return [range(begin, end) for begin, end in pairwise(bounds)]
