"""Alternating least squares on a dataset that memory does not hold: users are solved and forgotten, pass by pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from cofactor.errors import BadParameter
from cofactor.models.als import ALS, start_factors
from cofactor.models.base import check_choice
from cofactor.progress import Progress
from cofactor.ratings import Compressed
from cofactor.scale.checkpoint import State, read_state, write_state
from cofactor.scale.dataset import Dataset
from cofactor.scale.engine import Engine
from cofactor.scale.local import LocalEngine
from cofactor.scale.passes import Items, Problem

ENGINES = ("local", "ray", "spark")
OnPass = Callable[[State], object]


def train(
    dataset: Dataset | str | os.PathLike[str],
    model: ALS | None = None,
    *,
    engine: Literal["local", "ray", "spark"] = "local",
    address: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    memory: int | None = None,
    callback: OnPass | None = None,
    progress: bool | None = None,
) -> ALS:
    """Fit ``ALS`` to a prepared dataset of any size; the model that comes back holds the item side alone.

    Args:
        dataset: what ``prepare`` made, or its folder.
        model: the parameters; ``biases="sequential"`` and float64 are not for datasets. Every sweep is exact,
            whatever ``solver`` says.
        engine: "local" is this machine; "ray" and "spark" spread the groups over a cluster. The result is the same,
            bit by bit.
        address: of the cluster: of Ray, or Spark's master URL. None starts, or finds, one on this machine.
        checkpoint: a file, replaced after each sweep, from which an interrupted training goes on. For an engine
            whose workers are elsewhere it must be where they can read it, as the dataset must.
        memory: bytes that this process may take with engine="local"; None is half of the machine's.
        callback: called with the ``State`` after each pass; the training ends where it returns something true.
        progress: as in ``Model.fit``.

    ``objective_`` holds J after each sweep. What was held out when the dataset was prepared is predicted on the way:
    ``State.held_rmse``. Users are folded in from their ratings (``Dataset.ratings_of``), or exported all at once
    (``export_users``).

    Raises ``BadParameter``; ``BadDataset``; ``BadData`` for a checkpoint that belongs to something else;
    ``SingularSystem``.
    """
    dataset = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    model = ALS() if model is None else model
    _check(model, dataset, engine)
    problem = problem_of(model, dataset)
    belongs_to = {"dataset": dataset.id, **_fixed_parameters(model)}
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "state" if checkpoint is None else Path(checkpoint)
        state = read_state(path, belongs_to)
        if state is None:
            state = State(_start(model, dataset))
            write_state(path, state, belongs_to)
        runner = _engine(engine, dataset, problem, model.threads, memory, address)
        try:
            _run(runner, state, path, belongs_to, model, problem, dataset, callback, progress)
        finally:
            runner.close()
        return item_side(model, dataset, state)


def problem_of(model: ALS, dataset: Dataset) -> Problem:
    """The equation of a model over a dataset."""
    biased = model.biases is not None
    return Problem(
        dataset.n_items,
        model.rank,
        model.reg,
        model.reg_exponent,
        biased,
        dataset.mean if biased else 0.0,
        dataset.scale,
    )


def _check(model: ALS, dataset: Dataset, engine: str) -> None:
    check_choice("engine", engine, ENGINES)
    model.check_parameters(dataset.n_items)
    if model.biases == "sequential" or model.dtype != "float32":
        raise BadParameter(
            f"A dataset is fitted with biases joint or none, in float32, not with {model.biases!r} and {model.dtype}. "
            f'Take biases="joint", or read the ratings into memory.'
        )
    if model.reg == 0:
        raise BadParameter("reg is 0, and a dataset has users with few ratings. Give reg > 0.")


def _fixed_parameters(model: ALS) -> dict[str, Any]:
    """Those that must not change between a checkpoint and going on from it."""
    names = ("rank", "reg", "reg_exponent", "biases", "seed", "sweeps", "tol")
    return {name: getattr(model, name) for name in names}


def _start(model: ALS, dataset: Dataset) -> Items:
    """The random start of ``ALS.fit``, in the order of item numbers."""
    by_position = start_factors(dataset.n_items, model.rank, model.seed, np.float32)
    factors = np.empty_like(by_position)
    factors[dataset.item_numbers] = by_position
    return Items(factors, np.zeros(dataset.n_items, np.float32))


def _engine(
    name: str,
    dataset: Dataset,
    problem: Problem,
    threads: int | None,
    memory: int | None,
    address: str | None,
) -> Engine:
    if name == "local":
        return LocalEngine(dataset, problem, threads, memory)
    if name == "ray":
        from cofactor.scale.ray import RayEngine

        return RayEngine(dataset, problem, address, threads)
    from cofactor.scale.spark import SparkEngine

    return SparkEngine(dataset, problem, address, threads)


def _run(
    engine: Engine,
    state: State,
    path: Path,
    belongs_to: dict[str, Any],
    model: ALS,
    problem: Problem,
    dataset: Dataset,
    callback: OnPass | None,
    progress: bool | None,
) -> None:
    """Passes until there were enough; ``state`` changes, and its file with it.

    Pass s measures the items of sweep s − 1, and finds those of sweep s; the last one only measures.
    """
    counts = dataset.item_counts
    passes = model.sweeps + 1
    a_sweep = engine.rounds * dataset.n_groups
    with Progress(model.sweeps * a_sweep + dataset.n_groups, "Training", progress) as bar:
        note = ""

        def advance() -> None:
            bar.advance(note)

        bar.advance(note, len(state.objective) * a_sweep)
        while len(state.objective) < passes:
            last = len(state.objective) == model.sweeps
            if last:
                totals, following = engine.measure(state.items, path, advance), state.items
            else:
                totals, following = engine.sweep(state.items, path, advance)
            penalty = totals.penalty + problem.penalty(counts, state.items.factors, state.items.bias)
            state.objective.append(totals.squared_error + penalty)
            state.held_rmse.append(
                float(np.sqrt(totals.held_squares / totals.held)) if totals.held else np.nan
            )
            note = f"J = {state.objective[-1]:.6g}"
            stop = bool(callback(state)) if callback is not None else False
            stop = stop or (
                model.tol > 0
                and len(state.objective) > 2
                and state.objective[-2] - state.objective[-1] < model.tol * state.objective[-2]
            )
            state.items = state.items if stop else following
            write_state(path, state, belongs_to)
            if stop:
                break


def item_side(model: ALS, dataset: Dataset, state: State) -> ALS:
    """A fitted model that knows the items, and no user."""
    fitted = ALS(**model.get_params())
    numbers = dataset.item_numbers
    fitted.item_ids_ = dataset.item_ids
    fitted.item_factors_, fitted.item_bias_ = state.items.factors[numbers], state.items.bias[numbers]
    fitted.user_ids_ = dataset.no_users
    fitted.user_factors_ = np.zeros((0, model.rank), np.float32)
    fitted.user_bias_ = np.zeros(0, np.float32)
    fitted.ratings_ = Compressed(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    fitted.mean_ = dataset.mean if model.biases is not None else 0.0
    fitted.scale_ = dataset.scale
    fitted.objective_ = np.array(state.objective[1:])
    return fitted
