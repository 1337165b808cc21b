"""Seconds until cofactor is there: its import, its help, its demo; each in a new process.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

from common import Figure, parser, show

COMMANDS = (
    ("import cofactor", ["-c", "import cofactor"], 0.3),
    ("cofactor --help", ["-m", "cofactor", "--help"], 0.5),
    ("cofactor demo", ["-m", "cofactor", "demo"], 30.0),
)


def main() -> None:
    args = parser(__doc__).parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments, bound in COMMANDS:
            times = []
            for _ in range(2 if args.quick else 5):
                begin = time.perf_counter()
                subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=folder)
                times.append(time.perf_counter() - begin)
            figures.append(Figure(name, statistics.median(times), "s", bound))
    show(figures, args.json)


if __name__ == "__main__":
    main()
