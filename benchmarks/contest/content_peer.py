"""cmfrec's content-based mode on a split that ``cold_start.py`` made:  python content_peer.py IN.npz OUT.npz

X ≈ U C · (I D + d)ᵀ + biases of users, by L-BFGS, with the identity for U: a factor for each user, a line for items.
What it fits are ratings with their mean, but its own predictions add the mean once more; here they are made of its
parts, without that. λ is the one of those given with the least error on the second set; the others are for that set
alone, and both are then fitted.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import scipy.sparse as sp
from cmfrec import ContentBased


def fitted(given, name: str, rank: int, reg: float, threads: int):
    """User and item factors of all, user biases."""
    users, items, values = (given[f"{name}_{part}"] for part in ("users", "items", "values"))
    features, n_users = given["features"].astype(np.float64), int(given["n_users"])
    kept, at = np.unique(items, return_inverse=True)
    model = ContentBased(
        k=rank,
        lambda_=reg,
        user_bias=True,
        item_bias=False,
        maxiter=1000,
        start_with_ALS=False,
        nthreads=threads,
        produce_dicts=False,
        verbose=False,
    )
    X = sp.coo_matrix((values, (users, at)), shape=(n_users, len(kept)))
    model.fit(X, U=sp.identity(n_users, format="coo"), I=features[kept])
    return model.C_ + model.C_bias_, features @ model.D_ + model.D_bias_, model.user_bias_


def predicted(parts, users, items):
    U, V, b = parts
    return b[users] + np.einsum("nk,nk->n", U[users], V[items])


def main() -> None:
    given = np.load(sys.argv[1])
    low, high = given["scale"]
    rank, threads = int(given["rank"]), int(given["threads"])
    errors = []
    for reg in given["regs"]:
        parts = fitted(given, "inner", rank, float(reg), threads)
        found = np.clip(predicted(parts, given["choice_users"], given["choice_items"]), low, high)
        errors.append(float(((found - given["choice_values"]) ** 2).mean()))
    reg = float(given["regs"][int(np.argmin(errors))])
    begin = time.perf_counter()
    parts = fitted(given, "train", rank, reg, threads)
    seconds = time.perf_counter() - begin
    found = np.clip(predicted(parts, given["test_users"], given["test_items"]), low, high)
    np.savez(sys.argv[2], predicted=found, reg=reg, seconds=seconds)


if __name__ == "__main__":
    main()
