"""read_ratings: the same table through every format, columns by name, ids exactly, bad rows by number."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import cofactor as cf

NAMES = ("user", "item", "rating", "timestamp")
word = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=6)
canonical = st.integers(-(2**63), 2**63 - 1)


def is_integer(text: str) -> bool:
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**64
    except ValueError:
        return False


def columns(ids):
    value = st.integers(-20, 20).map(lambda n: n / 2)
    return st.lists(st.tuples(ids, ids, value, st.integers(0, 2**40)), min_size=1, max_size=20)


def write_text(path: Path, rows, sep=",", header=True) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=sep, lineterminator="\n")
        if header:
            writer.writerow(NAMES)
        writer.writerows(rows)
    return path


@given(st.one_of(columns(canonical), columns(word)))
def test_the_same_ratings_through_every_format(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("formats")
    table = pa.table(dict(zip(NAMES, zip(*rows))))
    want = cf.read_ratings(table)
    pq.write_table(table, folder / "r.parquet")
    (folder / "r.jsonl").write_text("\n".join(json.dumps(dict(zip(NAMES, row))) for row in rows), "utf-8")
    sources = {
        "parquet": folder / "r.parquet",
        "jsonl": str(folder / "r.jsonl"),
        "dict": table.to_pydict(),
        "reader": table.to_reader(),
        "pandas": table.to_pandas(),
        "polars": pl.from_arrow(table),
        "dictionary": table.set_column(0, "user", table["user"].dictionary_encode()),
    }
    # Text has no types: there, ids count as integers where all are written like integers, else as strings
    texts = [[str(row[side]) for row in rows] for side in (0, 1)]
    if all(isinstance(row[0], int) or not all(map(is_integer, side)) for row in rows for side in texts):
        sources |= {
            "csv": write_text(folder / "r.csv", rows),
            "tsv": write_text(folder / "r.tsv", rows, "\t"),
            "semicolons": write_text(folder / "s.csv", rows, ";"),
        }
        packed = folder / "r.csv.gz"
        packed.write_bytes(gzip.compress((folder / "r.csv").read_bytes()))
        sources["gzip"] = packed
    for name, source in sources.items():
        got = cf.read_ratings(source)
        assert got.to_arrow().equals(want.to_arrow()), name
        assert got.duplicates == want.duplicates


def text(tmp_path: Path, content: str | bytes, name: str = "r.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(source, **options):
    return [tuple(row.values()) for row in cf.read_ratings(source, **options).to_arrow().to_pylist()]


@pytest.mark.parametrize(
    ("name", "content"),
    {
        "u.data": "1\t2\t3\t4\n5\t6\t1\t8\n",
        "ratings.dat": "1::2::3::4\n5::6::1::8\n",
        "no-header.csv": "1,2,3.0,4\n5,6,1,8\n",
        "crlf.csv": "user,item,rating,timestamp\r\n1,2,3,4\r\n5,6,1,8\r\n",
        "bom-blank.csv": "\ufeff\n\nuser,item,rating,timestamp\n1,2,3,4\n5,6,1,8\n",
        "bom.csv": "\ufeffuser,item,rating,timestamp\n1,2,3,4\n5,6,1,8\n",
        "blank-lines.csv": "\n\nuser,item,rating,timestamp\n1,2,3,4\n\n5,6,1,8\n\n",
        "bars.txt": "userId|movieId|rating|timestamp\n1|2|3|4\n5|6|1|8\n",
        "other-order.csv": "Timestamp,Stars,Movie ID,user_id\n4,3,2,1\n8,1,6,5\n",
        "more.csv": 'user,title,item,rating,timestamp\n1,"a, b",2,3,4\n5,"x ""y""\nz",6,1,8\n',
        "spaces in values.csv": "user,item,rating,timestamp\n1,2, 3 , 4 \n5,6,1.0e0,8\n",
        "o'clock [1].csv": "user,item,rating,timestamp\n1,2,3,4\n5,6,1,8\n",
        "lines.jsonl": '{"user":1,"item":2,"rating":3,"timestamp":4}\n{"item":6,"user":5,"timestamp":8,"rating":1}\n',
    }.items(),
)
def test_files_as_people_have_them(tmp_path, name, content):
    assert rows_of(text(tmp_path, content, name)) == [(1, 2, 3.0, 4), (5, 6, 1.0, 8)]


def test_folders_and_globs(tmp_path):
    text(tmp_path, "user,item,rating\n1,2,3\n", "b.csv")
    text(tmp_path, "rating,user,item\n4,1,3\n5,1,2\n", "c.csv")
    text(tmp_path, "nothing to see", ".hidden.csv")
    text(tmp_path, "nothing to see", "README")
    want = [(1, 2, 5.0), (1, 3, 4.0)]
    assert rows_of(tmp_path) == want
    assert rows_of(str(tmp_path / "*.csv")) == want
    literal = tmp_path / "folder [x]"
    literal.mkdir()
    text(literal, "user,item,rating\n7,7,7\n", "r*.csv")
    text(literal, "user,item,rating\n8,8,8\n", "rr.csv")
    assert rows_of(literal / "r*.csv") == [(7, 7, 7.0)]  # there is a file of this very name


def test_ids_are_kept_exactly(tmp_path):
    file = text(tmp_path, "user,item,rating\n01,1,3\n1,2,4\n 1,3,5\n")
    assert [row[0] for row in rows_of(file)] == [" 1", "01", "1"]
    big = text(tmp_path, f"user,item,rating\n{2**64 - 1},{2**63 - 1},3\n1,{-(2**63)},3\n")
    assert rows_of(big)[1] == (2**64 - 1, 2**63 - 1, 3.0)
    for odd in ("+1", "1.0", "1e3", "-0", "٣", str(2**64), "x" * 10_000, "NULL", "nan", "2020-01-01"):
        file = text(tmp_path, f"user,item,rating\n{odd},1,3\n2,1,4\n")
        assert sorted(row[0] for row in rows_of(file)) == sorted([odd, "2"])
    lines = '{"user":"2020-01-01","item":"01","rating":3}\n{"user":"2","item":"1","rating":4}\n'
    assert rows_of(text(tmp_path, lines, "r.jsonl"))[0][:2] == ("2", "1")
    for kind in (pa.int8(), pa.uint16(), pa.int64(), pa.uint64()):
        table = pa.table(
            {"user": pa.array([1, 2], kind), "item": pa.array([3, 4], kind), "rating": [1.0, 2.0]}
        )
        assert rows_of(table) == [(1, 3, 1.0), (2, 4, 2.0)]


def test_scipy_matrices():
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 6, (7, 5))
    for form in ("csr", "csc", "coo"):
        got = rows_of(getattr(scipy.sparse, form + "_array")(dense.astype(float)))
        assert got == [(i, j, float(dense[i, j])) for i, j in zip(*np.nonzero(dense))]
    zero = scipy.sparse.coo_array(([0.0, 2.0], ([0, 0], [0, 1])), shape=(1, 2))
    assert rows_of(zero) == [(0, 0, 0.0), (0, 1, 2.0)]  # a stored zero is a rating


def test_json_lines_need_not_all_have_every_name(tmp_path):
    lines = '{"item":1,"user":1,"rating":2}\n{"user":1,"item":2,"rating":3,"timestamp":7}\n'
    file = text(tmp_path, lines, "r.jsonl")
    with pytest.raises(cf.BadRatings, match=r"row 1 .*time is missing"):
        cf.read_ratings(file)
    assert rows_of(file, timestamp=False) == [(1, 1, 2.0), (1, 2, 3.0)]


def test_columns_named_and_found(tmp_path):
    file = text(tmp_path, "who,what,how much,when\na,b,3,2020-01-01T00:00:01Z\n")
    named = {"user": "who", "item": "what", "rating": "how much", "timestamp": "when"}
    assert rows_of(file, **named) == [("a", "b", 3.0, 1577836801)]
    assert rows_of(file, **{**named, "timestamp": False}) == [("a", "b", 3.0)]
    for less in ("user", "item", "rating"):
        with pytest.raises(cf.BadRatings, match=rf"'who, what, how much, when'.*{less}="):
            cf.read_ratings(file, **{k: v for k, v in named.items() if k != less})
    with pytest.raises(cf.BadRatings, match=r"none called 'Who'.*user="):
        cf.read_ratings(file, **{**named, "user": "Who"})
    with pytest.raises(cf.BadParameter, match="two purposes"):
        cf.read_ratings(file, **{**named, "user": "what"})
    with pytest.raises(cf.BadRatings, match=r"both 'userId' and 'uid'.*user="):
        cf.read_ratings(text(tmp_path, "userId,uid,item,rating\n1,1,1,1\n"))
    hostile = "x'; DROP TABLE given; --"
    table = pa.table({hostile: [1], 'i"tem': [2], "r": [3.0]})
    path = tmp_path / "h.parquet"
    pq.write_table(table, path)
    for source in (table, path):
        assert rows_of(source, user=hostile, item='i"tem', rating="r") == [(1, 2, 3.0)]


@pytest.mark.parametrize(
    ("times", "want"),
    [
        (["1970-01-01", "1970-01-02 00:00:00"], [0, 86400]),
        (["12", "13.9"], [12, 13]),
        (["2020-01-01T00:00:01.9+02:00", "2020-01-01T00:00:01Z"], [1577829601, 1577836801]),
        ([np.datetime64("1970-01-01T00:00:05", "s"), np.datetime64("1970-01-01T00:01", "s")], [5, 60]),
        ([1.9, -0.5], [1, -1]),
        ([pd.Timestamp("1970-01-01 01:00", tz="Europe/Paris"), pd.Timestamp("1970-01-01", tz="UTC")], [0, 0]),
    ],
)
def test_times(times, want):
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 1], "rating": [1, 2], "timestamp": times})
    assert cf.read_ratings(frame).times.tolist() == want


BAD_ROWS = "user,item,rating\n1,1,3\n1,2,five\n,3,3\n1,,3\n1,4,\n1,5,NaN\n1,6,-inf\n1,7,1e30\n1,8,9\n2,1,4\n"


def test_bad_rows_are_named(tmp_path):
    file = text(tmp_path, BAD_ROWS)
    with pytest.raises(cf.BadRatings) as caught:
        cf.read_ratings(file, scale=(1, 5))
    message = str(caught.value)
    for told in (
        "8 bad rows",
        "row 2 (the rating is not a number: 'five')",
        "row 3 (the user is missing)",
        "row 4 (the item is missing)",
        "row 5 (the rating is missing)",
        "row 6 (the rating is not finite: 'NaN')",
        "row 7 (the rating is not finite: '-inf')",
        "row 8 (the rating is beyond ±1e+09: '1e30')",
        "row 9 (the rating is outside the scale 1 to 5: '9')",
        'on_bad="drop"',
    ):
        assert told in message
    assert "\n" not in message
    many = text(tmp_path, "user,item,rating\n" + "1,1,x\n" * 100)
    with pytest.raises(cf.BadRatings, match=r"row 20 .*and 80 more"):
        cf.read_ratings(many)


def test_bad_rows_dropped_and_written(tmp_path):
    rejects = tmp_path / "rejects.csv"
    ratings = cf.read_ratings(text(tmp_path, BAD_ROWS), scale=(1, 5), on_bad="drop", rejects=rejects)
    assert (len(ratings), ratings.rejected, ratings.scale) == (2, 8, (1.0, 5.0))
    with rejects.open(encoding="utf-8", newline="") as file:
        kept = list(csv.DictReader(file))
    assert [int(row["row"]) for row in kept] == list(range(2, 10))
    assert kept[0] == {
        "file": str(tmp_path / "r.csv"),
        "row": "2",
        "user": "1",
        "item": "2",
        "rating": "five",
        "timestamp": "",
        "reason": "the rating is not a number",
    }
    frame = pd.DataFrame({"user": ["a", None, "c"], "item": [1, 2, 3], "rating": [1.0, 2.0, np.nan]})
    assert cf.read_ratings(frame, on_bad="drop").rejected == 2
    with pytest.raises(cf.BadRatings, match=r"the table: 2 bad rows: row 2 .*; row 3"):
        cf.read_ratings(frame)
    ragged = text(tmp_path, "user,item,rating\n1,1,1\n1,2\n1,3,3,3\n1,4,x\n1,5,5\n")
    dropped = cf.read_ratings(ragged, on_bad="drop", rejects=rejects)
    assert dropped.rejected == 3
    assert [line.split(",")[1] for line in rejects.read_text("utf-8").splitlines()[1:]] == ["2", "3", "4"]
    for place in (tmp_path, tmp_path / "none" / "x.csv"):
        with pytest.raises(cf.BadParameter, match="folder"):
            cf.read_ratings(ragged, on_bad="drop", rejects=place)


line = st.sampled_from(["1,2,3", "1,2,x", ",2,3", "1,2", "1,2,3,4"])


@given(st.lists(line, min_size=1, max_size=30))
def test_every_bad_line_has_its_number(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("bad")
    file = text(folder, "\n".join(["user,item,rating", *lines]) + "\n")
    if "1,2,3" in lines:
        cf.read_ratings(file, on_bad="drop", rejects=folder / "rejects.csv")
    else:
        with pytest.raises(cf.BadRatings, match=f"all {len(lines)} rows are bad"):
            cf.read_ratings(file, on_bad="drop", rejects=folder / "rejects.csv")
    with (folder / "rejects.csv").open(encoding="utf-8", newline="") as kept:
        numbers = [int(row["row"]) for row in csv.DictReader(kept)]
    assert numbers == [k for k, written in enumerate(lines, start=1) if written != "1,2,3"]


def test_rejects_never_replace_what_is_read(tmp_path):
    file = text(tmp_path, BAD_ROWS)
    for source in (file, tmp_path, str(tmp_path / "*.csv")):
        with pytest.raises(cf.BadParameter, match="one of the files to read"):
            cf.read_ratings(source, on_bad="drop", rejects=tmp_path / "." / "r.csv")
    assert file.read_text() == BAD_ROWS


def test_a_rating_on_the_end_of_the_scale_is_on_it():
    """As a float32 0.1 is more than 0.1, and 0.7 is less than 0.7."""
    for end, scale in ((0.1, (-1, 0.1)), (0.7, (0.7, 2))):
        table = pa.table({"user": [1], "item": [1], "rating": pa.array([end], pa.float32())})
        assert len(cf.read_ratings(table, scale=scale)) == 1


def test_names_of_folders_are_no_columns(tmp_path):
    folder = tmp_path / "user=9" / "rating=1" / "timestamp=7"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"user": [1], "item": [2], "rating": [3.0]}), folder / "r.parquet")
    text(folder, "user,item,rating\n1,2,3\n")
    text(folder, '{"user":1,"item":2,"rating":3}\n', "r.jsonl")
    for name in ("r.parquet", "r.csv", "r.jsonl"):
        assert rows_of(folder / name) == [(1, 2, 3.0)]


def test_files_of_several_kinds_are_refused(tmp_path):
    text(tmp_path, "user,item,rating\n1,2,3\n", "a.csv")
    text(tmp_path, '{"user":1,"item":3,"rating":3}\n', "b.csv")  # whatever its name says
    for source in (tmp_path, str(tmp_path / "*")):
        with pytest.raises(cf.BadRatings, match=r"a\.csv is text and .*b\.csv is json"):
            cf.read_ratings(source)


def test_half_floats_and_path_likes(tmp_path):
    table = {"user": [1], "item": [2], "rating": np.array([1.5], np.float16)}
    assert rows_of(table) == [(1, 2, 1.5)]

    class PathLike:
        def __fspath__(self):
            return str(text(tmp_path, "user,item,rating\n1,2,3\n"))

    assert rows_of(PathLike()) == [(1, 2, 3.0)]


def test_rows_are_counted_in_their_own_file(tmp_path):
    text(tmp_path, "user,item,rating\n" + "1,1,1\n" * 7, "a.csv")
    text(tmp_path, "user,item,rating\n1,2,3\n1,2,x\n", "b.csv")
    with pytest.raises(cf.BadRatings, match=r"b\.csv, row 2 "):
        cf.read_ratings(tmp_path)


def test_duplicates(tmp_path):
    ratings = cf.read_ratings(text(tmp_path, "user,item,rating,time\n1,1,1,50\n1,1,2,99\n1,1,3,7\n2,1,4,1\n"))
    assert (ratings.duplicates, ratings.values.tolist()) == (2, [2.0, 4.0])
    assert cf.read_ratings({"user": [1, 1], "item": [1, 1], "rating": [1, 2]}).values.tolist() == [2.0]


@pytest.mark.parametrize(
    "options",
    [
        {"scale": (5, 1)},
        {"scale": (1, float("nan"))},
        {"scale": 5},
        {"scale": (0, 1e10)},
        {"on_bad": "ignore"},
        {"rejects": "x.csv"},
        {"sep": ""},
        {"sep": "\n"},
        {"sep": 3},
        {"sep": "a\n"},
        {"user": 0},
        {"user": False},
        {"timestamp": True},
    ],
    ids=str,
)
def test_bad_options(options):
    with pytest.raises(cf.BadParameter):
        cf.read_ratings({"user": [1], "item": [1], "rating": [1]}, **options)
