"""Alternating least squares: with the items fixed, every user is a ridge regression, and the other way round.

    J = Σ (r_ij − μ − b_i − c_j − u_i·v_j)² + Σ_i λ_i (‖u_i‖² + b_i²) + Σ_j λ_j (‖v_j‖² + c_j²)
    λ_i = reg · (ratings of i)^reg_exponent

Every update is an exact minimizer (or, with conjugate gradients, a descent), so J never rises. Between sweeps the
item factors may go on the way they went, which is kept only where J does not rise by it either.
Y. Koren, R. Bell, C. Volinsky, "Matrix Factorization Techniques for Recommender Systems", Computer
42(8), 2009; Y. Zhou et al., "Large-scale Parallel Collaborative Filtering for the Netflix Prize",
AAIM 2008 (ALS-WR, here reg_exponent=1); G. Takács, I. Pilászy, D. Tikk, "Applications of the
conjugate gradient method for implicit feedback collaborative filtering", RecSys 2011; D. Mitchell,
N. Ye, H. De Sterck, "Nesterov acceleration of alternating least squares for canonical tensor
decomposition", Numerical Linear Algebra with Applications 27(4), 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cofactor import kernels
from cofactor.errors import BadModel, BadParameter, NotSupported, SingularSystem, shorten
from cofactor.ids import IdMap
from cofactor.models.base import Callback, check_choice, check_number, check_rank, check_ratings, check_whole
from cofactor.models.factor_state import check_array
from cofactor.models.factors import FactorModel
from cofactor.models.intervals import RowSystems, Spectrum, SureModel, mean_square, vectors
from cofactor.progress import Progress
from cofactor.ratings import Compressed, Ratings

_START = 0.1  # standard deviation of the item factors before the first sweep
_AT_ONCE = 4096  # rows that are changed at a time where that saves memory


class AlternatingModel(FactorModel):
    """What ``ALS`` and ``Baseline`` share: half-sweeps, the objective, when to stop."""

    sweeps: int
    tol: float

    def _check_alternation(self) -> None:
        """``BadParameter`` unless the parameters that all alternating models share are sound."""
        check_number("reg", self.reg)
        check_number("reg_exponent", self.reg_exponent)
        check_whole("sweeps", self.sweeps, 1)
        check_number("tol", self.tol)
        kernels.thread_count(self.threads)

    def _alternate(
        self,
        ratings: Ratings,
        rank: int,
        biases: kernels.Biases,
        solver: kernels.Solver,
        momentum: bool,
        start: NDArray[Any],
        start_bias: NDArray[Any],
        cg_steps: int,
        callback: Callback | None,
        progress: bool | None,
    ) -> Self:
        """Sweeps from item factors ``start`` (items, rank) and ``start_bias`` (items,), which change in place.

        With ``momentum`` each sweep but the first two begins from item factors and biases carried on.
        """
        self._forget()
        if self.reg == 0:
            unknowns = rank + (biases == "joint")
            _check_determined("user", ratings.user_ids, ratings.by_user, unknowns)
            _check_determined("item", ratings.item_ids, ratings.by_item, unknowns)
        dtype = start.dtype
        mean = float(ratings.values.mean(dtype=np.float64)) if biases else 0.0
        factors = {"user": kernels.aligned_zeros(ratings.n_users, rank, dtype), "item": start}
        bias = {"user": np.zeros(ratings.n_users, dtype), "item": start_bias}
        rows = {"user": ratings.by_user, "item": ratings.by_item}
        ids = {"user": ratings.user_ids, "item": ratings.item_ids}
        reg = {side: self.row_reg(rows[side].counts) for side in rows}

        def half_sweep(side: str, other: str, solver: kernels.Solver) -> float:
            """Solves one side; returns the squared error after it."""
            errors, singular = kernels.solve_rows(
                rows[side].indptr,
                rows[side].indices,
                rows[side].values,
                factors[other],
                bias[other],
                reg[side],
                factors[side],
                bias[side],
                mean=mean,
                biases=biases,
                solver=solver,
                cg_steps=cg_steps,
                threads=self.threads,
            )
            if singular >= 0:
                raise SingularSystem(
                    f"The ratings of {side} {shorten(ids[side].id(singular))} do not determine its {rank} factors: "
                    f"reg={self.reg:g} is lost in rounding. Give a larger reg."
                )
            return float(errors.sum())

        def penalty(side: str) -> float:
            squares = np.einsum("ik,ik->i", factors[side], factors[side], dtype=np.float64)
            # a sum, not a product: that of the BLAS keeps threads of its own spinning
            return float(np.sum(reg[side] * (squares + bias[side].astype(np.float64) ** 2)))

        def objective_of(error: float) -> float:
            return error + penalty("user") + penalty("item")

        def publish() -> None:
            self.user_factors_, self.item_factors_ = factors["user"], factors["item"]
            self.user_bias_, self.item_bias_ = bias["user"], bias["item"]
            self.mean_, self.objective_ = mean, np.array(objective)
            self.ratings_, self.scale_ = ratings.by_user, ratings.scale
            self.user_ids_, self.item_ids_ = ratings.user_ids, ratings.item_ids

        objective: list[float] = []
        # The users once more against the final items, exactly: then u_i is a function of V and the
        # user's own ratings, as it is for a user folded in later. The sequential order ends as the
        # textbook procedure does.
        closing = biases != "sequential"
        carried = _Momentum(start, start_bias) if momentum else None
        try:
            with Progress(self.sweeps, "Fitting", progress) as bar:
                for sweep in range(1, self.sweeps + 1):
                    exact = solver == "auto" and sweep == self.sweeps
                    if carried is not None:
                        carried.carry_on()
                    error = half_sweep("user", "item", solver)
                    if carried is not None and sweep > 1 and not objective_of(error) <= objective[-1]:
                        carried.take_back()
                        half_sweep("user", "item", "cholesky")
                    error = half_sweep("item", "user", "cholesky" if exact else solver)
                    objective.append(objective_of(error))
                    bar.advance(f"J = {objective[-1]:.6g}")
                    settled = (
                        self.tol > 0
                        and sweep > 1
                        and objective[-2] - objective[-1] < self.tol * objective[-2]
                    )
                    stop = settled or sweep == self.sweeps
                    if callback is not None:
                        publish()
                        stop = bool(callback(self, sweep, objective[-1])) or stop
                    if stop:
                        break
                if closing:
                    error = half_sweep("user", "item", "cholesky")
                    objective[-1] = objective_of(error)
        except BaseException:
            self._forget()
            raise
        publish()
        return self


class _Momentum:
    """Carries factors and biases on the way they went in a sweep:  x + β (x − x one sweep ago),  β = k / (k + 3).

    k counts the sweeps since the start, or since this went wrong: Nesterov's weights, begun afresh.
    """

    def __init__(self, *arrays: NDArray[Any]):
        self._arrays = arrays  # changed in place
        self._before = [np.zeros_like(array) for array in arrays]
        self._age = -1

    def carry_on(self) -> None:
        """One sweep later. Changes nothing before there are two sweeps to tell the way from."""
        self._age += 1
        beta = max(0.0, (self._age - 1) / (self._age + 2))
        for array, before in zip(self._arrays, self._before):
            for part, part_before in zip(_parts(array), _parts(before)):
                now = part.copy()
                part += array.dtype.type(beta) * (part - part_before)
                part_before[:] = now

    def take_back(self) -> None:
        """Undoes the last ``carry_on``; the way is then told afresh."""
        for array, before in zip(self._arrays, self._before):
            array[...] = before
        self._age = 0


@dataclass(eq=False)
class ALS(SureModel, AlternatingModel):
    """Matrix factorization with biases by alternating least squares:  r̂ = μ + b_i + c_j + u_i·v_j.

    Args:
        rank: K, the number of factors; at least 1 and at most the number of items.
        reg: λ, at least 0. With 0 every user and item needs at least K + 1 ratings.
        reg_exponent: λ_i = reg · (ratings of i)^reg_exponent: 0 is the plain λ, 1 is ALS-WR.
        sweeps: how many times both sides are solved, at most.
        biases: "joint" solves [u_i, b_i] at once; "sequential" goes b, U, c, V in turn; None is the
            plain R ≈ U Vᵀ, without biases and mean.
        solver: "cholesky" solves each row exactly, by the dual system where the row is short. "cg" takes
            ``cg_steps`` of conjugate gradient from the factors at hand. "auto" gets to a low J soonest: it takes
            the cheaper of the two for each row, carries the items on between sweeps the way they went (taken
            back where J would rise; not with "sequential"), and is exact at the end.
        tol: stop once J falls by less than this share in a sweep; 0 takes all sweeps.
        seed: for the start of the item factors.
        cg_steps: steps of "cg" for each row and sweep.
        dtype: "float32" or "float64", of the factors.
        threads: None for all processors. The result does not depend on it, to the bit.

    A sweep solves the users, then the items. After the last one the users are solved once more, exactly, so
    that each is the minimizer for the final items, as a user folded in later is; not so with
    ``biases="sequential"``, which is the textbook procedure to the letter. After ``fit``, see
    ``FactorModel`` for the attributes.
    """

    rank: int = 32
    reg: float = 1.0
    reg_exponent: float = 0.5
    sweeps: int = 15
    biases: Literal["joint", "sequential"] | None = "joint"
    solver: Literal["auto", "cholesky", "cg"] = "auto"
    tol: float = 0.0
    seed: int = 0
    cg_steps: int = 3
    dtype: Literal["float32", "float64"] = "float32"
    threads: int | None = None

    @property
    def _biased(self) -> bool:
        return self.biases is not None

    @property
    def _bias_first(self) -> bool:
        return self.biases == "sequential"

    # -- how sure it is ------------------------------------------------------------------------

    def doubt(
        self, users: NDArray[np.int32], items: NDArray[np.int32], rows: Compressed | None = None
    ) -> NDArray[np.float64]:
        """See ``SureModel.doubt``: that of the user's factors given the items, and of the items' given the users.

        For each user their own system is taken, for items the one that is usual with as many ratings.
        """
        spectrum, counts = self._spectrum()
        own = self.ratings_ if rows is None else rows
        factors = self.user_factors_ if rows is None else self.solve_users(rows)[0]
        of_users = RowSystems(own, self.item_factors_, self._biased, self.row_reg)
        z = vectors(factors, users, self._biased)
        n = np.where(items >= 0, counts[np.maximum(items, 0)], 0)
        variances = of_users.variances(users, items) + spectrum.variances(z, n, self.row_reg(n))
        return np.asarray(self.noise_variance() * variances, np.float64)

    def noise_variance(self) -> float:
        """See ``SureModel``: σ² is Σ residual² over the ratings that were not spent on factors and biases."""
        return float(self._sureness()["noise"][0])

    def draw_scores(
        self, user: int, random: np.random.Generator, rows: Compressed | None = None
    ) -> NDArray[np.float32]:
        """See ``SureModel.draw_scores``: the user from N([û, b̂], σ² A⁻¹), the items as they are."""
        own = (self.ratings_ if rows is None else rows).take(np.array([user]))
        factors, bias = self.solve_users(own)
        systems = RowSystems(own, self.item_factors_, self._biased, self.row_reg)
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
            spent = Spectrum(of_items).spent(rows.counts, self.row_reg(rows.counts))
            spent += Spectrum(moment).spent(counts, self.row_reg(counts))
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

    def only_items(self, rows: Compressed | None = None) -> Self:
        """See ``FactorModel.only_items``."""
        if self.is_fitted and len(self.ratings_.indices):
            self._sureness()
        return super().only_items(rows)

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

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``. Raises ``SingularSystem`` where ``reg`` is too small for a row."""
        return self.fit_from(None, ratings, callback=callback, progress=progress)

    def fit_from(
        self,
        start: tuple[NDArray[Any], NDArray[Any]] | None,
        ratings: Ratings,
        *,
        callback: Callback | None = None,
        progress: bool | None = None,
    ) -> Self:
        """``fit``, but from item factors (items, K) and biases (items,) of another fit of the same ratings.

        Of another rank, factors are left out or begin at random. Near the end of that fit fewer sweeps are needed.
        """
        self.check_parameters(check_ratings(ratings).n_items)
        factors = start_factors(ratings.n_items, self.rank, self.seed, self.dtype)
        bias = np.zeros(ratings.n_items, self.dtype)
        if start is not None:
            known = min(self.rank, start[0].shape[1])
            factors[:, :known], bias[:] = start[0][:, :known], start[1]
        momentum = self.solver == "auto" and self.biases != "sequential"
        return self._alternate(
            ratings,
            self.rank,
            self.biases,
            self.solver,
            momentum,
            factors,
            bias,
            self.cg_steps,
            callback,
            progress,
        )

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        check_rank(self.rank, n_items)
        self._check_alternation()
        check_choice("biases", self.biases, ("joint", "sequential", None))
        check_choice("solver", self.solver, ("auto", "cholesky", "cg"))
        check_whole("seed", self.seed, 0)
        check_whole("cg_steps", self.cg_steps, 1)
        check_choice("dtype", self.dtype, ("float32", "float64"))


def start_factors(n_items: int, rank: int, seed: int, dtype: DTypeLike) -> NDArray[Any]:
    """The random item factors (items, rank) that a fit begins with."""
    factors = kernels.aligned_zeros(n_items, rank, dtype)
    random = np.random.default_rng(seed)
    for part in _parts(factors):
        part[:] = random.standard_normal(part.shape) * _START
    return factors


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[begin : begin + _AT_ONCE] for begin in range(0, len(array), _AT_ONCE))


def _check_determined(side: str, ids: IdMap, rows: Compressed, unknowns: int) -> None:
    shortest = int(np.argmin(rows.counts))
    if rows.counts[shortest] < unknowns:
        raise BadParameter(
            f"reg is 0, but {side} {shorten(ids.id(shortest))} has {rows.counts[shortest]} ratings for {unknowns} "
            f"unknowns, so its factors are not determined. Give reg > 0, or leave out {side}s with fewer than "
            f"{unknowns} ratings."
        )
