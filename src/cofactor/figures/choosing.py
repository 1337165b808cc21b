"""Pictures of a choice: settings of one model against rank, λ and time; models beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator

from cofactor.figures.drawing import ACCENT, INK, MUTED, PAPER, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cofactor.tuning import Setting, Tuning

_SHOWN = 0.03  # settings whose RMSE is above the best by more than this share are beyond the picture
_WIDE = (1040, 330)


def numbers(tuning: Tuning) -> list[str]:
    """The hyperparameters with more than one number among their values, rank and reg first."""
    found = []
    for name in sorted(tuning.settings[0].params, key=lambda n: {"rank": 0, "reg": 1}.get(n, 2)):
        values = {setting.params[name] for setting in tuning.settings}
        plain = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if plain and len(values) > 1:
            found.append(name)
    return found


def tuning_picture(tuning: Tuning) -> str:
    """All that there is to see of a tuning, side by side."""
    names = numbers(tuning)[:2]
    paints = [_against(tuning, name) for name in names] + [_against_seconds(tuning)]
    return draw("tuning", _says(tuning), paints, (_WIDE[0] * len(paints) // 3, _WIDE[1]))


def against_value(tuning: Tuning, name: str) -> str:
    """RMSE against the values of one hyperparameter, with error bars."""
    return draw(f"against-{name}", f"RMSE against {name}. {_says(tuning)}", _against(tuning, name))


def against_seconds(tuning: Tuning) -> str:
    """RMSE against the seconds of a fit."""
    return draw("against-seconds", f"RMSE against seconds. {_says(tuning)}", _against_seconds(tuning))


def _says(tuning: Tuning) -> str:
    best = tuning.best_setting
    told = ", ".join(f"{name} {value}" for name, value in best.params.items())
    return f"The least cross-validated RMSE is {best.rmse:.4f}, at {told}"


def _top(tuning: Tuning) -> float:
    best = tuning.best_setting
    worst = max(setting.rmse for setting in tuning.settings)
    return min(worst, best.rmse * (1 + _SHOWN)) + 1.5 * (best.se or 0.0) + 1e-12


def _frame(axes: Axes, tuning: Tuning) -> None:
    best = tuning.best_setting
    se = best.se or 0.0
    low = best.rmse - 2.2 * se
    axes.set_ylim(low - 0.04 * (_top(tuning) - low), _top(tuning))
    axes.axhspan(best.rmse - se, best.rmse + se, color=ACCENT, alpha=0.1, linewidth=0)
    axes.set_ylabel("held-out RMSE (rating points)")


def _against(tuning: Tuning, name: str) -> Callable[[Axes], None]:
    """One line for each value of the other number that matters most: of rank for λ; for rank, its best settings."""
    best, simplest = tuning.best_setting, tuning.simplest_setting
    others = [other for other in numbers(tuning) if other != name]
    along = others[0] if others and name != "rank" else None

    def paint(axes: Axes) -> None:
        _frame(axes, tuning)
        groups: dict[Any, list[Setting]] = {}
        for setting in tuning.settings:
            groups.setdefault(setting.params[along] if along else None, []).append(setting)
        values = sorted({setting.params[name] for setting in tuning.settings})
        for group, members in sorted(groups.items(), key=lambda pair: pair[0] or 0):
            least = [
                min((s for s in members if s.params[name] == value), key=lambda s: s.rmse, default=None)
                for value in values
            ]
            line = [setting for setting in least if setting is not None]
            mine = along is None or group == best.params[along]
            colour = ACCENT if mine else MUTED
            x, y = [s.params[name] for s in line], [s.rmse for s in line]
            width, alpha, layer = (2.4, 1, 3) if mine else (1.2, 0.75, 2)
            axes.plot(x, y, color=colour, linewidth=width, alpha=alpha, zorder=layer)
            if mine:
                done = [s for s in line if s.se is not None]
                axes.errorbar(
                    [s.params[name] for s in done],
                    [s.rmse for s in done],
                    [s.se or 0.0 for s in done],
                    fmt="o",
                    markersize=6,
                    color=ACCENT,
                    elinewidth=1.6,
                    capsize=3,
                    zorder=4,
                )
                early = [s for s in line if s.se is None]
                axes.plot(
                    [s.params[name] for s in early],
                    [s.rmse for s in early],
                    linestyle="none",
                    marker="o",
                    markersize=6,
                    color=ACCENT,
                    markerfacecolor=PAPER,
                    zorder=4,
                )
        if all(value > 0 for value in values):
            axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(values))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        label = {"rank": "rank K", "reg": "regularization λ (reg)"}.get(name, name)
        axes.set_xlabel(
            label if along is None else f"{label}; blue: {along} {best.params[along]:g}, grey: others"
        )
        axes.annotate(
            f"best  {best.rmse:.4f}",
            (best.params[name], best.rmse - (best.se or 0.0)),
            (0, -6),
            textcoords="offset points",
            ha="right"
            if best.params[name] == values[-1]
            else "left"
            if best.params[name] == values[0]
            else "center",
            va="top",
            weight="bold",
            color=ACCENT,
        )
        if along is None and simplest is not best:
            axes.annotate(
                f"simplest as good  {simplest.rmse:.4f}",
                (simplest.params[name], simplest.rmse),
                (0.98, 0.6),
                textcoords="axes fraction",
                ha="right",
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 1, "shrinkB": 5},
            )

    return paint


def _against_seconds(tuning: Tuning) -> Callable[[Axes], None]:
    best, simplest = tuning.best_setting, tuning.simplest_setting

    def paint(axes: Axes) -> None:
        _frame(axes, tuning)
        shown = [s for s in tuning.settings if s.rmse <= _top(tuning)]
        axes.scatter(
            [s.seconds for s in shown], [s.rmse for s in shown], s=34, color=MUTED, alpha=0.6, linewidths=0
        )
        front: list[Setting] = []  # nothing is both faster and better
        for setting in sorted(shown, key=lambda s: (s.seconds, s.rmse)):
            if not front or setting.rmse < front[-1].rmse:
                front.append(setting)
        axes.step(
            [s.seconds for s in front], [s.rmse for s in front], where="post", color=MUTED, linewidth=1.2
        )
        axes.set_xscale("log")
        axes.set_xlabel("seconds of a fit (logarithmic)")
        marks = [(best, "best", ACCENT)]
        if simplest is not best:
            marks.append((simplest, "simplest", INK))
        for setting, text, colour in marks:
            axes.scatter([setting.seconds], [setting.rmse], s=60, color=colour, zorder=3)
            axes.annotate(
                text,
                (setting.seconds, setting.rmse),
                (0 if text == "best" else 4, -8),
                textcoords="offset points",
                ha="center" if text == "best" else "right",
                va="top",
                color=colour,
                weight="bold",
            )
        _ticks(axes)

    return paint


def _ticks(axes: Axes) -> None:
    """A few round numbers on a logarithmic axis, whose limits are set."""
    low, high = axes.get_xlim()
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(np.arange(10, 100, 2) / 10)):
        ticks = [tick for tick in np.outer(decades, steps).ravel() if low <= tick <= high]
        if len(ticks) >= 3:
            break
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def comparison_bars(
    name: str,
    label: str,
    models: Sequence[str],
    values: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None],
    lower_is_better: bool,
) -> str:
    """One figure of several models, a dot each, with its 95 % interval; the best one in colour."""
    known = [value for value in values if value is not None]
    best = (min if lower_is_better else max)(known)

    def paint(axes: Axes) -> None:
        for row, (value, ends) in enumerate(zip(values, intervals)):
            if value is None:
                where = axes.get_yaxis_transform()
                axes.text(0.02, row, "predicts no ratings", transform=where, va="center", color=MUTED)
                continue
            colour = ACCENT if value == best else MUTED
            if ends is not None:
                axes.plot(ends, [row, row], color=colour, linewidth=3, alpha=0.45)
            axes.plot([value], [row], marker="o", markersize=8, color=colour)
            axes.annotate(
                f"{value:.4f}", (value, row), (0, 9), textcoords="offset points", ha="center", va="bottom",
                color=colour, weight="bold" if value == best else "normal", fontsize=11.5,
            )  # fmt: skip
        axes.set_yticks(range(len(models)), models)
        axes.set_ylim(len(models) - 0.4, -0.75)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(False, axis="y")
        axes.set_xlabel(label)
        axes.margins(x=0.12)

    says = ", ".join(f"{model} {value:.4f}" for model, value in zip(models, values) if value is not None)
    return draw(name, f"{label}: {says}", paint, (400, 60 + 42 * len(models)))


def comparison_seconds(
    models: Sequence[str], seconds: Sequence[float], errors: Sequence[float | None]
) -> str:
    """Held-out RMSE of models against the seconds they took."""
    shown = [(m, s, e) for m, s, e in zip(models, seconds, errors) if e is not None]
    best = min(error for _, _, error in shown)
    spans = [max(column) - min(column) for column in zip(*((np.log(s), e) for _, s, e in shown))]
    middle = np.sqrt(min(s for _, s, _ in shown) * max(s for _, s, _ in shown))

    def paint(axes: Axes) -> None:
        axes.set_xscale("log")
        for model, at, error in shown:
            colour = ACCENT if error == best else MUTED
            axes.plot([at], [error], marker="o", markersize=9, color=colour)
            left = at <= middle
            close = [
                e
                for m, s, e in shown
                if m != model and abs(np.log(s / at)) < 0.35 * spans[0] and abs(e - error) < 0.08 * spans[1]
            ]
            shift = 0 if not close else 9 if error >= max(close) else -9  # the labels of neighbours part
            axes.annotate(
                model,
                (at, error),
                (9 if left else -9, shift),
                textcoords="offset points",
                va="center",
                ha="left" if left else "right",
                color=ACCENT if error == best else INK,
                weight="bold" if error == best else "normal",
            )
        axes.margins(x=0.12, y=0.15)
        axes.set_xlabel("seconds (logarithmic)")
        axes.set_ylabel("held-out RMSE (rating points)")
        _ticks(axes)

    says = ", ".join(f"{model} {error:.4f} in {at:.2g} s" for model, at, error in shown)
    return draw(
        "against-seconds", f"Held-out RMSE against seconds: {says}", paint, (400, 60 + 42 * len(models))
    )
