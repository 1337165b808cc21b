"""What answers are made of: one model, the items, and how often each was rated, at one moment.

A snapshot never changes. A request takes one and keeps it to its end, so no answer mixes two models; whatever
changes makes a new snapshot, which shares all it can with the old one.

Items stand in the order of the model; behind them those it does not know, which have ratings or a title only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.models.factors import FactorModel
from cofactor.ratings import Compressed
from cofactor.serve.content import columns_of, tells, with_new_items
from cofactor.serve.store.items import Item

Positions = NDArray[np.int32]
MAPPED = 1_000  # items on the map, those rated most


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Attributes.

    generation: of the store, that this is made of.
    version: of the model; None where there is none yet.
    trained_at: the model has learnt from what was written before, in microseconds since 1970.
    model: the item side of it; it answers on one thread.
    ids, at: raw ids by position, and the other way round.
    titles, categories: by position.
    available: (items,) whether an item may be listed.
    counts: (items,) how many ratings it has.
    bias: (items of the model,) the model's, and −∞ where an item is not available.
    by_category: ascending positions by category.
    learnt: raw ids of the items that the model was fitted with; it may know others by their content.
    """

    generation: int
    version: int | None
    trained_at: int
    model: FactorModel | None
    ids: list[str]
    at: dict[str, int]
    titles: list[str | None]
    categories: list[tuple[str, ...]]
    available: NDArray[np.bool_]
    counts: NDArray[np.int64]
    bias: NDArray[Any]
    by_category: dict[str, Positions]
    learnt: frozenset[str] = frozenset()

    @classmethod
    def make(
        cls,
        generation: int,
        model: FactorModel | None,
        version: int | None,
        trained_at: int,
        items: Iterable[Item],
        counts: Mapping[str, int],
    ) -> Snapshot:
        """Of a model, what is known of the items, and their numbers of ratings."""
        items = list(items)
        learnt = frozenset() if model is None else frozenset(map(str, model.item_ids_.array.to_pylist()))
        model = None if model is None else with_new_items(model, items)
        ids: list[str] = [] if model is None else [str(raw) for raw in model.item_ids_.array.to_pylist()]
        if model is not None:
            model = model.only_items().set_params(threads=1)  # requests are answered side by side
        bias = np.empty(0, np.float32) if model is None else model.item_bias_
        empty = cls(
            generation=generation,
            version=version,
            trained_at=trained_at,
            model=model,
            ids=ids,
            at={raw: place for place, raw in enumerate(ids)},
            titles=[None] * len(ids),
            categories=[()] * len(ids),
            available=np.ones(len(ids), bool),
            counts=np.zeros(len(ids), np.int64),
            bias=bias,
            by_category={},
            learnt=learnt,
        )
        return empty.with_items(generation, items).with_counts(counts)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_known(self) -> int:
        """How many items the model knows: the first ones."""
        return len(self.bias)

    @property
    def rank(self) -> int:
        """How many factors the model has."""
        return 0 if self.model is None else int(self.model.item_factors_.shape[1])

    @property
    def scale(self) -> tuple[float, float] | None:
        """Lowest and highest rating; None without a model."""
        return None if self.model is None else self.model.scale_

    # -- what changes ------------------------------------------------------------------------------

    def with_items(self, generation: int, changed: Iterable[Item]) -> Snapshot:
        """The same, but for items of which something else is known now."""
        changed = list(changed)
        other = self._with_ids(it.item for it in changed)
        titles, categories = other.titles.copy(), other.categories.copy()
        available = other.available.copy()
        members: dict[str, dict[int, bool]] = {}
        for it in changed:
            place = other.at[it.item]
            for category in {*categories[place], *it.categories}:
                members.setdefault(category, {})[place] = category in it.categories
            titles[place], categories[place], available[place] = it.title, it.categories, it.available
        by_category = dict(other.by_category)
        for category, inside in members.items():
            old = by_category.get(category, np.empty(0, np.int32))
            places = np.fromiter(inside, np.int32, len(inside))
            now_in = np.fromiter(inside.values(), bool, len(inside))
            kept = np.union1d(np.setdiff1d(old, places), places[now_in]).astype(np.int32)
            by_category[category] = kept
        by_category = {name: by_category[name] for name in sorted(by_category) if len(by_category[name])}
        bias = self.bias
        if self.model is not None:
            bias = np.where(available[: self.n_known], self.model.item_bias_, -np.inf).astype(bias.dtype)
        return dataclasses.replace(
            other,
            generation=generation,
            titles=titles,
            categories=categories,
            available=available,
            bias=bias,
            by_category=by_category,
        )

    def with_counts(self, counts: Mapping[str, int]) -> Snapshot:
        """The same with other numbers of ratings."""
        other = self._with_ids(counts)
        numbers = np.zeros(len(other), np.int64)
        at = other.at
        for raw, count in counts.items():
            numbers[at[raw]] = count
        return dataclasses.replace(other, counts=numbers)

    def _with_ids(self, needed: Iterable[str]) -> Snapshot:
        new = [raw for raw in dict.fromkeys(needed) if raw not in self.at]
        if not new:
            return self
        ids = self.ids + new
        return dataclasses.replace(
            self,
            ids=ids,
            at={raw: place for place, raw in enumerate(ids)},
            titles=self.titles + [None] * len(new),
            categories=self.categories + [()] * len(new),
            available=np.concatenate([self.available, np.ones(len(new), bool)]),
            counts=np.concatenate([self.counts, np.zeros(len(new), np.int64)]),
        )

    def knows_less(self, changed: Iterable[Item]) -> bool:
        """Whether the model would know items better, or others, by what has changed: then a new one must be made."""
        columns = columns_of(self.model)
        return columns is not None and any(
            it.item not in self.learnt
            and (tells(it, columns) or self.at.get(it.item, len(self)) < self.n_known)
            for it in changed
        )

    # -- what is asked of it -----------------------------------------------------------------------

    def is_new(self, place: int) -> bool:
        """Whether nobody has rated an item, and the model knows it by its content."""
        return place < self.n_known and not self.counts[place] and columns_of(self.model) is not None

    def title(self, place: int) -> str:
        """The title of an item; its id where it has none."""
        return self.titles[place] or self.ids[place]

    def row(self, ratings: Mapping[str, float]) -> Compressed:
        """One user's ratings of items that the model knows."""
        at, unknown = self.at, len(self)
        places = np.array([at.get(raw, unknown) for raw in ratings], np.int32)
        values = np.array(list(ratings.values()), np.float32)
        order = np.argsort(places)
        order = order[: np.searchsorted(places[order], self.n_known)]
        return Compressed(np.array([0, len(order)], np.int64), places[order], values[order])

    @cached_property
    def popular(self) -> Positions:
        """Positions of available items, those with most ratings first; of equals the one that was known first."""
        order = np.argsort(-self.counts, kind="stable").astype(np.int32)
        return order[self.available[order]]

    @cached_property
    def plane(self) -> Plane | None:
        """The map of the items; None where there are no two factors to draw."""
        if self.model is None or self.model.item_factors_.shape[1] < 2 or self.n_known < 3:
            return None
        shown = self.popular[self.popular < self.n_known][:MAPPED]
        return Plane.of(self.model.item_factors_, shown) if len(shown) >= 3 else None

    @cached_property
    def index(self) -> TitleIndex:
        """Where words stand in titles."""
        return TitleIndex(self.titles)


@dataclass(frozen=True, eq=False)
class Plane:
    """The two directions in which the factors of the best-known items differ most.

    Attributes:
        shown: positions of the items that are drawn.
        places: (shown, 2) between −1 and 1, but for some that are far out.
        axes: (rank, 2) directions, divided by the scale of the map.
        centre: (rank,) the middle of the items.
        length: how long the factors of an item are, usually.
    """

    shown: Positions
    places: NDArray[np.float64]
    axes: NDArray[np.float64]
    centre: NDArray[np.float64]
    length: float

    @classmethod
    def of(cls, factors: NDArray[Any], shown: Positions) -> Plane:
        """The principal plane of these items."""
        v = factors[shown].astype(np.float64)
        centre = v.mean(axis=0)
        directions = np.linalg.svd(v - centre, full_matrices=False)[2][:2].T
        # A direction and its opposite are as good: the sign is fixed, so that a map stays as it is.
        directions *= np.where(directions[np.abs(directions).argmax(axis=0), [0, 1]] < 0, -1, 1)
        flat = (v - centre) @ directions
        directions /= max(float(np.quantile(np.abs(flat), 0.995)), 1e-12)
        return cls(
            shown, (v - centre) @ directions, directions, centre, float(np.sqrt((v**2).sum(axis=1).mean()))
        )

    def place(self, taste: NDArray[Any]) -> tuple[float, float] | None:
        """Where somebody of this taste stands: at an item in the direction of their factors, of usual length."""
        length = float(np.linalg.norm(taste))
        if length < 1e-9:
            return None
        x, y = np.clip((taste / length * self.length - self.centre) @ self.axes, -1.2, 1.2)
        return float(x), float(y)


class TitleIndex:
    """All titles as one text, so that a search is one pass over it."""

    def __init__(self, titles: list[str | None]) -> None:
        folded = [(title or "").casefold().replace("\n", " ") for title in titles]
        self._text = "\n".join(folded)
        lengths = np.fromiter((len(title) + 1 for title in folded), np.int64, len(folded))
        self._ends = np.cumsum(lengths)

    def find(self, words: str) -> Positions:
        """Positions of titles that hold all words, ascending."""
        parts = sorted(words.casefold().split()[:8], key=len, reverse=True)
        if not parts:
            return np.empty(0, np.int32)
        found, begin = [], self._text.find(parts[0])
        while begin >= 0:
            place = int(np.searchsorted(self._ends, begin, side="right"))
            title = self._text[self._ends[place - 1] if place else 0 : self._ends[place] - 1]
            if all(part in title for part in parts[1:]):
                found.append(place)
            begin = self._text.find(parts[0], int(self._ends[place]))
        return np.array(found, np.int32)
