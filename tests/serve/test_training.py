"""Trainings: what they learn, when they take over, how they end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import cofactor as cf
from cofactor.ratings import Ratings
from cofactor.serve import installing, training
from cofactor.serve.registry import open_model
from cofactor.serve.settings import Settings
from cofactor.serve.store import jobs, models, ratings
from cofactor.serve.store.database import Database
from cofactor.serve.store.ratings import Stored
from cofactor.serve.training import Table, hold_out, judge, read_all
from tests.conftest import make_ratings
from tests.serve.conftest import until


def ended(client: TestClient, job: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def over() -> bool:
        found.update(client.get(f"/v1/jobs/{job}").json())
        return found["status"] in ("done", "failed", "cancelled")

    until(over, 60, lambda: str(found))
    return found


def give(client: TestClient, source: Ratings, shift: float = 0.0) -> None:
    """Put ratings as they would come, one batch."""
    service = client.app.state.service
    users, names = source.users.to_pylist(), source.items.to_pylist()
    at = ratings.now()
    stored = [
        Stored(str(u), str(i), float(np.clip(v + shift, 1, 5)), at)
        for u, i, v in zip(users, names, source.values)
    ]
    installing.store_ratings(service.database, iter(stored))


def test_a_training_learns_what_came_and_answers(client: TestClient) -> None:
    client.put("/v1/ratings/100/brand-new", json={"rating": 5})
    give(client, make_ratings(5, users=80))
    asked = client.post("/v1/jobs/train")
    assert asked.status_code == 202
    assert client.post("/v1/jobs/train").json()["id"] == asked.json()["id"]
    job = ended(client, asked.json()["id"])
    assert (job["status"], job["progress"], job["model_version"]) == ("done", 1.0, 2), job
    listed = client.get("/v1/models").json()
    assert listed["active"] == 2, listed
    assert listed["models"][0]["params"]["rank"] == 4  # as the model before
    assert client.get("/v1/items/brand-new/similar").status_code == 200
    assert client.get("/v1/users/100/recommendations").json()["source"] == "model"
    quality = client.get("/v1/models/2/quality").json()
    assert quality["compared_with"] in ("active", "baseline")
    assert 0 < quality["rmse"] < quality["mean_rmse"]
    assert sum(b["count"] for b in quality["calibration"]) == quality["held_out"]
    assert client.post("/v1/models:rollback").json() == {"active": 1}


def test_the_stored_model_has_no_user(client: TestClient) -> None:
    ended(client, client.post("/v1/jobs/train").json()["id"])
    service = client.app.state.service
    with service.database.read() as connection:
        folder = models.get(connection, 2).folder
    model = cf.load(service.settings.models / folder)
    assert (len(model.user_ids_), len(model.ratings_.indices), model.user_factors_.shape[0]) == (0, 0, 0)


def table(source: Ratings, written: int) -> Table:
    return Table(source, np.full(len(source), written, np.int64))


def test_a_model_that_is_worse_does_not_take_over() -> None:
    everything = make_ratings(2, users=300, items=60)
    learn, test = cf.split(everything, holdout=0.2, by="time", warn=False)
    good = cf.ALS(rank=3, reg=0.5).fit(learn)
    bad = cf.ALS(rank=3, reg=0.5).fit(learn)
    bad.item_factors_ = 2 * bad.item_factors_[::-1].copy()  # what it knows is of other items
    kept = judge(bad, good, 50, table(learn, 0), table(test, 100))
    assert (kept.good, kept.compared_with) == (False, "active")
    assert "The active model stays" in kept.reason
    taken = judge(good, bad, 50, table(learn, 0), table(test, 100))
    assert (taken.good, taken.compared_with) == (True, "active")
    same = judge(good, good, 50, table(learn, 0), table(test, 100))
    assert same.good
    # what the active model may have seen does not count for it
    baseline = judge(good, bad, 500, table(learn, 0), table(test, 100))
    assert (baseline.good, baseline.compared_with) == (True, "baseline")
    assert not judge(bad, good, 500, table(learn, 0), table(test, 100)).good


def test_a_job_that_finds_worse_keeps_the_active_model(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = client.app.state.service
    monkeypatch.setattr(
        training, "judge", lambda *_: training.Verdict(False, "active", "Worse. The active model stays.")
    )
    with service.database.write() as connection:
        job, _ = jobs.ask(connection)
        jobs.take(connection)
    service.settings.export()
    assert training.main(job) == 0
    listed = client.get("/v1/models").json()
    assert listed["active"] == 1
    assert listed["models"][0]["reason"].startswith("Worse")
    assert client.post("/v1/models/2:activate").json() == {"active": 2}  # whoever knows better may


def test_the_latest_tenth_is_held_out() -> None:
    source = make_ratings(3)
    learn, test = hold_out(Table(source, np.arange(len(source))))
    assert len(test.ratings) == pytest.approx(len(source) / 10, abs=2)
    assert learn.ratings.times.max() <= test.ratings.times.min()
    assert len(test.written) == len(test.ratings)
    untimed = Ratings.from_positions(
        source.user_ids, source.item_ids, source.user_positions, source.by_user.indices, source.values,
        np.zeros(len(source), np.int64),
    )  # fmt: skip
    assert len(hold_out(Table(untimed, np.zeros(len(source))))[1].ratings) == round(len(source) / 10)


def test_what_is_read_is_what_was_stored(db: str) -> None:
    database = Database(db)
    database.upgrade()
    rng = np.random.default_rng(0)
    stored = {}
    for k in range(500):
        one = Stored(str(rng.integers(40)), f"i{rng.integers(30)}", float(rng.integers(1, 6)), 1_000_000 * k)
        stored[one.user, one.item] = one
    installing.store_ratings(database, iter(stored.values()))
    with database.write() as connection:
        ratings.put(connection, [Stored("1", next(i for u, i in stored if u == "1"), None, 10**12)])
    found = read_all(database)
    gone = next(i for u, i in stored if u == "1")
    users, names = found.ratings.users.to_pylist(), found.ratings.items.to_pylist()
    rows = {(u, i): (v, t) for u, i, v, t in zip(users, names, found.ratings.values, found.ratings.times)}
    assert rows == {k: (s.rating, s.time // 1_000_000) for k, s in stored.items() if k != ("1", gone)}
    with database.read() as connection:
        written = connection.exec_driver_sql("SELECT written FROM ratings ORDER BY user_id, item_id").all()
    assert sorted(found.written.tolist()) == sorted(row[0] for row in written)[: len(found.written)]
    database.close()


def test_too_few_ratings_fail_and_say_so(make: Callable[..., TestClient]) -> None:
    client = make(filled=False)
    assert "not one rating" in ended(client, client.post("/v1/jobs/train").json()["id"])["message"]
    client.put("/v1/ratings/u/i", json={"rating": 3})
    job = ended(client, client.post("/v1/jobs/train").json()["id"])
    assert (job["status"], job["model_version"]) == ("failed", None)
    assert "too few" in job["message"]


def test_a_first_model_from_ratings_alone(make: Callable[..., TestClient]) -> None:
    client = make(filled=False)
    give(client, make_ratings(4))
    job = ended(client, client.post("/v1/jobs/train").json()["id"])
    assert job["status"] == "done", job
    assert client.get("/v1/models").json()["active"] == 1
    assert client.get("/v1/users/100/recommendations").json()["source"] == "model"


def slow(client: TestClient) -> None:
    """The active model is one whose training takes a minute."""
    with client.app.state.service.database.write() as connection:
        connection.exec_driver_sql("""UPDATE models SET params = '{"rank": 30, "sweeps": 200000}'""")


def begun(client: TestClient) -> str:
    job = client.post("/v1/jobs/train").json()["id"]
    until(lambda: client.get(f"/v1/jobs/{job}").json()["stage"] in ("measuring", "fitting"), 30)
    return str(job)


def test_a_cancelled_training_leaves_the_active_model(client: TestClient) -> None:
    slow(client)
    job = begun(client)
    assert client.delete(f"/v1/jobs/{job}").status_code == 202
    assert ended(client, job)["status"] == "cancelled"
    assert client.get("/v1/models").json()["active"] == 1
    assert len(client.get("/v1/models").json()["models"]) == 1
    assert client.get("/v1/users/100/recommendations").status_code == 200
    assert client.delete("/v1/jobs/99").status_code == 404


def test_a_killed_training_leaves_the_active_model(client: TestClient) -> None:
    slow(client)
    job = begun(client)
    _, process = client.app.state.service._training
    os.kill(process.pid, signal.SIGKILL)
    found = ended(client, job)
    assert found["status"] == "failed"
    assert "-9" in found["message"]
    assert client.get("/v1/models").json()["active"] == 1
    assert client.post("/v1/jobs/train").json()["id"] != job  # another can be asked for


def test_trainings_come_by_themselves_where_there_is_something_new(make: Callable[..., TestClient]) -> None:
    client = make(retrain_every=0.5)
    until(lambda: True)
    client.put("/v1/ratings/100/i001", json={"rating": 1})
    until(lambda: len(client.get("/v1/models").json()["models"]) > 1, 60)
    count = len(client.get("/v1/jobs").json()["jobs"])
    assert count >= 1


def test_the_same_model_is_installed_once(tmp_path: Path, saved: Path) -> None:
    settings = Settings(folder=str(tmp_path))
    database = Database(settings.url)
    database.upgrade()
    assert installing.install_model(database, settings, saved) == 1
    assert installing.install_model(database, settings, saved) == 1
    with database.read() as connection:
        assert len(models.newest_first(connection)) == 1
        assert ratings.totals(connection)[1] == 60
    database.close()


def test_old_models_are_not_kept_for_ever(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "KEPT", 3)
    settings = Settings(folder=str(tmp_path))
    database = Database(settings.url)
    database.upgrade()
    model, facts = (
        open_model(saved),
        {"n_ratings": 1, "n_users": 1, "trained_at": 0, "quality": {}, "reason": ""},
    )
    for activate in (True, True, *[False] * 8):
        installing.register(database, settings, model, activate=activate, **facts)
    with database.read() as connection:
        rows = models.newest_first(connection)
        assert [row.version for row in rows] == [10, 9, 8, 2, 1]  # the active one, and that before it
        assert models.active(connection).version == 2
    assert {path.name for path in settings.models.iterdir()} == {row.folder for row in rows}
    database.close()


def test_models_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    for kind in (cf.CosineNeighbours(), cf.Popular()):
        path = tmp_path / type(kind).__name__
        cf.save(kind.fit(make_ratings()), path)
        with pytest.raises(cf.BadModel, match="cannot be served"):
            open_model(path)
