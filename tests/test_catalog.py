"""Titles and genres of items, from any table."""

from __future__ import annotations

import pyarrow as pa
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
