"""What models answer with: recommendations and explanations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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
    """

    items: pa.Array
    scores: NDArray[np.floating]
    users: pa.Array | None = None

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
        """A table of [user,] item, score."""
        columns = {} if self.users is None else {"user": self.users}
        return pa.table({**columns, "item": self.items, "score": pa.array(self.scores)})

    def __str__(self) -> str:
        header = ["item", "score"] if self.users is None else ["user", "item", "score"]
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


@dataclass(frozen=True)
class Explanation:
    """A score, taken apart:  score = mean + user + item + Σ parts, to float precision.

    Attributes:
        score: the prediction r̂.
        mean: μ, the mean of all ratings.
        user: how far this user's ratings lie above or below it.
        item: how far this item's ratings do.
        parts: what each rating that the user gave adds, largest magnitude first.
    """

    score: float
    mean: float
    user: float
    item: float
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        rows = [
            ("mean", "", f"{self.mean:+.3f}"),
            ("user", "", f"{self.user:+.3f}"),
            ("item", "", f"{self.item:+.3f}"),
        ]
        rows += [(f"rated {p.item}", f"{p.rating:g}", f"{p.part:+.3f}") for p in self.parts[:10]]
        if len(self.parts) > 10:
            rest = sum(p.part for p in self.parts[10:])
            rows.append((f"{len(self.parts) - 10} more rated items", "", f"{rest:+.3f}"))
        return text_table(["part", "rating", "adds"], [*rows, ("score", "", f"{self.score:.3f}")])


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
