"""What runs the passes of a training: this machine, or an engine that spreads work over many."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from cofactor.errors import SingularSystem
from cofactor.scale.passes import Items, Problem, Totals

Advance: TypeAlias = Callable[[], None]  # called for each group that is done


class Engine(Protocol):
    """Runs passes over a dataset. Which engine, and how many workers, changes no bit of what comes out.

    ``rounds`` is how often a sweep goes over the ratings.
    """

    rounds: int

    def sweep(self, items: Items, state: Path, advance: Advance) -> tuple[Totals, Items]:
        """One pass: what the users add up to for ``items``, and the next items.

        ``state`` is a file that has the items as well (``checkpoint.read_items``), for workers elsewhere.
        """

    def measure(self, items: Items, state: Path, advance: Advance) -> Totals:
        """A pass that gathers nothing for next items."""

    def close(self) -> None:
        """Let go of what was started."""


def blocks_of(problem: Problem, most: int) -> list[range]:
    """Blocks of items whose sums take about ``most`` bytes, one item at least."""
    items = max(1, most // (8 * problem.sums_size))
    return [range(k, min(k + items, problem.n_items)) for k in range(0, problem.n_items, items)]


def added(totals: Sequence[Totals]) -> Totals:
    """Their sum, first to last, as ``passes.fold`` adds."""
    return functools.reduce(operator.add, totals)


def check_singular(singular: int, block: range, problem: Problem) -> None:
    """``SingularSystem`` for the item of a block that ``solve_items`` found, −1 for none."""
    if singular >= 0:
        raise SingularSystem(
            f"The ratings of item number {block.start + singular} do not determine its {problem.rank} factors: "
            f"reg={problem.reg:g} is lost in rounding. Give a larger reg."
        )


def joined(blocks: Sequence[Items]) -> Items:
    """Items from those of consecutive blocks."""
    if len(blocks) == 1:
        return blocks[0]
    return Items(np.concatenate([b.factors for b in blocks]), np.concatenate([b.bias for b in blocks]))
