"""Pictures of one fit: its objective, its errors, its predictions, and what a score is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cofactor.figures.drawing import ACCENT, FALL, INK, MUTED, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def objective(values: Sequence[float]) -> str:
    """J after each sweep."""

    def paint(axes: Axes) -> None:
        sweeps = np.arange(1, len(values) + 1)
        axes.plot(sweeps, values, color=ACCENT, marker="o", markersize=4.5)
        axes.set_xlabel("sweep")
        axes.set_ylabel("objective J (squared rating points)")
        axes.yaxis.set_major_formatter(
            lambda value, _: f"{value:,.0f}" if max(values) > 100 else f"{value:g}"
        )
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        for at, shift, side in ((0, 10, "left"), (len(values) - 1, 0, "right")):
            axes.annotate(
                f"{values[at]:,.0f}" if max(values) > 100 else f"{values[at]:.4g}",
                (sweeps[at], values[at]),
                (shift, 0 if at == 0 else 10),
                textcoords="offset points",
                ha=side,
                va="center" if at == 0 else "bottom",
                weight="bold",
                color=ACCENT,
            )
            if len(values) == 1:
                break

    return draw("objective", f"Objective per sweep, from {values[0]:.6g} down to {values[-1]:.6g}", paint)


def errors(train: Sequence[float], held_out: Sequence[float], baseline: float) -> str:
    """RMSE on both sides of the split after each sweep, and that of Baseline as a line."""

    def paint(axes: Axes) -> None:
        sweeps = np.arange(1, len(train) + 1)
        axes.axhline(baseline, color=MUTED, linewidth=1.6, linestyle=(0, (4, 3)))
        axes.plot(sweeps, train, color=MUTED, marker="o", markersize=3.5, linewidth=1.6)
        axes.plot(sweeps, held_out, color=ACCENT, marker="o", markersize=4.5)
        axes.set_xlabel("sweep")
        axes.set_ylabel("RMSE (rating points)")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        low, high = min(*train, *held_out, baseline), max(*train, *held_out, baseline)
        axes.set_ylim(low - 0.12 * (high - low + 1e-9), high + 0.12 * (high - low + 1e-9))
        end = sweeps[-1]
        for value, text, colour, above in (
            (baseline, f"Baseline, held out  {baseline:.3f}", MUTED, baseline >= held_out[-1]),
            (held_out[-1], f"ALS, held out  {held_out[-1]:.3f}", ACCENT, held_out[-1] > baseline),
            (train[-1], f"ALS, learnt from  {train[-1]:.3f}", MUTED, True),
        ):
            axes.annotate(
                text,
                (end, value),
                (0, 7 if above else -7),
                textcoords="offset points",
                ha="right",
                va="bottom" if above else "top",
                color=colour,
                weight="bold" if colour == ACCENT else "normal",
            )

    says = f"Held-out RMSE per sweep, ending at {held_out[-1]:.4f}; Baseline has {baseline:.4f}"
    return draw("errors", says, paint)


def calibration(
    predicted: NDArray[Any], mean_given: NDArray[Any], counts: NDArray[Any], scale: tuple[float, float]
) -> str:
    """Mean rating given, by what was predicted; the area of a dot is the number of ratings."""

    def paint(axes: Axes) -> None:
        axes.plot(scale, scale, color=MUTED, linewidth=1.4, linestyle=(0, (4, 3)))
        axes.scatter(
            predicted, mean_given, s=14 + 260 * counts / counts.max(), color=ACCENT, alpha=0.85, linewidths=0
        )
        low = float(min(predicted.min(), mean_given.min()))
        high = float(max(predicted.max(), mean_given.max()))
        room = 0.08 * (high - low) + 0.05
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(low - room, high + room)
        axes.set_xlabel("predicted rating")
        axes.set_ylabel("mean rating given")
        axes.text(0.98, 0.04, "dashed: right on average", transform=axes.transAxes, color=MUTED, ha="right")

    return draw("calibration", "Mean rating given against the rating predicted", paint)


def distribution(edges: NDArray[Any], given: NDArray[Any], predicted: NDArray[Any]) -> str:
    """Shares of the held-out ratings, given and predicted, between these edges."""

    def paint(axes: Axes) -> None:
        width = np.diff(edges)
        axes.bar(edges[:-1], 100 * given, width * 0.9, align="edge", color=MUTED, alpha=0.4, linewidth=0)
        axes.stairs(100 * predicted, edges, color=ACCENT, linewidth=2.4)
        axes.set_xlabel("rating")
        axes.set_ylabel("share of held-out ratings (%)")
        axes.grid(False, axis="x")
        high = 100 * max(given.max(), predicted.max())
        axes.set_ylim(0, high * 1.12)
        axes.text(
            edges[0],
            high * 1.05,
            "given",
            color=MUTED,
            va="center",
            ha="left",
            bbox={"facecolor": MUTED, "edgecolor": "none", "alpha": 0.25, "pad": 3},
        )
        axes.text(edges[0], high * 0.92, "predicted", color=ACCENT, va="center", ha="left", weight="bold")

    return draw("distribution", "Distribution of held-out ratings, given and predicted", paint)


def waterfall(
    labels: Sequence[str], parts: Sequence[float], total: float, name: str, size: tuple[int, int]
) -> str:
    """Parts, one a row, each beginning where the one above ends; the first starts at 0, the last row is the total."""

    def paint(axes: Axes) -> None:
        ends = np.cumsum(parts)
        starts = ends - parts
        rows = np.arange(len(parts) + 1)
        left = min(*ends, *starts[1:], total) if len(parts) > 1 else 0.0
        right = max(*ends, total)
        room = max(right - left, 0.05)
        origin = left - 0.35 * room  # the mean is cut off here: what counts is what lies above it
        colours = [MUTED, *(ACCENT if part >= 0 else FALL for part in parts[1:])]
        begin = [origin, *starts[1:]]
        axes.barh(rows[:-1], ends - begin, left=begin, height=0.62, color=colours)
        axes.barh(rows[-1], total - origin, left=origin, height=0.62, color=INK)
        for row in rows[:-1]:
            axes.plot([ends[row]] * 2, [row - 0.31, row + 1.31], color=MUTED, linewidth=0.9)
        for row, part in enumerate([*parts, total]):
            end = total if row == len(parts) else max(ends[row], begin[row])
            text = f"{part:.2f}" if row in (0, len(parts)) else f"{part:+.2f}".replace("-", "−")
            axes.annotate(
                text,
                (end, row),
                (6, 0),
                textcoords="offset points",
                va="center",
                weight="bold" if row == len(parts) else "normal",
            )
        axes.set_yticks(rows, [*labels, "score"])
        axes.set_ylim(len(parts) + 0.6, -0.6)
        axes.set_xlim(origin, right + 0.22 * room)
        axes.set_xlabel(f"rating points (the axis begins at {origin:.1f})")
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", labelcolor=INK)

    return draw(name, f"What the score {total:.2f} is made of", paint, size)
