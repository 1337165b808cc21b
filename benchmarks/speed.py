"""Seconds of 15 sweeps of ALS on MovieLens 1M, beside LensKit and cmfrec on the same ratings and threads.

    python benchmarks/speed.py --data FOLDER

Needs the peers: pip install -r benchmarks/requirements.txt. A peer that is missing is left out, and said so.

Each fit has a process of its own, with the number of threads set before anything is imported; contenders take
turns, and the figure is the median. Reading and splitting, and turning the ratings into the form the library
wants (a SciPy matrix for cmfrec, a Dataset for LensKit, Ratings for cofactor), are not in the time; a small fit
before it warms up what is compiled or started at first use. All have user and item biases and a mean; λ is each
library's own near its best, and the held-out RMSE of each is reported beside its time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import Figure, data_file, parser, show

SWEEPS = 15
CONTENDERS = ("cofactor auto", "cofactor cholesky", "cofactor cg", "LensKit", "cmfrec cholesky", "cmfrec cg")


def contestant(name: str, path: Path, rank: int, threads: int) -> dict[str, float]:
    """Fit once in this process: seconds, and the RMSE on the tenth held out."""
    import numpy as np

    import cofactor as cf

    train, test = cf.split(cf.read_ratings(path), holdout=0.1, seed=0)
    users, items = train.user_positions, train.by_user.indices
    test_users = train.user_ids.positions(test.users)
    test_items = train.item_ids.positions(test.items)
    library, _, solver = name.partition(" ")
    if library == "cofactor":

        def fit(rank):
            return cf.ALS(rank=rank, reg=1.0, sweeps=SWEEPS, solver=solver, threads=threads).fit(train)

        def parts(model):
            return model.mean_, model.user_bias_, model.item_bias_, model.user_factors_, model.item_factors_

    elif library == "cmfrec":
        import scipy.sparse
        from cmfrec import CMF

        matrix = scipy.sparse.coo_matrix((train.values.astype("f4"), (users, items)))

        def fit(rank):
            model = CMF(
                k=rank,
                lambda_=15.0,
                use_cg=solver == "cg",
                niter=SWEEPS,
                nthreads=threads,
                use_float=True,
                precompute_for_predictions=False,
                verbose=False,
                random_state=1,
            )
            return model.fit(matrix)

        def parts(model):
            return model.glob_mean_, model.user_bias_, model.item_bias_, model.A_, model.B_

    else:
        import pandas as pd
        from lenskit.als import BiasedMFScorer
        from lenskit.data import from_interactions_df

        frame = pd.DataFrame({"user_id": users, "item_id": items, "rating": train.values})
        dataset = from_interactions_df(frame)

        def fit(rank):
            model = BiasedMFScorer(embedding_size=rank, epochs=SWEEPS, regularization=0.07)
            model.train(dataset)
            return model

        def parts(model):
            bias = model.bias
            order_u = model.users.numbers(np.arange(train.n_users))
            order_i = model.items.numbers(np.arange(train.n_items))
            return (
                bias.global_bias,
                np.asarray(bias.user_biases)[order_u],
                np.asarray(bias.item_biases)[order_i],
                np.asarray(model.user_embeddings)[order_u],
                np.asarray(model.item_embeddings)[order_i],
            )

    fit(2)
    begin = time.perf_counter()
    model = fit(rank)
    seconds = time.perf_counter() - begin
    mean, b, c, U, V = (np.asarray(part, np.float64) for part in parts(model))
    b, c = np.append(b, 0), np.append(c, 0)  # the last place, −1, is for the unknown
    U, V = (np.vstack([X, np.zeros(X.shape[1])]) for X in (U, V))
    predicted = mean + b[test_users] + c[test_items] + np.einsum("nk,nk->n", U[test_users], V[test_items])
    return {"seconds": seconds, "rmse": cf.rmse(test.values, np.clip(predicted, 1, 5))}


def run(name: str, path: Path, rank: int, threads: int) -> dict[str, float] | str:
    """``contestant`` in a process of its own; what it said where it failed."""
    environment = {**os.environ, "COFACTOR_THREADS": str(threads)}
    for variable in ("OMP", "OPENBLAS", "MKL", "RAYON", "NUMBA", "LK"):
        environment[f"{variable}_NUM_THREADS"] = str(threads)
    command = [sys.executable, __file__, "--contestant", name, str(rank), str(threads), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--contestant"]:
        name, rank, threads, path = sys.argv[2:]
        print(json.dumps(contestant(name, Path(path), int(rank), int(threads))))
        return
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=2, help="threads for everybody [2]")
    options.add_argument("--ranks", default="16,64,128", help="ranks to measure [16,64,128]")
    options.add_argument("--repeat", type=int, default=5, help="fits for each median [5]")
    args = options.parse_args()
    path = data_file(args.data, "ml-1m.parquet")
    ranks = [16] if args.quick else [int(rank) for rank in args.ranks.split(",")]
    repeat = 1 if args.quick else args.repeat
    figures, notes = [], [f"{args.threads} threads, median of {repeat}, {SWEEPS} sweeps, 900,188 ratings"]
    for rank in ranks:
        results: dict[str, list[dict[str, float]]] = {}
        absent: set[str] = set()
        for _ in range(repeat):
            for name in CONTENDERS:
                if name in absent:
                    continue
                result = run(name, path, rank, args.threads)
                if isinstance(result, str):
                    absent.add(name)
                    notes.append(f"{name} was left out: {result}")
                else:
                    results.setdefault(name, []).append(result)
        medians = {name: statistics.median(r["seconds"] for r in runs) for name, runs in results.items()}
        for name, seconds in medians.items():
            figures.append(Figure(f"rank {rank}, {name}, {SWEEPS} sweeps", seconds, "s"))
            figures.append(Figure(f"rank {rank}, {name}, a sweep", seconds / SWEEPS, "s"))
            figures.append(Figure(f"rank {rank}, {name}, held-out RMSE", results[name][0]["rmse"], "stars"))
        for peer, bound in (("LensKit", 1.0), ("cmfrec cholesky", 1.0), ("cmfrec cg", None)):
            for own in ("cofactor auto", "cofactor cholesky"):
                if peer in medians and own in medians:
                    ratio = medians[peer] / medians[own]
                    figures.append(Figure(f"rank {rank}, {peer} / {own}", ratio, "times", bound, most=False))
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
