"""The main job, end to end, on the bundled ratings (or others): read, measure, fit, recommend, explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cofactor.answers import explanation_dict, recommendation_dicts
from cofactor.errors import UnknownUser, shorten
from cofactor.holdout import Holdout, measure_holdout
from cofactor.ids import Id
from cofactor.models.als import ALS
from cofactor.models.results import Explanation, Recommendations
from cofactor.ratings import Ratings

if TYPE_CHECKING:
    from cofactor.catalog import Catalog

# Chosen by cf.tune on the nine tenths that the demo learns from: see docs/explanation/choosing-k.md.
SETTINGS: dict[str, Any] = {"rank": 32, "reg": 1.3, "reg_exponent": 0.5, "sweeps": 20}
CREDIT = (
    "Ratings, titles and genres: MovieLens latest-small (2016), GroupLens Research, University of Minnesota; used "
    "under its terms, which allow no commercial use without permission. F. M. Harper and J. A. Konstan, “The MovieLens "
    "Datasets: History and Context”, ACM Transactions on Interactive Intelligent Systems 5(4), 2015."
)
DEMO_USER = 277  # 58 ratings of a clear taste, so that the reasons can be read


@dataclass(frozen=True, eq=False)
class Demo:
    """What ``run_demo`` found.

    Attributes:
        ratings, catalog: what it was about.
        holdout: the errors on a tenth of the ratings, sweep by sweep.
        model: fitted on all ratings, once the errors were known.
        user: whom the recommendations are for.
        recommendations: the ten best items that this user has not rated.
        explanation: why the first of them is the first.
        credit: whose ratings they are; empty where they are not the bundled ones.
    """

    ratings: Ratings
    catalog: Catalog
    holdout: Holdout
    model: ALS
    user: Id
    recommendations: Recommendations
    explanation: Explanation
    credit: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        best = self.recommendations[0]
        return {
            "ratings": len(self.ratings),
            "users": self.ratings.n_users,
            "items": self.ratings.n_items,
            "model": {"kind": "ALS", **self.model.get_params()},
            "objective": self.model.objective_.tolist(),
            "holdout": self.holdout.to_dict(),
            "user": self.user,
            "recommendations": recommendation_dicts(self.recommendations, self.catalog),
            "explanation": explanation_dict(self.explanation, self.user, best.item, self.catalog),
        }


def run_demo(
    user: Id | None = None,
    *,
    ratings: Ratings | None = None,
    catalog: Catalog | None = None,
    settings: dict[str, Any] | None = None,
    progress: bool | None = None,
) -> Demo:
    """Read the bundled ratings, hold out a tenth, fit, measure, fit on everything, recommend and explain.

    ``user`` may be an id as it was typed; without one it is one of the bundled users, else the first.
    ``ratings``, ``catalog`` and ``settings`` (of ``ALS``) stand in for the bundled ones.

    Raises ``UnknownUser``.
    """
    credit = CREDIT if ratings is None else ""
    if ratings is None or catalog is None:
        from cofactor.datasets import load_demo, load_demo_catalog

        ratings = load_demo() if ratings is None else ratings
        catalog = load_demo_catalog() if catalog is None else catalog
    if user is None:
        user = DEMO_USER if DEMO_USER in ratings.user_ids else ratings.user_ids.id(0)
    elif isinstance(user, str):
        user = ratings.user_ids.parse(user)
    if user not in ratings.user_ids:
        ids = ratings.user_ids
        raise UnknownUser(
            f"User {shorten(user)} is not among the {len(ids):,} users of these ratings, "
            f"from {shorten(ids.id(0))} to {shorten(ids.id(len(ids) - 1))}. Choose one of them."
        )
    model = ALS(**(SETTINGS if settings is None else settings))
    holdout = measure_holdout(model, ratings, per_sweep=True, progress=progress)
    model.fit(ratings, progress=progress)
    recommendations = model.recommend(user, n=10)
    if not len(recommendations):  # somebody who has rated everything: the best of what is known
        recommendations = model.recommend(user, n=10, exclude_seen=False)
    explanation = model.explain(user, recommendations[0].item)
    return Demo(ratings, catalog, holdout, model, user, recommendations, explanation, credit)
