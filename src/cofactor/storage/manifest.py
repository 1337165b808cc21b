"""The manifest of a model: what it says, and whether that can be true.

``write_manifest`` and ``parse_manifest`` are each other's inverse. The last field, ``sha256``, is the
checksum of the manifest itself, taken with the 64 digits of that field as zeros: so every byte of a
model's folder is covered by a checksum.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import cofactor
from cofactor.errors import BadModel, BadParameter, CofactorError, shorten
from cofactor.ids import IdMap
from cofactor.models import MODELS
from cofactor.models.base import Model
from cofactor.models.factors import FactorModel
from cofactor.storage.folders import FACTORS, FORMAT, IDS, LONGEST_MANIFEST, MANIFEST
from cofactor.storage.strict_json import parse_json

FORMAT_VERSION = 1

_SEAL = re.compile(rb'"sha256": "([0-9a-f]{64})"\n}\n\Z')
_BLANK = "0" * 64
_TAIL = f'{_BLANK}"\n}}\n'.encode()  # how a manifest ends
_EXACT_INTEGERS = 2**53  # beyond, an integer is not a double


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The fields of ``manifest.json``, in their order.

    Attributes:
        kind: the model's class, one of ``MODELS``.
        hyperparameters: by name, all of the kind's.
        facts: what ``Model.state`` gives beside arrays.
        arrays: dtype and shape of each array in ``factors.safetensors``.
        files: bytes and sha256 of the other two files.
        training: users, items, ratings and last objective.
        created: UTC, as 2026-01-31T12:00:00Z.
    """

    kind: str
    hyperparameters: dict[str, Any]
    facts: dict[str, Any]
    arrays: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]]
    training: dict[str, Any]
    created: str
    cofactor_version: str = cofactor.__version__
    format_version: int = FORMAT_VERSION


_FIELDS = {
    "format": str,
    "format_version": int,
    "cofactor_version": str,
    "created": str,
    "kind": str,
    "hyperparameters": dict,
    "facts": dict,
    "training": dict,
    "arrays": dict,
    "files": dict,
    "sha256": str,
}


def write_manifest(manifest: Manifest) -> bytes:
    """The bytes of the file. Raises ``BadParameter`` where something in it is not JSON."""
    values = {"format": FORMAT, **dataclasses.asdict(manifest), "sha256": _BLANK}
    try:
        text = json.dumps(
            {name: values[name] for name in _FIELDS}, indent=1, allow_nan=False, ensure_ascii=True
        )
    except (TypeError, ValueError) as error:
        raise BadParameter(f"This model cannot be saved: {shorten(str(error), 120)}. Fit it anew.") from None
    data = text.encode() + b"\n"
    if len(data) > LONGEST_MANIFEST:
        raise BadParameter(f"This model cannot be saved: its manifest would be {len(data):,} bytes long.")
    return data[: -len(_TAIL)] + hashlib.sha256(data).hexdigest().encode() + _TAIL[len(_BLANK) :]


def parse_manifest(data: bytes, checksum: bool = True) -> Manifest:
    """What the file says. Raises ``BadModel`` where that is no manifest that this version can read."""
    fields = parse_json(data, MANIFEST)
    if fields.get("format") != FORMAT:
        raise BadModel(
            f"{MANIFEST} is not that of a cofactor model: 'format' is {shorten(fields.get('format'))}."
        )
    version = fields.get("format_version")
    if type(version) is not int or version < 1:
        raise BadModel(f"{MANIFEST}: 'format_version' is {shorten(version)}, not a whole number from 1.")
    if version > FORMAT_VERSION:
        raise BadModel(
            f"{MANIFEST}: the model is of format version {shorten(version)}, written by cofactor "
            f"{shorten(fields.get('cofactor_version'))}; cofactor {cofactor.__version__} reads up to version "
            f"{FORMAT_VERSION}. Upgrade it: pip install --upgrade cofactor."
        )
    for name in sorted(fields.keys() ^ _FIELDS.keys()):
        raise BadModel(
            f"{MANIFEST}: the field {shorten(name)} is {'missing' if name in _FIELDS else 'unknown'}."
        )
    for name, kind in _FIELDS.items():
        if type(fields[name]) is not kind:
            raise BadModel(f"{MANIFEST}: '{name}' is {shorten(fields[name])}, not of type {kind.__name__}.")
    if checksum:
        seal = _SEAL.search(data)
        if seal is None or _checksum(data, seal.span(1)) != seal[1].decode():
            raise BadModel(f"{MANIFEST} does not have the SHA-256 that it says: it was changed or damaged.")
    if fields["kind"] not in MODELS:
        raise BadModel(
            f"{MANIFEST}: 'kind' is {shorten(fields['kind'])}, which cofactor {cofactor.__version__} does not know "
            f"(it knows {', '.join(MODELS)})."
        )
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", fields["created"], re.ASCII):
        raise BadModel(
            f"{MANIFEST}: 'created' is {shorten(fields['created'])}, not such as 2026-01-31T12:00:00Z."
        )
    _check_files(fields["files"])
    _check_training(fields["training"])
    del fields["format"], fields["sha256"]
    return Manifest(**fields)


def _checksum(data: bytes, seal: tuple[int, int]) -> str:
    return hashlib.sha256(data[: seal[0]] + _BLANK.encode() + data[seal[1] :]).hexdigest()


def _check_files(files: dict[str, Any]) -> None:
    if set(files) != {FACTORS, IDS}:
        raise BadModel(f"{MANIFEST}: 'files' names {shorten(sorted(files))}, not {FACTORS} and {IDS} alone.")
    for name, entry in files.items():
        sound = isinstance(entry, dict) and set(entry) == {"bytes", "sha256"} and _is_count(entry["bytes"])
        if not sound or not re.fullmatch("[0-9a-f]{64}", str(entry["sha256"])):
            raise BadModel(
                f"{MANIFEST}: 'files' describes {name} as {shorten(entry)}, not by bytes and sha256."
            )


def _check_training(training: dict[str, Any]) -> None:
    sound = set(training) == {"users", "items", "ratings", "objective"}
    sound = sound and _is_count(training["users"]) and _is_count(training["items"])
    sound = sound and (training["ratings"] is None or _is_count(training["ratings"]))
    if not sound or not (training["objective"] is None or type(training["objective"]) in (int, float)):
        raise BadModel(
            f"{MANIFEST}: 'training' is {shorten(training)}, not users, items, ratings and objective."
        )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


# -- the model -------------------------------------------------------------------------------------


def plain_hyperparameters(model: Model) -> dict[str, Any]:
    """The hyperparameters of a fitted model as JSON values. ``BadParameter`` where they cannot be loaded."""
    kind = type(model).__name__
    if MODELS.get(kind) is not type(model):
        raise BadParameter(
            f"A model of class {kind} cannot be saved, since load() would not know it. It knows {', '.join(MODELS)}."
        )
    values = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in model.get_params().items()
    }
    trouble = _trouble(type(model), values)
    if trouble:
        raise BadParameter(
            f"This {kind} cannot be saved: {trouble}. Set it right with set_params() or fit anew."
        )
    return values


def build_model(manifest: Manifest, users: IdMap, items: IdMap, arrays: dict[str, NDArray[Any]]) -> Model:
    """The model that a manifest describes. Raises ``BadModel`` where the parts do not go together."""
    cls = MODELS[manifest.kind]
    trouble = _trouble(cls, manifest.hyperparameters)
    if trouble:
        raise BadModel(f"{MANIFEST}: 'hyperparameters': {trouble}.")
    model = cls(**manifest.hyperparameters)
    try:
        model.check_parameters(len(items))
        model.restore(users, items, arrays, manifest.facts)
        kept, facts = model.state()
    except CofactorError as error:
        raise BadModel(f"{MANIFEST} with {FACTORS}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # restore() is the gate; should it let something through, this is still an error of the folder.
        raise BadModel(
            f"{MANIFEST} with {FACTORS}: no {manifest.kind} ({shorten(str(error), 120)})."
        ) from None
    for name in sorted(kept.keys() ^ arrays.keys()):
        raise BadModel(f"{FACTORS}: {shorten(name)} is not an array of {manifest.kind}.")
    if facts != manifest.facts:
        raise BadModel(f"{MANIFEST}: 'facts' is {shorten(manifest.facts)}, where {shorten(facts)} is meant.")
    rank = manifest.hyperparameters.get("rank")
    if rank is not None and isinstance(model, FactorModel):
        columns = model.item_factors_.shape[1]
        if rank * model.draws != columns:
            raise BadModel(f"{MANIFEST}: 'rank' is {shorten(rank)}, but {FACTORS} has rank {columns}.")
    return model


def _trouble(cls: type[Model], values: dict[str, Any]) -> str:
    """What is wrong with these hyperparameters of a kind of model; nothing is the empty string."""
    fields = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]  # see Model
    for name in sorted(set(fields) ^ set(values)):
        return f"{shorten(name)} is {'missing' if name in fields else 'unknown'}"
    hints = typing.get_type_hints(cls)
    for name in fields:
        if not _fits(values[name], hints[name]):
            text = "None" if values[name] is None else shorten(values[name])
            return f"{name} is {text}, which is no {_named(hints[name])}"
    return ""


def _named(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of an annotated type: bool, int, float, str, None, Literal, or one of several."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in typing.get_args(hint))
    if hint is float:
        whole = type(value) is int and abs(value) <= _EXACT_INTEGERS
        return whole or (type(value) is float and math.isfinite(value))
    if hint is int:
        return type(value) is int and abs(value) < 2**256  # seeds are long
    if hint in (bool, str):
        return type(value) is hint
    if hint in (None, type(None)):
        return value is None
    raise TypeError(f"a hyperparameter of type {hint} cannot be stored; teach _fits to check it")
