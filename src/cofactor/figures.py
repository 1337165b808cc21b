"""Pictures as inline SVG whose colours follow the page: light or dark, by CSS variables.

Each function draws one picture and returns an ``<svg>`` element. The same input gives the same text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Matplotlib draws in these; in the SVG each becomes the CSS variable of that name.
COLOURS = {
    name: f"#0102{code:02x}"
    for code, name in enumerate(
        ["ink", "muted", "grid", "paper", "accent", "fall", *(f"group-{k}" for k in range(7))], start=1
    )
}
INK, MUTED, GRID, PAPER, ACCENT, FALL = list(COLOURS.values())[:6]
GROUPS = list(COLOURS.values())[6:]  # the last one is for everything else

_RC = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 12.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 1.0,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "lines.linewidth": 2.4,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a title may hold a $
}
SIZE = (400, 268)


def _draw(
    name: str, says: str, paint: Callable[[Axes], None], size: tuple[int, int] = SIZE, layout: bool = True
) -> str:
    """One picture: ``paint`` on empty axes; ``says`` is what it shows, for who cannot see it."""
    with mpl.rc_context({**_RC, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # glyphs that the measuring font lacks
        figure = Figure(
            figsize=(size[0] / 72, size[1] / 72), dpi=72, layout="constrained" if layout else None
        )
        FigureCanvasAgg(figure)
        axes = figure.add_subplot() if layout else figure.add_axes((0, 0, 1, 1))
        paint(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), name, says, size)


def _inline(svg: str, name: str, says: str, size: tuple[int, int]) -> str:
    """A file as Matplotlib writes it -> an element to stand in a page beside others."""
    from html import escape

    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(
        r' id="(?=(?:figure|axes|patch|text|line2d|matplotlib|xtick|ytick|legend|PathC|Line)[\w.]*")[^"]*"',
        "",
        body,
    )
    body = re.sub(r'((?: id="|href="#|url\(#))', rf"\g<1>{name}-", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font: ([^;\"]*?)([\d.]+)px [^;\"]*", r"font: \1\2px var(--sans)", body)
    for variable, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{variable})")
    body = re.sub(r"\n\s*\n+", "\n", body)
    return (
        f'<svg class="picture" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(says)}">'
        f"{body}</svg>"
    )


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

    return _draw("objective", f"Objective per sweep, from {values[0]:.6g} down to {values[-1]:.6g}", paint)


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
    return _draw("errors", says, paint)


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

    return _draw("calibration", "Mean rating given against the rating predicted", paint)


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

    return _draw("distribution", "Distribution of held-out ratings, given and predicted", paint)


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

    return _draw(name, f"What the score {total:.2f} is made of", paint, size)


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

    return _draw(
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
