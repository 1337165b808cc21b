"""The routes: what they take, what they answer, and what they refuse."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from cofactor.serve.guard import PAGE_POLICY, Buckets
from cofactor.serve.store import keys

NASTY = [
    "../../etc/passwd",
    "a/b",
    "..",
    ".",
    "%2e%2e%2f",
    "%",
    "'; DROP TABLE ratings; --",
    '" OR 1=1',
    "<script>alert(1)</script>",
    "x\r\nSet-Cookie: a=b",
    "né 漢字 🎬",
    "a?b#c&d=e;f",
    "01",
    "1",
    " 1",
    "a:activate",
    "ratings:batch",
    "x" * 256,
]


def encoded(name: str) -> str:
    """As a segment of a path; a client would take "." and ".." for directions."""
    return quote(name, safe="").replace(".", "%2E")


def put(client: TestClient, user: str, item: str, rating: float, **more: Any) -> Any:
    path = f"/v1/ratings/{encoded(user)}/{encoded(item)}"
    return client.put(path, json={"rating": rating, **more})


def lists(client: TestClient, user: str, **query: Any) -> Any:
    return client.get(f"/v1/users/{encoded(user)}/recommendations", params=query)


def is_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "request_id"}
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


# -- ratings -------------------------------------------------------------------------------------


def test_a_rating_counts_in_the_next_answer(client: TestClient) -> None:
    before = lists(client, "new", n=40).json()
    assert before["source"] == "popular"
    stored = put(client, "new", "i003", 5).json()
    assert (stored["rating"], stored["stored"], stored["known"]) == (5.0, True, True)
    after = lists(client, "new", n=40).json()
    assert after["source"] == "fold_in"
    assert "i003" not in [it["item"] for it in after["items"]]
    assert after["recommendation_id"] != before["recommendation_id"]
    put(client, "new", "i004", 1)
    third = lists(client, "new", n=40).json()
    assert [it["score"] for it in third["items"]] != [it["score"] for it in after["items"]]
    client.delete("/v1/ratings/new/i004")
    assert lists(client, "new", n=40).json()["items"] == after["items"]


def test_users_of_the_model_are_answered_from_the_model(client: TestClient) -> None:
    answer = lists(client, "100").json()
    assert answer["source"] == "model"
    put(client, "100", answer["items"][0]["item"], 3)
    assert lists(client, "100").json()["source"] == "fold_in"


def test_putting_twice_is_putting_once(client: TestClient) -> None:
    first = put(client, "u", "i001", 4, time="2026-01-02T03:04:05Z").json()
    assert put(client, "u", "i001", 4, time="2026-01-02T03:04:05Z").json() == first
    assert first["time"] == "2026-01-02T03:04:05.000000Z"
    late = put(client, "u", "i001", 1, time=1_600_000_000).json()
    assert (late["rating"], late["stored"]) == (4.0, False)
    assert [r["rating"] for r in client.get("/v1/users/u/ratings").json()["ratings"]] == [4.0]


def test_a_rating_taken_back_is_gone(client: TestClient) -> None:
    put(client, "u", "i001", 4)
    assert client.delete("/v1/ratings/u/i001").json()["rating"] is None
    assert client.get("/v1/users/u/ratings").json()["ratings"] == []
    is_problem(client.delete("/v1/ratings/u/i001"), 404)
    assert put(client, "u", "i001", 2).json()["stored"]


@pytest.mark.parametrize(
    "body",
    [
        {"rating": 6},
        {"rating": 0},
        {"rating": None},
        {"rating": "x"},
        {"rating": True, "time": "yesterday"},
        {"rating": 3, "time": "2999-01-01"},
        {"rating": 3, "time": -1},
        {"rating": 3, "time": 1e300},
        {"rating": 3, "surprise": 1},
        {},
        [],
        3,
    ],
)
def test_ratings_that_are_none(client: TestClient, body: Any) -> None:
    is_problem(client.put("/v1/ratings/u/i001", json=body), 422)
    assert client.get("/v1/users/u/ratings").json()["ratings"] == []


@pytest.mark.parametrize(
    "content", [b'{"rating": NaN}', b'{"rating": Infinity}', b"{", b"\xff", b"", b"[" * 20000]
)
def test_bodies_that_are_no_json(client: TestClient, content: bytes) -> None:
    answer = client.put("/v1/ratings/u/i001", content=content, headers={"content-type": "application/json"})
    is_problem(answer, 400 if answer.status_code == 400 else 422)


@pytest.mark.parametrize("name", NASTY)
def test_any_text_is_an_id_and_a_title(client: TestClient, name: str) -> None:
    shown = client.put(f"/v1/items/{encoded(name)}", json={"title": name, "categories": [name[:100]]})
    assert shown.json()["item"] == shown.json()["title"] == name
    assert client.get(f"/v1/items/{encoded(name)}").json()["title"] == name
    stored = put(client, name, name, 3).json()
    assert (stored["user"], stored["item"]) == (name, name)
    rated = client.get(f"/v1/users/{encoded(name)}/ratings").json()
    assert [(r["item"], r["title"]) for r in rated["ratings"]] == [(name, name)]
    assert lists(client, name).json()["user"] == name
    assert client.delete(f"/v1/users/{encoded(name)}").json() == {"user": name, "ratings": 1}
    assert put(client, "other", "i001", 3).status_code == 200


def test_01_is_not_1(client: TestClient) -> None:
    put(client, "01", "i001", 5)
    assert client.get("/v1/users/1/ratings").json()["ratings"] == []
    put(client, "1", "i001", 1)
    assert [r["rating"] for r in client.get("/v1/users/01/ratings").json()["ratings"]] == [5.0]


@pytest.mark.parametrize("name", ["x" * 257, "a\0b"])
def test_ids_that_cannot_be_stored(client: TestClient, name: str) -> None:
    is_problem(put(client, name, "i001", 3), 422)
    is_problem(put(client, "u", name, 3), 422)


def test_a_path_that_is_not_utf8(client: TestClient) -> None:
    is_problem(client.get("/v1/users/%ff/ratings"), 400)


def batch(client: TestClient, lines: list[Any], **headers: str) -> Any:
    content = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return client.post("/v1/ratings:batch", content=content, headers=headers)


def test_a_batch_says_what_became_of_each_line(client: TestClient) -> None:
    lines = [
        {"user": "b", "item": "i001", "rating": 5},
        {"user": "b", "item": "i002", "rating": 9},
        "{not json",
        "",
        {"user": "b", "item": "", "rating": 3},
        {"user": "b", "item": "i003", "rating": 3, "time": "2026-01-01"},
        {"user": 7, "item": "i003", "rating": 3},
        {"user": "b", "item": "i001", "rating": 2},
        {"user": "b", "item": "i003", "rating": 1, "time": "2025-01-01"},
    ]
    answer = batch(client, lines).json()
    assert (answer["accepted"], answer["rejected"]) == (4, 4)
    assert [reason["row"] for reason in answer["reasons"]] == [2, 3, 5, 7]
    assert "scale" in answer["reasons"][0]["reason"]
    stored = client.get("/v1/users/b/ratings").json()["ratings"]
    assert [(r["item"], r["rating"]) for r in stored] == [("i001", 2.0), ("i003", 3.0)]
    assert batch(client, []).json()["accepted"] == 0


def test_a_batch_with_a_key_is_carried_out_once(client: TestClient) -> None:
    line = {"user": "b", "item": "i001", "rating": 5}
    first = batch(client, [line], **{"Idempotency-Key": "k1"}).json()
    client.delete("/v1/users/b")
    assert batch(client, [line], **{"Idempotency-Key": "k1"}).json() == first
    assert client.get("/v1/users/b/ratings").json()["ratings"] == []
    is_problem(batch(client, [line, line], **{"Idempotency-Key": "k1"}), 422)
    batch(client, [line], **{"Idempotency-Key": "k2"})
    assert len(client.get("/v1/users/b/ratings").json()["ratings"]) == 1


def test_a_large_batch(client: TestClient) -> None:
    lines = [{"user": f"u{k % 500}", "item": f"item-{k:06d}-{'x' * 40}", "rating": 3} for k in range(40_000)]
    assert batch(client, lines).json() == {"accepted": 40_000, "rejected": 0, "reasons": []}  # four megabytes


def test_pages_of_ratings(client: TestClient) -> None:
    batch(client, [{"user": "p", "item": f"x{k:02d}", "rating": 3} for k in range(25)])
    found, cursor = [], None
    while True:
        page = client.get(
            "/v1/users/p/ratings", params={"limit": 10} | ({"cursor": cursor} if cursor else {})
        ).json()
        found += [r["item"] for r in page["ratings"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [f"x{k:02d}" for k in range(25)]


def test_erasure_is_complete(make: Callable[..., TestClient], tmp_path: Any) -> None:
    client = make()
    secret = "erase-me-7f3a"
    for k in range(20):
        put(client, secret, f"i{k:03d}", 4)
    assert lists(client, secret).json()["source"] == "fold_in"
    client.post(
        "/v1/events", json={"recommendation_id": "1.0123456789abcdef", "item": "i001", "kind": "click"}
    )
    assert client.delete(f"/v1/users/{secret}").json()["ratings"] == 20
    assert lists(client, secret).json()["source"] == "popular"
    database = client.app.state.service.database
    with database.read() as connection:
        for table in ("ratings", "events", "requests", "jobs", "models"):
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            assert secret not in str(rows), table
    files = [p for p in (tmp_path / "service" / "models").rglob("*") if p.is_file()]
    assert len(files) == 3
    assert not any(secret.encode() in p.read_bytes() for p in files)


# -- items and lists -----------------------------------------------------------------------------


def test_an_item_that_cannot_be_had_is_not_listed(client: TestClient) -> None:
    put(client, "u", "i000", 5)
    best = lists(client, "u", n=1).json()["items"][0]["item"]
    client.put(f"/v1/items/{best}", json={"title": "Gone", "available": False})
    for answer in (
        lists(client, "u", n=40),
        lists(client, "nobody", n=40),
        client.get("/v1/popular?n=40"),
        client.get("/v1/items?limit=100"),
    ):
        assert best not in [it["item"] for it in answer.json()["items"]]
    assert client.get(f"/v1/items/{best}").json()["available"] is False
    client.put(f"/v1/items/{best}", json={"title": "Back"})
    assert lists(client, "u", n=1).json()["items"][0]["title"] == "Back"
    assert client.delete(f"/v1/items/{best}").status_code == 200
    is_problem(client.get(f"/v1/items/{best}"), 404)
    assert best not in [it["item"] for it in lists(client, "u", n=40).json()["items"]]


def test_where_nothing_is_left_it_is_said(client: TestClient) -> None:
    assert "No item" in is_problem(lists(client, "u", category="none"), 404)["detail"]
    batch(client, [{"user": "all", "item": f"i{k:03d}", "rating": 3} for k in range(40)])
    is_problem(lists(client, "all"), 404)
    assert len(lists(client, "all", exclude_seen=False).json()["items"]) == 10


def test_somebody_who_is_not_stored(client: TestClient) -> None:
    wanted = {"ratings": [{"item": "i001", "rating": 5}], "n": 5, "explain": True, "position": True}
    answer = client.post("/v1/recommendations", json=wanted).json()
    put(client, "same", "i001", 5)
    stored = lists(client, "same", n=5, explain=True, position=True).json()
    assert answer["items"] == stored["items"]
    assert answer["position"] == stored["position"]
    among = client.post(
        "/v1/recommendations", json={"among": ["i005", "i006", "nix"], "exclude": ["i005"]}
    ).json()
    assert [it["item"] for it in among["items"]] == ["i006"]
    is_problem(client.post("/v1/recommendations", json={"ratings": [{"item": "i001", "rating": 50}]}), 422)


def test_lists_with_intervals_and_other_strategies(client: TestClient) -> None:
    for query in ("interval=0.8", "strategy=ucb", "strategy=thompson", "strategy=lcb&interval=0.5"):
        items = client.get(f"/v1/users/u/recommendations?n=3&{query}").json()["items"]
        assert len(items) == 3
        assert all(("low" in it) == ("interval" in query) for it in items)
    wish = {"ratings": [{"item": "i002", "rating": 5}], "interval": 0.8, "strategy": "ucb"}
    (item,) = client.post("/v1/recommendations", json={**wish, "n": 1}).json()["items"]
    assert item["low"] < item["high"]
    for query in ("interval=1", "interval=nan", "strategy=greedy"):
        is_problem(client.get(f"/v1/users/u/recommendations?{query}"), 422)


def test_predictions(client: TestClient) -> None:
    put(client, "u", "i001", 5)
    by_user = client.post("/v1/predict", json={"user": "u", "items": ["i002", "nix"]}).json()
    own = [{"item": "i001", "rating": 5}]
    by_ratings = client.post("/v1/predict", json={"ratings": own, "items": ["i002", "nix"]}).json()
    assert by_ratings["items"] == by_user["items"]
    assert by_ratings["source"] == by_user["source"] == "fold_in"
    assert by_ratings["recommendation_id"] != by_user["recommendation_id"]
    assert by_user["items"][0]["low"] is None
    sure = client.post("/v1/predict", json={"user": "u", "items": ["i002", "nix"], "interval": 0.9}).json()
    assert all(it["low"] <= it["score"] <= it["high"] for it in sure["items"])
    for share in (0, 1, "NaN"):
        is_problem(client.post("/v1/predict", json={"user": "u", "items": ["i002"], "interval": share}), 422)
    nobody = client.post("/v1/predict", json={"user": "nobody", "items": ["i002"]}).json()
    assert (nobody["model_version"], nobody["source"]) == (1, "popular")
    assert [it["known"] for it in by_user["items"]] == [True, False]
    is_problem(client.post("/v1/predict", json={"user": "u", "ratings": own, "items": ["i002"]}), 422)
    is_problem(client.post("/v1/predict", json={"items": ["i002"]}), 422)


def test_similar_popular_search_and_map(client: TestClient) -> None:
    similar = client.get("/v1/items/i001/similar?n=5").json()
    assert len(similar["items"]) == 5
    assert all(-1 <= it["score"] <= 1 for it in similar["items"])
    is_problem(client.get("/v1/items/nix/similar"), 404)
    client.put("/v1/items/fresh", json={"title": "Fresh"})
    assert "model" in is_problem(client.get("/v1/items/fresh/similar"), 404)["detail"]
    popular = client.get("/v1/popular?n=5&category=War").json()
    assert all("War" in it["categories"] for it in popular["items"])
    found = client.get("/v1/items", params={"search": "film number 7"}).json()
    assert {it["item"] for it in found["items"]} == {"i007", "i017", "i027", "i037"}
    first = client.get("/v1/items?limit=30").json()
    rest = client.get("/v1/items", params={"limit": 30, "cursor": first["next"]}).json()
    every = [it["item"] for it in first["items"] + rest["items"]]
    assert len(every) == len(set(every)) == 41
    assert rest["next"] is None
    assert len(client.get("/v1/map").json()["items"]) == 40


def test_events_are_counted_by_model(client: TestClient) -> None:
    name = lists(client, "u").json()["recommendation_id"]
    assert client.post("/v1/events", json={"recommendation_id": name, "item": "i001"}).status_code == 202
    is_problem(client.post("/v1/events", json={"recommendation_id": "x", "item": "i001"}), 422)
    with client.app.state.service.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT model_version, kind, item_id FROM events").all()
    assert [tuple(row) for row in rows] == [(1, "click", "i001")]


def test_models_can_be_changed_and_changed_back(client: TestClient, saved: Any) -> None:
    from cofactor.serve import installing

    service = client.app.state.service
    model = installing.open_model(saved)
    model.item_factors_ = -model.item_factors_[::-1].copy()
    version = installing.register(
        service.database,
        service.settings,
        model,
        n_ratings=1,
        n_users=1,
        trained_at=0,
        quality={},
        reason="",
        activate=False,
    )
    before = lists(client, "100").json()
    assert client.post(f"/v1/models/{version}:activate").json() == {"active": version}
    after = lists(client, "100").json()
    assert (before["model_version"], after["model_version"]) == (1, version)
    assert before["items"] != after["items"]
    assert client.post("/v1/models:rollback").json() == {"active": 1}
    assert lists(client, "100").json()["items"] == before["items"]
    assert client.get("/v1/models").json()["active"] == 1
    assert client.get("/v1/models/1/quality").json()["objective"]
    is_problem(client.post("/v1/models/99:activate"), 404)
    is_problem(client.get("/v1/models/99/quality"), 404)


def test_a_service_without_a_model(make: Callable[..., TestClient]) -> None:
    client = make(filled=False)
    is_problem(lists(client, "u"), 404)
    assert put(client, "u", "a", 5).json()["known"] is False
    put(client, "v", "b", 3)
    client.app.state.service.registry.count_again()
    answer = lists(client, "u").json()
    assert (answer["source"], [it["item"] for it in answer["items"]]) == ("popular", ["b"])
    is_problem(client.post("/v1/predict", json={"user": "u", "items": ["a"]}), 503)
    is_problem(client.post("/v1/models:rollback"), 409)
    assert client.get("/v1/service").json()["model"] is None
    assert client.get("/health/ready").status_code == 200


# -- keys, limits, headers -----------------------------------------------------------------------


def test_keys_open_what_their_scope_says(make: Callable[..., TestClient]) -> None:
    client = make()
    service = client.app.state.service
    made = {}
    with service.database.write() as connection:
        for scope in keys.SCOPES:
            made[scope] = keys.create(connection, scope, scope)
    service._read_keys()
    calls = {
        "read": lambda **h: client.get("/v1/popular", headers=h),
        "write": lambda **h: client.put("/v1/ratings/u/i001", json={"rating": 3}, headers=h),
        "admin": lambda **h: client.get("/v1/jobs", headers=h),
    }
    for level, call in enumerate(calls.values()):
        is_problem(call(), 401)
        is_problem(call(Authorization="Bearer wrong"), 401)
        is_problem(call(Authorization="Basic " + made["admin"]), 401)
        for scope, key in made.items():
            answer = call(Authorization=f"Bearer {key}")
            assert answer.status_code == (200 if keys.SCOPES.index(scope) >= level else 403), answer.text
    assert client.get("/v1/service").json()["keys_required"] is True
    assert client.get("/health/ready").status_code == 200
    with service.database.write() as connection:
        for scope in keys.SCOPES:
            keys.revoke(connection, scope)
    service._read_keys()
    is_problem(calls["read"](Authorization=f"Bearer {made['read']}"), 401)


def test_a_new_key_holds_within_a_tick(make: Callable[..., TestClient]) -> None:
    from tests.serve.conftest import until

    client = make()
    with client.app.state.service.database.write() as connection:
        keys.create(connection, "a", "read")
    until(lambda: client.get("/v1/popular").status_code == 401, 10)


def test_who_asks_too_often_has_to_wait(make: Callable[..., TestClient]) -> None:
    client = make(rate=5.0)
    codes = [client.get("/v1/popular").status_code for _ in range(30)]
    assert codes[:5] == [200] * 5
    assert 429 in codes
    refused = client.get("/v1/popular")
    is_problem(refused, 429)
    assert int(refused.headers["retry-after"]) >= 1


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 100.0
    monkeypatch.setattr("cofactor.serve.guard.time.monotonic", lambda: at)
    buckets = Buckets(2.0)
    assert [buckets.wait("a") for _ in range(3)] == [0.0, 0.0, 0.5]
    assert buckets.wait("b") == 0.0
    at += 0.5
    assert [buckets.wait("a") for _ in range(2)] == [0.0, 0.5]
    at += 100
    assert [buckets.wait("a") for _ in range(3)] == [0.0, 0.0, 0.5]
    for k in range(3 * Buckets.MOST):
        buckets.wait(str(k))
    assert len(buckets._left) == Buckets.MOST


def test_what_is_too_large_is_not_read(make: Callable[..., TestClient]) -> None:
    client = make(body_limit=1000, batch_limit=5000)
    is_problem(client.put("/v1/items/a", json={"title": "x" * 2000}), 413)
    is_problem(batch(client, ["x" * 6000]), 413)

    def endless() -> Any:
        for _ in range(100):
            yield b"x" * 100

    is_problem(client.post("/v1/ratings:batch", content=endless()), 413)
    is_problem(
        client.put("/v1/items/a", content=endless(), headers={"content-type": "application/json"}), 413
    )
    assert batch(client, [{"user": "b", "item": "i001", "rating": 5}] * 20).json()["accepted"] == 20


def test_what_takes_too_long_is_ended(
    make: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    client = make(time_limit=0.2)

    async def forever(*_: Any, **__: Any) -> None:
        await asyncio.sleep(20)

    monkeypatch.setattr(client.app.state.service, "quickly", forever)
    answer = lists(client, "u")
    assert "too long" in is_problem(answer, 503)["detail"]
    assert answer.headers["retry-after"]


def test_other_names_are_not_answered_to(make: Callable[..., TestClient]) -> None:
    client = make(allowed_hosts=("localhost", "127.0.0.1", "::1"))
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "[::1]", "localhost:", "LOCALHOST:1"):
        assert client.get("/v1/popular", headers={"host": host}).status_code == 200
    for host in ("evil.example", "localhost.evil.example", "evil.example:localhost", "[::2]", ""):
        is_problem(client.get("/v1/popular", headers={"host": host}), 421)


def test_every_answer_has_a_name_and_strict_headers(client: TestClient) -> None:
    for path in ("/", "/v1/popular", "/v1/nix", "/health/live", "/static/style.css"):
        answer = client.get(path)
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert len(answer.headers["x-request-id"]) == 16
    assert (
        client.get("/", headers={"x-request-id": "my-own-name-1"}).headers["x-request-id"] == "my-own-name-1"
    )
    assert client.get("/", headers={"x-request-id": "bad name\t"}).headers["x-request-id"] != "bad name\t"
    assert client.get("/v1/popular").headers["cache-control"] == "no-store"
    is_problem(client.get("/v1/nix"), 404)
    is_problem(client.get("/nix"), 404)
    is_problem(client.post("/v1/popular"), 405)
    is_problem(client.get("/static/../app.py"), 404)
    is_problem(client.get("/static/%2e%2e/app.py"), 404)


def test_our_mistakes_are_problems_without_their_secrets(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from cofactor.serve.logs import JsonLines

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret-user rated secret-item")

    monkeypatch.setattr("cofactor.serve.answering.recommend", broken)
    problem = is_problem(lists(client, "secret-user"), 500)
    assert "secret" not in str(problem)
    lines = [JsonLines().format(record) for record in caplog.records if record.levelno >= logging.ERROR]
    assert lines
    assert all("secret" not in line for line in lines)
    assert any("RuntimeError" in line for line in lines)


def test_the_log_has_no_user_no_rating_and_no_key(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    from cofactor.serve.logs import JsonLines

    caplog.set_level(logging.INFO)
    put(client, "secret-user", "secret-item", 4.5)
    lists(client, "secret-user", category="secret-category")
    client.get("/v1/popular", headers={"authorization": "Bearer secret-key"})
    lines = [JsonLines().format(r) for r in caplog.records if r.name.startswith("cofactor")]
    assert len(lines) == 3
    for line in lines:
        assert "secret" not in line
        assert "4.5" not in line
        assert json.loads(line)["milliseconds"] >= 0
    assert json.loads(lines[0])["route"].endswith("/ratings/{user}/{item}")


def test_metrics_count(client: TestClient) -> None:
    def read(name: str) -> float:
        text = client.get("/metrics").text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    before = read("cofactor_ratings_written_total"), read('cofactor_answers_total{source="fold_in"}')
    put(client, "u", "i001", 3)
    lists(client, "u")
    assert read("cofactor_ratings_written_total") == before[0] + 1
    assert read('cofactor_answers_total{source="fold_in"}') == before[1] + 1
    assert read("cofactor_model_version") == 1
    assert read("cofactor_request_seconds_count") > 2
    operations = client.get("/v1/operations").json()
    client.put("/v1/ratings/u/i002", json={"rating": 3})
    again = client.get("/v1/operations").json()["ratings_per_minute"]
    assert (
        sum(one["count"] for one in again)
        == again[-1]["count"] + again[-2]["count"]
        == operations["store"]["ratings"] + 1
    )
    assert len(operations["ratings_per_minute"]) == 60
    assert operations["latency_ms"]["p99"] >= operations["latency_ms"]["p50"] > 0
    assert operations["store"]["items"] == 40
