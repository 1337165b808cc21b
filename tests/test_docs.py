"""Everything the README and the docs tell a reader to type is typed here."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import cofactor as cf

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
INSTALLS = "python3 -m venv .venv && .venv/bin/pip install . && "


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        texts = re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
        found += [(page.relative_to(ROOT).as_posix(), text) for text in texts]
    return found


def test_every_code_block_is_of_a_kind_that_is_run():
    for page in PAGES:
        kinds = re.findall(r"^```(\w*)\n.*?^```", page.read_text("utf-8"), re.S | re.M)
        assert set(kinds) <= {"python", "sh", "json", "text"}, page


@pytest.mark.parametrize("page", sorted({page for page, _ in blocks("python")}))
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """One after another, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    codes = [code for of, code in blocks("python") if of == page]
    needs_jax = any("import jax" in code for code in codes)
    precision = pytest.importorskip("jax").config.jax_enable_x64 if needs_jax else None
    try:
        for code in codes:
            exec(compile(code, page, "exec"), names)
    finally:
        if needs_jax:  # as it was, for the tests that come after
            sys.modules["jax"].config.update("jax_enable_x64", precision)
    for file in Path.cwd().glob("*.svg"):  # what the page shows is what its code draws
        assert (ROOT / page).with_name(file.name).exists()


def commands() -> list[tuple[str, str]]:
    lines = [(page, line) for page, text in blocks("sh") for line in text.splitlines() if line.strip()]
    return [(page, line.split("#")[0].strip()) for page, line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader would be: with a ratings.csv of their own."""
    folder = tmp_path_factory.mktemp("reader")
    table = cf.load_demo().to_arrow().to_pydict()
    lines = (",".join(map(str, row)) for row in zip(*table.values()))
    (folder / "ratings.csv").write_text("\n".join([",".join(table), *lines]), "utf-8")
    return folder


def test_the_shell_commands_run_in_order(folder):
    ran = []
    for page, line in commands():
        # This very run; a test of its own; tests/serve/test_how_to.py.
        if (
            "scripts/check.py" in line
            or "benchmarks/" in line
            or "cofactor serve" in line
            or page.endswith("serve.md")
        ):
            continue
        line = line.removeprefix(INSTALLS).replace(".venv/bin/", "")
        program, *arguments = shlex.split(line)
        assert program == "cofactor", f"{page}: {line}"
        done = subprocess.run(
            [sys.executable, "-m", "cofactor", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout
        ran.append(arguments[0])
    assert {"demo", "check", "train", "recommend", "explain"} <= set(ran)
    assert (folder / "cofactor-demo.html").stat().st_size > 10_000


def test_the_readme_check_is_what_ci_runs():
    assert "\n```sh\npython3 scripts/check.py\n```\n" in (ROOT / "README.md").read_text("utf-8")
    assert "\tpython3 scripts/check.py\n" in (ROOT / "Makefile").read_text("utf-8")
    assert (ROOT / ".ci/run").read_text("utf-8").endswith("\nmake check\n")


def modules() -> list[str]:
    names = [m.name for m in pkgutil.walk_packages(cf.__path__, "cofactor.")]
    return [name for name in names if not name.endswith(("__main__", "_native"))]


@pytest.mark.parametrize("name", modules())
def test_doctests(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_one_version():
    assert f'version = "{cf.__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"## [{cf.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"version: {cf.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_the_readme_shows_what_compare_finds():
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (\w+) \| ([\d.—]+) \| ([\d.—]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.M
    )
    shown = {name: [None if cell == "—" else float(cell) for cell in cells] for name, *cells in rows}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cf.LeakWarning)
        found = cf.compare(cf.load_demo(), bootstrap=0)
    assert list(shown) == [entry.name for entry in found.entries]
    for entry in found.entries:
        for metric, value in zip(("rmse", "mae", "ndcg", "recall", "coverage"), shown[entry.name]):
            measured = getattr(entry.evaluation, metric)
            # Other processors round otherwise, and a list may then end otherwise.
            assert measured == (value if value is None else pytest.approx(value, abs=0.002)), (
                entry.name,
                metric,
            )
