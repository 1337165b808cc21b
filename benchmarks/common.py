"""What every benchmark shares: its options, the machine in words, and figures as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cofactor
from cofactor import kernels


@dataclass(frozen=True)
class Figure:
    """One measured number. ``bound`` is what it must reach (None: nothing), ``most`` whether it is an upper one."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    most: bool = True

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept."""
        if self.bound is None:
            return None
        return bool(self.value <= self.bound if self.most else self.value >= self.bound)  # not one of NumPy


def parser(description: str) -> argparse.ArgumentParser:
    """The three options of every benchmark; more can be added."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("COFACTOR_DATA"),
        help="folder with the public data sets as Parquet [$COFACTOR_DATA]",
    )
    options.add_argument("--quick", action="store_true", help="a minute at most, for a look")
    options.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return options


def data_file(folder: Path | None, name: str) -> Path:
    """A file of real ratings, or an end with the reason."""
    if folder is None or not (Path(folder) / name).is_file():
        where = f"in {folder}" if folder else "without --data FOLDER or $COFACTOR_DATA"
        sys.exit(f"There is no {name} {where}: it has columns user, item, rating (see benchmarks/README.md).")
    return Path(folder) / name


SCALE = (1.0, 5.0)  # of MovieLens


def split_1m(path: Path) -> tuple[cofactor.Ratings, cofactor.Ratings]:
    """MovieLens 1M, a tenth of it held out at random: the split of every figure."""
    ratings = cofactor.read_ratings(path, scale=SCALE)
    return cofactor.split(ratings, holdout=0.1, seed=0, warn=False)


def machine() -> dict[str, Any]:
    """The machine and the versions, as far as figures depend on them."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
    isa, bits = kernels.instruction_set()
    return {
        "processor": name,
        "processors": kernels.thread_count(),
        "instructions": f"{isa}, {bits} bits",
        "python": platform.python_version(),
        "cofactor": cofactor.__version__,
    }


def show(figures: list[Figure], as_json: bool, notes: list[str] | None = None) -> None:
    """Print the figures; exit code 1 where a bound is not kept."""
    if as_json:
        told = [
            {"name": f.name, "value": f.value, "unit": f.unit, "bound": f.bound, "holds": f.holds}
            for f in figures
        ]
        print(json.dumps({"machine": machine(), "figures": told, "notes": notes or []}))
    else:
        print(", ".join(f"{key} {value}" for key, value in machine().items()))
        width = max((len(f.name) for f in figures), default=0)
        for f in figures:
            mark = {None: "", True: "holds", False: "DOES NOT HOLD"}[f.holds]
            bound = "" if f.bound is None else f"{'at most' if f.most else 'at least'} {f.bound:g}"
            print(f"{f.name:<{width}}  {f.value:10.4f} {f.unit:<10} {bound:<16} {mark}")
        for note in notes or []:
            print(note)
    if any(f.holds is False for f in figures):
        sys.exit(1)
