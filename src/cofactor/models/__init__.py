"""The models, one a file. ``base.py`` is the contract that all of them keep."""

from cofactor.models.als import ALS
from cofactor.models.base import Model
from cofactor.models.baseline import Baseline
from cofactor.models.neighbours import CosineNeighbours
from cofactor.models.results import Explanation, Neighbour, Part, Recommendation, Recommendations

MODELS: dict[str, type[Model]] = {model.__name__: model for model in (ALS, Baseline, CosineNeighbours)}

__all__ = [
    "ALS",
    "MODELS",
    "Baseline",
    "CosineNeighbours",
    "Explanation",
    "Model",
    "Neighbour",
    "Part",
    "Recommendation",
    "Recommendations",
]
