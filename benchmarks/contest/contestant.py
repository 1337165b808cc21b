"""One contender in a process of its own, as ``peers.py`` starts it: python -m contest.contestant, a job on stdin.

The job is a JSON object: ``adapter`` (its module), ``data`` (a folder of columns), ``threads``, ``rank``, ``sweeps``
(the lengths of the fits, in turn), ``reg``, ``options``, ``scale``, and ``objective``, the arguments of
``Parts.objective``, or null. The answer is a JSON object, on the last line of stdout: ``version``; ``runs``, each with
``sweeps``, ``seconds``, ``rmse`` on the test ratings, ``objective``; ``fit_memory`` and ``memory``, in MiB.

A small fit of made-up ratings goes first, and one of the real ones, so that what is loaded, compiled or started at
first use is. Memory is that of the first fit after them, before anything is evaluated: the peak of what is resident
while it runs (``VmHWM``, which Linux lets a process set back), less what was resident just before it with the data
loaded (``fit_memory``), or less what was resident before there were data (``memory``). Memory that was freed before is
given back to the system first.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from contest.adapters.base import Adapter, Train


def give_back() -> None:
    """Hand memory that allocators keep of what was freed back to the system: else it would hide a need."""
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def resident(pids: list[int], what: str) -> float:
    """MiB of all ``pids``: "VmRSS" now, "VmHWM" the most since "VmRSS" was asked for; NaN where nobody can tell."""
    try:
        lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        for pid in pids if what == "VmRSS" else ():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:  # not Linux
        return float("nan")
    return sum(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def adapter_of(job: dict[str, Any]) -> Adapter:
    module = importlib.import_module(f"contest.adapters.{job['adapter']}")
    kinds = [
        found for found in vars(module).values() if isinstance(found, type) and issubclass(found, Adapter)
    ]
    (kind,) = (found for found in kinds if found is not Adapter)
    return kind(job["threads"], job["reg"], job["options"])


def columns(folder: str, *names: str) -> list[Any]:
    return [np.load(Path(folder) / f"{name}.npy") for name in names]


def train_of(folder: str) -> Train:
    users, items, values, shape = columns(folder, "users", "items", "values", "shape")
    return Train(users, items, values, *(int(n) for n in shape))


def made_up() -> Train:
    """A fifth of the ratings of 100 users and 50 items."""
    random = np.random.default_rng(0)
    cells = np.sort(random.choice(5000, 1000, replace=False))
    users, items = (cells // 50).astype(np.int32), (cells % 50).astype(np.int32)
    return Train(users, items, random.integers(1, 6, 1000).astype(np.float32), 100, 50)


def run(job: dict[str, Any]) -> dict[str, Any]:
    adapter = adapter_of(job)

    def settled(ratings: Train) -> float:
        """What is resident with these ratings, after a small fit."""
        adapter.prepare(ratings)
        adapter.fit(2, 2)
        del ratings
        gc.collect()
        give_back()
        return resident(adapter.processes(), "VmRSS")

    empty, loaded = settled(made_up()), settled(train_of(job["data"]))
    pids = adapter.processes()
    peak, runs = 0.0, []
    test_users, test_items, test_values = columns(job["data"], "test_users", "test_items", "test_values")
    for sweeps in job["sweeps"]:
        begin = time.perf_counter()
        model = adapter.fit(job["rank"], sweeps)
        seconds = time.perf_counter() - begin
        peak = peak or resident(pids, "VmHWM")
        told = {"sweeps": sweeps, "seconds": seconds, "rmse": None, "objective": None}
        predicted = adapter.predict(model, test_users, test_items)
        if predicted is not None:
            errors = np.clip(predicted, *job["scale"]) - test_values
            told["rmse"] = float(np.sqrt(np.mean(errors**2, dtype=np.float64)))
        if job["objective"] is not None:
            told["objective"] = adapter.parts(model).objective(train_of(job["data"]), *job["objective"])
        runs.append(told)
        del model
    memory = {"fit_memory": peak - loaded, "memory": peak - empty}
    return {"version": adapter.version(), "runs": runs, **memory}


if __name__ == "__main__":
    print("\n" + json.dumps(run(json.load(sys.stdin))))
