"""A model on disk: a folder of three files, none of which can run code when it is read.

``manifest.json`` says what the model is, ``factors.safetensors`` holds its arrays, ``ids.parquet`` its
ids; docs/reference/model-format.md specifies them. Whatever is read is taken for hostile until checked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError

from cofactor.errors import BadModel, BadParameter, CofactorError, shorten
from cofactor.models.base import Model
from cofactor.storage.folders import (
    FACTORS,
    FILES,
    IDS,
    LONGEST_MANIFEST,
    MANIFEST,
    display,
    open_folder,
    resolve,
)
from cofactor.storage.id_table import read_ids, write_ids
from cofactor.storage.manifest import (
    Manifest,
    build_model,
    parse_manifest,
    plain_hyperparameters,
    write_manifest,
)
from cofactor.storage.replacing import replace_folder
from cofactor.storage.tensors import map_file, map_tensors, write_tensors

_MEND = "Copy the whole folder again from where it was saved, or fit and save the model anew."


@dataclasses.dataclass(frozen=True)
class FileReport:
    """One file of a model: its size in bytes, its SHA-256, and whether both are as the manifest says."""

    name: str
    bytes: int
    sha256: str
    ok: bool


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """What ``verify`` found in a model's folder.

    Attributes:
        path: the folder that was read.
        kind: the model's class, such as "ALS".
        format_version, cofactor_version, created: of the manifest; ``created`` is in UTC.
        hyperparameters: by name.
        users, items, ratings: how many the model has learnt from; ratings may be None.
        objective: after the last sweep, or None.
        arrays: shape and dtype by name.
        files: the three files.
        ok: whether all is as it should be; ``verify`` raises where it is not.
    """

    path: str
    kind: str
    format_version: int
    cofactor_version: str
    created: str
    hyperparameters: dict[str, Any]
    users: int
    items: int
    ratings: int | None
    objective: float | None
    arrays: dict[str, dict[str, Any]]
    files: tuple[FileReport, ...]
    ok: bool

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, ready for JSON."""
        return {**dataclasses.asdict(self), "files": [dataclasses.asdict(file) for file in self.files]}


def save(model: Model, path: str | os.PathLike[str]) -> Path:
    """Write a fitted model to a folder, which is made, or replaced where it holds a model; returns its path.

    The old model is there until the new one is whole on disk, even if the process is killed. Missing
    parents are made; a symbolic link is followed.

    Raises ``NotFitted``; ``BadParameter`` where ``path`` is a file or a folder of other things, or the
    model cannot be stored; ``CofactorError`` where the system refuses (disk full, no permission).
    After an error what was there before is unchanged.
    """
    if not isinstance(model, Model):
        raise BadParameter(
            f"save takes a fitted model, not {type(model).__name__}. Give what fit() returned."
        )
    arrays, facts = model.state()
    target = resolve(path)
    parameters = plain_hyperparameters(model)

    def write(folder: Path) -> None:
        write_tensors(folder / FACTORS, arrays)
        with open(folder / IDS, "xb") as file:
            write_ids(file, model.user_ids_, model.item_ids_)
            mode = os.fstat(file.fileno()).st_mode & 0o777
        os.chmod(folder / FACTORS, mode)  # safetensors lets nobody else read it, whatever the umask
        manifest = Manifest(
            kind=type(model).__name__,
            hyperparameters=parameters,
            facts=facts,
            arrays={name: _shape_of(array) for name, array in arrays.items()},
            files={name: _measure(folder / name) for name in (FACTORS, IDS)},
            training=_training(model, arrays),
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        with open(folder / MANIFEST, "xb") as file:
            file.write(write_manifest(manifest))
        # What cannot be read must not replace what can.
        _read_files(*open_folder(folder), checksums=False)

    try:
        replace_folder(target, write)
    except BadModel as error:
        raise BadParameter(
            f"This model cannot be saved, since it could not be loaded again: {error}"
        ) from None
    except (OSError, SafetensorError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or shorten(str(error), 120)
        raise CofactorError(
            f"The model could not be saved to {display(path)} ({reason}). What was there before is unchanged. "
            f"Give a path on a disk with room, in a folder that you may write to."
        ) from None
    return Path(path)


def load(path: str | os.PathLike[str], *, verify: bool = True) -> Model:
    """The model that ``save`` wrote to a folder; its predictions are the same to the bit.

    The arrays are mapped, not read: they are loaded from disk when they are used, cannot be written to,
    and are shared between processes. ``verify=False`` leaves out the checksums, which read the whole
    file, and nothing else. Never change a folder in place while a model is loaded from it; ``save``
    does not.

    Raises ``BadModel`` for whatever is wrong with the folder.
    """
    return _read(resolve(path), checksums=verify)[0]


def verify(path: str | os.PathLike[str]) -> ModelReport:
    """Check all that ``load`` checks, and report what is there. Raises ``BadModel`` at the first fault."""
    return _read(resolve(path), checksums=True)[1]


def _read(path: Path, checksums: bool) -> tuple[Model, ModelReport]:
    folder, files = open_folder(path)
    try:
        return _read_files(folder, files, checksums)
    except BadModel as error:
        # Models and manifests of a later version come with advice of their own.
        mend = "" if str(error).endswith(("again.", "anew.", "--upgrade cofactor.")) else f" {_MEND}"
        raise BadModel(f"{display(folder)}: {error}{mend}") from None
    except OSError as error:
        raise BadModel(f"{display(folder)} cannot be read ({error.strerror}). {_MEND}") from None


def _read_files(folder: Path, files: dict[str, BinaryIO], checksums: bool) -> tuple[Model, ModelReport]:
    """The model in open files, which are closed. The messages of its errors begin with the file."""
    with contextlib.ExitStack() as stack:
        for file in files.values():
            stack.enter_context(file)
        size = os.fstat(files[MANIFEST].fileno()).st_size
        if size > LONGEST_MANIFEST:
            raise BadModel(f"{MANIFEST} has {size:,} bytes, more than the {LONGEST_MANIFEST:,} allowed.")
        text = files[MANIFEST].read(LONGEST_MANIFEST + 1)
        manifest = parse_manifest(text, checksums)
        data = {name: map_file(files[name], name) for name in manifest.files}

    for name, entry in manifest.files.items():
        if len(data[name]) != entry["bytes"]:
            raise BadModel(f"{name} has {len(data[name]):,} bytes, where {MANIFEST} says {entry['bytes']:,}.")
    arrays = map_tensors(data[FACTORS], FACTORS)
    _check_arrays(arrays, manifest.arrays)
    checks = {MANIFEST: hashlib.sha256(text).hexdigest()}
    for name, entry in manifest.files.items() if checksums else ():
        checks[name] = hashlib.sha256(data[name]).hexdigest()
        if checks[name] != entry["sha256"]:
            raise BadModel(
                f"{name} does not have the SHA-256 that {MANIFEST} says: it was changed or damaged."
            )

    user_ids, item_ids = read_ids(data[IDS], IDS, manifest.training["users"], manifest.training["items"])
    model = build_model(manifest, user_ids, item_ids, arrays)
    if _training(model, arrays) != manifest.training:
        raise BadModel(f"{MANIFEST}: 'training' does not go with the arrays in {FACTORS}.")
    sizes = {MANIFEST: len(text), **{name: len(view) for name, view in data.items()}}
    report = ModelReport(
        path=str(folder),
        kind=manifest.kind,
        format_version=manifest.format_version,
        cofactor_version=manifest.cofactor_version,
        created=manifest.created,
        hyperparameters=manifest.hyperparameters,
        **manifest.training,
        arrays=manifest.arrays,
        files=tuple(FileReport(name, sizes[name], checks.get(name, ""), checksums) for name in FILES),
        ok=checksums,
    )
    return model, report


def _check_arrays(arrays: dict[str, NDArray[Any]], described: dict[str, dict[str, Any]]) -> None:
    """``BadModel`` unless the arrays in the file are those of the manifest."""
    for name in sorted(arrays.keys() ^ described.keys()):
        where = (
            f"is in {FACTORS} and not in {MANIFEST}"
            if name in arrays
            else f"of {MANIFEST} is not in {FACTORS}"
        )
        raise BadModel(f"The array {shorten(name)} {where}.")
    for name, array in arrays.items():
        if _shape_of(array) != described[name]:
            raise BadModel(
                f"{FACTORS}: the array {shorten(name)} is {shorten(_shape_of(array), 80)}, where {MANIFEST} "
                f"says {shorten(described[name], 80)}."
            )


def _shape_of(array: NDArray[Any]) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "shape": list(array.shape)}


def _measure(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {
            "bytes": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _training(model: Model, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """What the model was fitted to, in four numbers; None for what this kind does not keep."""
    objective = np.asarray(arrays.get("objective", ()))
    return {
        "users": len(model.user_ids_),
        "items": len(model.item_ids_),
        "ratings": arrays["ratings_values"].size if "ratings_values" in arrays else None,
        "objective": float(objective[-1]) if objective.size else None,
    }
