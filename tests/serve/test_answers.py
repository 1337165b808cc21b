"""Answers against the model they are made of, and what must never be in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cofactor as cf
from cofactor.serve.answering import Wish, predict, recommend, similar, version_of
from cofactor.serve.snapshot import Snapshot
from cofactor.serve.store.items import Item
from tests.conftest import make_ratings


def own_ratings(model: cf.ALS, user: int) -> dict[str, float]:
    places, values = model.ratings_.row(user)
    return dict(zip(map(str, model.item_ids_.ids(places)), values.tolist()))


def snapshot_of(model: cf.ALS, items: list[Item] | None = None) -> Snapshot:
    counts = dict(
        zip(map(str, model.item_ids_.array.to_pylist()), np.bincount(model.ratings_.indices).tolist())
    )
    if items is None:
        items = [Item(f"i{j:03d}", f"Film {j}", (("Drama", "War")[j % 2],)) for j in range(40)]
    return Snapshot.make(1, model, 7, 100, items, counts)


@pytest.fixture(scope="module")
def snapshot(model: cf.ALS) -> Snapshot:
    return snapshot_of(model)


@pytest.fixture(scope="module")
def model() -> cf.ALS:
    return cf.ALS(rank=4, reg=0.5, seed=1).fit(make_ratings())


@pytest.mark.parametrize("seen", [True, False])
def test_lists_are_those_of_the_model(model: cf.ALS, snapshot: Snapshot, seen: bool) -> None:
    for user in range(20):
        answer = recommend(snapshot, own_ratings(model, user), Wish(8, exclude_seen=seen), 5)
        wanted = model.recommend(model.user_ids_.id(user), n=8, exclude_seen=seen)
        assert [it["item"] for it in answer["items"]] == [item for item, _ in wanted]
        np.testing.assert_allclose([it["score"] for it in answer["items"]], wanted.scores, rtol=1e-5)
        assert (answer["model_version"], answer["source"]) == (7, "model")
        assert version_of(answer["recommendation_id"]) == 7


def test_what_was_written_after_the_training_is_folded_in(model: cf.ALS, snapshot: Snapshot) -> None:
    own = own_ratings(model, 0)
    assert recommend(snapshot, own, Wish(), 99)["source"] == "model"
    assert recommend(snapshot, own, Wish(), 100)["source"] == "fold_in"
    assert recommend(snapshot, own, Wish())["source"] == "fold_in"
    assert recommend(snapshot, {}, Wish())["source"] == "popular"
    assert recommend(snapshot, {"unknown": 5.0}, Wish())["source"] == "popular"


def test_the_list_is_the_same_for_any_order_of_the_ratings(model: cf.ALS, snapshot: Snapshot) -> None:
    own = own_ratings(model, 3)
    backwards = dict(reversed(own.items()))
    one, other = (recommend(snapshot, r, Wish(explain=True))["items"] for r in (own, backwards))
    assert one == other


def test_reasons_add_up_to_the_score(model: cf.ALS, snapshot: Snapshot) -> None:
    for user in range(10):
        own = own_ratings(model, user)
        for it in recommend(snapshot, own, Wish(5, explain=True))["items"]:
            why = it["explanation"]
            parts = sum(part["adds"] for part in why["parts"])
            assert {part["item"]: part["rating"] for part in why["parts"]} == own
            assert why["mean"] + why["user_adds"] + why["item_adds"] + parts == pytest.approx(
                it["score"], abs=1e-5
            )


def test_wishes_are_kept(model: cf.ALS, snapshot: Snapshot) -> None:
    own = own_ratings(model, 2)
    every = [it["item"] for it in recommend(snapshot, own, Wish(40))["items"]]
    assert set(every) == set(snapshot.ids) - set(own)
    war = [it["item"] for it in recommend(snapshot, own, Wish(40, category="War"))["items"]]
    assert war == [item for item in every if int(item[1:]) % 2]
    some = every[3:9]
    assert [it["item"] for it in recommend(snapshot, own, Wish(40, among=some))["items"]] == some
    left = [it["item"] for it in recommend(snapshot, own, Wish(40, exclude=every[:4]))["items"]]
    assert left == every[4:]
    both = recommend(snapshot, own, Wish(40, category="War", among=some, exclude=some[:2]))["items"]
    assert [it["item"] for it in both] == [item for item in some[2:] if item in war]


def test_where_the_model_has_nothing_left_popular_items_are_not_made_up(
    model: cf.ALS, snapshot: Snapshot
) -> None:
    everything = dict.fromkeys(snapshot.ids, 3.0)
    assert recommend(snapshot, everything, Wish())["items"] == []
    assert recommend(snapshot, {}, Wish(category="none"))["items"] == []
    again = recommend(snapshot, everything, Wish(3, exclude_seen=False))
    assert len(again["items"]) == 3


def test_popular_items_come_by_their_number_of_ratings(snapshot: Snapshot) -> None:
    counts = [it["ratings"] for it in recommend(snapshot, {}, Wish(40))["items"]]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 40


def test_items_that_are_not_available_are_nowhere(model: cf.ALS, snapshot: Snapshot) -> None:
    best = recommend(snapshot, own_ratings(model, 1), Wish(1))["items"][0]["item"]
    changed = snapshot.with_items(2, [Item(best, "Gone", ("War",), False)])
    for wish in (Wish(40), Wish(40, category="War"), Wish(40, among=[best]), Wish(40, diversity=0.5)):
        for own in ({}, own_ratings(model, 1)):
            assert best not in [it["item"] for it in recommend(changed, own, wish)["items"]]
    place = changed.at[recommend(changed, {}, Wish(1))["items"][0]["item"]]
    assert best not in [it["item"] for it in similar(changed, place, 40)]
    assert snapshot.available[snapshot.at[best]]  # the old one has not changed
    back = changed.with_items(3, [Item(best, "Back", ("Drama",))])
    assert recommend(back, own_ratings(model, 1), Wish(1))["items"][0]["title"] == "Back"
    assert snapshot.at[best] not in back.by_category["War"]


def test_changes_in_steps_are_those_at_once(model: cf.ALS) -> None:
    rng = np.random.default_rng(3)
    stepwise, known = snapshot_of(model, []), {}
    for step in range(30):
        item = Item(
            f"i{rng.integers(45):03d}",
            f"T{step}",
            tuple(rng.choice(["a", "b", "c"], rng.integers(0, 3), replace=False).tolist()),
            bool(rng.integers(2)),
        )
        known[item.item] = item
        stepwise = stepwise.with_items(step, [item])
    at_once = snapshot_of(model, list(known.values()))
    for raw, place in at_once.at.items():
        other = stepwise.at[raw]
        assert at_once.title(place) == stepwise.title(other)
        assert at_once.available[place] == stepwise.available[other]
        assert sorted(at_once.categories[place]) == sorted(stepwise.categories[other])
    for name, places in at_once.by_category.items():
        assert {at_once.ids[p] for p in places} == {stepwise.ids[p] for p in stepwise.by_category[name]}


def test_diversity_spreads_the_list(model: cf.ALS, snapshot: Snapshot) -> None:
    def likeness(diversity: float) -> float:
        alike = []
        for user in range(20):
            answer = recommend(snapshot, own_ratings(model, user), Wish(6, diversity=diversity))
            v = model.item_factors_[[snapshot.at[it["item"]] for it in answer["items"]]]
            unit = v / np.linalg.norm(v, axis=1, keepdims=True)
            alike.append((unit @ unit.T)[np.triu_indices(len(v), 1)].mean())
        return float(np.mean(alike))

    plain, varied = likeness(0.0), likeness(0.8)
    assert varied < plain - 0.1
    first = [
        recommend(snapshot, own_ratings(model, 5), Wish(1, diversity=d))["items"][0]["item"] for d in (0, 0.5)
    ]
    assert first[0] == first[1]


def test_similar_items_are_those_of_the_model(model: cf.ALS, snapshot: Snapshot) -> None:
    for place in range(10):
        wanted = model.similar_items(model.item_ids_.id(place), n=7)
        found = similar(snapshot, place, 7)
        assert [it["item"] for it in found] == [item for item, _ in wanted]
        np.testing.assert_allclose([it["score"] for it in found], wanted.scores, atol=1e-6)


def test_predictions_are_those_of_the_model(model: cf.ALS, snapshot: Snapshot) -> None:
    names = [*snapshot.ids[:5], "unknown"]
    for user in range(5):
        found = predict(snapshot, own_ratings(model, user), names)
        wanted = model.predict([model.user_ids_.id(user)] * 6, names)
        np.testing.assert_allclose([it["score"] for it in found], wanted, rtol=1e-5)
        assert [it["known"] for it in found] == [True] * 5 + [False]


@pytest.mark.parametrize("kind", ["ALS", "BayesianMF"])
def test_intervals_are_those_of_the_model(kind: str) -> None:
    ratings = make_ratings()
    sure = cf.ALS(rank=4) if kind == "ALS" else cf.BayesianMF(rank=3, burn_in=5, samples=10)
    model = sure.fit(ratings)
    here = snapshot_of(model)
    own = own_ratings(model, 3)
    found = predict(here, own, ["i001", "i002", "never"], interval=0.8)
    folded = model.only_items(model.ratings_.take(np.array([3])))
    _, low, high = folded.predict(["0"] * 3, ["i001", "i002", "never"], interval=0.8, clip=True)
    np.testing.assert_allclose([it["low"] for it in found], low, atol=1e-4)
    np.testing.assert_allclose([it["high"] for it in found], high, atol=1e-4)
    answer = recommend(here, own, Wish(5, interval=0.8))
    for it in answer["items"]:
        one = predict(here, own, [it["item"]], interval=0.8)[0]
        assert (it["low"], it["high"]) == pytest.approx((one["low"], one["high"]), abs=1e-4)
        assert it["low"] < it["high"]
    popular = recommend(here, {}, Wish(3, interval=0.8))["items"]
    assert all(1 <= it["low"] < it["high"] <= 5 for it in popular)
    assert "low" not in recommend(here, own, Wish(1))["items"][0]


def test_models_that_cannot_tell_have_no_intervals() -> None:
    here = snapshot_of(cf.SGD(rank=2, sweeps=3).fit(make_ratings()))  # type: ignore[arg-type]
    (item,) = recommend(here, {"i001": 4.0}, Wish(1, interval=0.9))["items"]
    assert (item["low"], item["high"]) == (None, None)
    assert recommend(here, {"i001": 4.0}, Wish(1, strategy="ucb"))["items"][0]["item"] == item["item"]


def test_optimists_and_the_careful_are_listed_what_the_model_lists_them(model: cf.ALS) -> None:
    items = [Item("i005", "Film", (), available=False)]
    here, own = snapshot_of(model, items), own_ratings(model, 3)
    for strategy in ("ucb", "lcb"):
        answer = recommend(here, own, Wish(6, strategy=strategy))
        wanted = model.recommend(ratings=own, n=6, exclude=["i005"], strategy=strategy)
        assert [it["item"] for it in answer["items"]] == wanted.items.to_pylist()
        np.testing.assert_allclose([it["score"] for it in answer["items"]], wanted.scores, rtol=1e-5)
    lists = [
        [it["item"] for it in recommend(here, own, Wish(6, strategy="thompson"))["items"]] for _ in range(9)
    ]
    assert len({tuple(one) for one in lists}) > 1
    assert not any("i005" in one for one in lists)


def test_the_map_keeps_distances_as_well_as_a_plane_can(model: cf.ALS, snapshot: Snapshot) -> None:
    plane = snapshot.plane
    assert plane is not None
    v = model.item_factors_[plane.shown].astype(float)
    variances = np.linalg.eigvalsh(np.cov(v.T))[::-1]
    assert plane.places.var(axis=0, ddof=1) * np.linalg.norm(plane.axes[:, 0]) ** -2 == pytest.approx(
        variances[:2], rel=1e-6
    ) or np.linalg.norm(plane.axes[:, 0]) == pytest.approx(np.linalg.norm(plane.axes[:, 1]))
    assert np.quantile(np.abs(plane.places), 0.995) == pytest.approx(1, abs=0.1)
    x, y = plane.place(v[0] * 3)
    scaled = (v[0] / np.linalg.norm(v[0]) * plane.length - plane.centre) @ plane.axes
    assert (x, y) == pytest.approx(tuple(np.clip(scaled, -1.2, 1.2)))
    assert plane.place(np.zeros(4)) is None


def test_titles_are_found_by_all_their_words(snapshot: Snapshot) -> None:
    titles = ["Star Wars", "Wars of Stars\nTwo", None, "The Star", "STRASSE star", "Straße"]
    other = snapshot_of(
        cf.ALS(rank=2).fit(make_ratings(1)), [Item(f"i{k:03d}", t) for k, t in enumerate(titles)]
    )

    def find(words: str) -> list[str]:
        return [other.ids[place] for place in other.index.find(words)]

    assert find("star") == ["i000", "i001", "i003", "i004"]
    assert find("wars STAR") == ["i000", "i001"]
    assert find("strasse") == ["i004", "i005"]
    assert find("starwars") == []
    assert find("  ") == []


def test_without_a_model_the_items_rated_most_are_listed() -> None:
    empty = Snapshot.make(
        1, None, None, 0, [Item("a", "A", ("X",)), Item("b", "B", (), False)], {"a": 1, "c": 5, "b": 9}
    )
    answer = recommend(empty, {"c": 3.0}, Wish(explain=True, position=True))
    assert [it["item"] for it in answer["items"]] == ["a"]
    assert (answer["model_version"], answer["source"], answer["position"]) == (None, "popular", None)
    assert answer["items"][0]["score"] is None
    assert [it["item"] for it in recommend(empty, {}, Wish())["items"]] == ["c", "a"]


def test_ids_that_are_integers_are_text_here(tmp_path: Path) -> None:
    table = {"user": [1, 1, 2, 2], "item": [1, 10, 1, 2], "rating": [5, 3, 4, 1]}
    import pyarrow as pa

    model = cf.ALS(rank=1).fit(cf.read_ratings(pa.table(table)))
    found = Snapshot.make(1, model, 1, 0, [], {})
    assert found.ids == ["1", "2", "10"]
    assert "01" not in found.at
    answer = recommend(found, {"1": 5.0, "01": 1.0}, Wish(explain=True))
    assert {it["item"] for it in answer["items"]} == {"2", "10"}
    assert [part["item"] for part in answer["items"][0]["explanation"]["parts"]] == ["1"]


def test_sgd_and_baseline_answer_as_well() -> None:
    ratings = make_ratings()
    for model in (
        cf.SGD(rank=3, sweeps=5).fit(ratings),
        cf.Baseline().fit(ratings),
        cf.ALS(rank=2, biases="sequential").fit(ratings),
        cf.ALS(rank=2, biases=None).fit(ratings),
    ):
        found = snapshot_of(model)
        answer = recommend(found, own_ratings(model, 4), Wish(5, explain=True, position=True))
        assert len(answer["items"]) == 5
        for it in answer["items"]:
            why = it["explanation"]
            total = why["mean"] + why["user_adds"] + why["item_adds"] + sum(p["adds"] for p in why["parts"])
            assert total == pytest.approx(it["score"], abs=1e-4)


def test_somebody_whose_taste_drifts_is_answered_for_now() -> None:
    """A rating of today counts for more than the same one of long ago; with no times all are of today."""
    import time

    model = cf.TasteDrift(rank=2, items="als", drift="linear", epochs=0).fit(make_ratings())
    snapshot = snapshot_of(model)
    own = {f"i{j:03d}": 5.0 for j in range(4)}
    now = time.time_ns() // 1000
    year = 365 * 86_400 * 1_000_000

    def score(times: dict[str, int] | None) -> float:
        return predict(snapshot, own, ["i020"], times)[0]["score"]

    fresh, old = score(dict.fromkeys(own, now)), score(dict.fromkeys(own, now - 5 * year))
    assert fresh == pytest.approx(score(None), abs=1e-4)
    middle = model.mean_ + float(model.item_bias_[20])
    assert abs(old - middle) < abs(fresh - middle)
    answer = recommend(snapshot, own, Wish(3, explain=True), None, dict.fromkeys(own, now - year))
    for it in answer["items"]:
        why = it["explanation"]
        total = why["mean"] + why["user_adds"] + why["item_adds"] + sum(part["adds"] for part in why["parts"])
        assert total == pytest.approx(it["score"], abs=1e-4)


@pytest.mark.parametrize("kind", ["ALS", "BayesianMF", "TasteDrift"])
def test_item_ids_become_text_in_any_model(kind: str) -> None:
    """9 comes after 10 as text: every array of items goes along."""
    ratings = make_ratings()
    table = ratings.to_arrow()
    numbers = [int(raw[1:]) for raw in table["item"].to_pylist()]
    import pyarrow as pa

    given = cf.read_ratings(table.set_column(1, "item", pa.array(numbers)), scale=(1, 5))
    settings = {
        "ALS": {},
        "BayesianMF": {"burn_in": 2, "samples": 3},
        "TasteDrift": {"items": "als", "epochs": 0},
    }[kind]
    model = getattr(cf, kind)(rank=2, **settings).fit(given)
    some = given.select(given.user_positions < 5)
    text = some.to_arrow().set_column(1, "item", pa.array([str(i) for i in some.items.to_pylist()]))
    new = cf.read_ratings(text, scale=(1, 5))
    folded, other = model.only_items().with_text_items(), model.only_items()
    shown = folded.recommend(ratings=dict(zip(new.items.to_pylist()[:9], new.values[:9].tolist())), n=5)
    wanted = other.recommend(
        ratings=dict(zip([int(i) for i in new.items.to_pylist()[:9]], new.values[:9].tolist())), n=5
    )
    assert [int(item) for item in shown.items.to_pylist()] == wanted.items.to_pylist()
    np.testing.assert_allclose(shown.scores, wanted.scores, rtol=1e-5)
