"""How the taste of one user drifts between ratings and jumps at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from numpy.typing import NDArray

from cofactor.figures.drawing import ACCENT, GROUPS, MUTED, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REACH = 1.645  # standard deviations on either side that hold 90 %


def drift(
    times: NDArray[np.int64],
    paths: Sequence[tuple[str, NDArray[Any], NDArray[Any]]],
    rated: NDArray[np.int64],
    name: str = "drift",
    size: tuple[int, int] = (760, 340),
) -> str:
    """Paths of a user over time, each with the band that holds 90 %, and a mark at each moment of a rating.

    ``times`` (moments,) in Unix seconds, ascending; ``paths`` are (label, mean (moments,), deviation (moments,)), such
    as those of ``TasteDrift.drift_of``; ``rated`` in Unix seconds. Where a moment just before a rating is among the
    times, the jump stands upright.
    """
    days = times.astype("datetime64[s]")

    def paint(axes: Axes) -> None:
        lowest = min(float((mean - _REACH * std).min()) for _, mean, std in paths)
        highest = max(float((mean + _REACH * std).max()) for _, mean, std in paths)
        room = 0.08 * (highest - lowest) + 1e-9
        axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for (label, mean, std), colour in zip(paths, (ACCENT, *GROUPS)):
            axes.fill_between(
                days, mean - _REACH * std, mean + _REACH * std, color=colour, alpha=0.18, linewidth=0
            )
            axes.plot(days, mean, color=colour, linewidth=1.8, label=label)
        marks = np.full(len(rated), lowest - room)
        axes.plot(
            rated.astype("datetime64[s]"), marks, linestyle="", marker="|", color=MUTED, label="a rating"
        )
        axes.set_ylim(lowest - 2 * room, highest + room)
        locator = AutoDateLocator(minticks=4, maxticks=9)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_ylabel("above other users (rating points)")
        axes.legend(frameon=False, loc="upper right", ncols=len(paths) + 1)

    says = f"The taste of a user over time with its 90 % band, which widens between the {len(rated)} moments of rating"
    return draw(name, says, paint, size)
