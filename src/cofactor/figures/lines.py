"""Curves over one axis, for explanations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter, NullFormatter

from cofactor.figures.drawing import ACCENT, GROUPS, INK, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike


def lines(
    name: str,
    says: str,
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    labels: tuple[str, str],
    *,
    log: bool = False,
    marked: bool = False,
    size: tuple[int, int] = (760, 320),
) -> str:
    """Curves by name, each (x, y); the first is drawn as what is true, thin and dark. ``labels`` are of the axes.

    ``log`` makes both axes logarithmic, ``marked`` puts a mark at each point.
    """

    def paint(axes: Axes) -> None:
        colours = (INK, ACCENT, *GROUPS)
        for number, ((label, (x, y)), colour) in enumerate(zip(curves.items(), colours)):
            style: dict[str, Any] = {"linewidth": 1.2} if number == 0 else {"linewidth": 2}
            if marked and number:
                style |= {"marker": "o", "markersize": 4}
            axes.plot(x, y, color=colour, label=label, **style)
        if log:
            for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
                scale("log")
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.legend(frameon=False)

    return draw(name, says, paint, size)
