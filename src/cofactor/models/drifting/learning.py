"""The parameters of ``TasteDrift`` by maximum likelihood: predict, then update, along ratings the items have not seen.

    min Σ ½ (log v + (r − r̂)² / v)        r̂, v: mean and variance of a rating before it is told

Users are sorted by length and batched; a batch goes along its ratings in pieces of ``truncate``. Gradients do not go
from one piece to the one before, so that memory does not grow with the length of a user.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from cofactor.models.drifting import ode
from cofactor.models.drifting.dynamics import (
    LEARNS_A_MEAN,
    Array,
    Dynamics,
    Gap,
    memory_size,
    moved,
    network_shapes,
    observe,
    remember,
    spread,
    start,
    update,
)
from cofactor.models.drifting.items import Items, known_side
from cofactor.models.drifting.parameters import Raw, dynamics_of, first_parameters
from cofactor.models.drifting.sequences import Rules, Sequences
from cofactor.progress import Progress

_BATCH = 128  # users
_SLOWER = 0.1  # of the rate, for a network
_LEARNT = 0.6  # of the window, to learn a network from; the rest judges


State: TypeAlias = tuple[Array, Array, Array]


class Piece(NamedTuple):
    """Some ratings of the users of a batch, (ratings, users) each: what the filter needs, ``seen`` where there is a
    rating, ``counts`` where it counts in the loss."""

    factors: Array
    above: Array
    unsure: Array
    gap: Gap
    seen: Array
    counts: Array


def batches(
    items: Items, sequences: Sequences, rules: Rules, counts: NDArray[np.bool_], truncate: int
) -> list[list[Piece]]:
    """The ratings of users who have any that count, in batches, each in pieces; all of one shape."""
    lengths = np.diff(sequences.indptr)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    concerned = np.bincount(owner, counts, minlength=len(lengths)) > 0
    users = np.argsort(-lengths, kind="stable")
    users = users[concerned[users]]
    first = sequences.times[sequences.indptr[owner]]
    before = np.concatenate([sequences.times[:1], sequences.times[:-1]])
    before[sequences.indptr[:-1][lengths > 0]] = first[sequences.indptr[:-1][lengths > 0]]
    gap = rules.gap(before, sequences.times, first)
    factors, bias, unsure = known_side(items, sequences.items)
    above = sequences.values - items.mean - bias

    def piece(rows: NDArray[Any], begin: int) -> Piece:
        k = begin + np.arange(truncate)[:, None]
        there = (k < lengths[rows]) & (rows >= 0)
        at = np.where(there, sequences.indptr[rows] + k, 0)

        def cut(column: Any) -> Array:
            kept = column[at] * there.reshape(*there.shape, *[1] * (column.ndim - 1))
            return jnp.asarray(kept, bool if column.dtype == bool else jnp.float32)

        return Piece(
            cut(factors),
            cut(above),
            cut(unsure),
            Gap(*(cut(part) for part in gap)),
            jnp.asarray(there, jnp.float32),
            cut(counts.astype(np.float64)),
        )

    made = []
    for begin in range(0, len(users), _BATCH):
        rows = users[begin : begin + _BATCH]
        longest = int(lengths[rows[0]])
        rows = np.concatenate([rows, np.full(_BATCH - len(rows), -1)])
        made.append([piece(rows, at) for at in range(0, longest, truncate)])
    return made


def filter_piece(
    dynamics: Dynamics, rules: Rules, adjoint: str, state: tuple[Array, Array, Array], piece: Piece
) -> tuple[State, Array]:
    """The state (m, S, memory) behind a piece, and the sum of its loss."""

    def step(carried: tuple[Array, Array, Array], given: Piece) -> tuple[tuple[Array, Array, Array], Array]:
        m, S, memory = carried
        S, transition = spread(jnp, rules.drift, dynamics, S, given.gap)
        if rules.drift == "neural":
            m = ode.solve(dynamics, m, given.gap, rules.solver, rules.steps, adjoint)
        m = dynamics.mean + moved(jnp, transition, m - dynamics.mean)
        if rules.drift == "gru":
            memory, added = remember(jnp, dynamics, memory, m, given.gap)
            m = m + added
        h, Sh, variance = observe(jnp, dynamics, S, given.factors, given.unsure)
        surprise = given.above - jnp.sum(h * m, axis=1)
        loss = 0.5 * (jnp.log(variance) + surprise**2 / variance)
        gain, S = update(S, Sh, variance, given.seen)
        return (m + gain * surprise[:, None], S, memory), jnp.sum(loss * given.counts)

    state, losses = jax.lax.scan(step, state, piece)
    return state, jnp.sum(losses)


@lru_cache(maxsize=8)
def _compiled(rules: Rules, rank: int, adjoint: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Parameters, state, piece -> the loss and the state behind it; and the same with the slope of the loss."""

    def along(raw: Raw, state: State | None, piece: Piece) -> tuple[Array, State]:
        dynamics = dynamics_of(jnp, raw, rules.drift, rank)
        if state is None:  # the first piece: gradients go to the prior, too
            m, S = start(jnp, dynamics, _BATCH)
            state = m, S, jnp.zeros((_BATCH, memory_size(dynamics.network)))
        state, loss = filter_piece(dynamics, rules, adjoint, state, piece)
        return loss, state

    return jax.jit(along), jax.jit(jax.value_and_grad(along, has_aux=True))


class Learner:
    """Goes along batches and learns."""

    def __init__(
        self,
        rules: Rules,
        rank: int,
        adjoint: str,
        rate: float,
        raw: Raw,
        steps: int,
        learnt: Collection[str],
    ) -> None:
        """From parameters ``raw``, of which some are ``learnt``; the rate falls to a twentieth over so many steps."""
        self._learnt = learnt
        self.raw: Raw = {name: jnp.asarray(value, jnp.float32) for name, value in raw.items()}
        self._loss, self._slope = _compiled(rules, rank, adjoint)
        falling = optax.cosine_decay_schedule(rate, max(steps, 1), 0.05)
        self._optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(falling))
        self._memory = self._optimizer.init(self.raw)

    def epoch(self, every: list[list[Piece]], order: Iterable[int]) -> float:
        """One step for each batch; returns the mean loss."""
        total = count = 0.0
        for at in order:
            state: State | None = None
            slope, loss, n = None, 0.0, 0.0
            for piece in every[at]:
                inside = float(piece.counts.sum())
                if not inside:
                    _, state = self._loss(self.raw, state, piece)
                    continue
                (more, state), found = self._slope(self.raw, state, piece)
                slope = found if slope is None else jax.tree.map(jnp.add, slope, found)
                loss, n = loss + float(more), n + inside
            mean = {name: x / n if name in self._learnt else 0 * x for name, x in (slope or {}).items()}
            change, self._memory = self._optimizer.update(mean, self._memory, self.raw)
            self.raw = optax.apply_updates(self.raw, change)
            total, count = total + loss, count + n
        return total / count

    def loss(self, every: list[list[Piece]]) -> float:
        """The mean loss, without learning."""
        total = count = 0.0
        for pieces in every:
            state: State | None = None
            for piece in pieces:
                more, state = self._loss(self.raw, state, piece)
                total, count = total + float(more), count + float(piece.counts.sum())
        return total / count


def learn(
    model: Any,
    ratings: Any,
    known: Items,
    cut: int,
    items: Items,
    callback: Callable[[Any, int, float], object] | None,
    progress: bool | None,
) -> tuple[Dynamics, list[float]]:
    """The dynamics of a ``TasteDrift``, learnt on the ratings from ``cut`` on, with items that are ``known`` before it,
    and the mean loss of each epoch.

    First all but the network; then, where there is one, the network alone, on the earlier part of the window; the epoch
    that was best on its later part is kept, if any was better than none.
    """
    places = known.ids.positions(ratings.item_ids.array)[ratings.by_user.indices]
    sequences = Sequences.of(ratings.by_user.indptr, places, ratings.values, ratings.times)
    late = sequences.times >= cut
    rules = model._rules
    stages = [(replace(rules, drift="two-scale"), model.rate)] if rules.drift in LEARNS_A_MEAN else []
    stages.append((rules, model.rate * _SLOWER if stages else model.rate))
    raw = first_parameters(known, rules.drift, model.rank, model.hidden, model.seed)
    objective: list[float] = []

    def stop_after(epoch_loss: float, raw: Raw) -> bool:
        objective.append(epoch_loss)
        if callback is None:
            return False
        model._publish(ratings, items, _as_numpy(raw, model.drift, model.rank), objective)
        return bool(callback(model, len(objective), epoch_loss))

    def cut_up(counts: NDArray[np.bool_], rules: Rules) -> list[list[Piece]]:
        return batches(known, sequences, rules, counts, model.truncate)

    with Progress(model.epochs * len(stages), "Learning", progress) as bar:
        for stage, rate in stages:
            middle = np.quantile(sequences.times[late], _LEARNT) if stage.drift in LEARNS_A_MEAN else np.inf
            every = cut_up(late & (sequences.times < middle), stage)
            judged = cut_up(late & (sequences.times >= middle), stage)
            if not every:
                continue
            network = network_shapes(stage.drift, model.rank + 2, model.hidden)
            learnt = network or raw
            learner = Learner(stage, model.rank, model.adjoint, rate, raw, model.epochs * len(every), learnt)
            random = np.random.default_rng([model.seed, 5])
            best = (learner.loss(judged) if judged else np.inf, learner.raw)
            for _ in range(model.epochs):
                loss = learner.epoch(every, random.permutation(len(every)).tolist())
                bar.advance(f"−log likelihood {loss:.4f}")
                if judged:
                    best = min(best, (learner.loss(judged), learner.raw), key=lambda found: found[0])
                if stop_after(loss, learner.raw):
                    return _as_numpy(learner.raw, model.drift, model.rank), objective
            raw = best[1] if judged else learner.raw
    return _as_numpy(raw, model.drift, model.rank), objective


def _as_numpy(raw: Raw, drift: str, rank: int) -> Dynamics:
    return dynamics_of(np, {name: np.asarray(value, np.float64) for name, value in raw.items()}, drift, rank)
