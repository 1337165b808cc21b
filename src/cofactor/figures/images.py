"""Small images side by side, for explanations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cofactor.figures.drawing import GRID, INK, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def images(
    name: str,
    says: str,
    shown: Sequence[tuple[str, NDArray[Any]]],
    *,
    columns: int = 6,
    size: tuple[int, int] = (760, 170),
) -> str:
    """Images (height, width), each with its title; of each the least number is light and the greatest dark."""
    rows = -(-len(shown) // columns)

    def paint(axes: Axes) -> None:
        axes.axis("off")
        for at, (title, image) in enumerate(shown):
            row, column = divmod(at, columns)
            inset = axes.inset_axes((column / columns, 1 - (row + 1) / rows, 0.88 / columns, 0.8 / rows))
            height, width = image.shape
            low, high = float(image.min()), float(image.max())
            shades = (image - low) / max(high - low, 1e-12)
            inset.axis("off")
            inset.set_xlim(0, width)
            inset.set_ylim(height, 0)
            inset.set_aspect("equal")
            inset.add_patch(_square(0, 0, width, height, GRID, 0.35))
            for y, x in np.argwhere(
                shades > 0.02
            ).tolist():  # squares, so that they follow the page's colours
                inset.add_patch(_square(x, y, 1, 1, INK, float(shades[y, x])))
            inset.set_title(title, fontsize=11, color=INK)

    return draw(name, says, paint, size)


def _square(x: float, y: float, width: float, height: float, colour: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=colour, alpha=alpha, linewidth=0)
