"""The page of ``cofactor compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cofactor import figures
from cofactor.report.layout import Card, Row, Tile, render, table
from cofactor.tables import printable

if TYPE_CHECKING:
    from cofactor.comparing import Comparison, Entry

_HOW = {"random": "drawn at random", "user": "of each user", "time": "the latest"}


def render_comparison(found: Comparison) -> str:
    """The page as text."""
    entries, k = found.entries, found.k
    predicting = [entry for entry in entries if entry.evaluation.rmse is not None]
    ranking = [entry for entry in entries if entry.evaluation.ndcg is not None]
    tiles = [Tile("Held out", f"{found.test:,}", f"ratings, {_HOW[found.by]}; learnt from {found.train:,}")]
    tiles.append(Tile("Models", f"{len(entries)}", f"on {found.users:,} × {found.items:,}"))
    cards: list[Row] = []
    heading = "Models, side by side"
    if predicting:
        best = predicting[0]
        heading = f"{_name(best)} predicts best"
        tiles.append(Tile("Least RMSE", _figure(best, "rmse"), _name(best), best=True))
        cards.append(
            (
                Card(
                    f"{_name(best)} is closest",
                    f"RMSE on held-out ratings, the lower the better, with the interval that holds 95 % where users "
                    f"are drawn anew. {_gain(found)}",
                    _bars(found, "rmse", "held-out RMSE (rating points)", lower=True),
                ),
                Card(
                    "What a better prediction costs",
                    "Held-out RMSE against the seconds of fitting, predicting and listing together, as some models do "
                    "their work when they are asked. Down and to the left is better.",
                    figures.comparison_seconds(
                        [_name(entry) for entry in entries],
                        [entry.fit_seconds + entry.test_seconds for entry in entries],
                        [entry.evaluation.rmse for entry in entries],
                    ),
                ),
            )
        )
    if ranking:
        first = max(ranking, key=lambda entry: entry.evaluation.ndcg or 0.0)
        tiles.append(Tile(f"Highest NDCG@{k}", _figure(first, "ndcg"), _name(first), best=not predicting))
        cards.append(
            (
                Card(
                    f"{_name(first)} lists best",
                    f"NDCG of the {k} best of all items, none sampled, the higher the better: whether the items that a "
                    f"user rated {first.evaluation.relevant:g} or more in the held-out part stand high on their list. "
                    f"To predict ratings well and to guess what people will choose to watch are two different things.",
                    _bars(found, "ndcg", f"NDCG@{k}", lower=False),
                ),
                Card(
                    "How much of the catalogue is ever shown",
                    f"Coverage: the share of all items that stands on at least one list of {k}.",
                    _bars(found, "coverage", f"coverage@{k}", lower=False),
                ),
            )
        )
    header, rows = found.rows()
    cards.append(
        (
            Card(
                "All figures",
                " ".join(found.notes),
                table(header, rows, numbers=range(1, len(header))),
            ),
        )
    )
    return render(
        command="cofactor compare",
        title=f"cofactor: {len(entries)} models compared",
        heading=heading,
        lead=f"{len(entries)} models learnt from the same {found.train:,} ratings and were tested on the same "
        f"{found.test:,} others ({_HOW[found.by]}), which none of them had seen.",
        tiles=tiles,
        cards=cards,
        made="; ".join(repr(entry.model) for entry in entries),
    )


def _name(entry: Entry) -> str:
    return printable(entry.name)[:40]


def _figure(entry: Entry, name: str) -> str:
    return f"{getattr(entry.evaluation, name):.4f}"


def _bars(found: Comparison, metric: str, label: str, lower: bool) -> str:
    entries = found.entries
    key = metric if metric == "rmse" else f"{metric}@{found.k}"
    return figures.comparison_bars(
        f"compare-{metric}",
        label,
        [_name(entry) for entry in entries],
        [getattr(entry.evaluation, metric) for entry in entries],
        [entry.evaluation.intervals.get(key) for entry in entries],
        lower,
    )


def _gain(found: Comparison) -> str:
    by_name = {entry.name: entry.evaluation.rmse for entry in found.entries}
    best, plain = found.entries[0], by_name.get("Baseline")
    if not plain or best.evaluation.rmse is None or best.name == "Baseline":
        return ""
    return f"{_name(best)} is {1 - best.evaluation.rmse / plain:.1%} below Baseline, which knows means and biases only."
