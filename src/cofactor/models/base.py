"""The contract every model keeps.

A model is a dataclass of its hyperparameters. ``fit`` validates them, starts afresh, and returns the
model itself; what it learns ends in an underscore. Ids in and out are raw ids.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadParameter, NotFitted, NotSupported
from cofactor.ids import Id, IdMap, Ids
from cofactor.models.results import Explanation, Recommendations
from cofactor.ratings import Ratings

Callback: TypeAlias = Callable[["Model", int, float], object]
OwnRatings: TypeAlias = Ratings | Mapping[Id, float] | Iterable[tuple[Id, float]]


class Model(ABC):
    """What all models have. Each is a dataclass (eq=False) whose fields are its hyperparameters.

    Attributes:
        predicts_ratings: false of a model that only ranks: it recommends, and ``predict`` raises ``NotSupported``.
        user_ids_, item_ids_: the ids that the model knows, once fitted.
    """

    predicts_ratings: ClassVar[bool] = True

    user_ids_: IdMap
    item_ids_: IdMap

    # -- hyperparameters, as in scikit-learn --------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The hyperparameters by name. ``deep`` is there for scikit-learn and changes nothing."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every concrete model is a dataclass
        return {field.name: getattr(self, field.name) for field in fields}

    def set_params(self, **params: Any) -> Self:
        """Change hyperparameters; returns the model. They take effect at the next ``fit``."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise BadParameter(
                    f"{type(self).__name__} has no parameter {name!r}. It has: {', '.join(known) or 'none'}."
                )
            setattr(self, name, value)
        return self

    @abstractmethod
    def check_parameters(self, n_items: int) -> None:
        """``BadParameter`` unless every hyperparameter is sound, for so many items. ``fit`` and ``load`` ask."""

    # -- state ---------------------------------------------------------------------------------

    @property
    def is_fitted(self) -> bool:
        """Whether ``fit`` has ended."""
        return hasattr(self, "user_ids_")

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise NotFitted(f"This {type(self).__name__} has not been fitted. Call fit(ratings) first.")

    def _forget(self) -> None:
        """No longer fitted."""
        for name in ("user_ids_", "item_ids_"):
            self.__dict__.pop(name, None)

    @abstractmethod
    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything learnt, for storage: arrays by name, and a JSON-ready dictionary of the rest.

        The ids are not in it: storage keeps them itself.
        """

    @abstractmethod
    def restore(
        self, user_ids: IdMap, item_ids: IdMap, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Self:
        """Take over what ``state`` gave. Raises ``BadModel`` where it cannot be what ``state`` gave."""

    # -- the work ------------------------------------------------------------------------------

    @abstractmethod
    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """Learn from ratings, afresh; returns the model.

        ``callback(model, sweep, objective)`` is called after each sweep, counted from 1; where it
        returns something true, the fit stops there; the next sweep changes the model's arrays in place.
        ``progress`` shows a bar on stderr: True, False, or
        None for "where somebody is watching and it takes long". A model that is fitted in one step calls
        ``callback`` once. After an interruption or an error the
        model is not fitted.
        """

    @abstractmethod
    def predict(self, users: Ids, items: Ids, *, clip: bool = False) -> NDArray[Any]:
        """Predicted ratings (n,) for n pairs of raw ids, given as two columns of equal length.

        An id that the model does not know contributes nothing: the prediction is made of the parts
        that are known, at least the mean. ``clip`` keeps predictions on the scale of the ratings.
        """

    @abstractmethod
    def recommend(
        self,
        user: Id | Ids | None = None,
        n: int = 10,
        exclude_seen: bool = True,
        exclude: Ids = (),
        among: Ids | None = None,
        *,
        ratings: OwnRatings | None = None,
    ) -> Recommendations:
        """The n items with the highest predicted ratings, best first; ties go to the lower id.

        ``user`` is one raw id, or several. Somebody who is not in the model gives ``ratings`` instead,
        as {item: rating} or pairs of the two, and is folded in for this answer alone.

        Items that the user has rated are left out unless ``exclude_seen`` is false; so are those in
        ``exclude``. With ``among`` only those items are considered. Only items that the model knows are
        ever listed; where fewer than n are left, fewer come back.

        Raises ``UnknownUser``; ``UnknownItem`` where none of ``among`` or of ``ratings`` is known.
        """

    @abstractmethod
    def similar_items(self, item: Id, n: int = 10) -> Recommendations:
        """The n items most like this one; the score is a cosine, at most 1. Raises ``UnknownItem``."""

    @abstractmethod
    def explain(self, user: Id, item: Id) -> Explanation:
        """The score of one item for one user as a sum of parts. Raises ``UnknownUser``, ``UnknownItem``."""

    def walk(self, test: Ratings) -> NDArray[np.float64]:
        """Predictions (ratings,) of ``test``, in its order, as time goes by: each is made from what the model has
        learnt and from the user's ratings in ``test`` of earlier seconds. The model itself does not change.

        Raises ``BadParameter`` without times, ``NotSupported`` of a model that cannot be told of single ratings.
        """
        self._check_fitted()
        raise NotSupported(
            f"{type(self).__name__} cannot be told of ratings one by one. Evaluate it without update, or take a model "
            f"of factors, such as ALS."
        )

    @abstractmethod
    def fold_in(self, ratings: Ratings) -> Self:
        """A model that knows the users of ``ratings`` too, items untouched. This model does not change.

        Of a user that the model knows already, the new ratings are added to the old ones, replacing
        those of the same items. Ratings of items that the model does not know are left out, with a
        warning that counts them; it is an error where all are.
        """


def check_whole(name: str, value: Any, lowest: int, advice: str = "") -> int:
    """``value`` as an int, at least ``lowest``; else ``BadParameter``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < lowest:
        raise BadParameter(
            f"{name} is {value!r}; give a whole number of at least {lowest}. {advice}".rstrip()
        )
    return int(value)


def check_number(name: str, value: Any, lowest: float = 0.0) -> float:
    """``value`` as a finite float, at least ``lowest``; else ``BadParameter``."""
    good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not good or not np.isfinite(value) or value < lowest:
        raise BadParameter(f"{name} is {value!r}; give a finite number of at least {lowest:g}.")
    return float(value)


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """``BadParameter`` unless ``value`` is one of the choices."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise BadParameter(f"{name} is {value!r}; give one of {', '.join(map(repr, choices))}.")


def check_ratings(ratings: Any) -> Ratings:
    """``BadParameter`` unless these are Ratings."""
    if not isinstance(ratings, Ratings):
        raise BadParameter(
            f"fit takes Ratings, not {type(ratings).__name__}; make them with cofactor.read_ratings(table)."
        )
    return ratings


def check_rank(rank: Any, n_items: int) -> None:
    """``BadParameter`` unless so many factors of so many items can be told apart."""
    check_whole("rank", rank, 1, "For no factors, only biases, use Baseline.")
    if rank > n_items:
        raise BadParameter(
            f"rank is {rank}, more than the {n_items} items rated: so many factors cannot be "
            f"told apart. Give a rank of at most {n_items}; 8 to 128 is usual."
        )
