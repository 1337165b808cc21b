"""Choosing hyperparameters by cross-validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cofactor.crossvalidation import CrossValidation, FoldResult, Params, Search, compare_folds
from cofactor.errors import BadParameter, NotSupported
from cofactor.models.als import ALS
from cofactor.models.base import Model, check_choice, check_whole
from cofactor.models.results import text_table
from cofactor.progress import Progress
from cofactor.ratings import Ratings
from cofactor.splits import leak

if TYPE_CHECKING:
    from cofactor.figures import Picture

_RANKS = (2, 4, 8, 16, 32, 64)
_REGS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # for ratings that vary by 1; λ goes with the size of ratings


@dataclass(frozen=True)
class Setting:
    """One setting of the hyperparameters, and how it did.

    Attributes:
        params: the values searched over, by name.
        rmse: mean over the folds, in units of the ratings. Of a setting that was stopped early: that of the best
            one, and on top of it the mean difference from the best one on the folds that both were fitted on.
        se: standard error of ``rmse``: standard deviation over the folds / √folds. None where stopped early.
        folds: how many folds it was fitted on.
        seconds: one fit from scratch, reckoned from what its sweeps took here.
        stopped: whether it was given up as a loser before the last fold.
    """

    params: Params
    rmse: float
    se: float | None
    folds: int
    seconds: float
    stopped: bool


@dataclass(frozen=True, eq=False)
class Tuning:
    """What ``tune`` found.

    Attributes:
        settings: all that were tried, least RMSE first.
        folds, seed: how the ratings were cut.
        ratings, users, items: how many there were.
        notes: what to know before believing it.
    """

    estimator: Model
    settings: tuple[Setting, ...]
    folds: int
    seed: int
    ratings: int
    users: int
    items: int
    notes: tuple[str, ...]

    @property
    def best_setting(self) -> Setting:
        """The setting with the least mean RMSE among those fitted on all folds."""
        return next(setting for setting in self.settings if not setting.stopped)

    @property
    def simplest_setting(self) -> Setting:
        """The simplest setting whose RMSE is within one standard error of the best.

        Simpler is a lower rank, then fewer neighbours, then more regularization. The rule is that of L. Breiman
        et al., "Classification and Regression Trees", 1984, section 3.4.3.
        """
        best = self.best_setting
        enough = best.rmse + (best.se or 0.0)
        close = [s for s in self.settings if not s.stopped and s.rmse <= enough]
        return min(close, key=_complexity)

    @property
    def best(self) -> Model:
        """A model with the best setting, not fitted."""
        return self._model(self.best_setting)

    @property
    def simplest(self) -> Model:
        """A model with the simplest setting within one standard error of the best, not fitted."""
        return self._model(self.simplest_setting)

    def _model(self, setting: Setting) -> Model:
        return type(self.estimator)(**{**self.estimator.get_params(), **setting.params})

    @property
    def table(self) -> pa.Table:
        """One row a setting, least RMSE first: its values, then rmse, se, folds, seconds, stopped."""
        rows = [
            {
                **s.params,
                "rmse": s.rmse,
                "se": s.se,
                "folds": s.folds,
                "seconds": s.seconds,
                "stopped": s.stopped,
            }
            for s in self.settings
        ]
        return pa.Table.from_pylist(rows)

    def plot(self, path: str | Path | None = None) -> Picture:
        """RMSE against rank, λ and time: a picture that notebooks show, written to ``path`` (.svg) if given."""
        from cofactor import figures

        picture = figures.Picture.of(figures.tuning_picture(self))
        if path is not None:
            picture.save(path)
        return picture

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "model": {"kind": type(self.estimator).__name__, **self.estimator.get_params()},
            "ratings": self.ratings,
            "users": self.users,
            "items": self.items,
            "folds": self.folds,
            "seed": self.seed,
            "best": self.best_setting.params,
            "simplest": self.simplest_setting.params,
            "settings": self.table.to_pylist(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        header, rows = self.rows()
        return "\n".join(
            [text_table(header, [tuple(row) for row in rows]), *(f"Note: {note}" for note in self.notes)]
        )

    __repr__ = __str__

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Header and cells of the table for people."""
        names = list(self.settings[0].params)
        marks = {id(self.simplest_setting): "simplest", id(self.best_setting): "best"}
        cells = [
            [
                *(f"{value:g}" if isinstance(value, float) else str(value) for value in s.params.values()),
                f"{s.rmse:.4f}",
                "stopped" if s.se is None else f"± {s.se:.4f}",
                str(s.folds),
                f"{s.seconds:.3g}",
                marks.get(id(s), ""),
            ]
            for s in self.settings
        ]
        return [*names, "RMSE", "", "folds", "seconds", ""], cells


def _complexity(setting: Setting) -> tuple[float, ...]:
    params = setting.params
    return params.get("rank", 0), params.get("k", 0), -params.get("reg", 0), setting.rmse


def tune(
    estimator: Model,
    ratings: Ratings,
    *,
    folds: int = 5,
    seed: int = 0,
    search: str = "grid",
    trials: int = 50,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
    **values: Any,
) -> Tuning:
    """Choose hyperparameters by the mean RMSE over ``folds`` random folds, predictions kept on the scale.

        tune(cf.ALS(), ratings, rank=[8, 16, 32], reg=[0.5, 1, 2], folds=5)

    Every keyword in ``values`` names a hyperparameter of ``estimator`` and lists its values; without any, rank and
    reg of ``ALS`` are searched over the usual range. All other hyperparameters are those of ``estimator``, which is
    not fitted itself.

    ``search="grid"`` tries every combination. For ``ALS`` each setting begins where its neighbour, the next smaller
    reg of the same rank, ended, and so takes a third of the sweeps; the errors differ from those of a fit from
    scratch by less than folds differ among each other. ``search="optuna"`` lets Optuna choose ``trials`` settings
    from the least to the greatest of the values (numbers) or among them (all others); it needs
    ``pip install "cofactor[tune]"``.

    After two folds a setting is given up if it is worse than the best one by more than a standard error even where
    three standard errors of their difference, by user, are granted. Folds and ranks run side by side, and no result
    depends on the number of threads.

    ``checkpoint`` is a folder where what is done is kept, so that the same call after an interruption goes on from
    there. Delete it when it is no longer needed.

    Raises ``BadParameter`` for an empty list, an unknown name, a value the model refuses, more folds than ratings;
    ``NotSupported`` for a model that only ranks.
    """
    if not isinstance(estimator, Model):
        raise BadParameter(
            f"tune takes a model, not {type(estimator).__name__}; give one such as cofactor.ALS()."
        )
    if not isinstance(ratings, Ratings):
        raise BadParameter(
            f"tune takes Ratings, not {type(ratings).__name__}; make them with cofactor.read_ratings(table)."
        )
    if not estimator.predicts_ratings:
        raise NotSupported(
            f"{type(estimator).__name__} ranks items and predicts no ratings, so it has no RMSE to choose by."
        )
    check_choice("search", search, ("grid", "optuna"))
    check_whole("trials", trials, 1)
    space = _space(estimator, ratings, values)
    validation = CrossValidation(
        estimator, ratings, check_whole("folds", folds, 2), check_whole("seed", seed, 0)
    )
    if search == "grid":
        found = _grid(validation, space, checkpoint, progress)
    else:
        found = _optuna(validation, space, trials, checkpoint, progress)
    settings = sorted(found, key=lambda s: (s.rmse, *map(str, s.params.values())))
    done = Tuning(
        estimator, tuple(settings), folds, seed, len(ratings), ratings.n_users, ratings.n_items, notes=()
    )
    train, test = validation.fold(0)
    return replace(done, notes=tuple(filter(None, [*_edges(done, space), leak(train.times, test.times)])))


def _space(estimator: Model, ratings: Ratings, values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each hyperparameter, checked."""
    known = estimator.get_params()
    if not values:
        if not isinstance(estimator, ALS):
            raise BadParameter(
                f"Say what to choose: tune({type(estimator).__name__}(), ratings, {next(iter(known))}=[...])."
            )
        spread = float(ratings.values.std(dtype=np.float64)) or 1.0
        values = {
            "rank": [rank for rank in _RANKS if rank <= max(1, ratings.n_items // 2)] or [1],
            "reg": [float(f"{spread * reg:.2g}") for reg in _REGS],
        }
    space: dict[str, list[Any]] = {}
    for name, given in values.items():
        if name not in known:
            raise BadParameter(
                f"{type(estimator).__name__} has no parameter {name!r}. It has: {', '.join(known) or 'none'}."
            )
        listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
        if not listed:
            raise BadParameter(f"{name} has no values to choose from. List at least one, or leave it out.")
        space[name] = [value.item() if isinstance(value, np.generic) else value for value in listed]
        if len({(type(value), value) for value in space[name]}) < len(listed):
            raise BadParameter(f"{name} lists a value twice: {space[name]!r}. List each once.")
    return space


def _edges(done: Tuning, space: Mapping[str, Sequence[Any]]) -> list[str]:
    """A best value at the end of its list may not be the best there is."""
    notes = []
    for name, values in space.items():
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        best = done.best_setting.params[name]
        simplest = done.simplest_setting.params[name]
        if len(numbers) > 2 and best == simplest and best in (min(numbers), max(numbers)):
            end = "least" if best == min(numbers) else "greatest"
            notes.append(f"The best {name}, {best:g}, is the {end} that was tried: try further.")
    return notes


def _grid(
    validation: CrossValidation,
    space: Mapping[str, list[Any]],
    checkpoint: str | Path | None,
    progress: bool | None,
) -> list[Setting]:
    settings = [dict(zip(space, chosen)) for chosen in product(*space.values())]
    total = len(settings) * validation.folds
    with Progress(total, "Tuning", progress) as bar:
        search = Search(validation, settings, checkpoint)
        search.run(bar)
    return _summarize(settings, search.results, validation.folds)


def _summarize(settings: list[Params], results: Sequence[Sequence[FoldResult]], folds: int) -> list[Setting]:
    """``results`` holds, for each setting, what it did on the folds it was fitted on, in their order."""
    complete = [k for k, done in enumerate(results) if len(done) == folds]
    best = min(complete, key=lambda k: (np.mean([fold.rmse for fold in results[k]]), k))
    summaries = []
    for params, done in zip(settings, results):
        rmse = np.array([fold.rmse for fold in done])
        stopped = len(done) < folds
        if stopped:
            beside = np.array([fold.rmse for fold in results[best]])
            mean = float(beside.mean() + (rmse - beside[: len(rmse)]).mean())
        else:
            mean = float(rmse.mean())
        se = None if stopped else float(rmse.std(ddof=1) / np.sqrt(folds))
        seconds = float(np.mean([fold.seconds for fold in done]))
        summaries.append(Setting(params, mean, se, len(done), seconds, stopped))
    return summaries


def _optuna(
    validation: CrossValidation,
    space: Mapping[str, list[Any]],
    trials: int,
    checkpoint: str | Path | None,
    progress: bool | None,
) -> list[Setting]:
    """Optuna proposes, the folds decide. Settings it proposes again are not fitted again."""
    try:
        import optuna
    except ImportError:
        raise BadParameter(
            'search="optuna" needs Optuna. Install it with: pip install "cofactor[tune]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=validation.seed))
    settings: list[Params] = []
    results: list[Sequence[FoldResult]] = []
    best: Sequence[FoldResult] | None = None
    with Progress(trials, "Tuning", progress) as bar:
        for _ in range(trials):
            trial = study.ask()
            params = {name: _suggest(trial, name, values) for name, values in space.items()}
            if params in settings:
                done = results[settings.index(params)]
            else:
                search = Search(validation, [params], checkpoint)
                search.run(None, beside=best)
                done = search.results[0]
                settings.append(params)
                results.append(done)
                if len(done) == validation.folds and (
                    best is None or np.mean([f.rmse for f in done]) < np.mean([f.rmse for f in best])
                ):
                    best = done
            assert best is not None  # the first setting has nothing to lose against
            worse = compare_folds(done, best[: len(done)]).difference
            study.tell(trial, float(np.mean([f.rmse for f in best])) + worse)
            bar.advance(f"RMSE {np.mean([f.rmse for f in best]):.4f}")
    return _summarize(settings, results, validation.folds)


def _suggest(trial: Any, name: str, values: list[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        low, high = min(values), max(values)
        return trial.suggest_int(name, low, high, log=low > 0)
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        low, high = float(min(values)), float(max(values))
        return trial.suggest_float(name, low, high, log=low > 0 and high / low >= 10)
    return trial.suggest_categorical(name, values)
