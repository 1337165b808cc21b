"""Datasets that are missing, cut off, mixed, tampered with, or of another version: one paragraph, and nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cofactor as cf
from cofactor.scale.dataset import META, Dataset, read_group
from cofactor.scale.preparing import prepare
from cofactor.scale.training import train


@pytest.fixture(scope="module")
def sound_dataset(ratings, tmp_path_factory) -> Path:
    """A dataset that nothing is wrong with: 3 groups."""
    folder = tmp_path_factory.mktemp("datasets") / "sound"
    table = ratings.to_arrow().set_column(2, "rating", pa.array(ratings.values.round()))
    return prepare(table, folder, groups=3, holdout=0.2, memory=1 << 30).path


@pytest.fixture
def spoilt(sound_dataset, tmp_path) -> Path:
    return Path(shutil.copytree(sound_dataset, tmp_path / "dataset"))


def refused(folder: Path, *words: str) -> None:
    """Neither training nor verifying takes it, in a paragraph that says these words."""
    for use in (
        lambda: Dataset.open(folder).verify(),
        lambda: train(folder, cf.ALS(rank=2, sweeps=1), progress=False),
    ):
        with pytest.raises(cf.BadDataset) as error:
            use()
        message = str(error.value)
        assert "\n" not in message
        assert len(message) < 700
        assert message.endswith(".")
        for word in words:
            assert word in message, message


def change(folder: Path, edit) -> None:
    meta = json.loads((folder / META).read_text())
    edit(meta)
    (folder / META).write_text(json.dumps(meta))


def seal(folder: Path, name: str) -> None:
    """Make size and checksum of a file right again, as an adversary would."""
    data = (folder / name).read_bytes()

    def edit(meta):
        for entry in [meta["items"], *(file for group in meta["groups"] for file in group["files"])]:
            if entry[0] == name:
                entry[1:] = [len(data), hashlib.sha256(data).hexdigest()]

    change(folder, edit)


def test_it_is_sound(sound_dataset):
    Dataset.open(sound_dataset).verify()


def test_no_dataset(tmp_path):
    with pytest.raises(cf.BadDataset, match="cofactor prepare"):
        Dataset.open(tmp_path / "nothing")
    with pytest.raises(cf.BadDataset, match="cofactor prepare"):
        Dataset.open(tmp_path)


@pytest.mark.parametrize("name", ["items-0.parquet", "groups/00001-0.parquet"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut off", "another", "flipped"])
def test_files(spoilt, name, how):
    path = spoilt / name
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut off":
        path.write_bytes(data[: len(data) // 2])
    elif how == "another":
        path.write_bytes((spoilt / "groups/00002-0.parquet").read_bytes())
    else:
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    refused(spoilt, name)


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda m: m.update(format="x"), "not that of a dataset"),
        (lambda m: m.update(version=2), "version 2"),
        (lambda m: m.update(n_items=0), "n_items"),
        (lambda m: m.update(n_items=2**40), "n_items"),
        (lambda m: m.update(n_items="40"), "n_items"),
        (lambda m: m.update(n_users=True), "n_users"),
        (lambda m: m.update(n_users=10**6), "users"),
        (lambda m: m.update(n_ratings=-1), "n_ratings"),
        (lambda m: m.update(mean=None), "mean"),
        (lambda m: m.update(scale=[5, 1]), "scale"),
        (lambda m: m.update(scale=[1]), "scale"),
        (lambda m: m.update(code_book=[]), "code_book"),
        (lambda m: m.update(code_book=[1.0] * 257), "code_book"),
        (lambda m: m.update(code_book=["x"]), "code_book"),
        (lambda m: m.update(holdout=1), "holdout"),
        (lambda m: m.update(user_type="float"), "user_type"),
        (lambda m: m.update(groups=[]), "groups"),
        (lambda m: m["groups"][0].update(files=[]), "groups"),
        (lambda m: m["groups"][0]["files"][0].__setitem__(0, "../../etc/passwd"), "groups"),
        (lambda m: m["groups"][0]["files"][0].__setitem__(0, "groups/../00000-0.parquet"), "groups"),
        (lambda m: m["groups"][0]["files"][0].__setitem__(2, "0" * 63), "groups"),
        (lambda m: m["items"].__setitem__(1, -5), "items"),
        (lambda m: m.pop("groups"), "groups"),
        (lambda m: m.pop("seed"), "seed"),
    ],
)
def test_meta(spoilt, edit, word):
    change(spoilt, edit)
    refused(spoilt, word)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": NaN}', b"[" * 100_000])
def test_meta_that_is_no_json(spoilt, text):
    (spoilt / META).write_bytes(text)
    refused(spoilt)


NAME = "groups/00001-0.parquet"


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda t: t.set_column(1, "item", pa.array([10**6] * len(t), pa.int32())), "item"),
        (lambda t: t.set_column(1, "item", pa.array([-1] * len(t), pa.int32())), "item"),
        (lambda t: t.set_column(1, "item", pa.array([0] * len(t), pa.int64())), "columns"),
        (lambda t: t.set_column(2, "rating", pa.array([255] * len(t), pa.uint8())), "code book"),
        (lambda t: t.set_column(2, "rating", pa.array([3.0] * len(t), pa.float32())), "columns"),
        (lambda t: t.set_column(0, "user", pa.array(["x"] * len(t))), "columns"),
        (lambda t: t.set_column(0, "user", pa.nulls(len(t), pa.int64())), "columns"),
        (lambda t: t.drop_columns(["user"]), "columns"),
        (lambda t: t.take(pa.array(np.arange(len(t))[::-1])), "order"),
    ],
)
def test_contents_of_a_group_that_was_sealed_again(spoilt, spoil, word):
    table = pq.read_table(spoilt / NAME)
    pq.write_table(spoil(table), spoilt / NAME)
    seal(spoilt, NAME)
    refused(spoilt, "groups/", word)


def test_a_group_that_is_no_parquet_but_sealed(spoilt):
    (spoilt / NAME).write_bytes(b"PAR1" + bytes(200) + b"PAR1")
    seal(spoilt, NAME)
    refused(spoilt, NAME, "Parquet")


def test_counts_that_were_changed_are_found_by_verify(spoilt):
    table = pq.read_table(spoilt / "items-0.parquet")
    counts = table["count"].to_numpy() + 1
    pq.write_table(table.set_column(1, "count", pa.array(counts)), spoilt / "items-0.parquet")
    seal(spoilt, "items-0.parquet")
    with pytest.raises(cf.BadDataset, match="counts"):
        Dataset.open(spoilt).verify()


def test_users_twice_in_a_file_are_not_in_order(spoilt):
    table = pq.read_table(spoilt / NAME)
    pq.write_table(pa.concat_tables([table, table]), spoilt / NAME)
    seal(spoilt, NAME)
    with pytest.raises(cf.BadDataset, match="order"):
        read_group(Dataset.open(spoilt).files(1))
