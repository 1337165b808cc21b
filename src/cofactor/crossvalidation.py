"""Fitting many settings of one model on many folds: side by side, warm, without losers, resumable."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor import __version__, kernels
from cofactor.errors import BadParameter
from cofactor.metrics import rmse
from cofactor.models.als import ALS
from cofactor.models.base import Model
from cofactor.progress import Progress
from cofactor.ratings import Ratings
from cofactor.splits import folds as cut_into_folds
from cofactor.tables import write_whole

Params: TypeAlias = dict[str, Any]
Start: TypeAlias = tuple[NDArray[Any], NDArray[Any]]  # item factors and biases

_GROUPS = 4096  # users are compared in at most so many groups, to bound memory
_FIRST = 2  # folds before losers are given up
_CERTAIN = 3.0  # standard errors of a difference that are granted to a loser
_WARM = 3  # a warm start needs one sweep in so many


@dataclass(frozen=True, eq=False)
class FoldResult:
    """One setting on one fold.

    Attributes:
        rmse: held out.
        squares, counts: (groups,) sum of squared errors, and held-out ratings, of each group of users.
        fourth: sum of errors to the fourth power.
        seconds: of one fit from scratch, reckoned from the sweeps done.
    """

    rmse: float
    squares: NDArray[np.float64]
    counts: NDArray[np.float64]
    fourth: float
    seconds: float


@dataclass(frozen=True)
class Difference:
    """By how much the mean RMSE of a setting is above that of another, and the standard errors of both facts."""

    difference: float
    se: float
    se_of_best: float


def compare_folds(
    done: Sequence[FoldResult], best: Sequence[FoldResult], folds: int | None = None
) -> Difference:
    """A setting beside the best one on the same folds; ``se_of_best`` is for ``folds`` of them."""
    counts = np.sum([fold.counts for fold in best], axis=0)
    count = counts.sum()
    mine, its = (np.sum([fold.squares for fold in side], axis=0) for side in (done, best))
    mse, rmse_of_best = its.sum() / count, max(float(np.sqrt(its.sum() / count)), 1e-12)
    # d RMSE = d MSE / 2 RMSE, and the MSE is a ratio of sums over users drawn anew
    apart = mine - its - counts * (mine.sum() - its.sum()) / count
    se = np.sqrt(np.sum(apart**2)) / count / (rmse_of_best + np.sqrt(mine.sum() / count))
    variance = max(sum(fold.fourth for fold in best) / count - mse**2, 0.0)
    se_of_best = np.sqrt(variance / (count * (folds or len(best)) / len(best))) / (2 * rmse_of_best)
    difference = np.mean([a.rmse - b.rmse for a, b in zip(done, best)])
    return Difference(float(difference), float(se), float(se_of_best))


class CrossValidation:
    """Ratings cut into folds once, for all settings of one estimator.

    Raises ``BadParameter`` for more folds than ratings.
    """

    def __init__(self, estimator: Model, ratings: Ratings, folds: int, seed: int) -> None:
        self.estimator, self.ratings, self.folds, self.seed = estimator, ratings, folds, seed
        self._pairs = cut_into_folds(ratings, folds, seed=seed, warn=False)
        self.threads = kernels.thread_count(estimator.get_params().get("threads"))

    def fold(self, number: int) -> tuple[Ratings, Ratings]:
        """Train and test of one fold."""
        return self._pairs[number]

    @cached_property
    def fewest_items(self) -> int:
        """Items of the training part that has fewest."""
        return min(train.n_items for train, _ in self._pairs)

    @cached_property
    def fingerprint(self) -> str:
        """Of the ratings, the folds and the estimator: a result is known again by it."""
        rows = self.ratings.by_user
        digest = hashlib.sha256()
        for array in (rows.indptr, rows.indices, rows.values):
            digest.update(np.ascontiguousarray(array).data)
        params = {k: v for k, v in self.estimator.get_params().items() if k != "threads"}
        facts = [
            __version__,
            type(self.estimator).__name__,
            params,
            self.folds,
            self.seed,
            self.ratings.scale,
        ]
        digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def measure(self, model: Model, number: int, seconds: float) -> FoldResult:
        """The errors of a model fitted on the training part of a fold."""
        _, test = self.fold(number)
        predicted = model.predict(test.users, test.items, clip=True)
        square = (predicted.astype(np.float64) - test.values) ** 2
        groups = min(self.ratings.n_users, _GROUPS)
        users = self.ratings.user_ids.positions(test.user_ids.array)[test.user_positions]
        return FoldResult(
            rmse(test.values, predicted),
            np.bincount(users % groups, square, minlength=groups).astype(np.float64),
            np.bincount(users % groups, minlength=groups).astype(np.float64),
            float(np.square(square).sum()),  # not square @ square: its threads would be in the way of ours
            seconds,
        )


@dataclass(frozen=True)
class _Chain:
    """Settings that are fitted one after the other, each from where the one before ended."""

    settings: tuple[int, ...]
    after: int | None  # the chain whose first fit this one begins from


class Search:
    """All settings on all folds. ``results[k]`` is what setting k did on the folds it was fitted on, in order."""

    def __init__(
        self, validation: CrossValidation, settings: Sequence[Params], checkpoint: str | Path | None = None
    ) -> None:
        self._validation, self._settings = validation, settings
        self.results: list[list[FoldResult]] = [[] for _ in settings]
        for params in settings:
            model = self._model(params, 1)
            try:
                model.check_parameters(validation.fewest_items)
            except BadParameter as error:
                told = ", ".join(f"{name}={value!r}" for name, value in params.items())
                raise BadParameter(f"{told}: {error}") from None
        self._warm = isinstance(validation.estimator, ALS)
        self._chains = self._chain()
        self._stopped = threading.Event()
        self._kept = None if checkpoint is None else _Kept(Path(checkpoint), validation.fingerprint)

    def _model(self, params: Params, threads: int) -> Model:
        estimator = self._validation.estimator
        known = estimator.get_params()
        shared = {"threads": threads} if "threads" in known and "threads" not in params else {}
        return type(estimator)(**{**known, **params, **shared})

    def _chain(self) -> list[_Chain]:
        """Settings of one rank, from the least reg up: errors grow with less of it, but factors, once shrunk to
        nothing, come back slowly. The first of a rank begins from the first of the next lower rank."""
        if not self._warm:
            return [_Chain((k,), None) for k in range(len(self._settings))]

        families: dict[str, dict[int, list[int]]] = {}
        models = [self._model(params, 1) for params in self._settings]
        for k, params in enumerate(self._settings):
            family = repr({name: value for name, value in params.items() if name not in ("rank", "reg")})
            families.setdefault(family, {}).setdefault(models[k].rank, []).append(k)  # type: ignore[attr-defined]
        chains: list[_Chain] = []
        for ranks in families.values():
            for place, rank in enumerate(sorted(ranks)):
                by_reg = sorted(ranks[rank], key=lambda k: models[k].reg)  # type: ignore[attr-defined]
                chains.append(_Chain(tuple(by_reg), len(chains) - 1 if place else None))
        return chains

    def run(self, bar: Progress | None, beside: Sequence[FoldResult] | None = None) -> None:
        """Fit all settings on the first two folds, then those that are no losers on the others.

        With ``beside``, results of a setting of another search, losers are those that lose against it.
        """
        folds = self._validation.folds
        active = set(range(len(self._settings)))
        first = range(min(_FIRST, folds))
        self._round(first, active, bar)
        if folds > len(first):
            best = beside or min(self.results, key=lambda done: np.mean([fold.rmse for fold in done]))
            losers = {k for k in active if _loses(self.results[k], best[: len(first)], folds)}
            if bar is not None:
                bar.advance(steps=len(losers) * (folds - len(first)))
            self._round(range(len(first), folds), active - losers, bar)

    def _round(self, folds: range, active: set[int], bar: Progress | None) -> None:
        units = [(fold, number) for number, chain in enumerate(self._chains) for fold in folds]
        units = [(fold, n) for fold, n in units if active & set(self._chains[n].settings)]
        if not units:
            return
        workers = min(self._validation.threads, len(units))
        threads = self._validation.threads // workers
        done: dict[tuple[int, int], Future[tuple[list[FoldResult], Start | None]]] = {}
        pool = ThreadPoolExecutor(workers, "cofactor-tune")
        try:
            for fold, number in units:
                after = self._chains[number].after
                while after is not None and (fold, after) not in done:  # a rank of which nothing is left
                    after = self._chains[after].after
                before = None if after is None else done[fold, after]
                chosen = [k for k in self._chains[number].settings if k in active]
                done[fold, number] = pool.submit(self._unit, fold, chosen, before, threads)
            left = set(done.values())
            while left:
                ended, left = wait(left, timeout=0.2)
                for future in ended:
                    results, _ = future.result()
                    if bar is not None:
                        bar.advance(f"RMSE {results[-1].rmse:.4f}", len(results))
        finally:
            self._stopped.set()
            pool.shutdown(cancel_futures=True)
            self._stopped.clear()
        for (_, number), future in sorted(done.items()):
            chosen = [k for k in self._chains[number].settings if k in active]
            for k, result in zip(chosen, future.result()[0]):
                self.results[k].append(result)

    def _unit(
        self,
        fold: int,
        chosen: list[int],
        before: Future[tuple[list[FoldResult], Start | None]] | None,
        threads: int,
    ) -> tuple[list[FoldResult], Start | None]:
        """The settings of one chain on one fold, and where its first fit ended."""
        # Tasks begin in the order they were handed in, so what is waited for has begun.
        start = None if before is None else before.result()[1]
        name = ""
        if self._kept is not None:
            name = self._kept.name(fold, [self._settings[k] for k in chosen], start)
            kept = self._kept.read(name, len(chosen), self._warm)
            if kept is not None:
                return kept
        results: list[FoldResult] = []
        head: Start | None = None
        for k in chosen:
            model = self._model(self._settings[k], threads)
            seconds = self._fit(model, fold, start)
            results.append(self._validation.measure(model, fold, seconds))
            if isinstance(model, ALS):
                start = model.item_factors_, model.item_bias_
                head = head or start
        if self._kept is not None:
            self._kept.write(name, results, head)
        return results, head

    def _fit(self, model: Model, fold: int, start: Start | None) -> float:
        """Fit; returns the seconds that all sweeps from scratch would take."""
        train, _ = self._validation.fold(fold)

        def stopped(*_: Any) -> None:
            if self._stopped.is_set():
                raise _Stopped

        begin = time.perf_counter()
        if isinstance(model, ALS) and start is not None:
            sweeps = model.sweeps
            model.sweeps = -(-sweeps // _WARM)
            model.fit_from(start, train, callback=stopped, progress=False)
            return (time.perf_counter() - begin) * sweeps / len(model.objective_)
        model.fit(train, callback=stopped, progress=False)
        return time.perf_counter() - begin


class _Stopped(Exception):
    """Somebody pressed Ctrl-C, or another fit failed."""


def _loses(done: Sequence[FoldResult], best: Sequence[FoldResult], folds: int) -> bool:
    beside = compare_folds(done, best, folds)
    return beside.difference - _CERTAIN * beside.se > beside.se_of_best


class _Kept:
    """Finished units in a folder, one file each, so that an interrupted search goes on."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder, self._fingerprint = folder, fingerprint
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise BadParameter(
                f"{folder} is not a folder. Name a folder for the checkpoint, new or old."
            ) from None

    def name(self, fold: int, settings: Sequence[Params], start: Start | None) -> str:
        """Of the file of one unit: of all that its results depend on."""
        digest = hashlib.sha256(repr((self._fingerprint, fold, settings)).encode())
        for array in start or ():
            digest.update(np.ascontiguousarray(array).data)
        return f"{digest.hexdigest()[:32]}.safetensors"

    def read(self, name: str, settings: int, warm: bool) -> tuple[list[FoldResult], Start | None] | None:
        """What ``write`` wrote; None where there is nothing, or nothing sound."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load((self._folder / name).read_bytes())
            figures, squares, counts = arrays["figures"], arrays["squares"], arrays["counts"]
            head = (arrays["factors"], arrays["bias"]) if warm else None
        except (OSError, SafetensorError, KeyError):
            return None
        if figures.shape != (settings, 3) or squares.shape != (settings, *counts.shape):
            return None
        results = [
            FoldResult(float(rmse), row, counts, float(fourth), float(seconds))
            for (rmse, fourth, seconds), row in zip(figures, squares)
        ]
        return results, head

    def write(self, name: str, results: Sequence[FoldResult], head: Start | None) -> None:
        """Whole or not at all."""
        from safetensors.numpy import save

        arrays: dict[str, NDArray[Any]] = {
            "figures": np.array([[r.rmse, r.fourth, r.seconds] for r in results]),
            "squares": np.array([r.squares for r in results]),
            "counts": results[0].counts,
        }
        if head is not None:
            arrays |= {"factors": head[0], "bias": head[1]}
        write_whole(self._folder / name, lambda file: file.write(save(arrays)))
