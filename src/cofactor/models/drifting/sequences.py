"""Ratings of users in the order of time, and the filter that goes along them: predict, then update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.models.drifting.dynamics import (
    LEARNS_A_MEAN,
    Dynamics,
    Gap,
    memory_size,
    moved,
    observe,
    remember,
    solve,
    spread,
    start,
    update,
)
from cofactor.models.drifting.items import Items, known_side

DAY = 86_400

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """How time is read: the drift, hours of a session, and how the network's equation is solved.

    ``shuffled`` is a seed where the network is given gaps drawn at random (None: the true ones).
    """

    drift: str
    session: float
    solver: str
    steps: int
    shuffled: int | None = None

    def gap(self, before: Any, now: Any, first: Any) -> Gap:
        """From the second of the last rating to another; ``first`` is that of the user's first rating."""
        days = np.maximum(now - before, 0) / DAY
        session = np.where(days * 24 > self.session, days, 0.0)
        if self.shuffled is not None:
            drawn = np.random.default_rng([self.shuffled, len(days)]).normal(np.log(7), 1.5, len(days))
            session = np.where(session > 0, np.exp(drawn), 0.0)
        return Gap(
            days, now // DAY > before // DAY, session, np.maximum(before - first, 0) / DAY, before / DAY
        )


@dataclass(frozen=True, eq=False)
class Sequences:
    """Ratings by user and, of each, by time; those of one second by item.

    Attributes:
        indptr: (users + 1,) the ratings of user i are those from [i] up to [i + 1].
        items, values, times: (ratings,) positions (−1: unknown), ratings, seconds.
        order: (ratings,) their places in the table they are of.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    times: NDArray[np.int64]
    order: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        indptr: NDArray[np.int64],
        items: NDArray[np.int32],
        values: NDArray[np.float32],
        times: NDArray[np.int64],
    ) -> Sequences:
        """Of ratings grouped by user, in any order of time."""
        users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        order = np.lexsort((items, times, users))
        return cls(indptr, items[order], values[order], times[order], order)


def first_and_last(
    indptr: NDArray[np.int64], times: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The seconds of the first and the last rating of each user (users,); 0 of who has none."""
    users = np.flatnonzero(np.diff(indptr))
    found = np.zeros((2, len(indptr) - 1), np.int64)
    if len(users):
        found[0, users] = np.minimum.reduceat(times, indptr[users])
        found[1, users] = np.maximum.reduceat(times, indptr[users])
    return found[0], found[1]


@dataclass(eq=False)
class States:
    """What is known of users: m (users, d), S (users, d, d), memory of the GRU (users, q), and the seconds of the
    first and the last rating (users,), the same where there is none yet (then ``fresh``)."""

    m: Doubles
    S: Doubles
    memory: Doubles
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    fresh: NDArray[np.bool_]

    @classmethod
    def new(cls, dynamics: Dynamics, users: int) -> States:
        """Of users nothing is known of."""
        m, S = start(np, dynamics, users)
        none = np.zeros(users, np.int64)
        return cls(
            m.copy(),
            S.copy(),
            np.zeros((users, memory_size(dynamics.network))),
            none,
            none.copy(),
            np.ones(users, bool),
        )

    def take(self, rows: Any) -> States:
        """Some of them, copied."""
        return States(
            *(part[rows].copy() for part in (self.m, self.S, self.memory, self.first, self.last, self.fresh))
        )

    def at(self, dynamics: Dynamics, rules: Rules, when: NDArray[Any]) -> tuple[Doubles, Doubles]:
        """m and S at some moments (users,), not before the last rating."""
        gap = rules.gap(np.where(self.fresh, when, self.last), when, np.where(self.fresh, when, self.first))
        m, S, _, _ = passed(dynamics, rules, self.m, self.S, self.memory, gap)
        return m, S


def passed(
    dynamics: Dynamics, rules: Rules, m: Doubles, S: Doubles, memory: Doubles, gap: Gap
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """m, S and memory after a gap, and the transition (see ``dynamics.spread``)."""
    S, transition = spread(np, rules.drift, dynamics, S, gap)
    rows = np.flatnonzero(gap.session > 0) if rules.drift in LEARNS_A_MEAN else np.empty(0, np.int64)
    if len(rows) and rules.drift == "neural":
        m = m.copy()
        m[rows] = solve(dynamics, m[rows], Gap(*(x[rows] for x in gap)), rules.solver, rules.steps)
    m = dynamics.mean + moved(np, transition, m - dynamics.mean)
    if len(rows) and rules.drift == "gru":
        memory, added = remember(np, dynamics, memory, m, gap)
        m = m + added
    return m, S, memory, transition


@dataclass(frozen=True, eq=False)
class Step:
    """The k-th rating of some users, as the filter comes to it: their places in the order of the filter, the places of
    the ratings in the sequences, the transition of the gap before, the predictions of what is above mean and item (from
    before the second), their variance, and the jumps of m."""

    users: NDArray[np.int64]
    ratings: NDArray[np.int64]
    transition: Doubles
    predicted: Doubles
    variance: Doubles
    surprise: Doubles
    jump: Doubles


def follow(
    dynamics: Dynamics, rules: Rules, items: Items, sequences: Sequences, states: States
) -> Iterator[Step]:
    """Go along the ratings, all users' first, then all users' second …; ``states`` change in place.

    A rating that is earlier than what a state knows counts as given at its last moment.
    """
    counts = np.diff(sequences.indptr)
    order = np.argsort(-counts, kind="stable")
    lengths = -np.sort(-counts)
    before = states.m.copy()
    factors, bias, unsure = known_side(items, sequences.items)
    above = sequences.values - items.mean - bias
    for k in range(int(lengths[0]) if len(lengths) else 0):
        users = order[: int(np.searchsorted(-lengths, -k, "left"))]
        places = sequences.indptr[users] + k
        now = sequences.times[places]
        new = states.fresh[users]
        last = np.where(new, now, states.last[users])
        first = np.where(new, now, states.first[users])
        gap = rules.gap(last, now, first)
        m, S, memory, transition = passed(
            dynamics, rules, states.m[users], states.S[users], states.memory[users], gap
        )
        tied = (now <= last) & ~new & (k > 0)
        before[users] = np.where(tied[:, None], before[users], m)
        h, Sh, variance = observe(np, dynamics, S, factors[places], unsure[places])
        surprise = above[places] - (h * m).sum(axis=1)
        gain, S = update(S, Sh, variance, np.ones(len(users)))
        jump = gain * surprise[:, None]
        states.m[users], states.S[users], states.memory[users] = m + jump, S, memory
        states.last[users], states.first[users], states.fresh[users] = np.maximum(now, last), first, False
        yield Step(users, places, transition, (h * before[users]).sum(axis=1), variance, surprise, jump)
