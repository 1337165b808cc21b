"""New items by their content: recommended at once, and marked as new."""

from __future__ import annotations

import cofactor as cf
from cofactor.serve import training
from cofactor.serve.content import columns_of, facts_of, features_of, tells
from cofactor.serve.installing import install_model, store_catalog
from cofactor.serve.registry import open_model
from cofactor.serve.settings import Settings
from cofactor.serve.store import items, models
from cofactor.serve.store.database import Database
from cofactor.serve.store.items import Item
from tests.conftest import make_ratings

GENRES = ("Drama", "War", "Comedy")


def catalog_of(ratings) -> cf.Catalog:
    names = ratings.item_ids.array.to_pylist()
    rows = {
        "item": names,
        "title": [f"Film {n}" for n in names],
        "genres": [[GENRES[k % 3]] for k in range(len(names))],
    }
    return cf.read_catalog({**rows, "year": [1980 + k for k in range(len(names))]})


def filled(make, tmp_path):
    """A service whose model reads genres and year."""
    ratings = make_ratings(seed=2)
    catalog = catalog_of(ratings)
    model = cf.ContentMap(rank=3, sweeps=4, refine=1).fit(ratings, items=catalog.features("genres", "year"))
    settings = Settings(folder=str(tmp_path / "service"))
    database = Database(settings.url)
    database.upgrade()
    install_model(database, settings, cf.save(model, tmp_path / "content-model"))
    store_catalog(database, catalog)
    return make(filled=False), ratings, database, settings


def test_a_new_item_is_recommended_at_once_and_marked(make, tmp_path) -> None:
    client, *_ = filled(make, tmp_path)
    given = {"ratings": [{"item": "i001", "rating": 5}], "n": 1000}
    answer = client.post("/v1/recommendations", json=given)
    assert answer.status_code == 200, answer.text
    before = answer.json()["items"]
    assert "fresh" not in {it["item"] for it in before}
    said = {"title": "Fresh", "categories": ["War"], "features": {"year": 1999}}
    put = client.put("/v1/items/fresh", json=said).json()
    assert put["new"]
    assert put["ratings"] == 0
    after = {it["item"]: it for it in client.post("/v1/recommendations", json=given).json()["items"]}
    assert after["fresh"]["new"]
    assert not after["i002"]["new"]
    for it in before:  # nobody else moves
        assert abs(after[it["item"]]["score"] - it["score"]) < 1e-4
    asked = {"ratings": given["ratings"], "items": ["fresh"]}
    assert client.post("/v1/predict", json=asked).json()["items"][0]["known"]
    again = client.put("/v1/items/fresh", json={**said, "categories": ["Drama"]}).json()
    assert again["new"]
    moved = {it["item"]: it["score"] for it in client.post("/v1/recommendations", json=given).json()["items"]}
    assert moved["fresh"] != after["fresh"]["score"]
    assert client.get("/v1/items/fresh/similar").json()["items"]
    unknown = client.put("/v1/items/unsaid", json={}).json()
    assert not unknown["new"]  # nothing is known of it that the model reads
    odd = client.put("/v1/items/odd", json={"features": {"year": "long ago"}, "categories": ["War"]})
    assert odd.json()["new"]
    for bad in ({"year": {"a": 1}}, {"": 1}, {"x": [1]}, {"x": None}, {"x" * 101: 1}):
        assert client.put("/v1/items/bad", json={"features": bad}).status_code == 422


def test_training_learns_from_content_again(make, tmp_path) -> None:
    client, ratings, database, settings = filled(make, tmp_path)
    client.put("/v1/items/fresh", json={"categories": ["War"], "features": {"year": 1999}})
    with database.read() as connection:
        active = open_model(settings.models / models.active(connection).folder)
        known = items.changed_since(connection, -1)
    model = training.candidate_of(active, active.get_params(), ratings.n_items)
    training.fit(model, active, known, training.read_all(database).ratings, callback=lambda *told: None)
    assert model.source(["fresh", "i001"]) == ["content", "both"]


def test_what_is_known_of_an_item() -> None:
    columns = (
        cf.read_catalog({"item": ["a", "b"], "year": [1, 2], "genres": [["x"], ["y"]]}).features().columns
    )
    item = Item("c", None, ("x",), True, {"year": 2})
    assert facts_of(item)["genres"] == ["x"]
    assert features_of(columns, [Item("d")]) is None
    assert not tells(Item("d", "title"), columns)
    found = features_of(columns, [item, Item("e", features={"year": "none"}, categories=("y",))])
    assert found.ids.array.to_pylist() == ["c", "e"]
    assert columns_of(cf.ALS()) is None
