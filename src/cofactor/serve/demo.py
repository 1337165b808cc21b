"""The bundled ratings, served: measured, with a rank that was chosen by cross-validation before one's eyes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cofactor as cf
from cofactor.demo import SETTINGS
from cofactor.serve.installing import install_model, of_table, store_catalog, store_ratings
from cofactor.serve.settings import Settings
from cofactor.serve.store import models
from cofactor.serve.store.database import Database
from cofactor.serve.training import quality

RANKS = (1, 2, 4, 8, 16, 32, 64)


def install(database: Database, settings: Settings) -> None:
    """Fit, measure and register a model of the bundled ratings, and store these with their titles; once."""
    with database.read() as connection:
        if models.active(connection) is not None:
            return
    ratings = cf.load_demo()
    train, test = cf.split(ratings, holdout=0.1, warn=False)
    found = quality(cf.ALS(**SETTINGS).fit(train, progress=False), train, test)
    fixed = {name: value for name, value in SETTINGS.items() if name != "rank"}
    tuning = cf.tune(cf.ALS(**fixed), train, rank=list(RANKS), folds=5, progress=False)
    found["by_rank"] = [
        {
            "rank": setting.params["rank"],
            "rmse": setting.rmse,
            "low": setting.rmse - (setting.se or 0.0),
            "high": setting.rmse + (setting.se or 0.0),
        }
        for setting in sorted(tuning.settings, key=lambda s: s.params["rank"])
    ]
    found |= {
        "compared_with": "baseline",
        "reason": "The bundled ratings; a tenth of them, at random, was held out.",
    }
    store_ratings(database, of_table(ratings))
    store_catalog(database, cf.load_demo_catalog())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo"
        cf.save(cf.ALS(**SETTINGS).fit(ratings, progress=False), path)
        install_model(database, settings, path, found)
