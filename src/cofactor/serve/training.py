"""One training, in a process of its own:  python -m cofactor.serve.training JOB

It reads all ratings, holds the latest tenth out, fits the active model's kind and settings on the rest, and compares.
Only if the new model is not worse is it fitted on everything, registered, and activated. Settings come through the
environment (``settings.Settings.export``). Killed at any moment it leaves the active model as it was.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import select

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.metrics import rmse
from cofactor.models import MODELS
from cofactor.models.base import Callback
from cofactor.models.content import ContentMap
from cofactor.models.factors import FactorModel
from cofactor.ratings import Ratings
from cofactor.serve import logs
from cofactor.serve.content import columns_of, features_of
from cofactor.serve.installing import register
from cofactor.serve.registry import open_model
from cofactor.serve.settings import Settings
from cofactor.serve.store import items, jobs, models
from cofactor.serve.store.database import Database, StoreUnavailable
from cofactor.serve.store.items import Item
from cofactor.serve.store.ratings import now
from cofactor.serve.store.schema import ratings as ratings_table
from cofactor.trials import calibrate

log = logging.getLogger("cofactor.serve")

HOLDOUT = 0.1
FEWEST = 20  # ratings from which a model can be fitted and measured
ENOUGH = 50  # ratings that neither model has seen, from which the two are compared
GRANTED = 2.0  # standard errors by which the new model may look worse without being called so
_AT_ONCE = 100_000
_BEAT = 1.0  # seconds between two words about the progress


class Cancelled(Exception):
    """Somebody asked the job to stop, or gave it up."""


@dataclass(frozen=True, eq=False)
class Table:
    """All ratings of the store, and when each was written, in the same order (by user, then item)."""

    ratings: Ratings
    written: NDArray[np.int64]

    def select(self, which: NDArray[np.bool_]) -> Table:
        """Some of them."""
        return Table(self.ratings.select(which), self.written[which])


class Teller:
    """Tells the store how a job does, a word a second, from a thread of its own."""

    def __init__(self, database: Database, job: int) -> None:
        """Of one job."""
        self._database, self._job = database, job
        self._facts: dict[str, Any] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.stopped = False

    def __enter__(self) -> Teller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def stage(self, stage: str, progress: float) -> None:
        """What is done now, and how much of everything is behind it. Raises ``Cancelled``."""
        self._facts = {"stage": stage, "progress": progress}
        if self.stopped:
            raise Cancelled

    def sweeps(self, stage: str, begin: float, end: float, sweeps: int) -> Callable[[Any, int, float], None]:
        """A callback for ``fit`` that tells of its sweeps."""
        return lambda _model, sweep, _j: self.stage(
            stage, begin + (end - begin) * min(sweep / max(sweeps, 1), 1.0)
        )

    def _run(self) -> None:
        while not self._end.wait(_BEAT):
            try:
                with self._database.write() as connection:
                    self.stopped = not jobs.tell(connection, self._job, **self._facts)
            except StoreUnavailable:
                pass  # the training goes on; what it found is told at its end


def read_all(database: Database, scale: tuple[float, float] | None = None) -> Table:
    """All ratings that are stored now, on ``scale`` or a wider one where they go beyond it.

    Raises ``BadRatings`` where there are none.
    """
    columns = (ratings_table.c.user_id, ratings_table.c.item_id, ratings_table.c.rating)
    chosen = select(*columns, ratings_table.c.time, ratings_table.c.written).where(
        ratings_table.c.rating.is_not(None)
    )
    parts: list[tuple[Any, ...]] = []  # columns of users, items, ratings, times, times of writing
    with database.read() as connection:
        rows = connection.execution_options(yield_per=_AT_ONCE).execute(chosen)
        for part in rows.partitions():
            columns_read = list(zip(*part))
            texts = [pa.array(column, pa.large_string()) for column in columns_read[:2]]
            kinds = (np.float32, np.int64, np.int64)
            parts.append((*texts, *(np.array(c, kind) for c, kind in zip(columns_read[2:], kinds))))
    if not parts:
        raise cf.BadRatings("There is not one rating to learn from.")
    ids, positions = [], []
    for column in (0, 1):
        found, codes = IdMap.encode(pa.concat_arrays([part[column] for part in parts]))
        ids.append(found)
        positions.append(codes)
    values, times, written = (np.concatenate([part[k] for part in parts]) for k in (2, 3, 4))
    low, high = scale or (np.inf, -np.inf)
    scale = min(low, float(values.min())), max(high, float(values.max()))
    ratings = Ratings.from_positions(
        ids[0], ids[1], positions[0], positions[1], values, times // 1_000_000, scale
    )
    return Table(ratings, written[np.lexsort((positions[1], positions[0]))])


def hold_out(table: Table) -> tuple[Table, Table]:
    """The latest tenth by time apart; without different times any tenth."""
    times = table.ratings.times
    count = max(1, round(HOLDOUT * len(table.ratings)))
    test = np.zeros(len(table.ratings), bool)
    if times is not None and times.min() < times.max():
        test = times >= np.partition(times, len(times) - count)[len(times) - count]
    if not test.any() or test.mean() > 0.5:
        test = np.zeros(len(test), bool)
        test[np.random.default_rng(0).permutation(len(test))[:count]] = True
    return table.select(~test), table.select(test)


def quality(model: FactorModel, train: Ratings, test: Ratings) -> dict[str, Any]:
    """How good a model fitted on ``train`` is on ``test``, beside means and biases."""
    predicted = model.predict(test.users, test.items, clip=True)
    baseline = cf.Baseline().fit(train, progress=False).predict(test.users, test.items, clip=True)
    bins = calibrate(predicted.astype(np.float64), test)
    return {
        "rmse": rmse(test.values, predicted),
        "baseline_rmse": rmse(test.values, baseline),
        "mean_rmse": rmse(test.values, np.full(len(test), train.values.mean(), np.float32)),
        "held_out": len(test),
        "objective": model.objective_.tolist(),
        "calibration": [{"predicted": b.predicted, "rated": b.given, "count": b.n} for b in bins if b.n],
        "by_rank": [],
    }


@dataclass(frozen=True)
class Verdict:
    """Whether a new model may take the place of the active one, what it was compared with, and why."""

    good: bool
    compared_with: str
    reason: str


def judge(
    candidate: FactorModel, active: FactorModel | None, trained_at: int, train: Table, test: Table
) -> Verdict:
    """Is the candidate, fitted on ``train``, no worse on ratings that neither model has seen?

    By the mean difference of squared errors, where the candidate is granted two standard errors. The active model
    folds in what the same users rated in ``train``. Where too few ratings are new to it, both would not be measured
    alike; then the candidate is compared with the means and biases of ``train``.
    """
    new = test.written >= trained_at
    if active is not None and int(new.sum()) >= ENOUGH:
        unseen = test.select(new).ratings
        other, name = _folded(active, train.ratings), "active"
        theirs = other.predict(unseen.users, unseen.items, clip=True)
    else:
        unseen, name = test.ratings, "baseline"
        theirs = (
            cf.Baseline().fit(train.ratings, progress=False).predict(unseen.users, unseen.items, clip=True)
        )
    ours = candidate.predict(unseen.users, unseen.items, clip=True)
    difference = (ours - unseen.values).astype(np.float64) ** 2 - (theirs - unseen.values).astype(
        np.float64
    ) ** 2
    error = float(difference.std() / np.sqrt(len(difference)))
    good = bool(difference.mean() <= GRANTED * error)
    what = "the active model" if name == "active" else "means and biases"
    a, b = rmse(unseen.values, ours), rmse(unseen.values, theirs)
    verdict = "no worse than" if good else "worse than"
    ending = "" if good else " The active model stays."
    return Verdict(
        good, name, f"RMSE {a:.4f} on {len(unseen):,} later ratings, {verdict} {what} ({b:.4f}).{ending}"
    )


def _folded(active: FactorModel, train: Ratings) -> FactorModel:
    """The active model, which knows the users of ``train`` by their ratings there; ids are text, as in the store."""
    model = active.with_text_items()
    known = model.item_ids_.positions(train.item_ids.array) >= 0
    rows = known[train.by_user.indices]
    return model.fold_in(train.select(rows)) if rows.any() else model


def candidate_of(active: FactorModel | None, params: dict[str, Any], n_items: int) -> FactorModel:
    """A model to fit: of the kind and settings of the active one, with no more factors than there are items."""
    model = cf.ALS() if active is None else type(active)(**params)
    assert isinstance(model, FactorModel)
    rank = model.get_params().get("rank")
    if rank is not None and rank > n_items:
        model.set_params(rank=n_items)
    return model.set_params(threads=None)


def fit(
    model: FactorModel, active: FactorModel | None, known: list[Item], ratings: Ratings, *, callback: Callback
) -> None:
    """Fit it, with the content of the items that are known where the active model reads content."""
    columns = columns_of(active)
    found = None if columns is None else features_of(columns, known)
    if isinstance(model, ContentMap) and found is not None and len(found.select(ratings.item_ids.array)):
        model.fit(ratings, items=found, callback=callback, progress=False)
    else:
        model.fit(ratings, callback=callback, progress=False)


def train(database: Database, settings: Settings, job: int, teller: Teller) -> tuple[str, int | None]:
    """Do it; returns what to say of it, and the version of the new model if there is one. Raises ``Cancelled``."""
    teller.stage("reading", 0.0)
    trained_at = (
        now()
    )  # before the ratings are read: what comes in between is learnt or not, and counts as new
    with database.read() as connection:
        row = models.active(connection)
        known = items.changed_since(connection, -1)
    active = None if row is None else open_model(settings.models / row.folder)
    table = read_all(database, None if active is None else active.scale_)
    if len(table.ratings) < FEWEST:
        raise cf.BadRatings(f"{len(table.ratings)} ratings are too few to learn from; {FEWEST} are needed.")
    params = (
        {} if row is None else {k: v for k, v in row.params.items() if k in MODELS[row.kind]().get_params()}
    )
    learn, test = hold_out(table)
    candidate = candidate_of(active, params, learn.ratings.n_items)
    sweeps = int(candidate.get_params().get("sweeps", 1))
    fit(candidate, active, known, learn.ratings, callback=teller.sweeps("measuring", 0.1, 0.5, sweeps))
    teller.stage("comparing", 0.5)
    found = quality(candidate, learn.ratings, test.ratings)
    verdict = judge(candidate, active, 0 if row is None else row.trained_at, learn, test)
    found |= {"compared_with": verdict.compared_with, "reason": verdict.reason}
    final = candidate_of(active, params, table.ratings.n_items)
    fit(final, active, known, table.ratings, callback=teller.sweeps("fitting", 0.5, 0.95, sweeps))
    teller.stage("saving", 0.95)
    version = register(
        database,
        settings,
        final,
        n_ratings=len(table.ratings),
        n_users=table.ratings.n_users,
        trained_at=trained_at,
        quality=found,
        reason=verdict.reason,
        activate=verdict.good,
    )
    return verdict.reason, version


def main(job: int) -> int:
    """Carry a job out, and note how it ended; returns the exit code."""
    logs.to_stderr()
    settings = Settings.imported()
    database = Database(settings.url)
    os.nice(5)  # answers go first
    status, message, version = "failed", "It failed; the service's log says how.", None
    try:
        with Teller(database, job) as teller:
            message, version = train(database, settings, job, teller)
        status = "done"
    except Cancelled:
        status, message = "cancelled", "Cancelled. The active model has not changed."
    except cf.CofactorError as error:
        message = str(error)
    except Exception:
        log.exception("a training failed", extra={"job": job})
    with database.write() as connection:
        jobs.end(connection, job, status, message, version)
    log.info("training %s", status, extra={"job": job})
    database.close()
    return 0 if status == "done" else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
