"""What is rated most: the ranking to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import NotSupported
from cofactor.ids import Id, Ids, id_array
from cofactor.models.base import Callback, check_ratings
from cofactor.models.factors import FactorModel, Towards
from cofactor.models.results import Explanation, Recommendations
from cofactor.ratings import Compressed, Ratings


@dataclass(eq=False)
class Popular(FactorModel):
    """The same list for everybody, without what they have rated: the score of an item is its number of ratings.

    It ranks and does not predict: ``predict`` and ``similar_items`` raise ``NotSupported``.

    Args:
        threads: None for all processors; the result does not depend on it.
    """

    predicts_ratings: ClassVar[bool] = False

    threads: int | None = None

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        kernels.thread_count(self.threads)

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``. There are no sweeps: ``callback`` is called once, with an objective of 0."""
        self.check_parameters(check_ratings(ratings).n_items)
        self._forget()
        # float64 counts exactly up to 2**53
        self.user_factors_, self.item_factors_ = (
            np.zeros((ratings.n_users, 0)),
            np.zeros((ratings.n_items, 0)),
        )
        self.user_bias_, self.item_bias_ = (
            np.zeros(ratings.n_users),
            ratings.by_item.counts.astype(np.float64),
        )
        self.mean_, self.objective_ = 0.0, np.empty(0)
        self.ratings_, self.scale_ = ratings.by_user, ratings.scale
        self.user_ids_, self.item_ids_ = ratings.user_ids, ratings.item_ids
        if callback is not None:
            try:
                callback(self, 1, 0.0)
            except BaseException:
                self._forget()
                raise
        return self

    def predict(self, users: Ids, items: Ids, *, clip: bool = False) -> NoReturn:
        """Not supported: a number of ratings is not a rating."""
        self._check_fitted()
        raise NotSupported(
            "Popular ranks items and predicts no ratings. Fit another model, such as Baseline."
        )

    def similar_items(self, item: Id, n: int = 10) -> Recommendations:
        """Not supported: how often items are rated says nothing about likeness."""
        self._check_fitted()
        self._item_position(item)
        raise NotSupported("Popular knows one number of an item. Fit a model with factors, such as ALS.")

    def explain(self, user: Id, item: Id) -> Explanation:
        """See ``Model.explain``: the item is all there is."""
        self._check_fitted()
        self._user_positions(id_array([user], "user"))
        score = float(self.item_bias_[self._item_position(item)])
        return Explanation(score, 0.0, 0.0, score, ())

    def solve_users(
        self, rows: Compressed, prior: Towards | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Nothing: users are all alike."""
        return np.zeros((len(rows), 0)), np.zeros(len(rows))
