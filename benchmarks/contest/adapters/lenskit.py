"""LensKit: ALS with Cholesky in Rust, on what biases leave that are fitted first."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pandas as pd
from lenskit.als import BiasedMFScorer
from lenskit.data import from_interactions_df

from contest.adapters.base import Adapter, Parts


class LensKit(Adapter):
    def prepare(self, train):
        columns = {"user_id": train.users, "item_id": train.items, "rating": train.values}
        self.dataset = from_interactions_df(pd.DataFrame(columns))
        self.shape = train.n_users, train.n_items

    def fit(self, rank, sweeps):
        model = BiasedMFScorer(embedding_size=rank, epochs=sweeps, regularization=self.reg)
        model.train(self.dataset)
        return model

    def parts(self, model):
        users, items = (ids.numbers(np.arange(n)) for ids, n in zip((model.users, model.items), self.shape))
        bias = model.bias
        return Parts(
            bias.global_bias,
            np.asarray(bias.user_biases)[users],
            np.asarray(bias.item_biases)[items],
            np.asarray(model.user_embeddings)[users],
            np.asarray(model.item_embeddings)[items],
        )

    def version(self):
        return version("lenskit")
