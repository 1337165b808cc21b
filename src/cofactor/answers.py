"""Answers of models with titles beside the ids, ready for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cofactor.models.results import Explanation, Recommendations

if TYPE_CHECKING:
    from cofactor.catalog import Catalog
    from cofactor.ids import Id


def item_dict(item: Id, catalog: Catalog | None) -> dict[str, Any]:
    """An item: its id, and where there is a catalog its title and genres."""
    if catalog is None:
        return {"item": item}
    return {"item": item, "title": catalog.title(item), "genres": list(catalog.genres(item))}


def recommendation_dicts(found: Recommendations, catalog: Catalog | None = None) -> list[dict[str, Any]]:
    """Recommendations, best first."""
    return [{**item_dict(item, catalog), "score": score} for item, score in found]


def explanation_dict(
    explanation: Explanation, user: Id, item: Id, catalog: Catalog | None = None
) -> dict[str, Any]:
    """An explanation:  score = mean + user_adds + item_adds + Σ adds of the parts and of the neighbours."""
    return {
        "user": user,
        **item_dict(item, catalog),
        "score": explanation.score,
        "mean": explanation.mean,
        "user_adds": explanation.user,
        "item_adds": explanation.item,
        "parts": [
            {**item_dict(rated, catalog), "rating": rating, "adds": part}
            for rated, rating, part in explanation.parts
        ],
        "neighbours": [
            {"user": who, "rating": rating, "adds": part} for who, rating, part in explanation.neighbours
        ],
    }
