"""How a picture is drawn: as inline SVG whose colours follow the page, light or dark, by CSS variables."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cofactor.tables import check_target, write_whole

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

RC = {
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


def draw(
    name: str,
    says: str,
    paint: Callable[[Axes], None] | Sequence[Callable[[Axes], None]],
    size: tuple[int, int] = SIZE,
    layout: bool = True,
) -> str:
    """One picture: ``paint`` on empty axes, or several side by side; ``says`` is what it shows, for who cannot see."""
    paints = [paint] if callable(paint) else paint
    with mpl.rc_context({**RC, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # glyphs that the measuring font lacks
        figure = Figure(
            figsize=(size[0] / 72, size[1] / 72), dpi=72, layout="constrained" if layout else None
        )
        FigureCanvasAgg(figure)
        for place, fill in enumerate(paints, start=1):
            fill(figure.add_subplot(1, len(paints), place) if layout else figure.add_axes((0, 0, 1, 1)))
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


def palette() -> str:
    """The colours as CSS, light and dark."""
    return resources.files("cofactor").joinpath("data", "report", "palette.css").read_text("utf-8")


@dataclass(frozen=True)
class Picture:
    """A picture for a notebook, which shows it, or for a file.

    Attributes:
        svg: a whole SVG file, in light or dark colours, as its viewer wants.
    """

    svg: str

    @classmethod
    def of(cls, element: str) -> Picture:
        """From the ``<svg>`` element that stands in a page."""
        head = '<svg xmlns="http://www.w3.org/2000/svg"'
        style = f"<style>{palette()}svg {{ background: var(--paper); }}</style>"
        opening, rest = element.split(">", 1)
        return cls(f"{opening.replace('<svg', head, 1)}>{style}{rest}\n")

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write it to a file that ends in .svg, whole or not at all."""
        path = check_target(path, (".svg",))
        write_whole(path, lambda file: file.write(self.svg.encode("utf-8", "replace")))
