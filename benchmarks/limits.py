"""What this machine can do at most: multiply-adds and bytes read a second, by a small program of limits.cpp."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple


class Limits(NamedTuple):
    """The most that so many threads do in a second."""

    rate: float  # GFLOP/s of float32 multiply-adds, each counted as two
    bandwidth: float  # GB/s of memory read in order
    gather_near: float  # GB/s of rows of 256 bytes at random, of a table of 1 MB
    gather_far: float  # the same of 256 MB


def measure(threads: int) -> Limits | str:
    """The limits of this machine with so many threads, or why they are not known."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return "there is no C++ compiler; name one in $CXX"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "limits"
        source = Path(__file__).with_suffix(".cpp")
        options = ["-O3", "-march=native", "-std=c++20", "-pthread", "-Wno-psabi"]
        made = subprocess.run(
            [compiler, *options, str(source), "-o", str(program)], capture_output=True, text=True
        )
        if made.returncode:
            return (made.stderr.strip().splitlines() or ["the compiler failed"])[0]
        done = subprocess.run([str(program), str(threads)], capture_output=True, text=True, check=True)
    return Limits(*map(float, done.stdout.split()))
