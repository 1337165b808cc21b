"""Pictures, each a function that returns an ``<svg>`` element. The same input gives the same text."""

from cofactor.figures.choosing import (
    against_seconds,
    against_value,
    comparison_bars,
    comparison_seconds,
    numbers,
    tuning_picture,
)
from cofactor.figures.drawing import Picture
from cofactor.figures.drift import drift
from cofactor.figures.fit import calibration, distribution, errors, objective, waterfall
from cofactor.figures.images import images
from cofactor.figures.items import item_map
from cofactor.figures.lines import lines

__all__ = [
    "Picture",
    "against_seconds",
    "against_value",
    "calibration",
    "comparison_bars",
    "comparison_seconds",
    "distribution",
    "drift",
    "errors",
    "images",
    "item_map",
    "lines",
    "numbers",
    "objective",
    "tuning_picture",
    "waterfall",
]
