"""Seconds of 15 sweeps of ALS on MovieLens 1M, beside LensKit and cmfrec on the same ratings and threads.

    python benchmarks/speed.py --data FOLDER

Needs the peers: pip install -r benchmarks/requirements.txt. A peer that is missing is left out, and said so.

Each fit has a process of its own, with the number of threads set before anything is imported; contenders take
turns, and the figure is the median. Reading and splitting, and turning the ratings into the form the library
wants (a SciPy matrix for cmfrec, a Dataset for LensKit, Ratings for cofactor), are not in the time; a small fit
before it warms up what is compiled or started at first use. What a library does inside its own fit is: LensKit and
cmfrec compress the ratings by user and by item there, LensKit fits its biases, cofactor solves the users once more.
So the time of a sweep is not a fifteenth of the whole: it is what each of sweeps 2 to 15 adds to a fit of one sweep,
which takes set-up and closing out for everybody. cmfrec closes its conjugate gradients with a sweep of Cholesky
unless told not to: "cmfrec cg" does, as is its default, "cmfrec cg-only" does not.

All have user and item biases and a mean. λ is the best of a grid for each library and rank, by the error on a tenth
of the training part (``REG``), and the held-out RMSE of each is reported beside its time.
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
CONTENDERS = (
    "cofactor auto",
    "cofactor cholesky",
    "cofactor cg",
    "LensKit",
    "cmfrec cholesky",
    "cmfrec cg",
    "cmfrec cg-only",
)
COMPARED = (  # peer, own solvers beside it, bound
    ("LensKit", ("auto", "cholesky"), 1.0),
    ("cmfrec cholesky", ("auto", "cholesky"), 1.0),
    ("cmfrec cg", ("auto", "cholesky", "cg"), None),
    ("cmfrec cg-only", ("auto", "cholesky", "cg"), None),
)
REG = {  # by library and rank; another rank takes the nearest
    "cofactor": {16: 1.0, 64: 1.3, 128: 1.3},
    "cmfrec": {16: 15.0, 64: 25.0, 128: 25.0},
    "LensKit": {16: 0.08, 64: 0.08, 128: 0.07},
}


def contestant(name: str, path: Path, rank: int, threads: int) -> dict[str, float]:
    """Fit in this process: seconds of all sweeps, of one more sweep, and the RMSE on the tenth held out."""
    import numpy as np

    import cofactor as cf

    train, test = cf.split(cf.read_ratings(path), holdout=0.1, seed=0, warn=False)
    users, items = train.user_positions, train.by_user.indices
    test_users = train.user_ids.positions(test.users)
    test_items = train.item_ids.positions(test.items)
    library, _, solver = name.partition(" ")
    reg = REG[library][min(REG[library], key=lambda known: abs(known - rank))]
    if library == "cofactor":

        def fit(rank, sweeps):
            return cf.ALS(rank=rank, reg=reg, sweeps=sweeps, solver=solver, threads=threads).fit(train)

        def parts(model):
            return model.mean_, model.user_bias_, model.item_bias_, model.user_factors_, model.item_factors_

    elif library == "cmfrec":
        import scipy.sparse
        from cmfrec import CMF

        matrix = scipy.sparse.coo_matrix((train.values.astype("f4"), (users, items)))

        def fit(rank, sweeps):
            model = CMF(
                k=rank,
                lambda_=reg,
                use_cg=solver != "cholesky",
                finalize_chol=solver == "cg",
                niter=sweeps,
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

        def fit(rank, sweeps):
            model = BiasedMFScorer(embedding_size=rank, epochs=sweeps, regularization=reg)
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

    def timed(sweeps):
        begin = time.perf_counter()
        model = fit(rank, sweeps)
        return time.perf_counter() - begin, model

    fit(2, 2)
    before, _ = timed(1)
    seconds, model = timed(SWEEPS)
    after, _ = timed(1)
    sweep = (seconds - min(before, after)) / (SWEEPS - 1)
    mean, b, c, U, V = (np.asarray(part, np.float64) for part in parts(model))
    b, c = np.append(b, 0), np.append(c, 0)  # the last place, −1, is for the unknown
    U, V = (np.vstack([X, np.zeros(X.shape[1])]) for X in (U, V))
    predicted = mean + b[test_users] + c[test_items] + np.einsum("nk,nk->n", U[test_users], V[test_items])
    return {"seconds": seconds, "sweep": sweep, "rmse": cf.rmse(test.values, np.clip(predicted, 1, 5))}


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
        medians = {
            (name, what): statistics.median(r[what] for r in runs)
            for name, runs in results.items()
            for what in ("seconds", "sweep", "rmse")
        }
        for name in results:
            figures.append(Figure(f"rank {rank}, {name}, {SWEEPS} sweeps", medians[name, "seconds"], "s"))
            figures.append(Figure(f"rank {rank}, {name}, a sweep", medians[name, "sweep"], "s"))
            figures.append(Figure(f"rank {rank}, {name}, held-out RMSE", medians[name, "rmse"], "stars"))
        for peer, solvers, bound in COMPARED:
            for own in (f"cofactor {solver}" for solver in solvers):
                if peer not in results or own not in results:
                    continue
                for what, told in (("seconds", f"{SWEEPS} sweeps"), ("sweep", "a sweep")):
                    ratio = medians[peer, what] / medians[own, what]
                    label = f"rank {rank}, {peer} / {own}, {told}"
                    figures.append(Figure(label, ratio, "times", bound, most=False))
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
