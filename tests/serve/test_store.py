"""The store, on both databases: ratings against a dictionary, items, models, jobs, keys, versions."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from cofactor.errors import BadParameter
from cofactor.serve.store import items, jobs, keys, models, ratings, requests
from cofactor.serve.store.database import Database, StoreFull, StoreUnavailable
from cofactor.serve.store.items import Item
from cofactor.serve.store.ratings import Stored
from cofactor.serve.store.schema import MIGRATIONS, StoreTooNew
from cofactor.serve.store.writing import Writer


@pytest.fixture
def database(db: str):
    found = Database(db)
    found.upgrade()
    yield found
    found.close()


class AgainstDictionary(RuleBasedStateMachine):
    """Ratings put, taken back and erased in any order of their times, beside a dictionary that does the same."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.store = database
        with self.store.write() as connection:
            connection.execute(text("DELETE FROM ratings"))
        self.truth: dict[tuple[str, str], tuple[float | None, int]] = {}

    users = st.sampled_from(["1", "01", "a'b", "é"])
    names = st.sampled_from(["x", "X", "x ", "../x"])

    @rule(user=users, item=names, rating=st.none() | st.floats(-5, 5), time=st.integers(0, 9))
    def put(self, user: str, item: str, rating: float | None, time: int) -> None:
        with self.store.write() as connection:
            ratings.put(connection, [Stored(user, item, rating, time)])
        if self.truth.get((user, item), (None, -1))[1] <= time:
            self.truth[user, item] = rating, time

    @rule(user=users)
    def erase(self, user: str) -> None:
        with self.store.write() as connection:
            ratings.erase(connection, user)
        self.truth = {key: value for key, value in self.truth.items() if key[0] != user}

    @invariant()
    def the_same(self) -> None:
        known = {key: value for key, value in self.truth.items() if value[0] is not None}
        with self.store.read() as connection:
            for user in ("1", "01", "a'b", "é"):
                mine = {item: value[0] for (who, item), value in known.items() if who == user}
                assert ratings.of_user(connection, user).ratings == mine
                page = ratings.page(connection, user, 10, None)
                assert {row.item: (row.rating, row.time) for row in page} == {
                    item: value for (who, item), value in known.items() if who == user
                }
            assert ratings.totals(connection) == (len(known), len({user for user, _ in known}))
            assert sum(ratings.counts(connection).values()) == len(known)


def test_ratings_are_those_of_a_dictionary(database: Database) -> None:
    run_state_machine_as_test(
        lambda: AgainstDictionary(database),
        settings=hypothesis_settings(max_examples=12, stateful_step_count=20, deadline=None),
    )


def test_pages_follow_each_other(database: Database) -> None:
    with database.write() as connection:
        ratings.put(connection, [Stored("u", f"i{k:02d}", 1.0, 0) for k in range(25)])
        ratings.put(connection, [Stored("u", "i07", None, 1)])
    found: list[str] = []
    with database.read() as connection:
        while page := ratings.page(connection, "u", 10, found[-1] if found else None):
            found += [row.item for row in page]
    assert found == [f"i{k:02d}" for k in range(25) if k != 7]


def test_what_cannot_be_committed_is_not_there(database: Database) -> None:
    with contextlib.suppress(RuntimeError), database.write() as connection:
        ratings.put(connection, [Stored("u", "i", 1.0, 0)])
        raise RuntimeError
    with database.read() as connection:
        assert ratings.is_empty(connection)


def test_writers_lose_nothing(database: Database) -> None:
    writer = Writer(database)

    def write(who: int) -> None:
        for k in range(60):
            stored = writer.put(Stored(f"u{who % 3}", f"i{k}", float(who), k))
            assert stored is not None
            assert stored.time == k

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert ratings.totals(connection) == (180, 3)


def test_an_older_rating_does_not_replace_a_newer_one(database: Database) -> None:
    writer = Writer(database)
    assert writer.put(Stored("u", "i", 1.0, 10)) == Stored("u", "i", 1.0, 10)
    assert writer.put(Stored("u", "i", 5.0, 9)) == Stored("u", "i", 1.0, 10)
    assert writer.put(Stored("u", "i", None, 11)) == Stored("u", "i", None, 11)
    assert writer.put(Stored("u", "i", 5.0, 10)) == Stored("u", "i", None, 11)


def test_items_change_with_the_generation(database: Database) -> None:
    with database.write() as connection:
        begun = items.generation(connection)
        items.put(connection, [Item("1", "One", ("A", "B")), Item("2")])
    with database.write() as connection:
        items.put(connection, [Item("2", "Two", (), False)])
        assert not items.remove(connection, "3")
    with database.read() as connection:
        now = items.generation(connection)
        assert now == begun + 2
        assert items.changed_since(connection, begun + 1) == [Item("2", "Two", (), False)]
        assert items.get(connection, "1") == Item("1", "One", ("A", "B"))
        assert items.count(connection) == 2
    with database.write() as connection:
        assert items.remove(connection, "1")
    with database.read() as connection:
        assert items.get(connection, "1") is None
        assert items.changed_since(connection, now) == [Item("1", None, (), False)]


def register(connection, folder: str) -> int:
    counted = {"ratings": 1, "users": 1, "items": 1, "trained_at": 0}
    return models.register(
        connection, folder=folder, kind="ALS", params={}, quality={}, reason="", source=None, **counted
    )


def test_one_model_is_active_and_a_rollback_goes_back(database: Database) -> None:
    with database.write() as connection:
        assert models.active(connection) is None
        first, second, third = (register(connection, name) for name in "abc")
    for version in (first, second):
        with database.write() as connection:
            assert models.activate(connection, version)
    with database.write() as connection:
        assert models.active(connection).version == second
        assert models.before_active(connection) == first
        assert [row.version for row in models.newest_first(connection) if row.active] == [second]
    with contextlib.suppress(RuntimeError), database.write() as connection:
        models.activate(connection, third)
        raise RuntimeError
    with database.read() as connection:
        assert models.active(connection).version == second


def test_a_job_is_taken_once_and_ends_once(database: Database) -> None:
    with database.write() as connection:
        job, new = jobs.ask(connection)
        assert new
        assert jobs.ask(connection) == (job, False)
    taken: list[int | None] = []

    def take() -> None:
        with database.write() as connection:
            taken.append(jobs.take(connection))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=str) == [job, None, None, None, None, None]
    with database.write() as connection:
        assert jobs.tell(connection, job, stage="fitting", progress=0.5)
        jobs.cancel(connection, job)
        assert not jobs.tell(connection, job, stage="fitting", progress=0.6)
        assert jobs.end(connection, job, "cancelled", "")
        assert not jobs.end(connection, job, "done", "")
        assert jobs.get(connection, job).status == "cancelled"
        second, new = jobs.ask(connection)
        assert new
        assert jobs.cancel(connection, second).status == "cancelled"


def test_a_silent_job_is_buried(database: Database) -> None:
    with database.write() as connection:
        job, _ = jobs.ask(connection)
        jobs.take(connection)
        jobs.bury(connection)
        assert jobs.get(connection, job).status == "running"
        connection.execute(text("UPDATE jobs SET heartbeat = heartbeat - 61000000"))
        assert jobs.to_do(connection)
        jobs.bury(connection)
        assert jobs.get(connection, job).status == "failed"


def test_keys_open_until_they_are_revoked(database: Database) -> None:
    with database.write() as connection:
        assert not keys.are_there(connection)
        key = keys.create(connection, "phone", "write")
        assert keys.valid(connection)[keys.digest(key)][1] == "write"
        with pytest.raises(BadParameter, match="already"):
            keys.create(connection, "phone", "read")
        with pytest.raises(BadParameter, match="scope"):
            keys.create(connection, "other", "all")
        with pytest.raises(BadParameter, match="no key"):
            keys.revoke(connection, "other")
        keys.revoke(connection, "phone")
        assert keys.valid(connection) == {}
        assert keys.are_there(connection)
        stored = str([tuple(row) for row in keys.every(connection)])
    assert key not in stored
    assert key[4:] not in stored


def test_an_answer_is_kept_once(database: Database) -> None:
    with database.write() as connection:
        assert requests.keep(connection, "k", "d", {"accepted": 1})
        assert not requests.keep(connection, "k", "e", {"accepted": 2})
        assert requests.known(connection, "k").answer == {"accepted": 1}
        connection.execute(text("UPDATE requests SET created = created - 86500000000"))
        assert requests.keep(connection, "other", "e", {})
        assert requests.known(connection, "k") is None


def test_a_database_of_a_later_version_is_refused_and_left_alone(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE state SET value = 99 WHERE name = 'schema'"))
    with pytest.raises(StoreTooNew, match="version 99"):
        database.upgrade()
    with database.write() as connection:
        connection.execute(text(f"UPDATE state SET value = {len(MIGRATIONS)} WHERE name = 'schema'"))
    database.upgrade()


def test_two_that_start_at_once_make_the_tables_once(db: str) -> None:
    wrong: list[BaseException] = []

    def start() -> None:
        try:
            found = Database(db)
            found.upgrade()
            found.close()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://x/y", "sqlite:///FILE"),
        ("nonsense", "no URL"),
        ("sqlite://", "share a database file"),
        ("postgresql+nothing://x/y", "no URL"),
    ],
)
def test_urls_that_are_none(url: str, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        Database(url)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        Database("postgresql+psycopg://nobody@127.0.0.1:9/none").upgrade()


def test_a_full_disk_is_told_and_leaves_all_as_it_was() -> None:
    from sqlalchemy import event

    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder)}/s.db")
        database.upgrade()
        with database.write() as connection:
            ratings.put(connection, [Stored("u", "kept", 1.0, 0)])
        database.close()

        @event.listens_for(database.engine, "connect")
        def small(connection, _record) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages + 2}")

        with pytest.raises(StoreFull, match="nothing was written"), database.write() as connection:
            ratings.put(connection, [Stored("u", "x" * 200 + str(k), 1.0, 0) for k in range(500)])
        with database.read() as connection:
            assert list(ratings.of_user(connection, "u").ratings) == ["kept"]
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        database.close()
