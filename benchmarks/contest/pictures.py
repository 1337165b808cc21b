"""The measurements as pictures, drawn as cofactor draws its own: inline SVG, light or dark as its viewer wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

from cofactor.figures import Picture
from cofactor.figures.drawing import ACCENT, GROUPS, INK, draw
from contest.measuring import Measured

SIZE = (760, 400)
MARKERS, LINES = "osD^vP*X", ["-", "--", ":", "-."]
PLAIN = StrMethodFormatter("{x:g}")


def _looks(names: list[str]) -> dict[str, dict[str, Any]]:
    """A look for each contender: cofactor's stand out, the others have colours of their own."""
    looks, own, others = {}, 0, 0
    for name in names:
        if name.startswith("cofactor"):
            looks[name] = {
                "color": ACCENT,
                "marker": MARKERS[own % len(MARKERS)],
                "linestyle": LINES[own % len(LINES)],
                "linewidth": 2.4,
                "zorder": 4,
            }
            own += 1
        else:
            colour, marker = GROUPS[others % len(GROUPS)], MARKERS[others % len(MARKERS)]
            looks[name] = {"color": colour, "marker": marker, "linewidth": 1.6, "zorder": 3}
            others += 1
        looks[name] |= {"markersize": 5, "label": name}
    return looks


def _picture(name: str, says: str, paint: Callable[[Any], None], size: tuple[int, int] = SIZE) -> Picture:
    return Picture.of(draw(name, says, paint, size))


def curves(name: str, found: dict[str, Measured], target: float | None) -> Picture:
    """Held-out RMSE after fits of growing length, against their seconds."""
    lines = {who: [(s, rmse) for _, s, rmse in its.points if rmse] for who, its in found.items()}
    lines = {who: line for who, line in lines.items() if line}

    def paint(axes: Any) -> None:
        for who, look in _looks(list(lines)).items():
            axes.plot(*zip(*lines[who]), **look)
        if target is not None:
            axes.axhline(target, color=INK, linewidth=0.8)
        least = min(rmse for line in lines.values() for _, rmse in line)
        axes.set_ylim(least - 0.004, least * 1.1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(PLAIN)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("seconds of the whole fit")
        axes.set_ylabel("held-out RMSE (rating points)")
        axes.legend(frameon=False, fontsize=10)

    return _picture("curves", f"Held-out RMSE against seconds: {name}", paint)


def ranks(name: str, found: dict[int, dict[str, Measured]]) -> Picture:
    """Seconds of a sweep against rank."""
    names = list(dict.fromkeys(who for measured in found.values() for who in measured))
    lines = {
        who: [(rank, measured[who].sweep) for rank, measured in found.items() if who in measured]
        for who in names
    }

    def paint(axes: Any) -> None:
        for who, look in _looks(names).items():
            axes.plot(*zip(*((rank, sweep) for rank, sweep in lines[who] if sweep)), **look)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(FixedLocator(list(found)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([str(rank) for rank in found])
        axes.set_xlabel("rank")
        axes.set_ylabel("seconds of a sweep")
        axes.legend(frameon=False, fontsize=10, loc="center left", bbox_to_anchor=(1, 0.5))

    return _picture("ranks", f"Seconds of a sweep against rank: {name}", paint, (900, 400))


def memory(name: str, found: dict[str, Measured]) -> Picture:
    """Peak memory of data and fit, and of the fit alone; without Spark, whose JVM would dwarf the rest."""
    names = [who for who, its in found.items() if its.memory and who != "Spark"][::-1]

    def paint(axes: Any) -> None:
        looks = _looks(names)
        colours = [looks[who]["color"] for who in names]
        axes.barh(names, [found[who].memory for who in names], color=colours, alpha=0.45)
        axes.barh(names, [found[who].fit_memory or 0.0 for who in names], color=colours, height=0.4)
        axes.set_xlabel("MiB at the peak: data and fit (pale), the fit alone (full)")

    return _picture("memory", f"Peak memory: {name}", paint, (760, 60 + 30 * len(names)))
