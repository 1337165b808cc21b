"""Held-out error of ALS on MovieLens: five folds of 100K, and a tenth of 1M held out.

    python benchmarks/accuracy.py --data FOLDER

The settings were chosen on training parts: see ``--choose``, which repeats the choice. It splits each training
part once more, fits on nine tenths of it, and measures on the rest. The test tenth of 1M is never seen by it. The
folds of 100K overlap: what is test in one is training in the four others, so one setting for all five cannot be
chosen on all of them unseen; ``--choose`` therefore also tells what each training part alone would have chosen.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import Figure, data_file, parser, show

import cofactor as cf

SCALE = (1.0, 5.0)
REGS = (0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 2.0)
SETTING_100K = cf.ALS(rank=8, reg=1.3, reg_exponent=0.5, sweeps=30)
SETTING_1M = cf.ALS(rank=16, reg=1.0, reg_exponent=0.5, sweeps=30)


def held_out(model: cf.ALS, train: cf.Ratings, test: cf.Ratings) -> tuple[float, float]:
    """RMSE and MAE on the test part, predictions kept on the scale."""
    predicted = model.fit(train).predict(test.users, test.items, clip=True)
    return cf.rmse(test.values, predicted), cf.mae(test.values, predicted)


def folds_100k(folder) -> list[tuple[cf.Ratings, cf.Ratings]]:
    table = pq.read_table(data_file(folder, "ml-100k.parquet"))
    fold = table["fold"].to_numpy()

    def read(mask):
        return cf.read_ratings(table.filter(pa.array(mask)), scale=SCALE)

    return [(read(fold != k), read(fold == k)) for k in range(1, 6)]


def split_1m(folder) -> tuple[cf.Ratings, cf.Ratings]:
    return cf.split(
        cf.read_ratings(data_file(folder, "ml-1m.parquet"), scale=SCALE), holdout=0.1, seed=0, warn=False
    )


def choose(setting: cf.ALS, trains: list[cf.Ratings]) -> list[str]:
    """The error of each reg on a tenth of the training parts, the test ratings unseen."""
    told, errors = [], []
    for reg in REGS:
        model = cf.ALS(**{**setting.get_params(), "reg": reg})
        errors.append(
            [held_out(model, *cf.split(train, holdout=0.1, seed=1, warn=False))[0] for train in trains]
        )
        told.append(f"rank {setting.rank}, reg {reg:g}: inner RMSE {np.mean(errors[-1]):.4f}")
    alone = ", ".join(f"{REGS[best]:g}" for best in np.argmin(errors, axis=0))
    return [*told, f"rank {setting.rank}, least inner RMSE, each training part alone: reg {alone}"]


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--choose", action="store_true", help="repeat the choice of reg on the training parts"
    )
    args = options.parse_args()
    folds = folds_100k(args.data)
    notes = choose(SETTING_100K, [train for train, _ in folds]) if args.choose else []
    errors = np.array([held_out(SETTING_100K, *pair) for pair in folds])
    plain = np.array([held_out(cf.Baseline(), *pair) for pair in folds])
    figures = [
        Figure("ML-100K u1..u5, rank 8, RMSE", float(errors[:, 0].mean()), "stars", 0.912),
        Figure("ML-100K u1..u5, rank 8, MAE", float(errors[:, 1].mean()), "stars"),
        Figure("ML-100K u1..u5, Baseline, RMSE", float(plain[:, 0].mean()), "stars"),
    ]
    train, test = split_1m(args.data)
    if args.choose:
        notes += choose(SETTING_1M, [train])
    rmse, mae = held_out(SETTING_1M, train, test)
    figures += [
        Figure("ML-1M, 10 % held out, rank 16, RMSE", rmse, "stars", 0.845),
        Figure("ML-1M, 10 % held out, rank 16, MAE", mae, "stars"),
        Figure("ML-1M, 10 % held out, Baseline, RMSE", held_out(cf.Baseline(), train, test)[0], "stars"),
    ]
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
