"""What the stored state of a neighbourhood model must be, before it becomes a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadModel
from cofactor.models.factor_state import check_array, check_facts, check_rows
from cofactor.ratings import Compressed


@dataclass(frozen=True, eq=False)
class Folded:
    """Users folded in: their positions (m,) ascending, their biases (m,) and their ratings, m rows."""

    users: NDArray[np.int32]
    bias: NDArray[np.float32]
    rows: Compressed

    @classmethod
    def nobody(cls) -> Self:
        """No users."""
        rows = Compressed(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
        return cls(np.empty(0, np.int32), np.empty(0, np.float32), rows)


def rows_state(name: str, rows: Compressed) -> dict[str, NDArray[Any]]:
    """The arrays of some rows, by name."""
    return {f"{name}_indptr": rows.indptr, f"{name}_indices": rows.indices, f"{name}_values": rows.values}


def rows_of(name: str, arrays: Mapping[str, NDArray[Any]]) -> Compressed:
    """The rows that ``rows_state`` gave."""
    return Compressed(*(arrays[f"{name}_{part}"] for part in ("indptr", "indices", "values")))


def check_state(
    users: int, items: int, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], biased: bool
) -> tuple[float, tuple[float, float], Folded]:
    """Whether arrays and facts are the state of a neighbourhood model of so many users and items.

    Returns the mean, the scale and the users folded in. Raises ``BadModel``, naming the array, for anything
    that would let a kernel read outside an array, or that ``fit`` could not have made.
    """
    mean, scale = check_facts(facts)
    whole = f"{users} users and {items} items"
    for name, length in (("user_bias", users), ("item_bias", items)):
        bias = check_array(arrays, name, (length,), "f4", whole)
        if not biased and bias.any():
            raise BadModel(
                f"The array {name!r} is not zero, but the model has no baseline. Fit the model anew."
            )
    check_array(arrays, "objective", (None,), "f8", whole)
    check_rows(arrays, "ratings", users, items, whole)

    folded = facts.get("folded")
    if type(folded) is not int or not 0 <= folded <= users:
        raise BadModel("The manifest does not say how many users were folded in. Save the model again.")
    if folded == 0:
        return mean, scale, Folded.nobody()
    whole = f"{folded} users folded in and {items} items"
    at = check_array(arrays, "folded_users", (folded,), "i4", whole)
    if at[0] < 0 or at[-1] >= users or (at[1:] <= at[:-1]).any():
        raise BadModel(
            "The array 'folded_users' does not name users in ascending order. Save the model again."
        )
    bias = check_array(arrays, "folded_bias", (folded,), "f4", whole)
    if not biased and bias.any():
        raise BadModel(
            "The array 'folded_bias' is not zero, but the model has no baseline. Fit the model anew."
        )
    check_rows(arrays, "folded", folded, items, whole)
    return mean, scale, Folded(at, bias, rows_of("folded", arrays))
