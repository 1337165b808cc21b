"""One iteration over a dataset as a map over its groups and a fold: pure functions, the same for every engine.

    map_groups(files, items, problem, block)   the users of some groups are solved, and then forgotten: what stays are
                                               the normal equations of the items in ``block``
    fold(parts)                                their sum, in the order of the parts
    solve_items(part, counts, problem)         the next items

Given the items, a user's [u_i, b_i] is a function of that user's ratings alone (see ``models/als.py``), so one pass
over the ratings, grouped by user, is one sweep of alternating least squares. Which groups make a part is fixed by the
dataset (``shards``), and each part begins with zeros: so every bit of the result is the same for any number of
workers, in whatever order they come to an end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import SingularSystem, shorten
from cofactor.ratings import Compressed
from cofactor.scale.dataset import Group, GroupFiles, read_group


@dataclass(frozen=True)
class Problem:
    """The equation, and the ratings it is about: what every part of an iteration needs to know.

    λ_i = reg · (ratings of i)^reg_exponent; ``mean`` is μ; without ``biased`` there are neither biases nor μ.
    Predictions of held-out ratings are kept on ``scale``.
    """

    n_items: int
    rank: int
    reg: float
    reg_exponent: float
    biased: bool
    mean: float
    scale: tuple[float, float]

    def row_reg(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """λ of rows with so many ratings; 1 for an empty row, which is zero anyway."""
        return self.reg * np.maximum(counts, 1).astype(np.float64) ** self.reg_exponent

    @property
    def sums_size(self) -> int:
        """Numbers in the normal equations of an item."""
        return kernels.item_sums_size(self.rank, self.biased)

    def penalty(self, counts: NDArray[np.int64], factors: NDArray[Any], bias: NDArray[Any]) -> float:
        """Σ λ_i (‖u_i‖² + b_i²)."""
        squares = np.einsum("ik,ik->i", factors, factors, dtype=np.float64) + bias.astype(np.float64) ** 2
        return float(np.sum(self.row_reg(counts) * squares))


@dataclass(frozen=True)
class Items:
    """The item side, by item number: ``factors`` (items, rank) and ``bias`` (items,), float32."""

    factors: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class Totals:
    """What users add up to, solved exactly for the items at hand: of the objective, and of the held-out error."""

    squared_error: float = 0.0
    penalty: float = 0.0
    held_squares: float = 0.0
    held: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass
class Part:
    """The sums of some groups: ``equations`` (items of the block, P), packed as ``kernels.add_item_sums`` has them."""

    equations: NDArray[np.float64]
    totals: Totals


def shards(n_groups: int) -> list[range]:
    """The groups of each part: about √groups parts, so that starting and adding them costs little beside the rest."""
    n = math.isqrt(n_groups - 1) + 1
    bounds = [n_groups * k // n for k in range(n + 1)]
    return [range(begin, end) for begin, end in pairwise(bounds)]


def map_groups(
    files: Sequence[GroupFiles],
    items: Items,
    problem: Problem,
    block: range,
    *,
    threads: int | None = None,
    advance: Callable[[], None] = lambda: None,
    memory: NDArray[np.float64] | None = None,
) -> Part:
    """Solve the users of some groups, and gather the normal equations of the items in ``block``.

    The next group is read while one is worked on. An empty block gathers nothing, which leaves the ``totals``.
    ``advance`` is called after each group. The sums of a part that is no longer needed can be given as ``memory`` to
    write to.
    Raises ``BadDataset`` for a group that is not what it was; ``SingularSystem``.
    """
    if memory is None:
        part = Part(np.zeros((len(block), problem.sums_size)), Totals())
    else:
        memory[:] = 0
        part = Part(memory, Totals())
    for group, by_item in _ahead(files, block):
        factors, bias, totals = solve_users(group, items, problem, threads)
        part.totals += totals
        if by_item is not None:
            kernels.add_item_sums(
                by_item.indptr,
                by_item.indices,
                by_item.values,
                factors,
                bias if problem.biased else None,
                part.equations,
                mean=problem.mean,
                threads=threads,
            )
        advance()
    return part


def fold(parts: Iterable[Part]) -> Part:
    """The sum of parts, first to last. It takes the memory of the first; two are in memory if they come one by one."""
    coming = iter(parts)
    total = next(coming)
    if not total.equations.flags.writeable:  # shared between processes
        total = Part(total.equations.copy(), total.totals)
    for part in coming:
        total.equations += part.equations
        total.totals += part.totals
    return total


def solve_items(
    part: Part, counts: NDArray[np.int64], problem: Problem, *, threads: int | None = None
) -> tuple[Items, int]:
    """Items (of a block) from the sum of all parts; ``counts`` are their ratings.

    Returns them and the first that is singular, or −1.
    """
    factors, bias, singular = kernels.solve_item_sums(
        part.equations, counts, problem.row_reg(counts), problem.rank, biased=problem.biased, threads=threads
    )
    return Items(factors, bias), singular


def _ahead(files: Sequence[GroupFiles], block: range) -> Iterator[tuple[Group, Compressed | None]]:
    """Groups, and their ratings by item of the block; each is read by another thread while one works on the last."""

    def read(one: GroupFiles) -> tuple[Group, Compressed | None]:
        group = read_group(one)
        if not block:
            return group, None
        indptr, users, values = kernels.transpose(group.indptr, group.items, group.values, one.n_items)
        of_block = slice(indptr[block.start], indptr[block.stop])
        pointers = indptr[block.start : block.stop + 1] - indptr[block.start]
        return group, Compressed(pointers, users[of_block], values[of_block])

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, files[0])
        for following in files[1:]:
            now, coming = coming.result(), reader.submit(read, following)
            yield now
        yield coming.result()


def solve_users(
    group: Group, items: Items, problem: Problem, threads: int | None
) -> tuple[NDArray[Any], NDArray[Any], Totals]:
    """u (users, rank) and b (users,) of a group, each the exact solution for the items, and what they add up to."""
    counts = np.diff(group.indptr)
    factors = kernels.aligned_zeros(len(counts), problem.rank, np.float32)
    bias = np.zeros(len(counts), np.float32)
    errors, singular = kernels.solve_rows(
        group.indptr,
        group.items,
        group.values,
        items.factors,
        items.bias,
        problem.row_reg(counts),
        factors,
        bias,
        mean=problem.mean,
        biases="joint" if problem.biased else None,
        solver="cholesky",
        threads=threads,
    )
    if singular >= 0:
        raise SingularSystem(
            f"The ratings of user {shorten(group.users[singular].as_py())} do not determine {problem.rank} factors: "
            f"reg={problem.reg:g} is lost in rounding. Give a larger reg."
        )
    predicted = kernels.predict(
        group.held_users,
        group.held_items,
        factors,
        bias,
        items.factors,
        items.bias,
        problem.mean,
        threads=threads,
    )
    missed = np.clip(predicted, *problem.scale).astype(np.float64) - group.held_values
    totals = Totals(
        float(np.sum(errors)),
        problem.penalty(counts, factors, bias),
        float(np.sum(missed * missed)),
        len(missed),
    )
    return factors, bias, totals
