"""Draw docs/cofactor-demo.png, the top of the page that ``cofactor demo`` writes, for the README.

    .venv/bin/python scripts/make_picture.py

Needs Chromium.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import which

TARGET = Path(__file__).resolve().parent.parent / "docs/cofactor-demo.png"
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking hide-scrollbars"
)


def main() -> None:
    """The demo, its page, its picture."""
    browser = which("chromium") or which("google-chrome") or sys.exit("Chromium is missing.")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "cofactor-demo.html"
        subprocess.run(
            [sys.executable, "-m", "cofactor", "demo", "-o", page], check=True, stdout=subprocess.DEVNULL
        )
        subprocess.run(
            [
                browser,
                *(f"--{flag}" for flag in FLAGS.split()),
                f"--user-data-dir={folder}/profile",
                f"--screenshot={TARGET}",
                "--window-size=1200,1830",
                page.as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
    print(f"{TARGET.stat().st_size:,} bytes in {TARGET}")


if __name__ == "__main__":
    main()
