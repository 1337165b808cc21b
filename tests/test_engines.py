"""The local, Ray and Spark engines give the same bits, however many workers there are and whoever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import cofactor as cf
from cofactor.scale import passes
from cofactor.scale.dataset import Dataset
from cofactor.scale.preparing import prepare
from cofactor.scale.training import train
from tests.conftest import make_ratings, missing

MODEL = cf.ALS(rank=9, sweeps=2, reg=0.8)
pytestmark = pytest.mark.filterwarnings("default")  # of Ray and Spark


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """7 groups in 3 parts."""
    folder = tmp_path_factory.mktemp("engines") / "dataset"
    return prepare(make_ratings(3, users=200).to_arrow(), folder, groups=7, holdout=0.1, memory=1 << 30)


def outcome(dataset, **options):
    """Everything that comes of a training."""
    errors = []
    model = train(
        dataset, MODEL, progress=False, callback=lambda state: errors.append(state.held_rmse[-1]), **options
    )
    return model.item_factors_, model.item_bias_, model.objective_, np.array(errors)


@pytest.fixture(scope="module")
def wanted(dataset):
    return outcome(dataset)


def assert_same(got, want) -> None:
    for mine, theirs in zip(got, want):
        assert np.isfinite(mine).all()
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_local(dataset, wanted, threads, monkeypatch):
    monkeypatch.setenv("COFACTOR_THREADS", threads)
    assert_same(outcome(dataset), wanted)


# -- clusters on this machine ----------------------------------------------------------------------


def stalling(marker: str):
    """``map_groups`` whose first call, by whichever worker, says who it is and waits to be killed."""
    real = passes.map_groups

    def map_groups(*args, **kwargs):
        try:
            with open(marker, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return real(*args, **kwargs)
        while True:
            time.sleep(1)

    return map_groups


def kill_when_stalled(marker: Path, victim=lambda pid: pid) -> tuple[threading.Thread, list[int]]:
    """Waits, in a thread, for a worker to stall, and kills it, or who else is the victim then."""
    killed: list[int] = []

    def wait() -> None:
        while not (marker.exists() and marker.read_text()):
            time.sleep(0.05)
        killed.append(victim(int(marker.read_text())))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread, killed


def spoilt(dataset: Dataset, folder: Path) -> Dataset:
    """A copy, of which a file is cut off after it was opened."""
    copy = Dataset.open(shutil.copytree(dataset.path, folder))
    path = folder / copy.groups[4].files[0].name
    path.write_bytes(path.read_bytes()[:-100])
    return copy


@pytest.fixture(scope="module")
def ray():
    try:
        import ray
    except ImportError:
        missing("Ray")
    return ray


@pytest.fixture(params=[1, 2, 5])
def ray_of(request, ray):
    """A Ray cluster of so many workers, gone after the test."""
    started(ray, request.param)
    yield request.param
    ray.shutdown()


# What workers import from: where this process found cofactor, and the tests.
PATHS = os.pathsep.join(str(Path(found).resolve().parents[1]) for found in (cf.__file__, __file__))


def started(ray, workers: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        "local",
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": PATHS}},
    )


def test_ray(dataset, wanted, ray_of):
    assert_same(outcome(dataset, engine="ray"), wanted)


def test_a_killed_ray_worker_changes_no_bit(dataset, wanted, ray, tmp_path, monkeypatch):
    started(ray, 2)
    try:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        monkeypatch.setattr("cofactor.scale.ray.map_groups", stalling(str(tmp_path / "marker")))
        thread, killed = kill_when_stalled(tmp_path / "marker")
        assert_same(outcome(dataset, engine="ray"), wanted)
        thread.join(5)
        assert len(killed) == 1
        with pytest.raises(cf.BadDataset, match="changed or cut off"):
            train(spoilt(dataset, tmp_path / "spoilt"), MODEL, engine="ray", progress=False)
    finally:
        ray.shutdown()


def test_ray_is_started_and_ended(dataset, wanted, ray):
    assert_same(outcome(dataset, engine="ray"), wanted)
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def spark():
    """A Spark cluster of two executors, each a JVM of its own."""
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        missing("Spark")
    if shutil.which("java") is None:
        missing("Java")
    import pyspark

    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = (
            SparkSession.builder.master("local-cluster[2,1,1024]")
            .config("spark.ui.enabled", "false")
            .config("spark.log.level", "OFF")
            .config("spark.executorEnv.PYTHONPATH", PATHS)
            .getOrCreate()
        )
        yield session
        session.stop()


def executor_of(pid: int) -> int:
    """The executor that a Python worker belongs to: the JVM above it."""
    while b"ExecutorBackend" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert pid > 1
    return pid


def test_spark(dataset, wanted, spark):
    assert_same(outcome(dataset, engine="spark"), wanted)


def test_a_killed_spark_executor_changes_no_bit(dataset, wanted, spark, tmp_path, monkeypatch):
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr("cofactor.scale.spark.map_groups", stalling(str(tmp_path / "marker")))
    thread, killed = kill_when_stalled(tmp_path / "marker", executor_of)
    assert_same(outcome(dataset, engine="spark"), wanted)
    thread.join(5)
    assert len(killed) == 1


def test_spark_says_what_is_wrong_with_a_dataset(dataset, spark, tmp_path):
    with pytest.raises(cf.BadDataset, match="changed or cut off"):
        train(spoilt(dataset, tmp_path / "spoilt"), MODEL, engine="spark", progress=False)


# -- this process ----------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
import cofactor as cf
from cofactor.scale import local
from cofactor.scale.training import train
real, calls = local.map_groups, 0
def map_groups(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        kwargs["advance"] = lambda: os.kill(os.getpid(), signal.SIGKILL)  # in the middle of a part
    return real(*args, **kwargs)
local.map_groups = map_groups
train(sys.argv[1], cf.ALS(rank=9, sweeps=2, reg=0.8), checkpoint=sys.argv[2])
"""


@pytest.mark.parametrize("call", [2, 5, 7])
def test_a_killed_process_goes_on(dataset, wanted, tmp_path, call):
    program = [sys.executable, "-c", KILLED, str(dataset.path), str(tmp_path / "state"), str(call)]
    assert subprocess.run(program, check=False).returncode == -signal.SIGKILL
    model = train(dataset, MODEL, checkpoint=tmp_path / "state", progress=False)
    assert_same((model.item_factors_, model.item_bias_, model.objective_), wanted[:3])
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_local_engine_says_what_is_wrong_with_a_dataset(dataset, tmp_path):
    copy = spoilt(dataset, tmp_path / "spoilt")
    with pytest.raises(cf.BadDataset, match="changed or cut off"):
        train(copy, MODEL, progress=False)
    with pytest.raises(cf.BadDataset, match="bytes"):
        Dataset.open(copy.path)
