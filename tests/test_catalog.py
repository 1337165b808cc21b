"""Titles and genres of items, from any table."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cofactor as cf

CSV = 'movieId,title,genres\n2,"Jumanji, again",Adventure|Children\n01,,(no genres listed)\n'


def test_from_files_and_memory(tmp_path):
    (tmp_path / "items.csv").write_text(CSV)
    lines = '{"item": "2", "title": "Jumanji, again", "genres": ["Adventure", "Children"]}\n{"item": "01"}\n'
    (tmp_path / "items.jsonl").write_text(lines)
    table = pa.table(
        {"item": ["2", "01"], "title": ["Jumanji, again", None], "genres": [["Adventure", "Children"], None]}
    )
    for source in (tmp_path / "items.csv", tmp_path / "items.jsonl", table):
        catalog = cf.read_catalog(source)
        assert len(catalog) == 2
        assert catalog.title("2") == "Jumanji, again"
        assert catalog.genres("2") == ("Adventure", "Children")
        assert catalog.title("01") == "01"  # no title: the id
        assert catalog.genres("01") == ()
        assert catalog.title("never heard of") == "never heard of"
        assert catalog.title(2) == "2"
        assert catalog.genres(2) == ()
        assert catalog.facts.num_rows == 2


def test_without_titles():
    catalog = cf.read_catalog({"item": [3, 1], "colour": ["red", "blue"]})
    assert (catalog.title(1), catalog.genres(1)) == ("1", ())
    assert catalog.facts["colour"].to_pylist() == ["blue", "red"]


def test_a_file_without_header(tmp_path):
    (tmp_path / "movies.dat").write_text("1::Toy Story (1995)::Animation|Children's\n2::Heat::\n")
    catalog = cf.read_catalog(tmp_path / "movies.dat")
    assert catalog.title(1) == "Toy Story (1995)"
    assert (catalog.genres(1), catalog.genres(2)) == (("Animation", "Children's"), ())
    assert catalog.facts.column_names == ["item", "title", "genres"]


def test_titles_are_what_they_are(tmp_path):
    titles = ['"Sorry"', "[1]", "[REC]", "nan", "1984"]
    catalog = cf.read_catalog({"item": range(5), "title": titles})
    assert [catalog.title(k) for k in range(5)] == titles
    (tmp_path / "i.jsonl").write_text('{"item": 1, "title": 1984, "genres": [null, "a"]}\n')
    assert cf.read_catalog(tmp_path / "i.jsonl").title(1) == "1984"
    assert cf.read_catalog(tmp_path / "i.jsonl").genres(1) == ("a",)


def test_files_that_do_not_go_together(tmp_path):
    pq.write_table(pa.table({"item": [1], "year": [1999]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"item": [2], "year": ["old"]}), tmp_path / "b.parquet")
    with pytest.raises(cf.BadRatings, match="do not go together"):
        cf.read_catalog(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "empty"),
        ("item,title\n", "not one item"),
        ("name,title\n1,x\n", "item="),
        ("item,title\n1,x\n1,y\n", "Item 1 stands there 2 times"),
        ("item,title\n1,x\n,y\n", "row 2: the item is missing"),
    ],
)
def test_what_is_no_catalog(tmp_path, content, told):
    path = tmp_path / "items.csv"
    path.write_text(content)
    with pytest.raises(cf.BadRatings, match=told):
        cf.read_catalog(path)
