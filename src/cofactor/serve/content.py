"""Items that a model knows by their content alone: what is said of them over HTTP becomes factors at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from cofactor.errors import BadData
from cofactor.features import Column, Features, encode
from cofactor.ids import IdMap
from cofactor.models.content import ContentMap
from cofactor.models.factors import FactorModel
from cofactor.serve.store.items import Item


def columns_of(model: FactorModel | None) -> tuple[Column, ...] | None:
    """What a model reads of an item; None where it reads nothing, or pictures and sounds."""
    if not isinstance(model, ContentMap) or model.items_ is None:
        return None
    return model.items_.columns


def facts_of(item: Item) -> dict[str, Any]:
    """What is known of an item, by name of column. Categories are the genres too, as a catalogue calls them."""
    kinds = list(item.categories)
    known = {"title": item.title, "categories": kinds or None, "genres": kinds or None}
    return {**known, **item.features}


def tells(item: Item, columns: Iterable[Column]) -> bool:
    """Whether something is known of an item that the columns are about."""
    facts = facts_of(item)
    return any(facts.get(column.name) is not None for column in columns)


def features_of(columns: tuple[Column, ...], items: Iterable[Item]) -> Features | None:
    """Of the items of which something is known; what is no number where one is wanted is missing. None for no item."""
    told = [item for item in items if tells(item, columns)]
    if not told:
        return None
    return encode(columns, [_sound(facts_of(item), columns) for item in told], [item.item for item in told])


def _sound(facts: Mapping[str, Any], columns: Iterable[Column]) -> dict[str, Any]:
    """The facts without those that a column cannot take: one bad cell must not keep a service from answering."""
    kept = {}
    for column in columns:
        try:
            column.encode([facts.get(column.name)], ["it"])
            kept[column.name] = facts.get(column.name)
        except (BadData, TypeError, ValueError, OverflowError):
            continue
    return kept


def with_new_items(model: FactorModel, items: Iterable[Item]) -> FactorModel:
    """The item side of a model, which knows the items too that it has not learnt from, by their content."""
    columns = columns_of(model)
    if columns is None:
        return model
    assert isinstance(model, ContentMap)
    assert model.items_ is not None
    model = copy.copy(model.only_items())
    texts = pa.array([str(raw) for raw in model.item_ids_.array.to_pylist()], pa.large_string())
    model.item_ids_, place = IdMap.encode(texts)  # a store's ids are text
    back = np.argsort(place)
    model.item_factors_, model.item_bias_ = model.item_factors_[back], model.item_bias_[back]
    side = model.items_
    assert side is not None
    model.items_ = replace(side, prior=side.prior[back], has=side.has[back])
    found = features_of(columns, [item for item in items if item.item not in model.item_ids_])
    return model if found is None else model.add_items(found)
