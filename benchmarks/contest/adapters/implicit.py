"""implicit: ALS by conjugate gradients (3 steps, its default) in Cython, for who met what, not for ratings.

It takes part in the time of a sweep and in memory alone: it fits every pair of a user and an item to 0 or 1, weighed
by the ratings, so neither J nor the error of ratings can be compared. A sweep costs it about the same work.
"""

from __future__ import annotations

from importlib.metadata import version

import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares

from contest.adapters.base import Adapter


class Implicit(Adapter):
    def prepare(self, train):
        shape = (train.n_users, train.n_items)
        self.matrix = scipy.sparse.csr_matrix((train.values, (train.users, train.items)), shape)

    def fit(self, rank, sweeps):
        model = AlternatingLeastSquares(
            factors=rank, regularization=self.reg, iterations=sweeps, num_threads=self.threads, random_state=1
        )
        model.fit(self.matrix, show_progress=False)
        return model

    def predict(self, model, users, items):
        return None

    def version(self):
        return version("implicit")
