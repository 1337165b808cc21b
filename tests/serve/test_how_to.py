"""docs/how-to/serve.md, typed line by line, and what the README says about serving."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest

import cofactor as cf
from tests.serve.conftest import Postgres, running

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/how-to/serve.md"
ADDRESS = "http://127.0.0.1:8000"


def section(heading: str) -> list[list[str]]:
    """The commands below a heading."""
    text = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.M)
    found = next(part for part in text if part.startswith(heading + "\n"))
    return [
        shlex.split(line)
        for block in re.findall(r"^```sh\n(.*?)^```", found, re.S | re.M)
        for line in block.splitlines()
    ]


def curl(arguments: list[str], url: str) -> httpx.Response:
    """What curl would do."""
    method, headers, body, where = "GET", {}, None, ""
    rest = iter(arguments)
    for argument in rest:
        if argument == "-X":
            method = next(rest)
        elif argument == "-H":
            name, value = next(rest).split(": ")
            headers[name] = value
        elif argument == "-d":
            body = next(rest)
        else:
            where = argument
    assert where.startswith(ADDRESS)
    return httpx.request(method, where.replace(ADDRESS, url), headers=headers, content=body, timeout=60)


def cofactor(arguments: list[str], folder: Path) -> str:
    command = [sys.executable, "-m", "cofactor", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would be, with a ratings.csv and a model."""
    folder = tmp_path_factory.mktemp("reader")
    table = cf.load_demo().to_arrow().to_pydict()
    lines = (",".join(map(str, row)) for row in zip(*table.values()))
    (folder / "ratings.csv").write_text("\n".join([",".join(table), *lines]), "utf-8")
    train, _ = (line for line in section("Begin")[1:])
    cofactor(train[1:], folder)
    return folder


def served(line: list[str], here: Path):
    """A line that serves, at a free port, in the reader's folder."""
    assert line[:2] == ["cofactor", "serve"]
    name = line[line.index("--folder") + 1] if "--folder" in line else "cofactor-service"
    rest = [part for part in line[2:] if part not in ("--folder", name)]
    return running(here / name, *rest, cwd=here)


def test_begin_with_the_demo(tmp_path: Path) -> None:
    line = section("Begin")[0]
    assert line == ["cofactor", "serve", "--demo"]
    assert f"{'.venv/bin/'}{' '.join(line)}" in (ROOT / "README.md").read_text("utf-8")
    with running(tmp_path / "demo", "--demo") as found:
        page = httpx.get(found.url).text
        assert "What will you like?" in page
        assert httpx.get(found.url + "/v1/service").json()["demo"] is True


def test_ask_train_and_bring_it_back(here: Path) -> None:
    with served(section("Begin")[2], here) as found:
        answers = [curl(line[1:], found.url) for line in section("Ask")]
        assert [answer.status_code for answer in answers] == [200] * 7
        assert answers[1].json()["source"] == "fold_in"
        assert answers[1].json()["items"][0]["explanation"]["parts"][0]["rating"] == 4.5
        assert answers[6].json() == {"user": "ann", "ratings": 1}
        codes = [curl(line[1:], found.url).status_code for line in section("Train")]
        assert codes == [202, 200, 200]
        make, copy_store, copy_models = section("Back up and restore")[:3]
        subprocess.run(make, cwd=here, check=True)
        assert copy_store[0] == "sqlite3"
        connection = sqlite3.connect(here / copy_store[1])
        connection.execute(copy_store[2].replace("backup/", f"{here}/backup/"))
        connection.close()
        subprocess.run(copy_models, cwd=here, check=True)
        httpx.put(found.url + "/v1/ratings/late/1", json={"rating": 1})
        before = httpx.get(found.url + "/v1/users/42/recommendations").json()
    with served(section("Back up and restore")[3], here) as restored:
        after = httpx.get(restored.url + "/v1/users/42/recommendations").json()
        assert after["items"] == before["items"]
        assert httpx.get(restored.url + "/v1/users/late/ratings").json()["ratings"] == []


def test_keys(tmp_path: Path) -> None:
    lines = section("Let others in")
    outputs = [cofactor(line[1:], tmp_path) for line in lines]
    assert all(output.startswith("cfk_") for output in outputs[:2])
    assert "shop" in outputs[2]
    assert "nothing" in outputs[3]


def test_postgresql(here: Path, postgres: Postgres, tmp_path: Path) -> None:
    (line,) = section("PostgreSQL")
    url = postgres.new_database("cofactor")
    line[line.index("--db") + 1] = line[line.index("--db") + 1].replace(
        "127.0.0.1/", f"127.0.0.1:{postgres.port}/"
    )
    assert line[-1] == url
    with running(tmp_path, *line[2:], cwd=here) as found:
        assert httpx.get(found.url + "/v1/users/42/recommendations").json()["source"] == "model"
    dump = [
        str(postgres.binaries / "pg_dump"),
        "-h",
        "127.0.0.1",
        "-p",
        str(postgres.port),
        "-U",
        "cofactor",
        "cofactor",
    ]
    text = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    assert text.count("\t") > 300_000  # the ratings are in it


def test_the_unit_names_options_that_there_are() -> None:
    text = PAGE.read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    known = cofactor(["serve", "--help"], ROOT)
    for option in re.findall(r"--[\w-]+", line) + re.findall(r"`(--[\w-]+)", text):
        assert option in known + cofactor(["keys", "create", "--help"], ROOT) + "--upgrade", option
