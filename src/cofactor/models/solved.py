"""How sure a model is whose users and items are ridge regressions: of each row, and of rows told by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cofactor.errors import BadModel, NotSupported
from cofactor.ids import IdMap
from cofactor.models.factor_state import check_array
from cofactor.models.intervals import SureModel
from cofactor.ratings import Compressed, Ratings

_AT_ONCE = 4096  # rows held at a time in double precision


class SolvedModel(SureModel):
    """A factor model whose rows are ridge regressions with λ of ``row_reg``, each of which knows how sure it is."""

    def doubt(
        self, users: NDArray[np.int32], items: NDArray[np.int32], rows: Compressed | None = None
    ) -> NDArray[np.float64]:
        """See ``SureModel.doubt``: that of the user's factors given the items, and of the items' given the users.

        For each user their own system is taken, for items the one that is usual with as many ratings.
        """
        spectrum, counts = self._spectrum()
        own = self.ratings_ if rows is None else rows
        factors = self.user_factors_ if rows is None else self.solve_users(rows)[0]
        of_rows, of_items = (
            self.side_regs(own.counts, counts) if rows is None else self._new_regs(own, counts)
        )
        of_users = RowSystems(own, self.item_factors_, self._biased, of_rows, self._empty_reg)
        z = vectors(factors, users, self._biased)
        n, reg = (
            np.where(items >= 0, known[np.maximum(items, 0)], unknown)
            for known, unknown in ((counts, 0), (of_items, self._empty_reg))
        )
        variances = of_users.variances(users, items) + spectrum.variances(z, n, reg)
        return np.asarray(self.noise_variance() * variances, np.float64)

    def _new_regs(
        self, rows: Compressed, counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """λ of somebody new each, and of the items."""
        nobody = np.zeros(len(self.user_ids_), np.int64)
        return self.row_reg(rows.counts), self.side_regs(nobody, counts)[1]

    @property
    def _empty_reg(self) -> float:
        """λ of a row that is not known."""
        return float(self.row_reg(np.zeros(1, np.int64))[0])

    def noise_variance(self) -> float:
        """See ``SureModel``: σ² is Σ residual² over the ratings that were not spent on factors and biases."""
        return float(self._sureness()["noise"][0])

    def draw_scores(
        self, user: int, random: np.random.Generator, rows: Compressed | None = None
    ) -> NDArray[np.float32]:
        """See ``SureModel.draw_scores``: the user from N([û, b̂], σ² A⁻¹), the items as they are."""
        one = np.array([user])
        if rows is None:
            own, factors, bias = self.ratings_.take(one), self.user_factors_[one], self.user_bias_[one]
            reg = self.side_regs(self.ratings_.counts, np.zeros(len(self.item_ids_), np.int64))[0][one]
        else:
            own = rows.take(one)
            (factors, bias), reg = self.solve_users(own), self.row_reg(own.counts)
        systems = RowSystems(own, self.item_factors_, self._biased, reg, self._empty_reg)
        values, ways = np.linalg.eigh(systems.inverse(0))
        spread = np.sqrt(self.noise_variance() * np.maximum(values, 0))
        step = ways @ (spread * random.standard_normal(len(values)))
        known = self.mean_ + (float(bias[0]) + step[-1] if self._biased else 0.0)
        u = factors[0] + step[: factors.shape[1]]
        return np.asarray(self.item_factors_ @ u + self.item_bias_ + known, np.float32)

    def _sureness(self) -> dict[str, NDArray[Any]]:
        """What the users it was fitted on tell of how sure it is: σ², their mean z zᵀ, ratings of each item."""
        if not hasattr(self, "_sure"):
            rows = self.ratings_
            if not len(rows.indices):
                raise NotSupported(
                    "This model holds items alone, and no ratings to tell the noise by. Fold users in first, with "
                    "fold_in."
                )
            at, places = rows.row_numbers(), rows.indices
            residual = rows.values.astype(np.float64) - self._predict_at(at, places)
            counts = np.bincount(places, minlength=len(self.item_ids_))
            moment = mean_square(self.user_factors_, rows.counts, self._biased)
            of_items = mean_square(self.item_factors_, counts, self._biased)
            of_row, of_item = self.side_regs(rows.counts, counts)
            spent = Spectrum(of_items).spent(rows.counts, of_row) + Spectrum(moment).spent(counts, of_item)
            noise = float((residual**2).sum()) / max(len(residual) - spent, 1.0)
            self._sure = {"noise": np.array([noise]), "moment": moment, "item_counts": counts}
        return self._sure

    def _spectrum(self) -> tuple[Spectrum, NDArray[np.int64]]:
        known = self._sureness()
        if not hasattr(self, "_of_items"):
            self._of_items = Spectrum(known["moment"])
        return self._of_items, known["item_counts"]

    def fold_in(self, ratings: Ratings) -> Self:
        """See ``Model.fold_in``. How sure it is stays as the ratings say that it was fitted on."""
        if self.is_fitted and len(self.ratings_.indices):
            self._sureness()
        return super().fold_in(ratings)

    def only_items(
        self, rows: Compressed | None = None, times: NDArray[np.int64] | None = None, now: int | None = None
    ) -> Self:
        """See ``FactorModel.only_items``."""
        if self.is_fitted and len(self.ratings_.indices):
            self._sureness()
        return super().only_items(rows, times, now)

    def _order_items(self, places: NDArray[Any]) -> None:
        super()._order_items(places)
        if hasattr(self, "_sure"):
            self._sure = {**self._sure, "item_counts": self._sure["item_counts"][places]}

    def _forget(self) -> None:
        super()._forget()
        for name in ("_sure", "_of_items"):
            self.__dict__.pop(name, None)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """See ``Model.state``."""
        arrays, facts = super().state()
        if hasattr(self, "_sure"):
            return arrays | self._sure, facts | {"sure": True}
        return arrays, facts

    def restore(
        self, user_ids: IdMap, item_ids: IdMap, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
    ) -> Self:
        """See ``Model.restore``."""
        super().restore(user_ids, item_ids, arrays, facts)
        if facts.get("sure"):
            size = self.item_factors_.shape[1] + self._biased
            whole = f"{len(item_ids)} items and rank {self.item_factors_.shape[1]}"
            shapes: dict[str, tuple[tuple[int | None, ...], str]] = {
                "noise": ((1,), "f8"),
                "moment": ((size, size), "f8"),
                "item_counts": ((len(item_ids),), "i8"),
            }
            self._sure = {
                name: check_array(arrays, name, shape, kind, whole) for name, (shape, kind) in shapes.items()
            }
            if self._sure["noise"][0] < 0 or (self._sure["item_counts"] < 0).any():
                raise BadModel(
                    "The noise or a number of ratings of the model is negative. Fit the model anew."
                )
        return self


def vectors(factors: NDArray[Any], places: NDArray[Any], biased: bool) -> NDArray[np.float64]:
    """z = [v, 1], or v without biases, of some rows (n, unknowns); v = 0 for −1."""
    z = np.zeros((len(places), factors.shape[1]))
    known = places >= 0
    z[known] = factors[places[known]]
    return np.hstack([z, np.ones((len(z), 1))]) if biased else z


def mean_square(factors: NDArray[Any], counts: NDArray[Any], biased: bool) -> NDArray[np.float64]:
    """Mean of z zᵀ (unknowns, unknowns) over rows that count so often."""
    size = factors.shape[1] + biased
    total = np.zeros((size, size))
    for begin in range(0, len(factors), _AT_ONCE):
        some = np.arange(begin, min(begin + _AT_ONCE, len(factors)))
        z = vectors(factors, some, biased)
        total += z.T @ (z * counts[some][:, None])
    return np.asarray(total / max(int(counts.sum()), 1), np.float64)


class Spectrum:
    """Ridge regressions told by how many ratings a row has, without a look at which.

    A row of n ratings has about the system  A = n C + λ I  with C the mean of z zᵀ over all ratings. With noise of
    variance σ², σ² zᵀA⁻¹z is the variance of a prediction, and  tr n C A⁻¹  how many of its ratings were spent on it.
    """

    def __init__(self, moment: NDArray[np.float64]) -> None:
        """``moment`` (unknowns, unknowns) is C."""
        values, self._vectors = np.linalg.eigh(moment)
        self._values = np.maximum(values, 0)

    def variances(
        self, z: NDArray[np.float64], counts: NDArray[Any], reg: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """zᵀA⁻¹z (n,) for z (n, unknowns) of rows with so many ratings and this λ."""
        systems = counts[:, None] * self._values + reg[:, None]  # their eigenvalues (n, unknowns)
        return np.asarray(((z @ self._vectors) ** 2 / np.maximum(systems, 1e-12)).sum(axis=1), np.float64)

    def spent(self, counts: NDArray[Any], reg: NDArray[np.float64]) -> float:
        """Ratings spent on all rows with so many ratings and this λ."""
        known = counts[:, None] * self._values
        return float((known / np.maximum(known + reg[:, None], 1e-12)).sum())


class RowSystems:
    """The ridge regressions of one side, given the factors of the other.

    A = Σ z zᵀ + λ I  with z = [v, 1] (v alone where there are no biases). With noise of variance σ², σ² A⁻¹ is the
    covariance of the row's factors and bias given the other side.
    """

    def __init__(
        self,
        rows: Compressed,
        fixed: NDArray[Any],
        biased: bool,
        reg: NDArray[np.float64],
        empty_reg: float,
    ) -> None:
        """``reg`` (rows,) is λ of each row, ``empty_reg`` that of a row which is not known."""
        self.rows, self.fixed, self.biased, self.reg, self.empty_reg = rows, fixed, biased, reg, empty_reg

    def inverse(self, row: int) -> NDArray[np.float64]:
        """A⁻¹; of an unknown row, −1, that of a row without ratings."""
        z = vectors(self.fixed, self.rows.row(row)[0] if row >= 0 else np.empty(0, np.int32), self.biased)
        lam = float(self.reg[row]) if row >= 0 else self.empty_reg
        system = z.T @ z + lam * np.eye(z.shape[1])
        return np.asarray(
            np.linalg.inv(system) if lam > 0 else np.linalg.pinv(system, hermitian=True), np.float64
        )

    def variances(self, rows: NDArray[np.int32], places: NDArray[np.int32]) -> NDArray[np.float64]:
        """zᵀA⁻¹z for pairs of a row and one of the other side."""
        out = np.empty(len(rows))
        order = np.argsort(rows, kind="stable")
        ends = np.flatnonzero(np.diff(rows[order], append=np.iinfo(np.int32).max)) + 1
        for begin, end in zip(np.concatenate([[0], ends[:-1]]), ends):
            mine = order[begin:end]
            z = vectors(self.fixed, places[mine], self.biased)
            out[mine] = np.einsum("ij,jk,ik->i", z, self.inverse(int(rows[mine[0]])), z, optimize=True)
        return out
