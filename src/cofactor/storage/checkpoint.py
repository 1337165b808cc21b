"""The state of long work between two steps: one file, replaced whole, that says what it belongs to.

A safetensors file: the arrays of the state, and ``about``, the bytes of a JSON object: format, version, what it
belongs to, and the SHA-256 of the other arrays.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadData, BadModel
from cofactor.storage.folders import display
from cofactor.storage.strict_json import parse_json
from cofactor.storage.tensors import map_file, map_tensors, write_tensors

_FORMAT, _VERSION = "cofactor-checkpoint", 1
_MEND = "Begin anew with another place for it, or delete this file."


def write_checkpoint(path: Path, state: Mapping[str, NDArray[Any]], belongs_to: dict[str, Any]) -> None:
    """Replace the checkpoint. ``belongs_to`` is JSON-ready: data and parameters. Raises ``OSError``."""
    arrays = dict(state)
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


def read_checkpoint(path: Path, belongs_to: dict[str, Any] | None = None) -> dict[str, NDArray[Any]] | None:
    """The arrays that ``write_checkpoint`` wrote, by memory map; None where there is no file.

    Raises ``BadData`` for one that is damaged, of another version, or belongs to something else than ``belongs_to``,
    if that is given.
    """
    if not path.exists():
        return None
    arrays, about = _read(path)
    theirs = about.get("belongs_to")
    if belongs_to is not None and theirs != belongs_to:
        other = sorted(
            name
            for name in belongs_to
            if not isinstance(theirs, dict) or theirs.get(name) != belongs_to[name]
        )
        raise BadData(
            f"{display(path)} is the checkpoint of another training: it differs in {', '.join(other)}. {_MEND}"
        )
    return arrays


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
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
