"""cmfrec: ALS in C. ``solver``: "cholesky"; "cg", which closes with a sweep of Cholesky; "cg-only", which does not."""

from __future__ import annotations

from importlib.metadata import version

import scipy.sparse
from cmfrec import CMF

from contest.adapters.base import Adapter, Parts


class Cmfrec(Adapter):
    def prepare(self, train):
        shape = (train.n_users, train.n_items)
        self.matrix = scipy.sparse.coo_matrix((train.values, (train.users, train.items)), shape)

    def fit(self, rank, sweeps):
        solver = self.options["solver"]
        model = CMF(
            k=rank,
            lambda_=self.reg,
            use_cg=solver != "cholesky",
            finalize_chol=solver == "cg",
            niter=sweeps,
            nthreads=self.threads,
            use_float=True,
            precompute_for_predictions=False,
            produce_dicts=False,
            verbose=False,
            random_state=1,
        )
        return model.fit(self.matrix)

    def parts(self, model):
        return Parts(model.glob_mean_, model.user_bias_, model.item_bias_, model.A_, model.B_)

    def version(self):
        return version("cmfrec")
