"""Runs the contenders, each measurement in a process of its own, on data that lie on disk as columns."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import cofactor as cf
from cofactor.datasets import expand
from contest.contenders import Contender
from contest.environments import PEERS, Absent, interpreter, libmf

LONG = 120  # seconds of a process after which it is not repeated
LIMIT = 3600  # and after which it is given up


class Data(NamedTuple):
    """A split that lies on disk as columns."""

    name: str
    folder: Path
    n_train: int
    scale: tuple[float, float]


class Measuring:
    """Runs contenders, each time in a process of its own, and remembers who could not."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.repeat = args, 1 if args.quick else args.repeat
        self.notes: list[str] = []
        self.versions: dict[str, str] = {}
        self.pythons = {"cofactor": sys.executable, "LIBMF": sys.executable}
        chosen = args.peers.split(",") if args.peers else [*PEERS, "LIBMF"]
        for name, peer in PEERS.items():
            if name not in chosen:
                continue
            try:
                self.pythons[name] = interpreter(peer, args.envs, make=not args.quick)
            except Absent as reason:
                self.notes.append(f"{name} was left out: {reason}.")
        self.libmf: dict[str, str] = {}
        try:
            if "LIBMF" in chosen:
                self.libmf = libmf(args.libmf, args.envs)
        except Absent as reason:
            self.notes.append(f"LIBMF was left out: {reason}.")

    def _once(
        self, contender: Contender, data: Data, rank: int, lengths: tuple[int, ...]
    ) -> dict[str, Any] | str:
        """The answer of one process, or what it said where it failed."""
        reg = contender.reg_at(rank)
        threads = str(self.args.threads)
        job = {
            "adapter": contender.adapter,
            "data": str(data.folder),
            "threads": self.args.threads,
            "rank": rank,
            "sweeps": lengths,
            "reg": reg,
            "options": contender.options,
            "scale": data.scale,
            "objective": contender.objective and (reg, *contender.objective),
        }
        environment = {**os.environ, "COFACTOR_THREADS": threads}
        environment |= {
            f"{name}_NUM_THREADS": threads for name in ("OMP", "OPENBLAS", "MKL", "RAYON", "NUMBA", "LK")
        }
        if contender.library in PEERS:
            environment |= dict(PEERS[contender.library].environment)
        paths = (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        command = [self.pythons[contender.library], "-m", "contest.contestant"]
        try:
            done = subprocess.run(
                command, input=json.dumps(job), env=environment, capture_output=True, text=True, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            return f"not done in {LIMIT} s"
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def medians(
        self, contenders: list[Contender], data: Data, rank: int, lengths: tuple[int, ...] | None = None
    ) -> dict[str, Measured]:
        """What each of them did, in turn, the median of each number. ``lengths`` stands in for their own."""
        answers: dict[str, list[dict[str, Any]]] = {}
        wanted = [contender for contender in contenders if contender.library in self.pythons]
        for turn in range(self.repeat):
            for contender in list(wanted):
                begin = time.monotonic()
                answer = self._once(contender, data, rank, lengths or contender.lengths)
                seconds = time.monotonic() - begin
                where = f"{contender.name} on {data.name}, rank {rank}"
                print(f"{where}, {turn + 1} of {self.repeat}: {seconds:.0f} s", file=sys.stderr)
                if isinstance(answer, str):
                    wanted.remove(contender)
                    self.notes.append(f"{where}, was left out: {answer}.")
                    answers.pop(contender.name, None)
                    continue
                answers.setdefault(contender.name, []).append(answer)
                self.versions[contender.library] = answer["version"]
                if seconds > LONG and turn == 0 and self.repeat > 1:
                    wanted.remove(contender)
                    self.notes.append(f"{where}, was measured once: it takes {seconds:.0f} s.")
        return {name: Measured.of(several) for name, several in answers.items()}


@dataclass(frozen=True)
class Measured:
    """Medians over some processes. ``points`` are (sweeps, seconds, rmse); memory is in MiB; None: cannot be told."""

    points: list[tuple[int, float, float | None]]
    seconds: float
    sweep: float | None
    rmse: float | None
    objective: float | None
    memory: float | None
    fit_memory: float | None

    @classmethod
    def of(cls, answers: list[dict[str, Any]]) -> Measured:
        """The first fit of each is the long one where there are shorter ones after it."""

        def median(values: Any) -> float | None:
            values = list(values)
            told = all(value is not None and math.isfinite(value) for value in values)
            return statistics.median(values) if told else None

        def sweep(runs: list[dict[str, Any]]) -> float:
            shortest = min(run["sweeps"] for run in runs)
            least = min(run["seconds"] for run in runs if run["sweeps"] == shortest)
            return (runs[0]["seconds"] - least) / max(1, runs[0]["sweeps"] - shortest)

        columns = list(zip(*(answer["runs"] for answer in answers)))
        points = [
            (
                runs[0]["sweeps"],
                statistics.median(r["seconds"] for r in runs),
                median(r["rmse"] for r in runs),
            )
            for runs in columns
        ]
        return cls(
            points,
            points[0][1],
            max(statistics.median(sweep(answer["runs"]) for answer in answers), 0.0)
            or None,  # noise, if none
            points[0][2],
            median(run["objective"] for run in columns[0]),
            positive(median(answer["memory"] for answer in answers)),
            positive(median(answer["fit_memory"] for answer in answers)),
        )


def positive(value: float | None) -> float | None:
    """None for what is lost in noise: a fit so small that it needed less than was given back in the meantime."""
    return value if value is not None and value > 0 else None


def store(ratings: cf.Ratings, name: str, folder: Path) -> Data:
    """Hold out a tenth, and write the columns that every contender reads."""
    train, test = cf.split(ratings, holdout=0.1, seed=0, warn=False)
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "users": train.user_positions,
        "items": train.by_user.indices,
        "values": train.values,
        "test_users": train.user_ids.positions(test.users),
        "test_items": train.item_ids.positions(test.items),
        "test_values": test.values,
        "shape": [train.n_users, train.n_items],
    }
    for column, values in columns.items():
        np.save(folder / f"{column}.npy", values)
    return Data(name, folder, len(train), ratings.scale)


def expanded(read: Callable[[], cf.Ratings], source: str, millions: float, envs: Path) -> Data:
    """An expansion of what ``read`` gives, made once and kept beside the environments until its folder is deleted."""
    name = f"{source} expanded to {millions:g} million"
    folder = envs.resolve() / "data" / name.replace(" ", "-")
    about = folder / "about.json"
    if about.exists():
        n_train, scale = json.loads(about.read_text())
        return Data(name, folder, n_train, tuple(scale))
    data = store(expand(read(), round(millions * 1e6)), name, folder)
    about.write_text(json.dumps((data.n_train, data.scale)))
    return data
