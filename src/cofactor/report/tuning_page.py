"""The page of ``cofactor tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cofactor import figures
from cofactor.report.layout import Card, Row, Tile, render, table

if TYPE_CHECKING:
    from cofactor.tuning import Setting, Tuning

_TITLES = {"rank": "K", "reg": "λ"}


def render_tuning(tuning: Tuning) -> str:
    """The page as text."""
    best, simplest = tuning.best_setting, tuning.simplest_setting
    kind = type(tuning.estimator).__name__
    stopped = sum(setting.stopped for setting in tuning.settings)
    tiles = [
        Tile("Best", f"{best.rmse:.4f}", f"RMSE ± {best.se:.4f}: {_told(best)}", best=True),
        Tile("Simplest as good", f"{simplest.rmse:.4f}", f"RMSE ± {simplest.se:.4f}: {_told(simplest)}"),
        Tile("Settings", f"{len(tuning.settings):,}", f"{stopped:,} given up after two folds"),
        Tile("Ratings", f"{tuning.ratings:,}", f"{tuning.users:,} × {tuning.items:,}, {tuning.folds} folds"),
    ]
    names = figures.numbers(tuning)
    pictures = [
        Card(
            f"RMSE against {_TITLES.get(name, name)}",
            ("The best setting of each rank. " if name == "rank" else "")
            + "Bars are a standard error over the folds; a hollow dot was given up after two of them.",
            figures.against_value(tuning, name),
        )
        for name in names
    ]
    pictures.append(
        Card(
            "RMSE against time",
            "A dot is a setting; on the line, none is both faster and better. Seconds are those of a whole fit, "
            "reckoned from the sweeps done here.",
            figures.against_seconds(tuning),
        )
    )
    cards: list[Row] = [tuple(pictures[at : at + 2]) for at in range(0, len(pictures), 2)]
    header, rows = tuning.rows()
    listing = Card(
        "All settings",
        f"Mean RMSE over {tuning.folds} folds of ratings that were held out, least first. Below the best by less "
        f"than one standard error there is no telling: the simplest of those is as good a choice. A setting that was "
        f"stopped is rated by its distance from the best one on the folds that both were fitted on.",
        table(
            header, rows, numbers=[k for k, name in enumerate(header) if name not in ("", "biases", "solver")]
        ),
    )
    if len(cards[-1]) == 1:
        cards[-1] = (*cards[-1], _advice(tuning))
    else:
        cards.append((_advice(tuning),))
    cards.append((listing,))
    return render(
        command="cofactor tune",
        title=f"cofactor: {kind} tuned on {tuning.ratings:,} ratings",
        heading=f"{kind} with {_told(best)}",
        lead=(
            f"Of {len(tuning.settings):,} settings, tried on {tuning.folds} folds of {tuning.ratings:,} ratings, this "
            f"one predicts held-out ratings best. {_told(simplest).capitalize()} is the simplest one within a "
            f"standard error of it."
            if simplest is not best
            else f"Of {len(tuning.settings):,} settings, tried on {tuning.folds} folds of {tuning.ratings:,} ratings, "
            f"this one predicts held-out ratings best, and none simpler is within a standard error of it."
        ),
        tiles=tiles,
        cards=cards,
        made=f"{tuning.estimator!r}, {tuning.folds} folds, seed {tuning.seed}",
    )


def _told(setting: Setting) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in setting.params.items()
    )


def _advice(tuning: Tuning) -> Card:
    notes = list(tuning.notes) or ["The best values lie inside the grid."]
    return Card(
        "What to make of it",
        " ".join(
            [
                *notes,
                "The errors are those of models that had not seen the ratings they were tested on. They were also "
                "used to choose, so the best one flatters itself a little: to know by how much, hold ratings out of "
                "the tuning.",
            ]
        ),
        "",
    )
