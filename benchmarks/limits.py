"""What this machine can do at most: multiply-adds and bytes read a second, by a small program of limits.cpp."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def measure(threads: int) -> tuple[float, float] | str:
    """GFLOP/s of float32 multiply-adds and GB/s of memory read by so many threads, or why they are not known."""
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
    rate, bandwidth = done.stdout.split()
    return float(rate), float(bandwidth)
