"""The map of the items, with as many titles as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cofactor.figures.drawing import GRID, GROUPS, INK, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def item_map(
    places: NDArray[Any],
    weights: NDArray[Any],
    groups: NDArray[Any],
    labels: Sequence[str],
    name: str,
    size: tuple[int, int],
    font: float,
    most: int,
) -> str:
    """Items at ``places`` (items, 2), best known first, coloured by group; ``most`` of them labelled."""

    def paint(axes: Axes) -> None:
        axes.set_axis_off()
        low, high = np.quantile(places, 0.002, axis=0), np.quantile(places, 0.998, axis=0)
        span = np.maximum(high - low, 1e-9)
        low, high = low - 0.06 * span, high + 0.06 * span
        inside = np.clip(places, low, high)
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.axhline(0, color=GRID, linewidth=1)
        axes.axvline(0, color=GRID, linewidth=1)
        area = (10 + 90 * weights / weights.max()) * (size[0] / 1040) ** 0.7
        for group in np.unique(groups)[::-1]:
            mine = groups == group
            axes.scatter(
                inside[mine, 0], inside[mine, 1], s=area[mine], color=GROUPS[group], alpha=0.8, linewidths=0
            )
        pixels = axes.transData.transform(inside)
        _label(axes, pixels, np.sqrt(area) / 2, labels, font, most, size)

    return draw(
        name,
        "Map of the items by the first two principal directions of their factors",
        paint,
        size,
        layout=False,
    )


def _label(
    axes: Axes,
    at: NDArray[Any],
    radius: NDArray[Any],
    labels: Sequence[str],
    font: float,
    most: int,
    size: tuple[int, int],
) -> None:
    """Greedily, the best known first: at that of four sides where it hides fewest dots, and no label nor its dot."""
    taken = np.empty((0, 4))  # left, bottom, right, top
    dots = np.column_stack([at - radius[:, None], at + radius[:, None]])
    height, done = font * 1.25, 0
    for place, ((x, y), dot, text) in enumerate(zip(at, radius, labels)):
        if done == most:
            break
        if not text or _covered(dots[place], taken):
            continue
        probe = axes.text(0, 0, text, fontsize=font)
        width = probe.get_window_extent().width
        probe.remove()
        gap = dot + 3
        best: tuple[int, Any, float, str] | None = None
        for left, bottom, anchor, side in (
            (x + gap, y - height / 2, x + gap, "left"),
            (x - gap - width, y - height / 2, x - gap, "right"),
            (x - width / 2, y + gap, x, "center"),
            (x - width / 2, y - gap - height, x, "center"),
        ):
            box = np.array([left - 2, bottom - 1, left + width + 2, bottom + height + 1])
            if (box[:2] < 0).any() or box[2] > size[0] or box[3] > size[1] or _covered(box, taken):
                continue
            hidden = _covered(box, dots)
            if best is None or hidden < best[0]:
                best = hidden, box, anchor, side
        if best is not None:
            _, box, anchor, side = best
            axes.annotate(
                text,
                (anchor, (box[1] + box[3]) / 2),
                xycoords="figure pixels",
                fontsize=font,
                color=INK,
                ha=side,
                va="center_baseline",
            )
            taken = np.vstack([taken, box, dots[place]])
            done += 1


def _covered(box: NDArray[Any], boxes: NDArray[Any]) -> int:
    """How many of ``boxes`` overlap ``box``; each is left, bottom, right, top."""
    return int(((boxes[:, :2] < box[2:]) & (box[:2] < boxes[:, 2:])).all(axis=1).sum())
