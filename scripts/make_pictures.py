"""Draw the pictures of the docs: the top of the page that ``cofactor demo`` writes, how its K was chosen, and those of
pages that draw their own.

    .venv/bin/python scripts/make_pictures.py

Needs Chromium.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import which

import cofactor as cf

DOCS = Path(__file__).resolve().parent.parent / "docs"
FLAGS = (
    "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking hide-scrollbars"
)


def draw_demo(target: Path) -> None:
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
                f"--screenshot={target}",
                "--window-size=1200,1830",
                page.as_uri(),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )


def draw_choice(target: Path) -> None:
    """The tuning that docs/explanation/choosing-k.md tells of."""
    train, _ = cf.split(cf.load_demo(), holdout=0.1, warn=False)
    cf.tune(cf.ALS(sweeps=20), train).plot(target)


def draw_page(target: Path) -> None:
    """The pictures that a page draws itself, beside it: all whose names begin with its own."""
    page = next(page for page in target.parent.glob("*.md") if target.stem.startswith(page.stem))
    names = {"__name__": "__main__"}
    os.chdir(target.parent)
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(code, page, "exec"), names)


def main() -> None:
    """Draw all."""
    for draw, target in (
        (draw_demo, DOCS / "cofactor-demo.png"),
        (draw_choice, DOCS / "explanation/choosing-k.svg"),
        (draw_page, DOCS / "explanation/neural-ode-euler.svg"),
        (draw_page, DOCS / "explanation/convolution-echo.svg"),
    ):
        draw(target)
        print(f"{target.stat().st_size:,} bytes in {target}")


if __name__ == "__main__":
    main()
