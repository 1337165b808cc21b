"""Services to test: inside this process, and as processes of their own; and a real PostgreSQL."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient

import cofactor as cf
from cofactor.serve import installing
from cofactor.serve.app import create_app
from cofactor.serve.settings import Settings
from cofactor.serve.store import items
from cofactor.serve.store.database import Database
from cofactor.serve.store.items import Item
from tests.conftest import make_ratings, missing

CATEGORIES = ("Drama", "Comedy", "War")


@pytest.fixture(scope="session")
def model() -> cf.ALS:
    """Of 60 users and 40 items; ids of users are integers, those of items text."""
    return cf.ALS(rank=4, reg=0.5, seed=1).fit(make_ratings())


@pytest.fixture(scope="session")
def saved(model: cf.ALS, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model"
    cf.save(model, path)
    return path


def fill(settings: Settings, saved: Path) -> None:
    """The model, its ratings, and a title and a category for each item."""
    database = Database(settings.url)
    database.upgrade()
    installing.install_model(database, settings, saved)
    with database.write() as connection:
        given = [Item(f"i{j:03d}", f"The Film Number {j}", (CATEGORIES[j % 3],)) for j in range(40)]
        items.put(connection, given)
    database.close()


@pytest.fixture
def make(tmp_path: Path, saved: Path) -> Iterator[Callable[..., TestClient]]:
    """``make(rate=5)`` -> a client of a service of its own, filled, with these settings."""
    clients: list[TestClient] = []

    def make(filled: bool = True, **facts: Any) -> TestClient:
        settings = Settings(**{"folder": str(tmp_path / "service"), **facts})
        if filled:
            fill(settings, saved)
        client = TestClient(create_app(settings), raise_server_exceptions=False)
        clients.append(client)
        client.__enter__()
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make: Callable[..., TestClient]) -> TestClient:
    return make()


# -- processes -----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """A service in processes of its own."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def signal(self, sign: int) -> None:
        self.process.send_signal(sign)

    def kill(self) -> None:
        """SIGKILL to all of it, as a power cut would."""
        for pid in (self.process.pid, *self.workers()):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def workers(self) -> set[int]:
        """The processes that answer, where there are several."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(c) for c in children if b"serve.worker" in Path(f"/proc/{c}/cmdline").read_bytes()}


@contextmanager
def running(folder: Path, *arguments: str, **options: Any) -> Iterator[Running]:
    """A service on a free port, ready."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    command = [
        sys.executable,
        "-m",
        "cofactor",
        "serve",
        "--folder",
        str(folder),
        "--port",
        str(port),
        *arguments,
    ]
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **options)
    found = Running(process, f"http://127.0.0.1:{port}", log)
    try:
        until(lambda: is_ready(found), 60, lambda: log.read_text())
        yield found
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                found.kill()


def is_ready(found: Running) -> bool:
    if found.process.poll() is not None:
        raise AssertionError(
            f"The service ended with code {found.process.returncode}: {found.log.read_text()}"
        )
    try:
        return httpx.get(found.url + "/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def until(holds: Callable[[], object], seconds: float = 30, why: Callable[[], str] = str) -> None:
    """Wait for something; it is an error where it does not come to hold."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, why()
        time.sleep(0.02)


# -- PostgreSQL ----------------------------------------------------------------------------------


@dataclass
class Postgres:
    """A server of its own, that can be stopped and started."""

    binaries: Path
    data: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    user: str | None = None

    def start(self) -> None:
        command = [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        command += ["-k", str(self.data), "-c", "listen_addresses=127.0.0.1"]
        options: dict[str, Any] = {} if self.user is None else {"user": self.user, "group": self.user}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.data}
        self.process = subprocess.Popen(command, **quiet, **options)
        until(self._answers, 60)

    def _answers(self) -> bool:
        probe = [str(self.binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(probe, check=False).returncode == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)  # what is connected is cut off
            self.process.wait(30)
            self.process = None

    def new_database(self, name: str) -> str:
        """The URL of an empty database."""
        import psycopg

        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # type: ignore[arg-type]
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
        return f"postgresql+psycopg://cofactor@127.0.0.1:{self.port}/{name}"

    def dsn(self, name: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=cofactor dbname={name}"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    places = [*sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True), *os.environ["PATH"].split(":")]
    binaries = next((Path(p) for p in places if (Path(p) / "initdb").exists()), None)
    if binaries is None:
        missing("PostgreSQL")
    user = None
    folder = Path(tmp_path_factory.mktemp("postgres"))
    if os.geteuid() == 0:  # it does not run as root
        user = "postgres"
        folder = Path("/tmp") / f"cofactor-postgres-{os.getpid()}"
        folder.mkdir()
        shutil.chown(folder, user, user)
    server = Postgres(binaries, folder / "data", free_port(), None, user)
    options: dict[str, Any] = {} if user is None else {"user": user, "group": user}
    command = [
        str(binaries / "initdb"),
        "-D",
        str(server.data),
        "-U",
        "cofactor",
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    subprocess.run(
        [*command, "--locale=C.UTF-8", "--no-sync"], check=True, capture_output=True, cwd=folder, **options
    )
    server.start()
    yield server
    server.stop()
    if user is not None:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database("test")
