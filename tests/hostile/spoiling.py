"""How a model's folder is spoilt, and what must come of it.

A checksum stops an accident, not an adversary, who makes it anew. So wherever a fault is not about the
checksums themselves, they are made right again here first (``sealed``).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import cofactor as cf
from cofactor.storage.folders import MANIFEST


def sealed(folder: Path, change=lambda manifest: None, text=lambda text: text) -> None:
    """Change the manifest, as an object and then as text, and put all checksums and sizes right."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name, entry in manifest["files"].items():
        data = (folder / name).read_bytes()
        entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    change(manifest)
    manifest.pop("sha256", None)
    blank = text(json.dumps({**manifest, "sha256": "0" * 64}, indent=1) + "\n").encode()
    start, zeros, end = blank.rpartition(b"0" * 64)
    seal = hashlib.sha256(blank).hexdigest().encode() if zeros else b""
    (folder / MANIFEST).write_bytes(start + seal + end)


def refused(folder: Path, *words: str) -> str:
    """Assert that neither load nor verify takes the folder, in a paragraph that says these words."""
    with pytest.raises(cf.BadModel) as error:
        cf.load(folder)
    message = str(error.value)
    with pytest.raises(cf.BadModel) as again:
        cf.verify(folder)
    assert str(again.value) == message
    assert len(message) < 600
    assert "\n" not in message
    assert message.endswith(".")
    assert error.value.__cause__ is None
    assert "Traceback" not in message
    for word in words:
        assert word in message, message
    return message


def taken_or_refused(folder: Path) -> None:
    """Assert that the folder is a model that works, or is refused; nothing else."""
    try:
        model = cf.load(folder)
    except cf.BadModel as error:
        assert len(str(error)) < 600  # noqa: PT017  # either is right
        return
    model.predict(model.user_ids_.ids(np.arange(3)), model.item_ids_.ids(np.arange(3)))
    model.recommend(model.user_ids_.id(0))


def setting(*path):
    """A change to a manifest: ``setting("a", "b", value)`` is manifest["a"]["b"] = value."""
    *names, last, value = path

    def change(manifest):
        for name in names:
            manifest = manifest[name]
        manifest[last] = value

    return change


def without(*path):
    *names, last = path

    def change(manifest):
        for name in names:
            manifest = manifest[name]
        del manifest[last]

    return change
