"""prepare: the same ratings as read_ratings gives, whatever the source; killed, gone on, and appended to."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cofactor as cf
from cofactor.scale import preparing
from cofactor.scale.dataset import Dataset, group_of, hash_ids, held_out, read_group
from cofactor.scale.preparing import prepare

SMALL = {"memory": 1 << 30, "progress": False}


def rows_of(dataset: Dataset) -> dict:
    """(user, item) -> (rating, held)."""
    items = dataset.item_ids.ids(np.argsort(dataset.item_numbers))
    found = {}
    for number in range(dataset.n_groups):
        group = read_group(dataset.files(number))
        users = group.users.to_pylist()
        assert (group_of(group.users, dataset.n_groups) == number).all()
        for row, user in enumerate(users):
            mine = slice(group.indptr[row], group.indptr[row + 1])
            assert (np.diff(group.items[mine]) > 0).all()
            for item, value in zip(group.items[mine], group.values[mine]):
                found[user, items[item]] = (float(value), False)
        for row, item, value in zip(group.held_users, group.held_items, group.held_values):
            found[users[row], items[item]] = (float(value), True)
    return found


def want(ratings: cf.Ratings) -> dict:
    return dict(
        zip(zip(ratings.users.to_pylist(), ratings.items.to_pylist()), ratings.values.astype(float).tolist())
    )


def check(dataset: Dataset, ratings: cf.Ratings) -> None:
    """The dataset holds just these ratings, and counts them right."""
    rows = rows_of(dataset)
    assert {key: value for key, (value, _) in rows.items()} == want(ratings)
    kept = [value for value, held in rows.values() if not held]
    assert (dataset.n_users, dataset.n_items) == (ratings.n_users, ratings.n_items)
    assert (dataset.n_ratings, dataset.n_held) == (len(kept), len(rows) - len(kept))
    assert dataset.mean == pytest.approx(np.mean(kept), rel=1e-12)
    counts = {}
    for (_, item), (_, held) in rows.items():
        counts[item] = counts.get(item, 0) + (not held)
    assert dict(zip(dataset.item_ids.array.to_pylist(), dataset.item_counts[dataset.item_numbers])) == counts
    dataset.verify()


ids = st.one_of(
    st.integers(0, 9).map(str),
    st.sampled_from(["01", "-5", "18446744073709551615", "9223372036854775808", "é", "a b", "1.0"]),
)
tables = st.lists(
    st.tuples(ids, ids, st.integers(1, 10).map(lambda n: n / 2), st.integers(0, 5)), min_size=1, max_size=30
)


@given(tables, st.integers(1, 5), st.booleans())
def test_a_csv_file_is_read_as_read_ratings_reads_it(tmp_path_factory, rows, groups, times):
    folder = tmp_path_factory.mktemp("prepare")
    names = ["user", "item", "rating", "timestamp"][: 4 if times else 3]
    table = pa.table({name: [str(row[k]) for row in rows] for k, name in enumerate(names)})
    pc.write_csv(table, folder / "ratings.csv")
    dataset = prepare(folder / "ratings.csv", folder / "dataset", groups=groups, **SMALL)
    check(dataset, cf.read_ratings(folder / "ratings.csv"))


@pytest.mark.parametrize("text", [False, True])
def test_ids_that_turn_out_to_be_strings_late(tmp_path, monkeypatch, text):
    monkeypatch.setattr(preparing, "_INTERPRETER", 0)
    users = [str(n) for n in range(3000)] + (["0x"] if text else ["18446744073709551615"])
    frame = pd.DataFrame({"user": users, "item": [n % 50 for n in range(3001)], "rating": 3})
    frame.to_csv(tmp_path / "a.csv", index=False)
    dataset = prepare(tmp_path / "a.csv", tmp_path / "dataset", groups=4, progress=False)
    assert dataset.user_type == ("string" if text else "uint64")
    check(dataset, cf.read_ratings(tmp_path / "a.csv"))


@pytest.mark.parametrize("kind", ["frame", "json", "parquet", "many files"])
def test_sources(tmp_path, ratings, kind):
    table = ratings.to_arrow()
    source = table.to_pandas()
    if kind == "json":
        source.to_json(tmp_path / "r.jsonl", orient="records", lines=True)
        source = tmp_path / "r.jsonl"
    elif kind == "parquet":
        source.to_parquet(tmp_path / "r.parquet")
        source = tmp_path / "r.parquet"
    elif kind == "many files":
        (tmp_path / "many").mkdir()
        for k in range(3):
            source[k::3].to_csv(tmp_path / "many" / f"{k}.csv", index=False)
        source = tmp_path / "many"
    check(prepare(source, tmp_path / "dataset", groups=3, **SMALL), cf.read_ratings(source))


def test_small_buffers_change_nothing(tmp_path, ratings, monkeypatch):
    source = ratings.to_arrow()
    whole = prepare(source, tmp_path / "whole", groups=3, **SMALL)
    monkeypatch.setattr(preparing, "_most_in_buffer", lambda memory: 500)
    parts = prepare(source, tmp_path / "parts", groups=3, **SMALL)
    assert parts.id == whole.id


def test_what_is_held_out_depends_on_user_and_item_alone(tmp_path, ratings):
    table = ratings.to_arrow().to_pandas()
    first = rows_of(prepare(table, tmp_path / "a", holdout=0.3, groups=2, **SMALL))
    again = rows_of(
        prepare(table.sample(frac=1, random_state=1), tmp_path / "b", holdout=0.3, groups=3, **SMALL)
    )
    other = rows_of(prepare(table, tmp_path / "c", holdout=0.3, seed=1, groups=2, **SMALL))
    assert first == again != other
    share = np.mean([held for _, held in first.values()])
    assert 0.2 < share < 0.4


def test_the_share_held_out_is_that_of_all_pairs():
    users, items = hash_ids(np.arange(100_000)), hash_ids(np.arange(100_000) % 100)
    for share in (0.01, 0.1, 0.5):
        assert held_out(users, items, share, 0).mean() == pytest.approx(share, abs=0.005)
    assert not held_out(users, items, 0.0, 0).any()


def test_hashes_are_the_same_for_ever():
    assert hash_ids(np.array([0, 1, -1])).tolist() == [
        16294208416658607535,
        10451216379200822465,
        16490336266968443936,
    ]
    assert hash_ids(pa.array(["1", "é"])).tolist() == [8518482412311870710, 3394012004367669963]


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3]))
def test_appending_is_as_good_as_all_at_once(tmp_path_factory, seed, holdout):
    folder, rng = tmp_path_factory.mktemp("append"), np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user": rng.integers(0, 20, 120),
            "item": rng.integers(0, 15, 120) + rng.integers(0, 2, 120) * np.arange(120),
            "rating": rng.integers(1, 6, 120) / 2,
        }
    )
    cuts = sorted(rng.integers(1, 120, 2))
    parts = [frame[: cuts[0]], frame[cuts[0] : cuts[1]], frame[cuts[1] :]]
    options = {"holdout": holdout, "groups": 3, **SMALL}
    dataset = prepare(parts[0], folder / "dataset", **options)
    for part in parts[1:]:
        if len(part):
            dataset = prepare(part, folder / "dataset", append=True, **SMALL)
    check(dataset, cf.read_ratings(frame))
    assert rows_of(dataset) == rows_of(prepare(frame, folder / "whole", **options))


def test_appended_ratings_are_of_the_same_kind(tmp_path, ratings):
    dataset = prepare(ratings.to_arrow(), tmp_path / "dataset", groups=2, **SMALL)
    before = (tmp_path / "dataset" / "meta.json").read_bytes()
    for table in (
        {"user": ["a"], "item": ["i001"], "rating": [3.0]},
        {"user": [100], "item": [7], "rating": [3.0]},
    ):
        with pytest.raises(cf.BadRatings, match=r"ids .* of type|made of"):
            prepare(table, tmp_path / "dataset", append=True, **SMALL)
    assert (tmp_path / "dataset" / "meta.json").read_bytes() == before
    assert Dataset.open(tmp_path / "dataset").id == dataset.id


def test_a_dataset_is_replaced_whole(tmp_path, ratings):
    table = ratings.to_arrow()
    prepare(table, tmp_path / "dataset", groups=2, **SMALL)
    with pytest.raises(cf.BadRatings):
        prepare({"user": [1], "item": [2], "rating": ["x"]}, tmp_path / "dataset", **SMALL)
    Dataset.open(tmp_path / "dataset").verify()
    dataset = prepare(table.slice(0, 50), tmp_path / "dataset", groups=3, **SMALL)
    check(dataset, cf.read_ratings(table.slice(0, 50)))
    assert len(list((tmp_path / "dataset" / "groups").iterdir())) == 3


KILLED = """
import os, signal, sys
import cofactor.scale.preparing as preparing
from cofactor.scale.writing import DatasetWriter
folder, where, after = sys.argv[1], sys.argv[2], int(sys.argv[3])
home = preparing._Staging if where == "_spill" else DatasetWriter
real, calls = getattr(home, where), 0
def counted(*args, **kwargs):
    global calls
    calls += 1
    if calls > after:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(home, where, counted)
preparing.prepare(folder + "/source", folder + "/dataset", groups=4, holdout=0.2, memory=1 << 30)
"""


@pytest.mark.parametrize(
    ("where", "after"), [("_spill", 0), ("_spill", 2), ("write_group", 0), ("write_group", 3)]
)
def test_killed_and_called_again(tmp_path, ratings, where, after):
    frame = ratings.to_arrow().to_pandas()
    (tmp_path / "source").mkdir()
    for k in range(4):
        frame[k::4].to_csv(tmp_path / "source" / f"{k}.csv", index=False)
    options = {"holdout": 0.2, "groups": 4, "memory": 1 << 30, "progress": False}
    whole = prepare(tmp_path / "source", tmp_path / "whole", **options)
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), where, str(after)], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "dataset" / "meta.json").exists()
    written = []
    real = preparing._Staging._spill

    def spill(self, *args):
        written.append(args)
        real(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing._Staging, "_spill", spill)
        dataset = prepare(tmp_path / "source", tmp_path / "dataset", **options)
    assert len(written) == (4 - after if where == "_spill" else 0)
    assert dataset.id == whole.id
    assert sorted(p.name for p in (tmp_path / "dataset").iterdir()) == [
        "groups",
        "items-0.parquet",
        "meta.json",
    ]


def test_other_options_begin_anew(tmp_path, ratings):
    frame = ratings.to_arrow().to_pandas()
    (tmp_path / "source").mkdir()
    frame.to_csv(tmp_path / "source" / "r.csv", index=False)
    program = [sys.executable, "-c", KILLED, str(tmp_path), "write_group", "2"]
    assert subprocess.run(program, check=False).returncode == -signal.SIGKILL
    dataset = prepare(tmp_path / "source", tmp_path / "dataset", groups=5, **SMALL)
    check(dataset, cf.read_ratings(tmp_path / "source"))
    assert len(list((tmp_path / "dataset" / "groups").iterdir())) == 5


def test_a_full_disk_leaves_what_was_there(tmp_path, ratings):
    frame = ratings.to_arrow().to_pandas()
    dataset = prepare(frame, tmp_path / "dataset", groups=2, **SMALL)
    larger = pd.concat([frame.assign(user=frame.user + 1000 * k) for k in range(300)])
    larger.to_parquet(tmp_path / "larger.parquet")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match="too large"):
            prepare(tmp_path / "larger.parquet", tmp_path / "dataset", **SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert Dataset.open(tmp_path / "dataset").id == dataset.id
    dataset.verify()
    after = prepare(tmp_path / "larger.parquet", tmp_path / "dataset", **SMALL)
    assert after.n_ratings == 300 * len(frame)


def test_refused_before_anything_is_written(tmp_path, ratings, monkeypatch):
    table = ratings.to_arrow()
    with pytest.raises(cf.BadParameter, match=r"0\.\d+ GiB are needed"):
        prepare(table, tmp_path / "dataset", memory=1 << 20)
    with pytest.raises(cf.BadParameter, match="not a dataset to append to"):
        prepare(table, tmp_path / "dataset", append=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(cf.BadParameter, match="thesis"):
        prepare(table, tmp_path / "other")
    with pytest.raises(cf.BadParameter, match="holdout"):
        prepare(table, tmp_path / "dataset", holdout=1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(preparing.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(cf.CofactorError, match="GiB of disk left"):
        prepare(table, tmp_path / "dataset")


def test_a_bad_row_is_named(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\n1,2,3\n1,3,x\n")
    with pytest.raises(cf.BadRatings, match="row 2"):
        prepare(tmp_path / "r.csv", tmp_path / "dataset", **SMALL)
    assert not (tmp_path / "dataset" / "meta.json").exists()


def test_ratings_of_some_users(tmp_path, ratings):
    dataset = prepare(ratings.to_arrow(), tmp_path / "dataset", groups=4, holdout=0.3, **SMALL)
    some = ratings.user_ids.ids(np.array([0, 7, 30]))
    got = dataset.ratings_of(some)
    chosen = ratings.select(np.isin(ratings.user_positions, [0, 7, 30]))
    assert want(got) == want(chosen)
    with pytest.raises(cf.UnknownUser, match="99999"):
        dataset.ratings_of([some[0], 99999])


def test_more_ratings_than_codes(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"user": rng.integers(0, 40, 600), "item": rng.integers(0, 30, 600), "rating": rng.normal(0, 1, 600)}
    )
    dataset = prepare(frame, tmp_path / "dataset", groups=2, **SMALL)
    assert dataset.code_book is None
    check(dataset, cf.read_ratings(frame))
    check(
        prepare(frame.assign(rating=frame.rating + 1), tmp_path / "dataset", append=True, **SMALL),
        cf.read_ratings(frame.assign(rating=frame.rating + 1)),
    )


def test_row_groups_end_where_users_end(tmp_path, ratings, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr("cofactor.scale.writing._ROW_GROUP", 100)
    dataset = prepare(ratings.to_arrow(), tmp_path / "dataset", groups=1, **SMALL)
    file = pq.ParquetFile(dataset.path / "groups" / "00000-0.parquet")
    assert file.num_row_groups > 3
    last = None
    for k in range(file.num_row_groups):
        users = file.read_row_group(k)["user"].to_pylist()
        assert users[0] != last
        last = users[-1]
    assert want(dataset.ratings_of(ratings.user_ids.array)) == want(ratings)
    assert os.listdir(dataset.path / "groups") == ["00000-0.parquet"]
