"""What the stored state of a factor model must be, before it becomes a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadModel

FLOATS = ("user_factors", "item_factors", "user_bias", "item_bias", "objective")


def check_state(
    users: int, items: int, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
) -> tuple[float, tuple[float, float]]:
    """Whether arrays and facts are the state of a factor model of so many users and items.

    Returns the mean and the scale. Raises ``BadModel``, naming the array, for anything that would let a
    kernel read outside an array, or that ``fit`` could not have made.
    """
    rank = arrays["item_factors"].shape[1] if arrays.get("item_factors", np.empty(0)).ndim == 2 else -1
    whole = f"{users} users, {items} items and rank {rank}"
    kind = arrays["item_factors"].dtype if "item_factors" in arrays else np.dtype(np.float32)
    for name, shape in {
        "user_factors": (users, rank),
        "item_factors": (items, rank),
        "user_bias": (users,),
        "item_bias": (items,),
    }.items():
        check_array(arrays, name, shape, kind, whole)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise BadModel(f"The factors are {kind}, not float32 or float64. Save the model again.")
    check_array(arrays, "objective", (None,), "f8", whole)
    check_rows(arrays, "ratings", users, items, whole)
    return check_facts(facts)


def check_array(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...], kind: Any, whole: str
) -> NDArray[Any]:
    """The array of this name, shape (None: any length) and dtype; its floats must be finite.

    ``whole`` says what the array must go with, such as "3 users and 2 items".
    """
    array = arrays.get(name)
    if array is None:
        raise BadModel(f"The model has no array {name!r}. It is incomplete: save it again or fit it anew.")
    right = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape))
    if not right or array.dtype != np.dtype(kind):
        raise BadModel(
            f"The array {name!r} is {array.dtype}{list(array.shape)}, which does not go with {whole}. "
            f"The model folder was changed or mixed: save it again."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadModel(f"The array {name!r} holds values that are not finite. Fit the model anew.")
    return array


def check_rows(arrays: Mapping[str, NDArray[Any]], name: str, users: int, items: int, whole: str) -> None:
    """Ratings of so many users in the arrays ``name``_indptr, _indices and _values."""
    indptr = check_array(arrays, f"{name}_indptr", (users + 1,), "i8", whole)
    indices = check_array(arrays, f"{name}_indices", (None,), "i4", whole)
    values = check_array(arrays, f"{name}_values", (None,), "f4", whole)
    # Compared, not subtracted: a difference of hostile pointers can wrap around.
    if indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
        raise BadModel(
            "The row pointers of the stored ratings do not go with their number. Save the model again."
        )
    if len(indices) != len(values) or (
        len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < items
    ):
        raise BadModel("The stored ratings name items that the model does not have. Save the model again.")
    rising = np.concatenate([indices[1:] > indices[:-1], [True]])
    rising[indptr[1:][indptr[1:] > 0] - 1] = True  # from one row to the next they may fall
    if not rising.all():
        raise BadModel("The stored ratings of a user are not in the order of items. Save the model again.")


def check_facts(facts: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    """The mean and the scale."""
    try:
        mean, (low, high) = float(facts["mean"]), map(float, facts["scale"])
    except (KeyError, TypeError, ValueError):
        raise BadModel("The manifest has no usable mean and scale. Save the model again.") from None
    if not (np.isfinite([mean, low, high]).all() and low <= high):
        raise BadModel(f"The manifest says mean {mean} and scale {low} to {high}. Save the model again.")
    return mean, (low, high)
