"""The public names are a contract: adding one is a decision, losing one breaks somebody."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import cofactor as cf

NAMES = """
ALS BadData BadDataset BadModel BadParameter BadRatings Baseline BayesianMF Catalog CofactorError Comparison
ContentMap CosineNeighbours Evaluation Explanation Features LeakWarning LineBaseline Model NotFitted
NotSupported OrdinalMF Popular Ratings Recommendations SGD SingularSystem TasteDrift Tuning
UnknownItem UnknownUser check_ratings compare evaluate folds load load_demo load_demo_catalog mae
read_catalog read_images read_ratings read_sounds rmse save split tune verify __version__
""".split()  # noqa: SIM905


def test_public_names():
    assert sorted(cf.__all__) == sorted(NAMES)
    assert dir(cf) == sorted(NAMES)
    for name in NAMES:
        assert getattr(cf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        cf.colour  # noqa: B018


def test_no_module_is_named_as_a_public_name():
    """Else importing it would put the module where the function was: `cofactor.evaluate`, say."""
    assert not {module.name for module in pkgutil.iter_modules(cf.__path__)} & set(NAMES)


def test_import_stays_light():
    """The heavy libraries wait until something needs them; so `import cofactor` is instant."""
    program = "import sys, cofactor; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"duckdb", "pandas", "matplotlib", "rich", "typer", "scipy", "pyarrow"} & set(loaded)


def test_errors_say_which_exit_code_they_end_with():
    assert {
        e.__name__: e.exit_code for e in (cf.CofactorError, cf.BadParameter, cf.BadData, cf.BadModel)
    } == {
        "CofactorError": 1,
        "BadParameter": 2,
        "BadData": 3,
        "BadModel": 3,
    }
    for error in (cf.BadRatings, cf.BadModel, cf.UnknownUser, cf.UnknownItem):
        assert issubclass(error, cf.BadData)
