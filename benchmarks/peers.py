"""cofactor beside its peers: the same ratings, threads and split, one command.

    python benchmarks/peers.py --data FOLDER [--libmf SOURCE] [--expanded 10,100]

Each peer gets an environment of its own under --envs, once (pip; LIBMF is compiled from the source that --libmf
names; Spark needs Java). A peer that cannot run is left out, and said so. Each measurement has a process of its own,
with the number of threads set before anything is imported; contenders take turns, and figures are medians; one whose
process takes more than two minutes is measured once. Reading, splitting, and bringing the ratings into the library's
own form are not in the time, and a small fit before it warms up what is compiled or started at first use. What a
library does inside its own fit is in it. ``contest/adapters`` has a file for each library.

1. The same equation, the same work. Every peer with alternating least squares has an objective of its own; cofactor
   is given the same one with the same λ, and both do 15 sweeps. J is computed from the factors of either.
   - cmfrec: biases inside, the same λ for all rows. "CG" closes with a sweep of Cholesky, as is its default;
     "CG only" does not.
   - LensKit: biases first, damped by 5; factors of what they leave, λ by the number of ratings. cofactor fits the
     same residuals, without biases.
   - Spark: no biases and no mean, λ by the number of ratings.
   - implicit fits another problem (every pair, to 0 or 1): only its time and memory can be compared.
   The time of a sweep is what each of sweeps 2 to 15 adds to a fit of one sweep, which takes set-up and closing out.
   The held-out RMSE here is that of the peer's equation, at its best λ.
2. Time against error: held-out RMSE after fits of growing length, each library with the λ that suits it on ML-1M
   (``contest/contenders.py``); on other sets none is chosen anew. implicit has no place there. myFM and Surprise
   use one thread.
3. Memory: of the fit beyond the loaded data, and of data and fit beyond the imported library; see
   ``contest/contestant.py``. For Spark it is that of the JVM, which takes what it is allowed to.

Sets: MovieLens 1M where --data has it, and the bundled demo; and expansions of the first (``datasets.expand``), on
which the first part alone is run, at rank 64 with 5 sweeps. Beyond 50 million ratings cofactor runs alone.

--quick takes rank 16, one measurement each, the first set, and of the peers those that this interpreter can import.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from common import SCALE, Figure, data_file, parser, show
from contest import judging, pictures
from contest.contenders import SAME_EQUATION, against_time, own_name
from contest.measuring import Data, Measured, Measuring, expanded, store

import cofactor as cf
from cofactor.datasets import load_demo

HERE = Path(__file__).resolve().parent
SWEEPS, SWEEPS_LARGE = 15, 5
RANK_LARGE = 64
ALONE = 50e6  # ratings beyond which cofactor runs alone


class Report:
    """Figures, tables and pictures, as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures: list[Figure] = []
        self.tables: list[str] = []

    def picture(self, name: str, picture: pictures.Picture) -> None:
        """Save a picture under its name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        picture.save(self.folder / f"{name.lower().replace(' ', '-')}.svg")


def real_set(data: Data, ranks: list[int], measuring: Measuring, report: Report, quick: bool) -> None:
    """Both parts on a set as it is."""
    work: dict[int, dict[str, Measured]] = {}
    for rank in ranks:
        work[rank] = measuring.medians(SAME_EQUATION, data, rank, (SWEEPS, 1, 1))
        report.figures += judging.judge_work(data, rank, SWEEPS, work[rank])
        report.tables.append(judging.work_table(data, rank, SWEEPS, work[rank]))
        report.picture(f"memory {data.name} {rank}", pictures.memory(f"{data.name}, rank {rank}", work[rank]))
    report.picture(f"ranks {data.name}", pictures.ranks(data.name, work))
    for rank in [rank for rank in ranks if rank >= 64] or ranks[:1]:
        lengths = (2, 5) if quick else None
        found = measuring.medians(against_time(measuring.libmf), data, rank, lengths)
        report.figures += judging.judge_curves(data, rank, found)
        report.tables.append(judging.curve_table(data, rank, found))
        target = judging.target(data, rank)
        report.picture(
            f"curves {data.name} {rank}", pictures.curves(f"{data.name}, rank {rank}", found, target)
        )


def large_set(data: Data, measuring: Measuring, report: Report) -> dict[str, Measured]:
    """The first part on an expanded set."""
    alone = [contender for contender in SAME_EQUATION if contender.library == "cofactor"]
    contenders = alone if data.n_train > ALONE else SAME_EQUATION
    found = measuring.medians(contenders, data, RANK_LARGE, (SWEEPS_LARGE, 1, 1))
    report.figures += judging.judge_work(data, RANK_LARGE, SWEEPS_LARGE, found)
    report.figures += judging.judge_large(data, RANK_LARGE, found)
    report.tables.append(judging.work_table(data, RANK_LARGE, SWEEPS_LARGE, found))
    report.picture(
        f"memory {data.name} {RANK_LARGE}", pictures.memory(f"{data.name}, rank {RANK_LARGE}", found)
    )
    return found


def options_of() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=2, help="threads for everybody [2]")
    options.add_argument("--ranks", default="16,64,128", help="ranks to measure [16,64,128]")
    options.add_argument("--repeat", type=int, default=5, help="processes for each median [5]")
    options.add_argument(
        "--expanded", default="", help="millions of ratings of expanded sets, as 10,100 [none]"
    )
    options.add_argument("--only-expanded", action="store_true", help="leave out the sets as they are")
    options.add_argument("--peers", help="libraries to compare with, as cmfrec,LensKit [all]")
    options.add_argument(
        "--envs",
        type=Path,
        default=HERE / ".envs",
        help="folder of environments and expanded sets [benchmarks/.envs]",
    )
    options.add_argument(
        "--libmf", type=Path, default=os.environ.get("LIBMF"), help="LIBMF's source [$LIBMF]"
    )
    options.add_argument("--pictures", type=Path, help="folder for the pictures [--envs/pictures]")
    return options.parse_args()


def main() -> None:
    args = options_of()
    ranks = [16] if args.quick else [int(rank) for rank in args.ranks.split(",")]
    sets = {"demo": load_demo}
    if args.data is not None:
        path = data_file(args.data, "ml-1m.parquet")
        sets = {judging.ML_1M: lambda: cf.read_ratings(path, scale=SCALE), **sets}
    source = next(iter(sets))
    measuring = Measuring(args)
    report = Report(args.pictures or args.envs / "pictures")
    with tempfile.TemporaryDirectory() as scratch:
        for name, read in sets.items():
            if args.only_expanded or (args.quick and name != source):
                continue
            data = store(read(), name, Path(scratch) / name)
            real_set(data, ranks, measuring, report, args.quick)
    growth = []
    for millions in (float(size) for size in args.expanded.split(",") if size):
        data = expanded(sets[source], source, millions, args.envs)
        found = large_set(data, measuring, report)
        if own_name("auto", "cmfrec") in found:
            growth.append((data, found[own_name("auto", "cmfrec")]))
    if len(growth) > 1:
        report.figures += judging.judge_growth(growth[0], growth[-1])
    settings = f"{args.threads} threads, median of {measuring.repeat}"
    versions = ", ".join(f"{name} {version}" for name, version in measuring.versions.items())
    notes = [settings, versions, f"Pictures are in {report.folder}", *measuring.notes]
    if args.json:
        show(report.figures, True, notes)
    else:
        print("\n".join(report.tables))
        show([figure for figure in report.figures if figure.bound is not None], False, notes)


if __name__ == "__main__":
    main()
