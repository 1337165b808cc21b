"""Draws of a matrix factorization that are kept, and the chains they come from: to disk and back."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor.models.gibbs import Chain, Doubles, Prior, Side, Singles
from cofactor.ratings import Compressed

_SIDES = ("users", "items")
_ROWS = ("users", "items", "weights", "priors")
_MORE = "kept_more_"  # prefix of arrays in a checkpoint
_PATIENCE = 60.0  # seconds between two checkpoints


def pack_prior(prior: Prior) -> Doubles:
    """A prior as numbers (rank² + rank + 2,)."""
    return np.concatenate([prior.mean, prior.factor.ravel(), [prior.bias_mean, prior.bias_precision]])


def unpack_prior(numbers: Doubles) -> Prior:
    """What ``pack_prior`` packed."""
    rank = int(np.sqrt(len(numbers) - 1.75) - 0.5)
    mean, factor, rest = np.split(numbers, [rank, rank + rank**2])
    return Prior(mean, factor.reshape(rank, rank), float(rest[0]), float(rest[1]))


@dataclass
class Draws:
    """Draws that are kept, one after the other.

    Attributes:
        users, items: (rows, rank + 1) [u, b] of each draw.
        weights: (items, rank + 1) of each draw: what having rated an item says of a user. Empty without.
        priors: (2 · (rank² + rank + 2),) of each draw, of users and of items.
        noise: standard deviation of a rating around its prediction, of each draw.
        objective: Σ residual² after each sweep so far.
        more: what else the chain has, of each draw (``Chain.more_state``).
    """

    users: list[Singles] = field(default_factory=list)
    items: list[Singles] = field(default_factory=list)
    weights: list[Singles] = field(default_factory=list)
    priors: list[Doubles] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    more: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.noise)

    @classmethod
    def of(cls, chain: Chain, objective: list[float]) -> Draws:
        """Where a chain stands, alone."""
        draws = cls(objective=objective)
        draws.keep(chain)
        return draws

    def keep(self, chain: Chain) -> None:
        """Keep where a chain stands."""
        self.users.append(chain.users.rows)
        self.items.append(chain.items.rows)
        self.weights.append(chain.users.weights)
        self.priors.append(np.concatenate([pack_prior(side.prior) for side in (chain.users, chain.items)]))
        for name, array in chain.more_state().items():
            self.more.setdefault(name, []).append(array)
        self.noise.append(1 / np.sqrt(chain.alpha))


class Journal:
    """``with Journal(path, belongs_to) as journal:`` keeps draws, and where the chain stands, in a checkpoint.

    It is written once a minute and when the block ends, however it ends; ``path`` None writes nothing. ``kept`` is
    what is there at the start. Raises ``BadData`` for a checkpoint that belongs to something else.
    """

    def __init__(self, path: str | os.PathLike[str] | None, belongs_to: dict[str, Any]) -> None:
        self.kept = Draws()
        self._path, self._belongs_to = None if path is None else Path(path), belongs_to
        self._stands: dict[str, NDArray[Any]] = {}
        self._counts = (0, 0)  # draws kept and sweeps done, then
        self._due = time.monotonic() + _PATIENCE
        if self._path is not None:
            from cofactor.storage.checkpoint import read_checkpoint  # storage knows the models

            found = read_checkpoint(self._path, belongs_to)
            if found is not None:
                self._stands = found
                for name in _ROWS:
                    setattr(self.kept, name, list(found[f"kept_{name}"]))
                self.kept.noise, self.kept.objective = (
                    found[name].tolist() for name in ("kept_noise", "objective")
                )
                more = (name for name in found if name.startswith(_MORE))
                self.kept.more = {name.removeprefix(_MORE): list(found[name]) for name in more}
                self._counts = len(self.kept), len(self.kept.objective)

    def __enter__(self) -> Self:
        return self

    def resume(self, chain: Chain) -> None:
        """Put the chain where the one stood that the checkpoint tells of, unless that was at its end."""
        if self._stands and self._stands["number"][0] == chain.number:
            _restore(chain, self._stands)

    def note(self, chain: Chain) -> None:
        """A sweep was done, and what it gave is in ``kept``."""
        self._stands, self._counts = _state(chain), (len(self.kept), len(self.kept.objective))
        if time.monotonic() > self._due:
            self._write()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def _write(self) -> None:
        self._due = time.monotonic() + _PATIENCE
        if self._path is None or not self._stands:
            return
        from cofactor.storage.checkpoint import write_checkpoint

        draws, sweeps = self._counts
        kept = {f"kept_{name}": np.array(getattr(self.kept, name)[:draws]) for name in (*_ROWS, "noise")}
        kept |= {_MORE + name: np.array(arrays[:draws]) for name, arrays in self.kept.more.items()}
        objective = np.array(self.kept.objective[:sweeps], np.float64)
        write_checkpoint(self._path, self._stands | kept | {"objective": objective}, self._belongs_to)


def digest(*tables: Compressed) -> str:
    """A name for what stands in tables."""
    found = hashlib.sha256()
    for rows in tables:
        for array in (rows.indptr, rows.indices, rows.values):
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _state(chain: Chain) -> dict[str, NDArray[Any]]:
    """Where a chain stands, its random numbers included. What is in it, no sweep changes."""
    random = json.dumps(chain.random.bit_generator.state).encode()
    state: dict[str, NDArray[Any]] = {
        "number": np.array([chain.number]),
        "alpha": np.array([chain.alpha]),
        "random": np.frombuffer(random, np.uint8),
    }
    state |= {f"more_{name}": array.copy() for name, array in chain.more_state().items()}
    for name in _SIDES:
        side: Side = getattr(chain, name)
        state |= {f"{name}_{part}": getattr(side, part) for part in ("rows", "weights")}
        state |= {f"{name}_prior": pack_prior(side.prior), f"{name}_precisions": side.precisions.copy()}
    return state


def _restore(chain: Chain, state: Mapping[str, NDArray[Any]]) -> None:
    chain.alpha = float(state["alpha"][0])
    chain.random.bit_generator.state = json.loads(state["random"].tobytes())
    more = {name.removeprefix("more_"): array for name, array in state.items() if name.startswith("more_")}
    chain.restore_more(more)
    for name in _SIDES:
        side: Side = getattr(chain, name)
        side.prior = unpack_prior(state[f"{name}_prior"])
        for part in ("rows", "weights", "precisions"):
            setattr(side, part, state[f"{name}_{part}"].copy())
        side.describe(chain.threads)
