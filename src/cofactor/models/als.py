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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cofactor import kernels
from cofactor.errors import BadParameter, SingularSystem, shorten
from cofactor.ids import IdMap
from cofactor.models.base import Callback, check_choice, check_number, check_rank, check_ratings, check_whole
from cofactor.models.factors import FactorModel
from cofactor.models.intervals import SolvedModel
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
class ALS(SolvedModel, AlternatingModel):
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
