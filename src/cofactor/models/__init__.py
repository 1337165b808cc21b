"""The models, one a file. ``base.py`` is the contract that all of them keep."""

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
from cofactor.models.results import Explanation, Neighbour, Part, Recommendation, Recommendations

MODELS: dict[str, type[Model]] = {
    model.__name__: model
    for model in (
        ALS,
        Baseline,
        BayesianMF,
        ContentMap,
        CosineNeighbours,
        LineBaseline,
        OrdinalMF,
        Popular,
        SGD,
        TasteDrift,
    )
}

__all__ = [
    "ALS",
    "MODELS",
    "SGD",
    "Baseline",
    "BayesianMF",
    "ContentMap",
    "CosineNeighbours",
    "Explanation",
    "LineBaseline",
    "Model",
    "Neighbour",
    "OrdinalMF",
    "Part",
    "Popular",
    "Recommendation",
    "Recommendations",
    "TasteDrift",
]
