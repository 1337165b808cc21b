"""Everything that must hold before a change lands: install into .venv, lint, types, tests, and the kernels' tests
at every vector width and under sanitizers (``check_kernels.py``).

    python3 scripts/check.py [pytest arguments]     with arguments, the tests they name and no others

Needs Python 3.11 or later, a C++20 compiler and a package registry; nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"


def run(*command: str | Path) -> None:
    """Run one step from the root of the repository; stop at the first that fails."""
    print("$", *command, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """All steps in order, cheapest first."""
    if sys.version_info < (3, 11):
        sys.exit("cofactor needs Python 3.11 or later.")
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(VENV, with_pip=True)
    run(python, "-m", "pip", "install", "--quiet", ".[test]")
    run(python, "-m", "ruff", "check")
    run(python, "-m", "ruff", "format", "--check")
    run(python, "-m", "mypy")
    # The matrices of the tests are small: with a thread for each processor NumPy waits more than it computes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Two processes share the test files; those of one file stay together, and with them what is made once for a file.
    run(python, "-m", "pytest", *(sys.argv[1:] or ["-n", "2", "--dist", "loadfile"]))
    if not sys.argv[1:]:
        run(python, "scripts/check_kernels.py")


if __name__ == "__main__":
    main()
