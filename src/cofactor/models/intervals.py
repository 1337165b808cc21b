"""How sure a prediction is: what all models share that can tell."""

from __future__ import annotations

from abc import abstractmethod
from statistics import NormalDist
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadParameter, NotSupported
from cofactor.ids import Ids
from cofactor.models.factors import FactorModel
from cofactor.ratings import Compressed

_LOOKED_AT = 20_000  # rows of a side from which it is reckoned how many numbers the ratings were spent on


class SureModel(FactorModel):
    """A factor model whose ``predict`` also gives standard deviations and intervals."""

    @abstractmethod
    def _std_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Standard deviation of a rating around its prediction for pairs of positions; −1 is unknown."""

    @overload
    def predict(
        self,
        users: Ids,
        items: Ids,
        *,
        clip: bool = ...,
        return_std: Literal[False] = ...,
        interval: None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def predict(
        self, users: Ids, items: Ids, *, clip: bool = ..., return_std: Literal[True], interval: None = ...
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(
        self, users: Ids, items: Ids, *, clip: bool = ..., return_std: Literal[False] = ..., interval: float
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
    def predict(
        self,
        users: Ids,
        items: Ids,
        *,
        clip: bool = False,
        return_std: bool = False,
        interval: float | None = None,
    ) -> NDArray[Any] | tuple[NDArray[Any], ...]:
        """See ``Model.predict``. With ``return_std`` the standard deviation of a rating beside its prediction; with
        ``interval=0.9`` also the ends (low, high) within which nine of ten ratings are expected.

        The deviation is that of what could be given: how unsure the prediction is, and the noise of ratings around
        it. An id that the model does not know could be like any: wide. ``clip`` keeps the ends on the scale, too.
        """
        mean = super().predict(users, items, clip=clip)
        if not return_std and interval is None:
            return mean
        if return_std and interval is not None:
            raise BadParameter("Give either return_std or interval: an interval has the deviation in it.")
        std = self._std_at(self.user_ids_.positions(users, "user"), self.item_ids_.positions(items, "item"))
        if interval is None:
            return mean, std
        if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 < interval < 1:
            raise BadParameter(f"interval is {interval!r}; give a share between 0 and 1, such as 0.9.")
        middle = super().predict(users, items)
        reach = (NormalDist().inv_cdf(0.5 + interval / 2) * std).astype(middle.dtype)
        low, high = middle - reach, middle + reach
        if clip:
            low, high = np.clip(low, *self.scale_), np.clip(high, *self.scale_)
        return mean, low, high


class SolvedModel(SureModel):
    """A factor model whose rows are ridge regressions, each of which knows how sure it is."""

    def _std_at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """See ``SureModel``: the noise of the residuals, and each side's row system given the other side.

        σ² is Σ residual² over the ratings that were not spent on factors and biases. It takes a system for each row of
        the model once, and for each user and item of the pairs again.
        """
        if not len(self.ratings_.indices):
            raise NotSupported(
                "This model holds items alone, and no ratings to tell the noise by. Fold users in first, with fold_in."
            )
        of_users, of_items = row_systems(self, self._biased)
        if not hasattr(self, "_noise"):
            at, places = self.ratings_.row_numbers(), self.ratings_.indices
            residual = self.ratings_.values.astype(np.float64) - self._predict_at(at.astype(np.int32), places)
            left = len(residual) - of_users.spent() - of_items.spent()
            self._noise = float((residual**2).sum()) / max(left, 1.0)
        spread = 1 + of_users.variances(users, items) + of_items.variances(items, users)
        return np.sqrt(self._noise * spread).astype(np.float32)

    def _forget(self) -> None:
        super()._forget()
        self.__dict__.pop("_noise", None)


class RowSystems:
    """The ridge regressions of one side, as the last half-sweep left them.

    A = Σ z zᵀ + λ I  with z = [v, 1] (v alone where there are no biases). With noise of variance σ², σ² A⁻¹ is the
    covariance of the row's factors and bias given the other side, and  K + 1 − λ tr A⁻¹  how many of its ratings were
    spent on them.
    """

    def __init__(self, rows: Compressed, fixed: NDArray[Any], biased: bool, reg: NDArray[np.float64]) -> None:
        self.rows, self.fixed, self.biased, self.reg = rows, fixed, biased, reg

    def vectors(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """z of some of the other side's rows; zeros for −1, but for the bias."""
        z = np.where(places[:, None] >= 0, self.fixed[np.maximum(places, 0)], 0).astype(np.float64)
        return np.hstack([z, np.ones((len(z), 1))]) if self.biased else z

    def inverse(self, row: int) -> NDArray[np.float64]:
        """A⁻¹; of an unknown row, −1, that of a row without ratings."""
        z = self.vectors(self.rows.row(row)[0] if row >= 0 else np.empty(0, np.int32))
        lam = float(self.reg[row]) if row >= 0 else float(self.reg.min(initial=np.inf))
        system = z.T @ z + lam * np.eye(z.shape[1])
        return np.asarray(
            np.linalg.inv(system) if lam > 0 else np.linalg.pinv(system, hermitian=True), np.float64
        )

    def spent(self) -> float:
        """Ratings spent on the side's factors and biases, reckoned from some of its rows."""
        chosen = np.arange(len(self.rows))
        if len(chosen) > _LOOKED_AT:
            chosen = np.random.default_rng(0).permutation(chosen)[:_LOOKED_AT]
        size = self.fixed.shape[1] + self.biased
        total = sum(
            size - float(self.reg[row]) * float(np.trace(self.inverse(row))) for row in chosen.tolist()
        )
        return float(total * len(self.rows) / max(len(chosen), 1))

    def variances(self, rows: NDArray[np.int32], places: NDArray[np.int32]) -> NDArray[np.float64]:
        """zᵀA⁻¹z for pairs of a row and one of the other side."""
        out = np.empty(len(rows))
        order = np.argsort(rows, kind="stable")
        ends = np.flatnonzero(np.diff(rows[order], append=np.iinfo(np.int32).max)) + 1
        for begin, end in zip(np.concatenate([[0], ends[:-1]]), ends):
            mine = order[begin:end]
            z = self.vectors(places[mine])
            out[mine] = np.einsum("ij,jk,ik->i", z, self.inverse(int(rows[mine[0]])), z, optimize=True)
        return out


def row_systems(model: FactorModel, biased: bool) -> tuple[RowSystems, RowSystems]:
    """The systems of users and of items of a fitted model."""
    rows = model.ratings_
    columns = Compressed(*kernels.transpose(rows.indptr, rows.indices, rows.values, len(model.item_ids_)))
    of_users, of_items = model.side_regs(rows.counts, columns.counts)
    return (
        RowSystems(rows, model.item_factors_, biased, of_users),
        RowSystems(columns, model.user_factors_, biased, of_items),
    )
