"""What models answer with: recommendations and explanations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cofactor.ids import Id


class Recommendation(NamedTuple):
    """An item, and the score it is listed for: a predicted rating, or a similarity."""

    item: Id
    score: float


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Items and scores, best first; a sequence of ``Recommendation``.

    Attributes:
        items: (rows,) raw item ids, Arrow.
        scores: (rows,) float32 or float64.
        users: (rows,) raw user ids, Arrow, where several users were asked for; else None.
        what: what the ``items`` are; "user" in an answer to ``similar_users``.
    """

    items: pa.Array
    scores: NDArray[np.floating]
    users: pa.Array | None = None
    what: str = "item"

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, at: int) -> Recommendation: ...
    @overload
    def __getitem__(self, at: slice) -> list[Recommendation]: ...
    def __getitem__(self, at: int | slice) -> Recommendation | list[Recommendation]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(f"There are {len(self)} recommendations, no number {at}.")
        at = range(len(self))[at]
        return Recommendation(self.items[at].as_py(), float(self.scores[at]))

    def __iter__(self) -> Iterator[Recommendation]:
        return (
            Recommendation(item, score) for item, score in zip(self.items.to_pylist(), self.scores.tolist())
        )

    def for_user(self, user: Id) -> Recommendations:
        """The rows of one user, where several were asked for."""
        if self.users is None:
            return self
        mine = np.array([u == user and type(u) is type(user) for u in self.users.to_pylist()], bool)
        return Recommendations(self.items.filter(pa.array(mine)), self.scores[mine])

    def to_arrow(self) -> pa.Table:
        """A table of [user,] item, score; of similar users, user, score."""
        columns = {} if self.users is None else {"user": self.users}
        return pa.table({**columns, self.what: self.items, "score": pa.array(self.scores)})

    def __str__(self) -> str:
        header = [self.what, "score"] if self.users is None else ["user", self.what, "score"]
        columns = [self.items.to_pylist(), [f"{score:.3f}" for score in self.scores]]
        if self.users is not None:
            columns.insert(0, self.users.to_pylist())
        return text_table(header, list(zip(*columns)))

    __repr__ = __str__


class Part(NamedTuple):
    """What the rating of one item adds to a score."""

    item: Id
    rating: float
    part: float


class Neighbour(NamedTuple):
    """What another user's rating of the item adds to a score."""

    user: Id
    rating: float
    part: float


@dataclass(frozen=True)
class Explanation:
    """A score, taken apart:  score = mean + user + item + Σ parts + Σ neighbours, to float precision.

    Attributes:
        score: the prediction r̂.
        mean: μ, the mean of all ratings.
        user: how far this user's ratings lie above or below it.
        item: how far this item's ratings do.
        parts: what each rating that the user gave adds, largest magnitude first.
        neighbours: what others' ratings of the item add, likewise; only models of like-minded users have them.
    """

    score: float
    mean: float
    user: float
    item: float
    parts: tuple[Part, ...]
    neighbours: tuple[Neighbour, ...] = ()

    def lines(self, most: int, name: Callable[[Id], object] = str) -> list[tuple[str, str, float]]:
        """Parts, then neighbours, at most so many of each and then the others' sum: what it is, rating, what it adds.

        ``name`` gives the name of an item.
        """
        told = [(f"rated {name(p.item)}", f"{p.rating:g}", p.part) for p in self.parts[:most]]
        if len(self.parts) > most:
            rest = sum(p.part for p in self.parts[most:])
            told.append((f"{len(self.parts) - most} more rated items", "", rest))
        told += [(f"user {p.user} rated this", f"{p.rating:g}", p.part) for p in self.neighbours[:most]]
        if len(self.neighbours) > most:
            rest = sum(p.part for p in self.neighbours[most:])
            told.append((f"{len(self.neighbours) - most} more users", "", rest))
        return told

    def __str__(self) -> str:
        rows = [("mean", "", self.mean), ("user", "", self.user), ("item", "", self.item), *self.lines(10)]
        signed = [(what, rating, f"{part:+.3f}") for what, rating, part in rows]
        return text_table(["part", "rating", "adds"], [*signed, ("score", "", f"{self.score:.3f}")])


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], right: Collection[int] | None = None
) -> str:
    """Columns of text; those in ``right``, if not given the last one (numbers), are flush right."""
    cells = [header, *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    right = {len(header) - 1} if right is None else right
    return "\n".join(
        "  ".join(
            c.rjust(w) if k in right else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths))
        ).rstrip()
        for row in cells
    )
