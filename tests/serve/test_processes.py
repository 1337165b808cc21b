"""Services as they run: killed, told to end, asked by many at once, without their database, on a full disk."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest

from cofactor.cli import main
from cofactor.serve import installing
from cofactor.serve.settings import Settings
from cofactor.serve.store.database import Database
from tests.serve.conftest import Postgres, Running, free_port, running, until


def stored(url: str, user: str) -> dict[str, float]:
    rows = httpx.get(f"{url}/v1/users/{user}/ratings?limit=1000").json()["ratings"]
    return {row["item"]: row["rating"] for row in rows}


@pytest.fixture
def db(request: pytest.FixtureRequest) -> str:
    """The URL of a database, or nothing for the file in the service's folder."""
    if request.param == "sqlite":
        return ""
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database("processes")


both = pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)


def put_until_it_ends(found: Running, user: str, wanted: int, acknowledged: dict[str, float]) -> None:
    with httpx.Client(base_url=found.url, timeout=10) as client:
        for k in range(wanted):
            try:
                answer = client.put(f"/v1/ratings/{user}/i{k}", json={"rating": 1 + k % 5})
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                acknowledged[f"i{k}"] = float(1 + k % 5)


@both
def test_what_was_acknowledged_survives_a_kill(db: str, tmp_path: Path, saved: Path) -> None:
    options = ("--db", db) if db else ()
    acknowledged: list[dict[str, float]] = [{} for _ in range(4)]
    with running(tmp_path, str(saved), "--workers", "2", *options) as found:
        threads = [
            threading.Thread(target=put_until_it_ends, args=(found, f"user{n}", 250, acknowledged[n]))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        until(lambda: sum(map(len, acknowledged)) >= 300, 60)
        found.kill()
        for thread in threads:
            thread.join()
    assert 300 <= sum(map(len, acknowledged)) < 1000  # in the middle
    with running(tmp_path, str(saved), *options) as found:
        for n, mine in enumerate(acknowledged):
            there = stored(found.url, f"user{n}")
            assert mine.items() <= there.items()
            assert len(there) <= len(mine) + 1  # one may have been stored and not acknowledged


@both
def test_many_at_once_lose_nothing_and_mix_nothing(db: str, tmp_path: Path, saved: Path) -> None:
    settings = Settings(folder=str(tmp_path), db=db)
    database = Database(settings.url)
    database.upgrade()
    installing.install_model(database, settings, saved)
    # Another model over the same items, to which they are all alike: an answer of both would show.
    other = installing.open_model(saved)
    other.item_bias_, other.item_factors_ = (
        np.zeros_like(other.item_bias_),
        np.zeros_like(other.item_factors_),
    )
    installing.register(
        database, settings, other, n_ratings=1, n_users=1, trained_at=0, quality={}, reason="", activate=False
    )
    database.close()
    wrong: list[str] = []
    ends = threading.Event()

    def write(n: int, client: httpx.Client) -> None:
        for k in range(40):
            value = float(1 + (k + n) % 5)
            answer = client.put(f"/v1/ratings/w{n}/i{k:03d}", json={"rating": value})
            if answer.status_code != 200:
                wrong.append(answer.text)
            if stored(str(client.base_url).rstrip("/"), f"w{n}").get(f"i{k:03d}") != value:
                wrong.append("not read back")
            if f"i{k:03d}" in [
                it["item"]
                for it in client.get(f"/v1/users/w{n}/recommendations?n=40").json().get("items", [])
            ]:
                wrong.append("seen item came back")

    def read(n: int, client: httpx.Client) -> None:
        while not ends.is_set():
            answer = client.get(f"/v1/users/{100 + n}/recommendations?n=5").json()
            scores = len({it["score"] for it in answer["items"]})
            if scores != (1 if answer["model_version"] == 2 else 5):
                wrong.append(f"mixed: {answer}")

    def change(client: httpx.Client) -> None:
        while not ends.is_set():
            for version in (2, 1):
                answer = client.post(f"/v1/models/{version}:activate")
                if answer.json() != {"active": version}:
                    wrong.append(answer.text)
                seen = client.get("/v1/users/100/recommendations").json()["model_version"]
                if seen != version:
                    wrong.append(f"activated {version}, answered by {seen}")
                time.sleep(0.05)

    options = ("--db", db) if db else ()
    with running(tmp_path, "--workers", "2", *options) as found:
        clients = [httpx.Client(base_url=found.url, timeout=30) for _ in range(17)]
        writers = [threading.Thread(target=write, args=(n, clients[n])) for n in range(8)]
        others = [threading.Thread(target=read, args=(n, clients[8 + n])) for n in range(8)]
        others.append(threading.Thread(target=change, args=(clients[16],)))
        for thread in (*writers, *others):
            thread.start()
        for thread in writers:
            thread.join()
        ends.set()
        for thread in others:
            thread.join()
        for client in clients:
            client.close()
        for n in range(8):
            assert stored(found.url, f"w{n}") == {f"i{k:03d}": float(1 + (k + n) % 5) for k in range(40)}
    assert wrong == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_lets_requests_finish_and_denies_to_be_ready(
    tmp_path: Path, saved: Path, workers: str
) -> None:
    with running(tmp_path, str(saved), "--workers", workers, "--drain", "1.5") as found:
        port = int(found.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as half:
            body = b'{"user": "slow", "item": "i001", "rating": 4}\n'
            head = (
                f"POST /v1/ratings:batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            half.sendall(head.encode() + body[:10])  # a request in flight
            time.sleep(0.3)
            found.signal(signal.SIGTERM)
            until(lambda: httpx.get(found.url + "/health/ready").status_code == 503, 5)
            assert httpx.get(found.url + "/health/live").status_code == 200
            assert httpx.get(found.url + "/v1/popular").status_code == 200
            time.sleep(1.8)  # beyond the drain
            half.sendall(body[10:])
            answer = half.recv(65536).decode()
            assert answer.startswith("HTTP/1.1 200"), answer
        assert found.process.wait(30) == 0
    with running(tmp_path) as again:
        assert stored(again.url, "slow") == {"i001": 4.0}


def test_a_worker_that_dies_is_replaced(tmp_path: Path, saved: Path) -> None:
    with running(tmp_path, str(saved), "--workers", "2") as found:
        first = found.workers()
        assert len(first) == 2
        os.kill(min(first), signal.SIGKILL)
        until(lambda: len(found.workers()) == 2 and found.workers() != first, 20)
        for _ in range(20):
            assert httpx.get(found.url + "/v1/popular").status_code == 200
        children = found.workers()
        found.signal(signal.SIGTERM)
        assert found.process.wait(30) == 0
        for child in children:
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)


def test_a_database_that_goes_and_comes_back(tmp_path: Path, saved: Path, postgres: Postgres) -> None:
    db = postgres.new_database("away")
    with running(tmp_path, str(saved), "--db", db) as found:
        assert httpx.put(found.url + "/v1/ratings/u/i001", json={"rating": 4}).status_code == 200
        postgres.stop()
        try:
            for _ in range(3):
                for answer in (
                    httpx.get(found.url + "/health/ready", timeout=30),
                    httpx.put(found.url + "/v1/ratings/u/i002", json={"rating": 4}, timeout=30),
                    httpx.get(found.url + "/v1/users/u/recommendations", timeout=30),
                ):
                    assert answer.status_code == 503
                    assert answer.headers["content-type"] == "application/problem+json"
            assert httpx.get(found.url + "/health/live").status_code == 200
            time.sleep(1.5)
        finally:
            postgres.start()
        until(lambda: httpx.get(found.url + "/health/ready").status_code == 200, 20)
        assert httpx.put(found.url + "/v1/ratings/u/i002", json={"rating": 5}).status_code == 200
        assert stored(found.url, "u") == {"i001": 4.0, "i002": 5.0}


def test_a_full_disk_is_said_and_spoils_nothing(tmp_path: Path, saved: Path) -> None:
    with running(tmp_path, str(saved)):
        pass
    size = sum(path.stat().st_size for path in tmp_path.glob("service.db*"))

    def limit() -> None:  # no file may grow beyond; Python ignores the signal, and writing fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200_000, size + 200_000))

    codes, kept = [], {}
    with running(tmp_path, preexec_fn=limit) as found:
        for k in range(60):
            lines = [{"user": f"u{k}", "item": f"item-{n:04d}-{'x' * 40}", "rating": 3} for n in range(100)]
            answer = httpx.post(found.url + "/v1/ratings:batch", content="\n".join(map(json.dumps, lines)))
            codes.append(answer.status_code)
            if answer.status_code == 200:
                kept[f"u{k}"] = 100
            else:
                assert answer.headers["content-type"] == "application/problem+json"
        assert codes[0] == 200
        assert codes[-1] in (503, 507)
        assert set(codes) <= {200, 503, 507}
        assert httpx.get(found.url + "/v1/popular").status_code == 200
    with running(tmp_path) as found:
        assert {f"u{k}": len(stored(found.url, f"u{k}")) for k in range(60) if f"u{k}" in kept} == kept
        refused = [f"u{k}" for k in range(60) if f"u{k}" not in kept]
        assert all(stored(found.url, user) == {} for user in refused)
        assert httpx.put(found.url + "/v1/ratings/u/i001", json={"rating": 4}).status_code == 200
    import sqlite3

    with sqlite3.connect(tmp_path / "service.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- the command ---------------------------------------------------------------------------------


def cofactor(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cofactor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_another_address_needs_a_key(tmp_path: Path, saved: Path) -> None:
    port = str(free_port())
    refused = cofactor("serve", str(saved), "--folder", str(tmp_path), "--host", "0.0.0.0", "--port", port)
    assert refused.returncode == 2
    assert "cofactor keys create" in refused.stderr
    made = cofactor("keys", "create", "ops", "--scope", "admin", "--folder", str(tmp_path))
    key = made.stdout.strip()
    assert re.fullmatch(r"cfk_[\w-]{43}", key)
    with running(tmp_path, str(saved), "--host", "0.0.0.0") as found:
        assert httpx.get(found.url + "/v1/popular").status_code == 401
        assert (
            httpx.get(found.url + "/v1/popular", headers={"Authorization": f"Bearer {key}"}).status_code
            == 200
        )
        assert key not in found.log.read_text()


def test_keys_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ("--folder", str(tmp_path))
    assert main(["keys", "create", "phone", *folder, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["scope"]) == ("phone", "read")
    assert main(["keys", "list", *folder]) == 0
    shown = capsys.readouterr().out
    assert "phone" in shown
    assert made["key"] not in shown
    assert main(["keys", "revoke", "phone", *folder]) == 0
    assert main(["keys", "revoke", "phone", *folder]) == 2
    assert main(["keys", "create", "x", "--scope", "root", *folder]) == 2
    capsys.readouterr()
    assert main(["keys", "list", *folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keys"][0]["revoked"]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_what_cannot_be_served_is_said_at_once(tmp_path: Path, saved: Path, taken: int) -> None:
    folder = ("--folder", str(tmp_path / "service"))
    broken = tmp_path / "broken"
    broken.mkdir()
    for arguments, code, words in (
        ((str(broken),), 3, "manifest.json"),
        ((str(saved), "--port", str(taken)), 1, "--port"),
        ((str(saved), "--db", "mysql://x/y"), 2, "sqlite:///FILE"),
        ((str(saved), "--host", "no.such.host.invalid"), 2, "keys create"),
        (("--demo", str(saved)), 2, "--demo"),
        (("--ratings", str(tmp_path / "none.csv")), 3, "none.csv"),
    ):
        done = cofactor("serve", *arguments, *folder)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_ratings_and_titles_are_brought_along(tmp_path: Path) -> None:
    lines = [
        f"{u},{i},{1 + (u * i) % 5},{1_600_000_000 + u}" for u in range(20) for i in range(15) if (u + i) % 3
    ]
    (tmp_path / "ratings.csv").write_text("user,item,rating,timestamp\n" + "\n".join(lines))
    (tmp_path / "items.csv").write_text(
        "item,title,genres\n" + "\n".join(f"{i},Film {i},War" for i in range(15))
    )
    arguments = ("--ratings", str(tmp_path / "ratings.csv"), "--titles", str(tmp_path / "items.csv"))
    for _ in range(2):  # the second time they are there
        with running(tmp_path / "service", *arguments) as found:
            assert len(stored(found.url, "3")) == 10
            popular = httpx.get(found.url + "/v1/popular").json()
            assert popular["items"][0]["title"].startswith("Film")
