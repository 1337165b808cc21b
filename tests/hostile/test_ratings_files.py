"""Files that are broken, empty, or mean harm: one paragraph that names the place and the mend, nothing else."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cofactor as cf

HEADER = b"user,item,rating\n"
BODY = HEADER + b"".join(b"%d,%d,%d\n" % (k % 97, k % 89, k % 5 + 1) for k in range(20_000))


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"user": range(5000), "item": range(5000), "rating": [1.0] * 5000}), sink)
    return sink.getvalue().to_pybytes()


def huge_footer() -> bytes:
    return parquet()[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1"


random.seed(0)
NOISE = random.randbytes(2000)

FILES: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "is empty"),
    "empty.parquet": (b"", "is empty"),
    "newlines.csv": (b"\n\n\n", "nothing but empty lines"),
    "header.csv": (HEADER, "no rows below the header"),
    "header.tsv": (b"user\titem\trating\n", "no rows below the header"),
    "one-column.csv": (b"ratings\n1\n2\n", "none that looks like the user.*sep="),
    "too-few.csv": (b"user,item\n1,2\n", "none that looks like the rating.*rating="),
    "unknown.csv": (b"a,b,c\n1,2,3\n", "'a, b, c'.*user="),
    "five.csv": (HEADER + b"1,2,five\n", "row 1 .*'five'"),
    "nan.csv": (HEADER + b"1,2,nan\n", "row 1 .*not finite"),
    "inf.csv": (HEADER + b"1,2,3\n1,3,-Infinity\n", "row 2 .*not finite"),
    "1e30.csv": (HEADER + b"1,2,1e30\n", "row 1 .*beyond"),
    "1e300.csv": (HEADER + b"1,2,1e300\n", "row 1 .*beyond"),
    "1e999.csv": (HEADER + b"1,2,1e999\n", "row 1"),
    "no-user.csv": (HEADER + b",2,3\n", "row 1 .*user is missing"),
    "quotes-only.csv": (HEADER + b'"",2,3\n', "row 1 .*user is missing"),
    "time.csv": (b"user,item,rating,time\n1,2,3,soon\n", "row 1 .*time.*'soon'"),
    "ragged.csv": (HEADER + b"1,2,3\n1,2\n", "line 3"),
    "long-row.csv": (HEADER + b"1,2,3,4\n", "line 2"),
    "unclosed.csv": (HEADER + b'1,"2,3\n1,2,3\n', "line 2.*quote"),
    "latin1.csv": (HEADER + b"1,caf\xe9,3\n", "line 2.*UTF-8"),
    "nul-id.csv": (HEADER + b"1,2,3\n1\0,2,3\n", r"row 2 .*NUL byte: '1\\x00'"),
    "line-ends.csv": (HEADER + b"1,2,3\r\n1,3,3\n", "line ends of several kinds"),
    "blank.csv": (b"\n" * 3_000_000 + BODY, "no line begins and ends"),
    "endless-line.csv": (b"x" * 3_000_000, "no line begins and ends"),
    "wide-cell.csv": (b"user,item,rating," + b"x" * 200_000 + b"\n1,2,3,4\n", "field larger"),
    "latin1-header.csv": (b"user,item,not\xe9\n", "not UTF-8"),
    "utf16.csv": ("user,item,rating\n1,2,3\n".encode("utf-16"), "UTF-16"),
    "binary.csv": (NOISE, ""),
    "nul.csv": (b"\0" * 1000, "NUL"),
    "binary.jsonl": (NOISE, ""),
    "array.jsonl": (b"[1, 2]\n", "line 1 is not a JSON object"),
    "pretty.json": (b'{\n "user": 1\n}\n', "line 1 is not a JSON object"),
    "cut.jsonl": (b'{"user":1,"item":2,"rating":3}\n{"user":1,"it', "cut.jsonl, line 2"),
    "broken.jsonl": (b'{"user":1,"item":2,"rating":3}\n\n{"user":1}\n[1]\n{"user":2}\n', "line 4"),
    "deep.jsonl": (b'{"user":1,"item":2,"rating":3}\n' + b"[" * 100_000, "line 2"),
    "text.jsonl": (b'{"user":1,"item":2,"rating":"five"}\n', "row 1 .*not a number"),
    "null.jsonl": (b'{"user":null,"item":2,"rating":3}\n', "row 1 .*user is missing"),
    "float-id.jsonl": (b'{"user":1.5,"item":2,"rating":3}\n', "row 1 .*user is neither .*'1.5'"),
    "true-id.jsonl": (b'{"user":1,"item":true,"rating":3}\n', "row 1 .*item is neither .*'true'"),
    "huge-id.jsonl": (b'{"user":123456789012345678901,"item":1,"rating":3}\n', "row 1 .*user is neither"),
    "bom.jsonl": (b'\xef\xbb\xbf{"user":1,"item":2,"rating":3}\n', "byte order mark"),
    "mixed.jsonl": (
        b'{"user":1,"item":2,"rating":3}\n{"user":"1","item":2,"rating":3}\n',
        "integers .* strings",
    ),
    "noise.parquet": (b"PAR1" + NOISE, "noise.parquet cannot be read"),
    "noise2.parquet": (b"PAR1" + NOISE + b"PAR1", "noise2.parquet cannot be read"),
    "text.parquet": (BODY, "text.parquet cannot be read"),
    "cut.parquet": (parquet()[:-1000], "cut.parquet cannot be read"),
    "huge-footer.parquet": (huge_footer(), "huge-footer.parquet cannot be read"),
    "cut.csv.gz": (gzip.compress(BODY)[:-500], "cut.csv.gz cannot be read"),
    "garbage.csv.gz": (gzip.compress(BODY)[:3000] + NOISE, "garbage.csv.gz"),
    "noise.csv.gz": (b"\x1f\x8b" + NOISE, "noise.csv.gz"),
    "zip.csv": (b"PK\x03\x04" + NOISE, "compressed"),
}


def refusal(source, **options) -> str:
    with pytest.raises(cf.BadData) as caught:
        cf.read_ratings(source, **options)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert message.endswith((".", ").")), message  # a sentence that tells what to do
    return message


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file(tmp_path, name):
    content, told = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert re.search(told, refusal(path))
    rejects = tmp_path / "rejects.csv"
    with contextlib.suppress(cf.BadData):  # what is left when bad rows are dropped is sound, or nothing
        cf.ALS(rank=1, sweeps=1).fit(cf.read_ratings(path, on_bad="drop", rejects=rejects))


def test_a_parquet_file_damaged_anywhere(tmp_path):
    """Any byte flipped: an error, or ratings that are sound; never a crash."""
    whole, path = parquet(), tmp_path / "r.parquet"
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        with contextlib.suppress(cf.BadData):
            assert len(cf.read_ratings(path)) > 0


def test_a_parquet_file_cut_anywhere(tmp_path):
    whole, path = parquet(), tmp_path / "r.parquet"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        refusal(path)


def test_what_is_no_file(tmp_path):
    assert "There is no file" in refusal(tmp_path / "none.csv")
    assert "There is no file" in refusal(str(tmp_path / "*.csv"))
    assert "folder without ratings files" in refusal(tmp_path)
    (tmp_path / "x.csv").mkdir()
    assert "folder without ratings files" in refusal(tmp_path / "x.csv")
    (tmp_path / "a.csv").write_bytes(BODY)
    (tmp_path / "b.parquet").write_bytes(parquet())
    assert "several kinds" in refusal(tmp_path)
    assert "not the name of a file" in refusal("")
    assert "not the name of a file" in refusal("a\0b")
    assert "There is no file" in refusal("x" * 5000 + ".csv") or "cannot be looked at" in refusal(
        "x" * 5000 + ".csv"
    )
    assert "There is no file" in refusal("https://example.org/ratings.csv")
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe.csv")
        assert "neither a file nor a folder" in refusal(tmp_path / "pipe.csv")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "secret.csv"
    path.write_bytes(BODY)

    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", forbidden)  # root, who may run the tests, may read everything
    assert "cannot be opened: Permission denied" in refusal(path)


def test_tables_in_memory_that_are_no_ratings():
    good = {"user": [1, 2], "item": [3, 4], "rating": [1.0, 2.0]}
    for column, values, told in (
        ("user", [1.0, None], "DOUBLE.*astype"),
        ("user", [1.5, 2.5], "DOUBLE"),
        ("item", [True, False], "BOOLEAN"),
        ("item", [[1], [2]], "of type"),
        ("user", [1, "1"], "one kind"),
        ("rating", [True, False], "BOOLEAN"),
        ("rating", ["five", "4"], "row 1 .*'five'"),
        ("rating", [[1], [2]], "of type"),
        ("rating", [None, 1.0], "row 1 .*missing"),
        ("user", [1, 2, 3], ""),
    ):
        for make in (dict, pa.table, pd.DataFrame):
            try:
                table = make({**good, column: values})
            except (ValueError, pa.ArrowException):
                continue  # that library refuses it by itself
            assert re.search(told, refusal(table))
    for kind in (pa.int64(), pa.string(), pa.null()):
        none = pa.array([], kind)
        refusal(pa.table({"user": none, "item": none, "rating": none}))
    not_text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
    )
    far = pa.DictionaryArray.from_arrays(pa.array([7], pa.int32()), ["a"], safe=False)
    for user in (not_text, far):
        refusal(pa.table({"user": user, "item": [1], "rating": [1.0]}))
    for odd in ({}, pd.DataFrame(), pd.Series([1, 2]), {"user": "ab", "item": "cd", "rating": [1, 2]}):
        refusal(odd)
    for nothing in (None, 3, object(), b"ratings.csv", [1, 2, 3]):
        with pytest.raises(cf.BadParameter, match="does not read"):
            cf.read_ratings(nothing)


def test_extremes_that_are_fine(tmp_path):
    long = "u" * 10_000
    path = tmp_path / "one.csv"
    path.write_text(f"user,item,rating\n{long},i,3\n", "utf-8")
    one = cf.read_ratings(path)
    assert one.user_ids.id(0) == long
    assert len(repr(one)) < 100
    with pytest.raises(cf.UnknownUser) as caught:
        cf.Baseline().fit(one).recommend(long + "x")
    assert len(str(caught.value)) < 300
    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(f"c{k}" for k in range(3000)) + ",user,item,rating\n" + "x," * 3000 + "1,2,3\n")
    assert len(cf.read_ratings(wide)) == 1


def test_a_reader_that_is_killed_leaves_no_half_list_of_rejects(tmp_path):
    """rejects= appears whole or not at all, whatever happens while it is written."""
    source, rejects = tmp_path / "r.csv", tmp_path / "rejects.csv"
    source.write_bytes(BODY + b"1,1,x\n")
    rejects.write_text("the list of last time")
    program = (
        "import os, signal, sys, cofactor as cf\n"
        "os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"cf.read_ratings({str(source)!r}, on_bad='drop', rejects={str(rejects)!r})\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert killed.returncode != 0
    assert rejects.read_text() == "the list of last time"
