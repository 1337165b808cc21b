"""The state of a training between two iterations, as ``storage.checkpoint`` keeps it.

Its arrays are ``item_factors`` (items, K) and ``item_bias`` (items,) by item number, ``objective`` and ``held_rmse``
(passes so far,).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.scale.passes import Items
from cofactor.storage.checkpoint import read_checkpoint, write_checkpoint


@dataclass
class State:
    """Items as they are now; J and the held-out RMSE (NaN where nothing is held out) of each pass so far."""

    items: Items
    objective: list[float] = field(default_factory=list)
    held_rmse: list[float] = field(default_factory=list)


def write_state(path: Path, state: State, belongs_to: dict[str, Any]) -> None:
    """Replace the checkpoint. ``belongs_to`` is JSON-ready: dataset and parameters. Raises ``OSError``."""
    arrays: dict[str, NDArray[Any]] = {
        "item_factors": state.items.factors,
        "item_bias": state.items.bias,
        "objective": np.array(state.objective, np.float64),
        "held_rmse": np.array(state.held_rmse, np.float64),
    }
    write_checkpoint(path, arrays, belongs_to)


def read_state(path: Path, belongs_to: dict[str, Any]) -> State | None:
    """What ``write_state`` wrote; None where there is no file. Raises ``BadData``, as ``read_checkpoint``."""
    arrays = read_checkpoint(path, belongs_to)
    if arrays is None:
        return None
    return State(
        Items(arrays["item_factors"], arrays["item_bias"]),
        arrays["objective"].tolist(),
        arrays["held_rmse"].tolist(),
    )


def read_items(path: Path) -> Items:
    """The items alone, by memory map: for workers. Raises ``BadData``, and ``OSError`` where there is no file."""
    arrays = read_checkpoint(path)
    if arrays is None:
        raise FileNotFoundError(path)
    return Items(arrays["item_factors"], arrays["item_bias"])
