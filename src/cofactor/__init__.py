"""cofactor: from a table of ratings to predictions and recommendations."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cofactor.catalog import Catalog, read_catalog
    from cofactor.checking import check_ratings
    from cofactor.comparing import Comparison, compare
    from cofactor.datasets import load_demo, load_demo_catalog
    from cofactor.errors import (
        BadData,
        BadDataset,
        BadModel,
        BadParameter,
        BadRatings,
        CofactorError,
        LeakWarning,
        NotFitted,
        NotSupported,
        SingularSystem,
        UnknownItem,
        UnknownUser,
    )
    from cofactor.evaluation import Evaluation, evaluate
    from cofactor.features import Features
    from cofactor.media import read_images, read_sounds
    from cofactor.metrics import mae, rmse
    from cofactor.models.als import ALS
    from cofactor.models.base import Model
    from cofactor.models.baseline import Baseline
    from cofactor.models.bayes import BayesianMF
    from cofactor.models.content import ContentMap
    from cofactor.models.descent import SGD
    from cofactor.models.drift import TasteDrift
    from cofactor.models.line import LineBaseline
    from cofactor.models.neighbours import CosineNeighbours
    from cofactor.models.ordinal import OrdinalMF
    from cofactor.models.popular import Popular
    from cofactor.models.results import Explanation, Recommendations
    from cofactor.ratings import Ratings
    from cofactor.reading import read_ratings
    from cofactor.splits import folds, split
    from cofactor.storage import load, save, verify
    from cofactor.tuning import Tuning, tune

__version__ = "0.1.0"

# Where each public name lives. A name is imported when it is first used, so that `import cofactor`
# and `cofactor --help` start at once.
_HOME = {
    "ALS": "models.als",
    "BadData": "errors",
    "BadDataset": "errors",
    "BadModel": "errors",
    "BadParameter": "errors",
    "BadRatings": "errors",
    "Baseline": "models.baseline",
    "BayesianMF": "models.bayes",
    "Catalog": "catalog",
    "CofactorError": "errors",
    "Comparison": "comparing",
    "ContentMap": "models.content",
    "CosineNeighbours": "models.neighbours",
    "Evaluation": "evaluation",
    "Explanation": "models.results",
    "Features": "features",
    "LeakWarning": "errors",
    "LineBaseline": "models.line",
    "Model": "models.base",
    "NotFitted": "errors",
    "NotSupported": "errors",
    "OrdinalMF": "models.ordinal",
    "Popular": "models.popular",
    "Ratings": "ratings",
    "Recommendations": "models.results",
    "SGD": "models.descent",
    "SingularSystem": "errors",
    "TasteDrift": "models.drift",
    "Tuning": "tuning",
    "UnknownItem": "errors",
    "UnknownUser": "errors",
    "check_ratings": "checking",
    "compare": "comparing",
    "evaluate": "evaluation",
    "folds": "splits",
    "load": "storage",
    "load_demo": "datasets",
    "load_demo_catalog": "datasets",
    "mae": "metrics",
    "read_catalog": "catalog",
    "read_images": "media",
    "read_ratings": "reading",
    "read_sounds": "media",
    "rmse": "metrics",
    "save": "storage",
    "split": "splits",
    "tune": "tuning",
    "verify": "storage",
}

__all__ = [
    "ALS",
    "SGD",
    "BadData",
    "BadDataset",
    "BadModel",
    "BadParameter",
    "BadRatings",
    "Baseline",
    "BayesianMF",
    "Catalog",
    "CofactorError",
    "Comparison",
    "ContentMap",
    "CosineNeighbours",
    "Evaluation",
    "Explanation",
    "Features",
    "LeakWarning",
    "LineBaseline",
    "Model",
    "NotFitted",
    "NotSupported",
    "OrdinalMF",
    "Popular",
    "Ratings",
    "Recommendations",
    "SingularSystem",
    "TasteDrift",
    "Tuning",
    "UnknownItem",
    "UnknownUser",
    "__version__",
    "check_ratings",
    "compare",
    "evaluate",
    "folds",
    "load",
    "load_demo",
    "load_demo_catalog",
    "mae",
    "read_catalog",
    "read_images",
    "read_ratings",
    "read_sounds",
    "rmse",
    "save",
    "split",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cofactor' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"cofactor.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
