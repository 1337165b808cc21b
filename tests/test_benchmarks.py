"""The benchmark scripts run, take the same options, and give the JSON object they promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cofactor import ALS
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
    names = ratings.item_ids.array
    kinds = [["Drama", "War"][k % 3 : k % 3 + 1] for k in range(len(names))]
    films = pa.table(
        {"item": names, "title": [f"Film ({1960 + k})" for k in range(len(names))], "genres": kinds}
    )
    pq.write_table(films, folder / "ml-100k-items.parquet")
    return folder


def run(script, *arguments, **environment):
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=250
    )


@pytest.mark.parametrize(
    "script",
    [
        "accuracy.py",
        "reading.py",
        "ranking.py",
        "roofline.py",
        "startup.py",
        "neighbours.py",
        "serve.py",
        "calibration.py",
        "drift.py",
        "cold_start.py",
    ],
)
def test_the_json_object(script, data):
    check(run(script, "--quick", "--json", COFACTOR_DATA=str(data)))


def test_scale_makes_and_trains(tmp_path):
    picture = tmp_path / "scale.svg"
    told = check(
        run("scale.py", "--quick", "--json", "--folder", str(tmp_path / "sets"), "--picture", str(picture))
    )
    names = [figure["name"] for figure in told["figures"]]
    assert any("floor" in name for name in names)
    assert any("rank 64, the ratio" in name for name in names)
    assert picture.read_text().startswith("<svg")


def check(done):
    """Exit code 1 only says that a bound is not kept, as it may be on such small tables."""
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout, done.stderr
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
    return told


@pytest.fixture(scope="module")
def peers(data, tmp_path_factory):
    """A quick look beside the peers that are installed here, if any; and the folder that it may fill."""
    folder = tmp_path_factory.mktemp("envs")
    done = run(
        "peers.py", "--quick", "--json", "--data", str(data), "--envs", str(folder), "--expanded", "0.02"
    )
    return check(done), folder


def test_ranking_says_what_is_left_out(monkeypatch):
    monkeypatch.delenv("COFACTOR_DATA", raising=False)
    done = run("ranking.py", "--quick")
    assert "random, 1,000 users, cofactor" in done.stdout
    assert "The catalogue of films was left out" in done.stdout
    for peer in ("implicit", "NumPy"):
        assert f"{peer} / cofactor" in done.stdout or "left out: No module" in done.stdout


def test_a_missing_peer_is_said_and_left_out(peers):
    told, folder = peers
    names = " ".join(figure["name"] for figure in told["figures"])
    assert "cofactor auto" in names
    for peer in ("cmfrec", "LensKit", "implicit", "Surprise", "myFM", "Spark", "LIBMF"):
        assert f", {peer}" in names or any(
            note.startswith(f"{peer} was left out: ") for note in told["notes"]
        )
    assert {path.name for path in folder.iterdir()} == {"data", "pictures"}  # no environment was made


def test_solvers_of_the_same_equation_reach_the_same_objective(peers):
    found = {figure["name"]: figure["value"] for figure in peers[0]["figures"]}
    for equation in ("cmfrec", "LensKit"):
        J = [
            found[f"MovieLens 1M, rank 16, cofactor {solver}, equation of {equation}, J"]
            for solver in ("auto", "cholesky")
        ]
        assert J[0] == pytest.approx(J[1], rel=0.01)


def test_peers_draws_and_takes_expanded_sets(peers):
    told, folder = peers
    pictures = {path.stem for path in (folder / "pictures").iterdir()}
    assert {"ranks-movielens-1m", "curves-movielens-1m-16", "memory-movielens-1m-16"} <= pictures
    assert any(
        "expanded to 0.02 million, rank 64, cofactor auto" in figure["name"] for figure in told["figures"]
    )


def test_the_objective_of_peers_is_that_of_als(ratings):
    """It is computed from the factors alone, in the same way for every library."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        from contest.adapters.base import Parts, Train
    finally:
        sys.path.remove(str(SCRIPTS))
    model = ALS(rank=3, reg=0.7, reg_exponent=0.5, sweeps=4).fit(ratings)
    columns = ratings.user_positions, ratings.by_user.indices, ratings.values
    train = Train(*columns, ratings.n_users, ratings.n_items)
    parts = Parts(model.mean_, model.user_bias_, model.item_bias_, model.user_factors_, model.item_factors_)
    assert parts.objective(train, 0.7, 0.5, True) == pytest.approx(model.objective_[-1], rel=1e-5)
    known = parts.predict(train.users, train.items)
    np.testing.assert_allclose(known, model.predict(ratings.users, ratings.items), rtol=1e-5)
    nobody = np.array([-1])
    assert parts.predict(nobody, nobody)[0] == pytest.approx(model.mean_)


def test_the_choice_of_reg_is_told_for_each_training_part(data):
    done = run("accuracy.py", "--choose", "--json", "--data", str(data))
    alone = [note for note in json.loads(done.stdout)["notes"] if "each training part alone" in note]
    counts = [note.rpartition(" reg ")[2].count(",") + 1 for note in alone if " reg " in note]
    assert counts == [5, 1, 1, 1]  # ALS on either, LineBaseline, SGD


@pytest.mark.parametrize("script", ["accuracy.py", "peers.py"])
def test_without_data_it_says_so(script, tmp_path):
    done = run(script, COFACTOR_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "There is no ml-1" in done.stderr
    assert "Traceback" not in done.stderr
