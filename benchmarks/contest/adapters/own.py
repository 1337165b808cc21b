"""cofactor itself.

Options: ``model`` ("ALS" or "SGD"), ``residuals`` (the damping of biases that are fitted first, and of whose
residuals the factors are; then ``biases`` is None), and any parameter of the model.
"""

from __future__ import annotations

import numpy as np

import cofactor
from cofactor.ids import IdMap
from cofactor.models import ALS, SGD
from cofactor.ratings import Ratings
from contest.adapters.base import Adapter, Parts, damped_biases

MODELS = {"ALS": ALS, "SGD": SGD}


class Own(Adapter):
    def prepare(self, train):
        self.fixed = (0.0, np.zeros(train.n_users), np.zeros(train.n_items))
        values = train.values
        if "residuals" in self.options:
            self.fixed = mean, b, c = damped_biases(train, self.options["residuals"])
            values = (values - mean - b[train.users] - c[train.items]).astype(np.float32)
        user_ids, item_ids = (IdMap(np.arange(n)) for n in (train.n_users, train.n_items))
        self.ratings = Ratings.from_positions(user_ids, item_ids, train.users, train.items, values)

    def fit(self, rank, sweeps):
        given = {key: value for key, value in self.options.items() if key not in ("model", "residuals")}
        model = MODELS[self.options["model"]]
        rank = min(rank, self.ratings.n_items)
        fitted = model(rank=rank, reg=self.reg, sweeps=sweeps, threads=self.threads, **given)
        return fitted.fit(self.ratings, progress=False)

    def parts(self, model):
        mean, b, c = self.fixed
        return Parts(
            mean + model.mean_,
            b + model.user_bias_,
            c + model.item_bias_,
            model.user_factors_,
            model.item_factors_,
        )

    def version(self):
        return cofactor.__version__
