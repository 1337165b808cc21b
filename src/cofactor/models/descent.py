"""Stochastic gradient descent on the objective of ``ALS``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import BadParameter
from cofactor.models.base import Callback, check_choice, check_number, check_rank, check_ratings, check_whole
from cofactor.models.factors import FactorModel
from cofactor.progress import Progress
from cofactor.ratings import Ratings

_START = 0.5  # factors begin between 0 and this, divided by √K
_PART = 2000  # ratings in a part of the table, about
_MOST_BLOCKS = 64
_HALVINGS = 20  # of the rate, before giving up
_DIVERGED = 4.0  # mean squared error, where that of the mean rating is 1


@dataclass(eq=False)
class SGD(FactorModel):
    """Matrix factorization with biases by stochastic gradient descent:  r̂ = μ + b_i + c_j + u_i·v_j.

        J = Σ (r_ij − μ − b_i − c_j − u_i·v_j)² + Σ_i λ_i (‖u_i‖² + b_i²) + Σ_j λ_j (‖v_j‖² + c_j²)
        λ_i = reg · (ratings of i)^reg_exponent

    It visits the ratings one by one and moves the two rows of each a little down the gradient of its share of J.
    Stopped after few sweeps it has not reached the minimum, and with many factors predicts better for it than
    ``ALS`` does, which has: a start of small positive factors and a short descent are a regularization, too.

    The table is cut into blocks of users × blocks of items, and blocks that share nobody are visited side by side,
    in an order that depends on the seed alone: results are the same for any number of threads, to the bit. A thread
    that finds the next part waiting for another takes one that does not, so this costs no time (``benchmarks``).

    Args:
        rank: K, the number of factors; at least 1 and at most the number of items.
        reg: λ, at least 0.
        reg_exponent: 0 is the plain λ, 1 the usual one of SGD, which meets λ at each rating.
        sweeps: over all ratings. Few regularize, many come near the minimum.
        rate: η of the first sweep, for ratings brought to a standard deviation of 1; it falls along half a cosine to
            nothing. A rate at which J diverges is halved until it does not.
        seed: for the start and the order.
        dtype: "float32" or "float64", of the factors.
        threads: None for all processors.

    After ``fit``, see ``FactorModel`` for the attributes. ``objective_`` takes the error of each rating as it was
    met, before its step; ``rate_`` is the rate at which the descent did not diverge.

    R. Gemulla et al., "Large-Scale Matrix Factorization with Distributed Stochastic Gradient Descent", KDD 2011
    (blocks); W.-S. Chin et al., "A Fast Parallel Stochastic Gradient Method for Matrix Factorization in Shared
    Memory Systems", ACM TIST 6(1), 2015.
    """

    rank: int = 32
    reg: float = 0.25
    reg_exponent: float = 0.75
    sweeps: int = 20
    rate: float = 0.04
    seed: int = 0
    dtype: Literal["float32", "float64"] = "float32"
    threads: int | None = None

    def check_parameters(self, n_items: int) -> None:
        """See ``Model.check_parameters``."""
        check_rank(self.rank, n_items)
        check_number("reg", self.reg)
        check_number("reg_exponent", self.reg_exponent)
        check_whole("sweeps", self.sweeps, 1)
        check_number("rate", self.rate)
        if not 0 < self.rate <= 1:
            raise BadParameter(
                f"rate is {self.rate:g}; give more than 0 and at most 1. 0.01 to 0.1 is usual."
            )
        check_whole("seed", self.seed, 0)
        check_choice("dtype", self.dtype, ("float32", "float64"))
        kernels.thread_count(self.threads)

    def fit(
        self, ratings: Ratings, *, callback: Callback | None = None, progress: bool | None = None
    ) -> Self:
        """See ``Model.fit``."""
        self.check_parameters(check_ratings(ratings).n_items)
        self._forget()
        try:
            with Progress(self.sweeps, "Fitting", progress) as bar:
                rate = float(self.rate)
                for _ in range(_HALVINGS):
                    if self._descend(ratings, rate, callback, bar):
                        return self
                    rate /= 2
        except BaseException:
            self._forget()
            raise
        self._forget()
        raise BadParameter(
            f"The descent diverges at a rate of {self.rate:g}, and still at {rate:.2g}. Give less."
        )

    def _descend(self, ratings: Ratings, rate: float, callback: Callback | None, bar: Progress) -> bool:
        """Descend from the start; False where it diverges."""
        rng = np.random.default_rng(self.seed)
        table = _Blocks(ratings, rng, self.dtype)
        # With r = μ + σ r', b = σ b' and u = √σ u' the objective is that of r' with λ/σ for factors and λ for
        # biases: so a rate suits ratings of any size. Each rating meets its share of λ.
        spread, sides = table.spread, (ratings.by_user, ratings.by_item)
        row_reg = [self.row_reg(rows.counts) for rows in sides]
        shares = [reg / rows.counts for reg, rows in zip(row_reg, sides)]
        padded = -(-self.rank // kernels.DESCENT_MULTIPLE) * kernels.DESCENT_MULTIPLE
        factors = [kernels.aligned_zeros(len(rows), padded, self.dtype) for rows in sides]
        biases = [np.zeros(len(rows), self.dtype) for rows in sides]
        for own in factors:
            start = rng.random((len(own), self.rank), np.float32)
            own[:, : self.rank] = start * (_START / np.sqrt(self.rank))
        objective: list[float] = []
        for sweep in range(1, self.sweeps + 1):
            step = rate * (1 + np.cos(np.pi * (sweep - 1) / self.sweeps)) / 2
            shrink = [(1 / (1 + step * share / spread)).astype(self.dtype) for share in shares]
            bias_shrink = [(1 / (1 + step * share)).astype(self.dtype) for share in shares]
            error = kernels.descend(
                table.users,
                table.items,
                table.values,
                table.starts,
                rng.permutation(table.blocks).astype(np.int32),
                shrink[0],
                shrink[1],
                bias_shrink[0],
                bias_shrink[1],
                step,
                factors[0],
                biases[0],
                factors[1],
                biases[1],
                threads=self.threads,
            )
            if not error <= _DIVERGED * len(ratings):  # NaN is not, either
                bar.advance("diverged: once more, at half the rate", -len(objective))
                return False
            penalty = 0.0
            for reg, own, bias in zip(row_reg, factors, biases):
                squares = spread * np.einsum("ik,ik->i", own, own, dtype=np.float64)
                penalty += float(np.sum(reg * (squares + (spread * bias.astype(np.float64)) ** 2)))
            objective.append(spread**2 * error + penalty)
            bar.advance(f"J = {objective[-1]:.6g}")
            stop = sweep == self.sweeps
            if callback is not None or stop:
                U, V = (np.sqrt(spread).astype(own.dtype) * own[:, : self.rank] for own in factors)
                self.user_factors_, self.item_factors_ = U, V
                self.user_bias_, self.item_bias_ = (np.asarray(spread * bias, self.dtype) for bias in biases)
                self.mean_, self.objective_, self.rate_ = table.mean, np.array(objective), rate
                self.ratings_, self.scale_ = ratings.by_user, ratings.scale
                self.user_ids_, self.item_ids_ = ratings.user_ids, ratings.item_ids
            if callback is not None and callback(self, sweep, objective[-1]):
                break
        return True


class _Blocks:
    """The ratings, less their mean and over their spread, part by part of a table of blocks × blocks.

    Users and items are dealt into blocks at random, so that each holds about as many ratings.
    """

    def __init__(self, ratings: Ratings, rng: np.random.Generator, dtype: str) -> None:
        values = ratings.values
        self.mean = float(values.mean(dtype=np.float64))
        self.spread = float(values.std(dtype=np.float64)) or 1.0
        least = min(ratings.n_users, ratings.n_items)
        self.blocks = max(1, min(least, _MOST_BLOCKS, round((len(ratings) / _PART) ** 0.5)))
        user_block, item_block = (self._deal(rows.counts, rng) for rows in (ratings.by_user, ratings.by_item))
        part = user_block[ratings.user_positions] * self.blocks + item_block[ratings.by_user.indices]
        self.starts, order = kernels.group(part, self.blocks**2)
        self.users, self.items = ratings.user_positions[order], ratings.by_user.indices[order]
        self.values = ((values[order] - self.mean) / self.spread).astype(dtype)

    def _deal(self, counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int32]:
        """The block of each row: rows in random order, cut where a share of the ratings is reached."""
        order = rng.permutation(len(counts))
        before = np.cumsum(counts[order]) - counts[order]
        block = np.empty(len(counts), np.int32)
        block[order] = before * self.blocks // counts.sum()
        return block
