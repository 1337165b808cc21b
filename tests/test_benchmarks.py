"""The benchmark scripts run, take the same options, and give the JSON object they promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import make_ratings

SCRIPTS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small tables under the names of the public ones."""
    folder = tmp_path_factory.mktemp("data")
    ratings = make_ratings(seed=3, users=80, items=50, density=0.4)
    table = ratings.to_arrow().set_column(2, "rating", pa.array(ratings.values.round()))
    fold = pa.array([k % 5 + 1 for k in range(len(ratings))])
    pq.write_table(table.append_column("fold", fold), folder / "ml-100k.parquet")
    pq.write_table(table, folder / "ml-1m.parquet")
    return folder


def run(script, *arguments, **environment):
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=250
    )


@pytest.mark.parametrize(
    "script", ["accuracy.py", "speed.py", "reading.py", "ranking.py", "startup.py", "neighbours.py"]
)
def test_the_json_object(script, data):
    """Exit code 1 only says that a bound is not kept, as it may be on such small tables."""
    done = run(script, "--quick", "--json", COFACTOR_DATA=str(data))
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert told["machine"]["processor"]
    assert told["figures"]
    for figure in told["figures"]:
        assert set(figure) == {"name", "value", "unit", "bound", "holds"}
        assert (figure["holds"] is None) == (figure["bound"] is None)
        assert figure["value"] > 0
        assert figure["unit"]
    failed = any(figure["holds"] is False for figure in told["figures"])
    assert done.returncode == int(failed)


def test_a_missing_peer_is_said_and_left_out(data):
    done = run("speed.py", "--quick", "--data", str(data), "--threads", "1")
    assert "cofactor auto" in done.stdout
    for peer in ("LensKit", "cmfrec cholesky", "cmfrec cg", "cmfrec cg-only"):
        assert f"rank 16, {peer}" in done.stdout or f"{peer} was left out: " in done.stdout


def test_ranking_says_what_is_left_out(monkeypatch):
    monkeypatch.delenv("COFACTOR_DATA", raising=False)
    done = run("ranking.py", "--quick")
    assert "random, 1,000 users, cofactor" in done.stdout
    assert "The catalogue of films was left out" in done.stdout
    for peer in ("implicit", "NumPy"):
        assert f"{peer} / cofactor" in done.stdout or "left out: No module" in done.stdout


def test_a_sweep_is_measured_without_what_every_fit_pays_once(data):
    done = run("speed.py", "--quick", "--json", "--data", str(data), "--threads", "1")
    told = {figure["name"]: figure["value"] for figure in json.loads(done.stdout)["figures"]}
    for solver in ("auto", "cholesky", "cg"):
        name = f"rank 16, cofactor {solver}"
        assert told[f"{name}, a sweep"] <= told[f"{name}, 15 sweeps"] / 14


def test_the_choice_of_reg_is_told_for_each_training_part(data):
    done = run("accuracy.py", "--choose", "--json", "--data", str(data))
    alone = [note for note in json.loads(done.stdout)["notes"] if "each training part alone" in note]
    counts = [note.rpartition(" reg ")[2].count(",") + 1 for note in alone if " reg " in note]
    assert counts == [5, 1, 1, 1]  # ALS on either, LineBaseline, SGD


@pytest.mark.parametrize("script", ["accuracy.py", "speed.py"])
def test_without_data_it_says_so(script, tmp_path):
    done = run(script, COFACTOR_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "There is no ml-1" in done.stderr
    assert "Traceback" not in done.stderr
