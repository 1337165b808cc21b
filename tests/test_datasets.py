"""The bundled demo is what it says, and small."""

from __future__ import annotations

from importlib.resources import files

import cofactor as cf


def test_the_demo():
    ratings, catalog = cf.load_demo(), cf.load_demo_catalog()
    assert (len(ratings), ratings.n_users, ratings.n_items) == (100_004, 671, 9_066)
    assert ratings.scale == (0.5, 5.0)
    assert set(ratings.values.tolist()) == {k / 2 for k in range(1, 11)}
    assert ratings.duplicates == 0
    assert catalog.item_ids == ratings.item_ids
    assert catalog.title(1) == "Toy Story"
    assert "Animation" in catalog.genres(1)


def test_it_is_small_and_its_terms_are_beside_it():
    folder = files("cofactor").joinpath("data/movielens")
    sizes = {path.name: len(path.read_bytes()) for path in folder.iterdir()}
    assert sizes["ratings.parquet"] + sizes["items.parquet"] < 1_000_000
    terms = " ".join(folder.joinpath("LICENSE-MOVIELENS.txt").read_text("utf-8").split())
    for told in ("commercial", "GroupLens", "Harper", "Konstan", "same conditions"):
        assert told in terms
