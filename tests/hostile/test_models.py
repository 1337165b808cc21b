"""Model folders that are damaged, incomplete, or made to do harm: each is refused in one paragraph."""

from __future__ import annotations

import os

import numpy as np
import pytest

import cofactor as cf
from cofactor.storage import ModelReport, folders
from cofactor.storage.folders import FACTORS, FILES, IDS, MANIFEST
from tests.hostile.spoiling import refused, sealed, setting, taken_or_refused, without


def test_the_seal_of_these_tests_is_right(folder):
    sealed(folder)
    assert isinstance(cf.verify(folder), ModelReport)


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_byte_flipped(folder, name):
    whole = (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.permutation(len(whole))[:300]:
        damaged = bytearray(whole)
        damaged[place] ^= rng.integers(1, 256)
        (folder / name).write_bytes(damaged)
        refused(folder, name)


@pytest.mark.parametrize("name", [FACTORS, IDS])
def test_a_byte_flipped_and_the_checksums_made_right(folder, name):
    whole = (folder / name).read_bytes()
    rng = np.random.default_rng(1)
    header, footer = range(min(700, len(whole))), range(max(len(whole) - 1000, 0), len(whole))
    for place in [*header, *footer, *rng.permutation(len(whole))[:200]]:
        damaged = bytearray(whole)
        damaged[place] ^= rng.integers(1, 256)
        (folder / name).write_bytes(damaged)
        sealed(folder)
        taken_or_refused(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("seal", [False, True])
def test_cut_off(folder, name, seal):
    whole = (folder / name).read_bytes()
    for length in {*range(12), *range(0, len(whole), 97), *range(len(whole) - 12, len(whole))}:
        (folder / name).write_bytes(whole[:length])
        if seal and name != MANIFEST:
            sealed(folder)
        refused(folder, name)


@pytest.mark.parametrize("name", FILES)
def test_longer_than_declared(folder, name):
    with open(folder / name, "ab") as file:
        file.write(b"\0" * 8)
    refused(folder, name)
    if name != MANIFEST:
        sealed(folder)
        refused(folder, name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_one(folder, name, tmp_path):
    kept = tmp_path / "kept"
    os.rename(folder / name, kept)
    refused(folder, f"{name} is missing")
    (folder / name).mkdir()
    refused(folder, f"{name} is not a plain file")
    (folder / name).rmdir()
    (folder / name).symlink_to(kept)  # sound, but outside
    refused(folder, f"{name} is a symbolic link")
    (folder / name).unlink()
    os.mkfifo(folder / name)  # which nobody ever writes to
    refused(folder, f"{name} is not a plain file")


def test_a_folder_that_is_not_one(tmp_path, folder):
    refused(tmp_path / "missing", "There is no folder", "missing")
    refused(folder / MANIFEST, "is a file")
    refused(folder / MANIFEST / "below", "There is no folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "is missing")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    refused(tmp_path / "a", "cannot be opened")
    refused(tmp_path / ("x" * 5000), "cannot be opened")
    (tmp_path / "link").symlink_to(folder)
    assert cf.load(tmp_path / "link").is_fitted  # the folder itself may be a link


def test_what_may_not_be_read(folder, monkeypatch):
    """By a stand-in for the system, since root may read everything."""
    opened = os.open
    for closed in (folder, *FILES):

        def forbid(path, *args, closed=closed, **kwargs):
            if path == closed:
                raise PermissionError(13, "Permission denied")
            return opened(path, *args, **kwargs)

        monkeypatch.setattr(folders.os, "open", forbid)
        refused(folder, str(closed), "Permission denied")


def test_a_folder_that_cannot_be_written_to_is_read(folder):
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    assert cf.load(folder).is_fitted
    assert cf.verify(folder).ok


# -- the manifest ----------------------------------------------------------------------------------


MANIFESTS = {
    "of another program": (setting("format", "model"), "not that of a cofactor model"),
    "of no program": (without("format"), "not that of a cofactor model"),
    "of the future": (setting("format_version", 2), "Upgrade it: pip install"),
    "of the far future": (setting("format_version", 10**70), "Upgrade it: pip install"),
    "version zero": (setting("format_version", 0), "format_version"),
    "version in words": (setting("format_version", "1"), "format_version"),
    "version true": (setting("format_version", True), "format_version"),
    "unknown kind": (setting("kind", "Oracle"), "'kind' is 'Oracle'"),
    "private kind": (setting("kind", "Model"), "'kind' is 'Model'"),
    "kind of a list": (setting("kind", ["ALS"]), "'kind'"),
    "other kind": (setting("kind", "Baseline"), "hyperparameters"),
    "field missing": (without("training"), "'training' is missing"),
    "field unknown": (setting("exec", "import os"), "'exec' is unknown"),
    "long field": (setting("x" * 10**6, 1), "is unknown"),
    "created in words": (setting("created", "yesterday"), "created"),
    "rank in words": (setting("hyperparameters", "rank", "a"), "rank is 'a', which is no int"),
    "rank huge": (setting("hyperparameters", "rank", 10**9), "rank is 1000000000"),
    "rank a fraction": (setting("hyperparameters", "rank", 2.0), "rank is 2.0"),
    "rank true": (setting("hyperparameters", "rank", True), "rank is True"),
    "rank of none": (setting("hyperparameters", "rank", None), "rank is None"),
    "reg a list": (setting("hyperparameters", "reg", [1]), "reg is [1]"),
    "reg below zero": (setting("hyperparameters", "reg", -1.0), "reg is -1.0"),
    "reg too long": (setting("hyperparameters", "reg", 10**70), "reg is 1000"),
    "no sweeps": (setting("hyperparameters", "sweeps", 0), "sweeps is 0"),
    "tol below zero": (setting("hyperparameters", "tol", -1.0), "tol is -1.0"),
    "seed below zero": (setting("hyperparameters", "seed", -1), "seed is -1"),
    "no steps": (setting("hyperparameters", "cg_steps", 0), "cg_steps is 0"),
    "no such biases": (setting("hyperparameters", "biases", "wrong"), "biases is 'wrong'"),
    "no such dtype": (setting("hyperparameters", "dtype", "float16"), "dtype is 'float16'"),
    "too many threads": (setting("hyperparameters", "threads", 10**6), "threads is 1000000"),
    "parameter unknown": (setting("hyperparameters", "__class__", "x"), "'__class__' is unknown"),
    "parameter missing": (without("hyperparameters", "seed"), "'seed' is missing"),
    "a list of parameters": (setting("hyperparameters", [1, 2]), "'hyperparameters'"),
    "no mean": (without("facts", "mean"), "mean"),
    "mean in words": (setting("facts", "mean", "high"), "mean"),
    "mean as text": (setting("facts", "mean", "3.5"), "'facts'"),
    "mean long": (setting("facts", "mean", 10**79), "mean"),
    "scale upside down": (setting("facts", "scale", [5.0, 1.0]), "scale"),
    "scale as text": (setting("facts", "scale", "15"), "'facts'"),
    "scale of three": (setting("facts", "scale", [1.0, 2.0, 3.0]), "scale"),
    "more facts": (setting("facts", "more", 1), "'facts'"),
    "fewer users": (setting("training", "users", 19), IDS),
    "users below zero": (setting("training", "users", -1), "'training'"),
    "users too many": (setting("training", "users", 2**62), IDS),
    "users a fraction": (setting("training", "users", 20.0), "'training'"),
    "a user as an item": (
        lambda m: m["training"].update(users=m["training"]["users"] - 1, items=m["training"]["items"] + 1),
        IDS,
    ),
    "other ratings": (setting("training", "ratings", 3), "'training'"),
    "other objective": (setting("training", "objective", 0.5), "'training'"),
    "objective in words": (setting("training", "objective", "low"), "'training'"),
    "training as a list": (setting("training", []), "'training'"),
    "array unknown": (setting("arrays", "more", {"dtype": "float32", "shape": [1]}), "'more'"),
    "array missing": (without("arrays", "item_bias"), "'item_bias'"),
    "array of other shape": (setting("arrays", "item_bias", "shape", [7]), "'item_bias'"),
    "array of other dtype": (setting("arrays", "item_bias", "dtype", "float64"), "'item_bias'"),
    "array as text": (setting("arrays", "item_bias", "float32"), "'item_bias'"),
    "a file outside": (setting("files", "../x", {"bytes": 1, "sha256": "0" * 64}), "'files'"),
    "a file of the system": (setting("files", {"/etc/passwd": {}, IDS: {}}), "'files'"),
    "a file missing": (without("files", IDS), "'files'"),
    "file of other size": (setting("files", IDS, "bytes", 5), f"{IDS} has"),
    "file of size below zero": (setting("files", IDS, "bytes", -5), "'files'"),
    "file of size in words": (setting("files", IDS, "bytes", "5"), "'files'"),
    "file without checksum": (without("files", FACTORS, "sha256"), "'files'"),
    "other checksum": (setting("files", FACTORS, "sha256", "a" * 64), f"{FACTORS} does not have the SHA-256"),
    "checksum in words": (setting("files", FACTORS, "sha256", "none"), "'files'"),
    "checksum a list": (setting("files", FACTORS, "sha256", ["a" * 64]), "'files'"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_cannot_be(folder, name):
    change, words = MANIFESTS[name]
    sealed(folder, change)
    refused(folder, MANIFEST if words not in (IDS, f"{IDS} has") else IDS, words)


TEXTS = {
    "a name twice": lambda text: text.replace('"rank": 2,', '"rank": 2, "rank": 2,'),
    "the format twice": lambda text: text.replace("{", '{"format": "cofactor-model",', 1),
    "NaN": lambda text: text.replace('"reg": 1.0', '"reg": NaN'),
    "infinity": lambda text: text.replace('"reg": 1.0', '"reg": -Infinity'),
    "beyond a double": lambda text: text.replace('"reg": 1.0', '"reg": 1e999'),
    "a number of a million digits": lambda text: text.replace('"rank": 2', '"rank": 2' + "0" * 10**6),
    "a comment": lambda text: "// mine\n" + text,
    "a comma too many": lambda text: text.replace("\n}", ",\n}"),
    "deep": lambda text: "[" * 10**6 + text,
    "a list": lambda text: "[" + text + "]",
    "a string": lambda text: '"cofactor-model"',
    "nothing": lambda text: "",
    "a byte order mark": lambda text: "\ufeff" + text,
    "binary": lambda text: "\0" * 100,
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_manifest_that_is_not_strict_json(folder, name):
    before = (folder / MANIFEST).read_bytes()
    sealed(folder, text=TEXTS[name])
    assert (folder / MANIFEST).read_bytes() != before
    refused(folder, MANIFEST)


def test_a_manifest_that_is_not_text_or_too_long(folder):
    text = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(text.replace(b"ALS", b"\xff\xfe\xfd"))
    refused(folder, MANIFEST, "not sound JSON")
    with open(folder / MANIFEST, "ab") as file:
        file.truncate(2**40)  # takes no room on disk, and must take none in memory
    refused(folder, MANIFEST, "more than the")


def test_without_checksums_all_else_is_checked(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"seed": 0', '"seed": 5'))
    refused(folder, MANIFEST, "SHA-256")
    assert cf.load(folder, verify=False).seed == 5
    (folder / MANIFEST).write_text(text.replace('"rank": 2', '"rank": 5'))
    with pytest.raises(cf.BadModel, match="'rank' is 5"):
        cf.load(folder, verify=False)
