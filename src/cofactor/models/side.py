"""One side of a ``ContentMap``: what content says of each row, and how it came to say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadData, BadModel, BadParameter
from cofactor.features import Column, Features
from cofactor.models.factor_state import check_array
from cofactor.models.factors import Towards
from cofactor.models.ridge import LinearMap, Ridge

_SOURCES = ("neither", "content", "ratings", "both")
_TIGHTEST = 1e9  # λ around what content says, at most


class Encoder(Protocol):
    """From features (rows, …) to factors and bias (rows, rank + 1)."""

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Row by row."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was learnt, for storage."""

    def facts(self) -> dict[str, Any]:
        """What else storage keeps, ready for JSON."""


@dataclass(frozen=True, eq=False)
class Side:
    """Items, or users, and their content.

    Attributes:
        encoder: from features to factors and bias.
        shape: of one row of features.
        columns: how those of a table were made; None of arrays.
        prior: (rows, rank + 1) the factors and bias that content gives; zeros for a row without.
        has: (rows,) uint8, 1 where a row has features.
        least: λ of a row with features is at least this, see ``trial.least_reg``.
    """

    encoder: Encoder
    shape: tuple[int, ...]
    columns: tuple[Column, ...] | None
    prior: NDArray[Any]
    has: NDArray[np.uint8]
    least: float = 0.0

    @classmethod
    def of(cls, encoder: Encoder, features: Features, at: NDArray[np.int32], rows: int, dtype: Any) -> Side:
        """Of so many rows, of which those ``at`` have features."""
        first = encoder(features.values[:1])
        empty = cls(
            encoder,
            features.values.shape[1:],
            features.columns,
            np.zeros((rows, first.shape[1]), dtype),
            np.zeros(rows, np.uint8),
        )
        return empty.with_features(features, at)

    def with_features(self, features: Features, at: NDArray[np.int32]) -> Side:
        """The same, where rows ``at`` have these features."""
        prior, has = self.prior.copy(), self.has.copy()
        prior[at] = self.encoder(features.values)
        has[at] = 1
        return replace(self, prior=prior, has=has)

    def check(self, features: Any) -> None:
        """``BadParameter`` unless these are features of the kind that was learnt from."""
        if not isinstance(features, Features):
            raise BadParameter(f"Give Features, not {type(features).__name__}: see Catalog.features.")
        if features.values.shape[1:] != self.shape:
            raise BadParameter(
                f"These features are of shape {features.values.shape[1:]}, those that the model has learnt from of "
                f"{self.shape}. Make them alike; of a table with catalog.features(like=...)."
            )
        if features.columns != self.columns:
            raise BadParameter(
                "These features were made of other columns than those that the model has learnt from, or cut "
                "otherwise. Make them with catalog.features(like=...) of the first ones."
            )

    def spread(self, at: NDArray[np.int32], rows: int) -> Side:
        """Of so many rows, where those at hand stand ``at``; the others have no features."""
        prior, has = np.zeros((rows, self.prior.shape[1]), self.prior.dtype), np.zeros(rows, np.uint8)
        prior[at], has[at] = self.prior, self.has
        return replace(self, prior=prior, has=has)

    def towards(self, at: NDArray[np.int32]) -> Towards:
        """What rows ``at`` are drawn towards; 0 for −1."""
        known = np.maximum(at, 0)
        has = (at >= 0) & (self.has[known] > 0)
        return Towards(np.where(has[:, None], self.prior[known], 0), np.where(has, self.least, 0.0))

    # -- storage ---------------------------------------------------------------------------------

    def state(self, name: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays by name, each beginning with ``name``, and facts."""
        arrays = {f"{name}_{part}": array for part, array in self.encoder.arrays().items()}
        arrays |= {f"{name}_prior": self.prior, f"{name}_has": self.has}
        columns = None if self.columns is None else [column.to_dict() for column in self.columns]
        return arrays, {
            "shape": list(self.shape),
            "columns": columns,
            "least": self.least,
            **self.encoder.facts(),
        }

    @classmethod
    def restored(
        cls,
        name: str,
        kind: str,
        rows: int,
        factors: NDArray[Any],
        arrays: Mapping[str, NDArray[Any]],
        facts: Any,
    ) -> Side:
        """What ``state`` gave, of a side with such factors (rows, rank). Raises ``BadModel``."""
        shape = facts.get("shape") if isinstance(facts, dict) else None
        if (
            not isinstance(shape, list)
            or not 1 <= len(shape) <= 3
            or not all(type(n) is int and 1 <= n <= 1 << 24 for n in shape)
            or "columns" not in facts
            or type(facts.get("least")) is not float
            or not 0 <= facts["least"] <= _TIGHTEST
        ):
            raise BadModel(
                f"The manifest does not say what the features of {name}s are. Save the model again."
            )
        outputs = factors.shape[1] + 1
        whole = f"features of shape {tuple(shape)} and rank {factors.shape[1]}"
        columns = _columns(facts["columns"], shape)
        encoder: Encoder
        if kind == "linear":
            encoder = LinearMap.restored(arrays, f"{name}_", prod(shape), outputs, whole)
        else:
            from cofactor.models.network import NetworkMap

            encoder = NetworkMap.restored(arrays, f"{name}_", tuple(shape), outputs, kind, facts, whole)
        prior = check_array(arrays, f"{name}_prior", (rows, outputs), factors.dtype, whole)
        has = check_array(arrays, f"{name}_has", (rows,), "u1", whole)
        if has.max(initial=0) > 1:
            raise BadModel(f"The array '{name}_has' holds more than 0 and 1. Fit the model anew.")
        return cls(encoder, tuple(shape), columns, prior, has, facts["least"])


def _columns(given: Any, shape: list[int]) -> tuple[Column, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list):
        raise BadModel("The columns of the features are no list. Save the model again.")
    try:
        columns = tuple(Column.from_dict(column) for column in given)
    except BadData as error:
        raise BadModel(str(error)) from None
    if [sum(column.width for column in columns)] != shape:
        raise BadModel("The columns of the features do not go with their number. Save the model again.")
    return columns


class Learner:
    """Fits a line to factors of the rows that have features and ratings, again and again.

    Args:
        features: of rows ``at`` of the side.
        counts: (rows,) ratings of each row, the weight of its factors.
    """

    def __init__(self, features: Features, at: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
        self.features, self.at, self.rows = features, at, len(counts)
        self.rated = counts[at] > 0
        self.ridge = Ridge(features.values[self.rated], counts[at[self.rated]])
        self.reg: float | None = None

    def learn(self, factors: NDArray[Any], bias: NDArray[Any], metric: NDArray[Any]) -> Side:
        """What content says once the factors (rows, rank) and biases (rows,) are these.

        λ is chosen the first time: later, factors lie near what content said of them, and prove nothing.
        """
        targets = np.column_stack([factors, bias])[self.at[self.rated]]
        if self.reg is None:
            self.reg, _ = self.ridge.choose(targets, metric)
        return Side.of(self.ridge.solve(targets, self.reg), self.features, self.at, self.rows, factors.dtype)


def root_of_mean(factors: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """L (rank + 1, rank + 1): ‖e L‖² is the mean of (z·e)² over ratings of the other side, with z = [factors, 1]."""
    z = np.column_stack([factors, np.ones(len(factors))]).astype(np.float64)
    mean = (z * (counts / counts.sum())[:, None]).T @ z
    return np.asarray(np.linalg.cholesky(mean + 1e-9 * np.trace(mean) * np.eye(len(mean))))


def scattered(array: NDArray[Any], at: NDArray[np.int32], rows: int) -> NDArray[Any]:
    """Rows of ``array`` at positions ``at``; zeros elsewhere."""
    out = np.zeros((rows, *array.shape[1:]), array.dtype)
    out[at] = array
    return out


def sources(at: NDArray[np.int32], counts: NDArray[np.int64], side: Side | None) -> list[str]:
    """Where factors at positions ``at`` come from; −1 is unknown."""
    rated = (at >= 0) & (counts[at] > 0)
    told = (at >= 0) & (np.zeros(len(at), bool) if side is None else side.has[at] > 0)
    return [_SOURCES[code] for code in (2 * rated + told).tolist()]
