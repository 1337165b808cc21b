"""The state of a training between two iterations: one file, replaced whole, that says what it belongs to.

A safetensors file: ``item_factors`` (items, K) and ``item_bias`` (items,) by item number, ``objective`` and
``held_rmse`` (passes so far,), and ``about``, the bytes of a JSON object: format, version, the dataset's id, the
parameters, and the SHA-256 of the other arrays.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadData, BadModel
from cofactor.scale.passes import Items
from cofactor.storage.folders import display
from cofactor.storage.strict_json import parse_json
from cofactor.storage.tensors import map_file, map_tensors, write_tensors

_FORMAT, _VERSION = "cofactor-checkpoint", 1
_MEND = "Train anew with another -o, or delete this file."


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
    about = {"format": _FORMAT, "version": _VERSION, "belongs_to": belongs_to, "sha256": _digest(arrays)}
    arrays["about"] = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_tensors(temporary, arrays)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: Path, belongs_to: dict[str, Any]) -> State | None:
    """What ``write_state`` wrote; None where there is no file.

    Raises ``BadData`` for one that is damaged, of another version, or belongs to something else.
    """
    if not path.exists():
        return None
    arrays, about = _read(path)
    if about.get("belongs_to") != belongs_to:
        theirs = about.get("belongs_to")
        other = sorted(
            name
            for name in belongs_to
            if not isinstance(theirs, dict) or theirs.get(name) != belongs_to[name]
        )
        raise BadData(
            f"{display(path)} is the checkpoint of another training: it differs in {', '.join(other)}. {_MEND}"
        )
    return State(
        Items(arrays["item_factors"], arrays["item_bias"]),
        arrays["objective"].tolist(),
        arrays["held_rmse"].tolist(),
    )


def read_items(path: Path) -> Items:
    """The items alone, by memory map: for workers. Raises ``BadData``."""
    arrays, _ = _read(path)
    return Items(arrays["item_factors"], arrays["item_bias"])


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            arrays = map_tensors(map_file(file, path.name), path.name)
        about = parse_json(arrays.pop("about").tobytes(), path.name)
        if about["format"] != _FORMAT or about["version"] != _VERSION:
            raise BadData(
                f"{display(path)} is a checkpoint of version {about['version']!r}, where this cofactor knows "
                f"{_VERSION}. {_MEND}"
            )
        whole = about["sha256"] == _digest(arrays)
    except (BadModel, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadData) and not isinstance(error, BadModel):
            raise
        raise BadData(f"{display(path)} is not a checkpoint that can be read ({error}). {_MEND}") from None
    if not whole:
        raise BadData(f"{display(path)} was changed or damaged: its SHA-256 is another. {_MEND}")
    return arrays, about
