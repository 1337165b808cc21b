"""Surprise: ``SVD``, stochastic gradient descent with biases in Cython, on one thread."""

from __future__ import annotations

from importlib.metadata import version

import pandas as pd
from surprise import SVD, Dataset, Reader

from contest.adapters.base import Adapter, Parts

RATE = 0.005  # its default


class Surprise(Adapter):
    def prepare(self, train):
        frame = pd.DataFrame({"user": train.users, "item": train.items, "rating": train.values})
        reader = Reader(rating_scale=(float(train.values.min()), float(train.values.max())))
        self.trainset = Dataset.load_from_df(frame, reader).build_full_trainset()
        self.users = [self.trainset.to_inner_uid(user) for user in range(train.n_users)]
        self.items = [self.trainset.to_inner_iid(item) for item in range(train.n_items)]

    def fit(self, rank, sweeps):
        model = SVD(n_factors=rank, n_epochs=sweeps, lr_all=RATE, reg_all=self.reg, random_state=1)
        return model.fit(self.trainset)

    def parts(self, model):
        users, items = self.users, self.items
        return Parts(
            self.trainset.global_mean, model.bu[users], model.bi[items], model.pu[users], model.qi[items]
        )

    def version(self):
        return version("scikit-surprise")
