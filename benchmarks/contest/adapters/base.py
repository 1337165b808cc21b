"""What a library has to offer to be measured, and the numbers that all are measured by."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

CHUNK = 1 << 20  # ratings whose factors are gathered at a time


class Train(NamedTuple):
    """Ratings to learn from, in columns: positions (ratings,) int32, values (ratings,) float32."""

    users: Any
    items: Any
    values: Any
    n_users: int
    n_items: int


class Parts(NamedTuple):
    """r̂ = mean + b_i + c_j + u_i·v_j:  b (users,), c (items,), U (users, rank), V (items, rank)."""

    mean: float
    b: Any
    c: Any
    U: Any
    V: Any

    def predict(self, users, items):
        """(n,) predictions; a position of −1 is unknown and has no bias and no factors."""
        b, c = np.append(self.b, 0.0), np.append(self.c, 0.0)
        U, V = (np.vstack([X, np.zeros(X.shape[1], X.dtype)]) for X in (self.U, self.V))
        found = self.mean + b[users] + c[items]
        for start in range(0, len(users), CHUNK):
            part = slice(start, start + CHUNK)
            found[part] += np.einsum("nk,nk->n", U[users[part]], V[items[part]], dtype=np.float64)
        return found

    def objective(self, train, reg, exponent, of_biases):
        """J = Σ (r − r̂)² + Σ_i λ_i (‖u_i‖² + b_i²) + the same of the items, λ_i = reg · (ratings of i)^exponent.

        Without ``of_biases`` they are not penalized.
        """
        J = float(np.sum((train.values - self.predict(train.users, train.items)) ** 2))
        for rows, X, bias in ((train.users, self.U, self.b), (train.items, self.V, self.c)):
            squares = np.einsum("ik,ik->i", X, X, dtype=np.float64)
            if of_biases:
                squares += np.asarray(bias, np.float64) ** 2
            J += reg * float(np.sum(np.bincount(rows, minlength=len(X)) ** float(exponent) * squares))
        return J


class Adapter:
    """One way of one library to fit ratings.

    ``prepare`` brings the columns into the library's own form, which is not timed; ``fit`` is. ``parts`` gives what
    was fitted, or None where the model is of another shape: then ``predict`` must be overridden.
    """

    def __init__(self, threads: int, reg: float, options: dict[str, Any]) -> None:
        self.threads, self.reg, self.options = threads, reg, options

    def prepare(self, train: Train) -> None:
        """Keep the ratings in the library's own form; ``train`` itself is let go."""
        raise NotImplementedError

    def fit(self, rank: int, sweeps: int) -> Any:
        """A model, fitted afresh."""
        raise NotImplementedError

    def parts(self, model: Any) -> Parts | None:
        """What the model is made of, by position."""
        return None

    def predict(self, model, users, items):
        """(n,) predictions for positions, −1 where unknown; None where they are not ratings."""
        return self.parts(model).predict(users, items)

    def processes(self) -> list[int]:
        """The processes whose memory counts."""
        return [os.getpid()]

    def version(self) -> str:
        """Of the library."""
        raise NotImplementedError


def damped_biases(train: Train, damping: float):
    """Mean, and biases of users and items one after the other, as if each had ``damping`` more ratings at the mean."""
    mean = float(train.values.mean(dtype=np.float64))
    left = train.values - mean
    c = np.bincount(train.items, left, train.n_items)
    c /= np.bincount(train.items, minlength=train.n_items) + damping
    b = np.bincount(train.users, left - c[train.items], train.n_users)
    b /= np.bincount(train.users, minlength=train.n_users) + damping
    return mean, b, c
