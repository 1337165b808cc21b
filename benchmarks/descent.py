"""SGD beside LIBMF on MovieLens 1M: seconds, and the error on the tenth held out.

    python benchmarks/descent.py --data FOLDER --libmf PATH/TO/mf-train

LIBMF's program is not here; build it from its source, as its README says (https://github.com/cjlin1/libmf). It runs
as `-s THREADS -t 20 -l2 0.05 -r 0.1`. Its seconds are those of 20 sweeps, the difference between a run of 40 and one
of 20, so neither reading nor setting up counts; cofactor's are those of the whole fit, with all that belongs to it.
The two take turns, and the figures are medians. Without the program, its figures as once measured are the bounds.

The seconds to an error are those of the fewest sweeps that reach it: for LIBMF found by trying, for cofactor those of
a setting of fewer sweeps at a higher rate.

The settings of SGD were chosen on the training part alone, by the error on a tenth of it: ``accuracy.py --choose``
repeats that for the first, ``--choose`` here for the second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Figure, data_file, parser, show, split_1m

import cofactor as cf

SETTING = {"reg": 0.22, "reg_exponent": 0.75, "sweeps": 20, "rate": 0.03}
SOONEST = {**SETTING, "sweeps": 8, "rate": 0.08}
GOALS = {64: 0.8413, 128: 0.8381}  # RMSE of LIBMF after 20 sweeps, on another machine
MEASURED = {
    64: (0.8413, 1.0),
    128: (0.8381, 1.3),
}  # LIBMF: RMSE and seconds, where its program is not at hand


def setting(rank: int, ratings: cf.Ratings, threads: int, **changes: float) -> cf.SGD:
    return cf.SGD(rank=min(rank, ratings.n_items), threads=threads, **{**SETTING, **changes})


def seconds_of_fit(model: cf.SGD, ratings: cf.Ratings) -> float:
    begin = time.perf_counter()
    model.fit(ratings, progress=False)
    return time.perf_counter() - begin


def error_of(model: cf.SGD, test: cf.Ratings) -> float:
    return cf.rmse(test.values, model.predict(test.users, test.items, clip=True))


def add_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("--threads", type=int, default=2, help="threads of either [2]")
    options.add_argument("--repeat", type=int, default=5, help="fits for each median [5]")
    options.add_argument(
        "--libmf", type=Path, default=os.environ.get("LIBMF"), help="LIBMF's mf-train [$LIBMF]"
    )


class Libmf:
    """LIBMF's programs, on files of their own."""

    def __init__(
        self, program: Path, train: cf.Ratings, test: cf.Ratings, threads: int, folder: Path
    ) -> None:
        self._program, self._threads, self._folder, self._test = program.resolve(), threads, folder, test
        for name, ratings in (("train", train), ("test", test)):
            users, items = (
                ids.positions(column) % (len(ids) + 1)  # what train lacks gets a number of its own
                for ids, column in ((train.user_ids, ratings.users), (train.item_ids, ratings.items))
            )
            rows = (f"{i} {j} {r:g}\n" for i, j, r in zip(users, items, ratings.values))
            (folder / name).write_text("".join(rows))

    def _train(self, rank: int, sweeps: int) -> float:
        options = f"-s {self._threads} -t {sweeps} -l2 0.05 -r 0.1 -k {rank}".split()
        begin = time.perf_counter()
        command = [str(self._program), *options, "train", f"model-{sweeps}"]
        subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin

    def seconds(self, rank: int) -> float:
        """Of 20 sweeps."""
        short = self._train(rank, 20)
        return self._train(rank, 40) - short

    def sweeps_to(self, rank: int, goal: float) -> int | None:
        """The fewest sweeps after which the error is no more than ``goal``; None where 30 are too few."""
        for sweeps in range(5, 31):
            self._train(rank, sweeps)
            if self.rmse(sweeps) <= goal:
                return sweeps
        return None

    def rmse(self, sweeps: int = 20) -> float:
        """Of the last model of so many sweeps, its predictions kept on the scale."""
        command = [str(self._program.with_name("mf-predict")), "test", f"model-{sweeps}", "predicted"]
        subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.DEVNULL)
        predicted = np.loadtxt(self._folder / "predicted", ndmin=1)
        return cf.rmse(self._test.values, np.clip(predicted, *self._test.scale))


def measure(args: argparse.Namespace, train: cf.Ratings, test: cf.Ratings) -> tuple[list[Figure], list[str]]:
    figures, notes = [], [f"SGD: {args.threads} threads, median of {args.repeat}"]
    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if args.libmf is not None:
            peer = Libmf(Path(args.libmf), train, test, args.threads, Path(folder))
        else:
            notes.append(
                "LIBMF was left out: no --libmf PATH and no $LIBMF. The bounds are figures of another day."
            )
        for rank in MEASURED:
            own: list[float] = []
            soonest: list[float] = []
            others: list[tuple[float, float]] = []
            model = setting(rank, train, args.threads).fit(train)  # once beforehand: all is compiled and warm
            quick_model = setting(rank, train, args.threads, **SOONEST)
            for _ in range(1 if args.quick else args.repeat):
                own.append(seconds_of_fit(model, train))
                soonest.append(seconds_of_fit(quick_model, train))
                if peer is not None:
                    seconds = peer.seconds(rank)
                    others.append((seconds, peer.rmse()))
            error_bound, time_bound = MEASURED[rank]
            if others:
                time_bound, error_bound = (statistics.median(column) for column in zip(*others))
            name = f"ML-1M, SGD rank {rank}"
            figures.append(Figure(f"{name}, RMSE", error_of(model, test), "stars", error_bound))
            figures.append(Figure(f"{name}, seconds", statistics.median(own), "s", time_bound))
            goal, reached = GOALS[rank], error_of(quick_model, test)
            sooner = f"{name}, {SOONEST['sweeps']} sweeps"
            figures.append(Figure(f"{sooner}, RMSE", reached, "stars", goal))
            figures.append(Figure(f"{sooner}, seconds", statistics.median(soonest), "s"))
            if peer is None:
                continue
            ratio = time_bound / statistics.median(own)
            figures.append(Figure(f"{name}, LIBMF's seconds / its own", ratio, "times", 1.0, most=False))
            sweeps = peer.sweeps_to(rank, goal)
            if sweeps is None:
                notes.append(f"LIBMF does not reach an RMSE of {goal} at rank {rank} in 30 sweeps.")
            elif reached <= goal:
                seconds = time_bound * sweeps / 20
                figures.append(
                    Figure(f"{name}, LIBMF to RMSE {goal}: {sweeps} sweeps, seconds", seconds, "s")
                )
                ratio = seconds / statistics.median(soonest)
                figures.append(
                    Figure(f"{name}, the same, LIBMF's / its own", ratio, "times", 1.0, most=False)
                )
    return figures, notes


def choose(train: cf.Ratings, threads: int) -> None:
    """Errors on a tenth of the training part, of few sweeps at high rates."""
    inner, held = cf.split(train, holdout=0.1, seed=1, warn=False)
    for rank in GOALS:
        for sweeps in (6, 7, 8, 9, 10, 12):
            for rate in (0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12):
                model = setting(rank, inner, threads, sweeps=sweeps, rate=rate)
                seconds = seconds_of_fit(model, inner)
                error = error_of(model, held)
                print(f"rank {rank}  sweeps {sweeps:2}  rate {rate:.2f}  RMSE {error:.4f}  {seconds:.3f} s")


def main() -> None:
    options = parser(__doc__)
    add_options(options)
    options.add_argument("--choose", action="store_true", help="how the rate for few sweeps was chosen")
    args = options.parse_args()
    train, test = split_1m(data_file(args.data, "ml-1m.parquet"))
    if args.choose:
        choose(train, args.threads)
        return
    figures, notes = measure(args, train, test)
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
