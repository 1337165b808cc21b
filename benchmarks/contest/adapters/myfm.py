"""myFM: Bayesian factorization machines by Gibbs sampling in C++, on one thread; a sweep is one sample. It has no λ."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import scipy.sparse
from myfm import MyFMRegressor

from contest.adapters.base import Adapter


class MyFM(Adapter):
    def prepare(self, train):
        self.shape = train.n_users, train.n_items
        self.rows, self.values = self._rows(train.users, train.items), train.values.astype(np.float64)

    def _rows(self, users, items):
        """One row a rating, a one for its user and one for its item; none for the unknown."""
        n_users, n_items = self.shape
        sides = []
        for positions, n in ((users, n_users), (items, n_items)):
            known = np.flatnonzero(positions >= 0)
            shape = (len(positions), n)
            sides.append(scipy.sparse.csr_matrix((np.ones(len(known)), (known, positions[known])), shape))
        return scipy.sparse.hstack(sides, "csr")

    def fit(self, rank, sweeps):
        model = MyFMRegressor(rank=rank, random_seed=1)
        kept = max(1, sweeps // 2)  # the later half of the samples
        model.fit(self.rows, self.values, n_iter=sweeps, n_kept_samples=kept, group_shapes=self.shape)
        return model

    def predict(self, model, users, items):
        return model.predict(self._rows(users, items))

    def version(self):
        return version("myfm")
