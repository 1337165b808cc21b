"""The compiled kernels, behind a gate: every shape and index is checked here, and only here.

Kernels see arrays, never models. Positions are int32, row pointers int64, factors float32 or
float64 (all factor arrays of one call alike). The slow twins are in ``reference.py``.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cofactor.errors import BadParameter
from cofactor.kernels import _native  # type: ignore[attr-defined]  # compiled

Floats = NDArray[Any]  # float32 or float64
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Biases = Literal["joint", "sequential"] | None
Solver = Literal["auto", "cholesky", "cg", "primal", "dual"]

_BIASES: dict[Biases, int] = {None: 0, "joint": 1, "sequential": 2}
_SOLVERS: dict[str, int] = {"auto": 0, "cholesky": 1, "cg": 2, "primal": 3, "dual": 4}
NO_BIAS = np.empty(0)


def instruction_set() -> tuple[str, int]:
    """Name and vector width in bits of the kernels chosen for this processor."""
    name, bits = _native.instruction_set()
    return str(name), int(bits)


def thread_count(threads: int | None = None) -> int:
    """``threads``, else ``$COFACTOR_THREADS``, else the processors this process may use."""
    if threads is None:
        wanted = os.environ.get("COFACTOR_THREADS", "")
        if wanted:
            if not wanted.isdigit() or not 1 <= int(wanted) <= 1024:
                raise BadParameter(f"COFACTOR_THREADS is {wanted!r}; give a whole number from 1 to 1024.")
            return int(wanted)
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else (os.cpu_count() or 1)
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or not 1 <= threads <= 1024:
        raise BadParameter(f"threads is {threads!r}; give a whole number from 1 to 1024, or None for all.")
    return int(threads)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_pointers(indptr: Int64, indices: Int32, limit: int) -> None:
    _check(
        indptr.dtype == np.int64 and indptr.ndim == 1 and len(indptr) >= 1, "indptr must be int64 (rows + 1,)"
    )
    _check(indptr[0] == 0 and indptr[-1] == len(indices), "indptr must run from 0 to len(indices)")
    _check(bool((indptr[1:] >= indptr[:-1]).all()), "indptr must not decrease")
    _check_positions(indices, 0, limit)


def _check_positions(positions: Int32, lowest: int, limit: int) -> None:
    _check(positions.dtype == np.int32 and positions.ndim == 1, "positions must be int32 (n,)")
    if len(positions):
        _check(
            int(positions.min()) >= lowest and int(positions.max()) < limit,
            f"positions must be in [{lowest}, {limit})",
        )


def _contiguous(array: Floats, dtype: Any = None) -> Floats:
    return np.ascontiguousarray(array, dtype=dtype)


def group(keys: Int32, n: int) -> tuple[Int64, Int64]:
    """Stable counting sort of ``keys``, each in [0, n).

    Returns ``indptr`` (n + 1,) and ``order`` (len(keys),): ``order[indptr[k]:indptr[k + 1]]`` are
    the places where key k stands, first to last.
    """
    _check_positions(keys, 0, n)
    indptr = np.empty(n + 1, np.int64)
    order = np.empty(len(keys), np.int64)
    _native.group(np.ascontiguousarray(keys), indptr, order)
    return indptr, order


def transpose(
    indptr: Int64, indices: Int32, values: NDArray[np.float32], columns: int
) -> tuple[Int64, Int32, NDArray[np.float32]]:
    """Compressed ratings of rows -> those of ``columns`` columns, in each the rows ascending."""
    _check(values.dtype == np.float32 and values.shape == indices.shape, "values must be float32 (ratings,)")
    _check_pointers(indptr, indices, columns)
    column_indptr = np.empty(columns + 1, np.int64)
    rows, row_values = np.empty(len(indices), np.int32), np.empty(len(indices), np.float32)
    _native.transpose(
        np.ascontiguousarray(indptr),
        np.ascontiguousarray(indices),
        np.ascontiguousarray(values),
        column_indptr,
        rows,
        row_values,
    )
    return column_indptr, rows, row_values


def item_sums_size(rank: int, biased: bool) -> int:
    """Numbers in the packed normal equations of an item with so many unknowns: P of ``add_item_sums``."""
    unknowns = rank + biased
    return unknowns * (unknowns + 1) // 2 + unknowns


def add_item_sums(
    indptr: Int64,
    users: Int32,
    values: NDArray[np.float32],
    user_factors: Floats,
    user_bias: Floats | None,
    sums: NDArray[np.float64],
    *,
    mean: float,
    threads: int | None = None,
) -> None:
    """To the normal equations of items add what the ratings of some users give, with z_i = [u_i, 1]:

        A_j += Σ_i z_i z_iᵀ        y_j += Σ_i (r_ij − mean − b_i) z_i

    ``indptr`` (items + 1,), ``users`` and ``values`` (ratings,) are the ratings compressed by item, ``user_factors``
    (users, rank) and ``user_bias`` (users,) u and b; without biases ``user_bias`` is None and z_i = u_i. ``sums``
    (items, P) changes in place: for each item the upper half of A_j row by row, then y_j.
    """
    dtype, biased = user_factors.dtype, user_bias is not None
    _check(dtype in (np.float32, np.float64), "user_factors must be float32 or float64")
    _check(values.dtype == np.float32 and values.shape == users.shape, "values must be float32, like users")
    _check_pointers(indptr, users, len(user_factors))
    _check(user_bias is None or user_bias.shape == user_factors.shape[:1], "user_bias must be (users,)")
    _check_sums(sums, len(indptr) - 1, user_factors.shape[1], biased)
    _check(sums.flags.writeable, "sums must be writeable")
    _native.add_item_sums(
        np.ascontiguousarray(indptr),
        np.ascontiguousarray(users),
        np.ascontiguousarray(values),
        _contiguous(user_factors),
        np.empty(0, dtype) if user_bias is None else _contiguous(user_bias, dtype),
        float(mean),
        biased,
        sums,
        thread_count(threads),
    )


def solve_item_sums(
    sums: NDArray[np.float64],
    counts: Int64,
    reg: NDArray[np.float64],
    rank: int,
    *,
    biased: bool,
    dtype: DTypeLike = np.float32,
    threads: int | None = None,
) -> tuple[Floats, Floats, int]:
    """Items from their normal equations:  [v_j, c_j] = (A_j + reg_j I)⁻¹ y_j.

    ``sums`` (items, P) is of ``add_item_sums``, ``counts`` (items,) the ratings in them, ``reg`` (items,). An item
    without ratings becomes zero.

    Returns v (items, rank), c (items,), and the first item whose system is singular, or −1.
    """
    items = len(counts)
    _check_sums(sums, items, rank, biased)
    _check(counts.dtype == np.int64 and bool((counts >= 0).all()), "counts must be int64 and not negative")
    _check(reg.shape == (items,), "reg must be (items,)")
    factors, bias = aligned_zeros(items, rank, dtype), np.zeros(items, dtype)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    singular = _native.solve_item_sums(
        sums,
        indptr,
        _contiguous(reg, np.float64),
        biased,
        factors,
        bias,
        thread_count(threads),
    )
    return factors, bias, int(singular)


def _check_sums(sums: NDArray[np.float64], items: int, rank: int, biased: bool) -> None:
    _check(
        sums.dtype == np.float64 and sums.shape == (items, item_sums_size(rank, biased)),
        "sums must be float64 (items, item_sums_size)",
    )
    _check(sums.flags.c_contiguous, "sums must be contiguous")


def solve_rows(
    indptr: Int64,
    indices: Int32,
    values: NDArray[np.float32],
    fixed: Floats,
    fixed_bias: Floats | None,
    reg: NDArray[np.float64],
    out: Floats,
    out_bias: Floats | None,
    *,
    mean: float = 0.0,
    biases: Biases = "joint",
    solver: Solver = "auto",
    cg_steps: int = 3,
    noise: Floats | None = None,
    noise_scale: float = 0.0,
    threads: int | None = None,
) -> tuple[NDArray[np.float64], int]:
    """One half-sweep: every row's exact ridge regression on the other side's factors.

        min over x_i, b_i of  Σ_j (r_ij − mean − c_j − b_i − x_i·f_j)² + reg_i (‖x_i‖² + b_i²)

    ``indptr`` (rows + 1,), ``indices`` and ``values`` (ratings,) are the compressed ratings,
    ``fixed`` (fixed_rows, rank) the factors f, ``fixed_bias`` (fixed_rows,) the biases c, ``reg``
    (rows,). The result is written to ``out`` (rows, rank) and ``out_bias`` (rows,), which also hold
    the start of ``cg`` and of ``biases="sequential"``. Biases are ``None`` where ``biases`` is.

    Returns the squared error of each row (rows,) and the first row whose system is singular, or −1;
    such a row's result is undefined. A row without ratings becomes zero.

    With ``noise`` ε, standard normal numbers (rows, rank) or with joint biases (rows, rank + 1), that of the bias
    last, each row is drawn from  N(x̂, σ² (Z'Z + reg_i I)⁻¹)  around its minimum x̂, where σ is ``noise_scale`` and Z
    holds the rows [f_j, 1]; a row without ratings from N(0, σ²/reg_i), so that reg must be positive. This is the
    posterior where ratings have the variance σ². All rows are then solved by Cholesky.
    """
    rows, rank = len(reg), fixed.shape[1]
    dtype = fixed.dtype
    _check(dtype in (np.float32, np.float64), "fixed must be float32 or float64")
    _check(len(indptr) == rows + 1, "indptr must have one entry more than reg")
    _check(
        values.dtype == np.float32 and values.shape == indices.shape, "values must be float32, like indices"
    )
    _check_pointers(indptr, indices, fixed.shape[0])
    _check(out.shape == (rows, rank) and out.dtype == dtype, "out must be (rows, rank), of fixed's dtype")
    _check(out.flags.c_contiguous and out.flags.writeable, "out must be contiguous and writeable")
    _check(cg_steps >= 1, "cg_steps must be at least 1")
    if biases is None:
        fixed_bias = out_bias = np.empty(0, dtype)
    else:
        _check(fixed_bias is not None and out_bias is not None, "biases need fixed_bias and out_bias")
        assert fixed_bias is not None
        assert out_bias is not None
        _check(fixed_bias.shape == (fixed.shape[0],), "fixed_bias must be (fixed_rows,)")
        _check(
            out_bias.shape == (rows,) and out_bias.dtype == dtype,
            "out_bias must be (rows,), of fixed's dtype",
        )
    if noise is None:
        noise = np.empty((0, 0), dtype)
    else:
        _check(biases != "sequential", "a draw is of joint biases, or of none")
        _check(noise.shape == (rows, rank + (biases == "joint")), "noise must be (rows, rank + joint)")
        _check(noise_scale >= 0 and bool((reg > 0).all()), "noise needs reg > 0 and noise_scale >= 0")
    squared_error = np.zeros(rows)
    singular = _native.solve_rows(
        np.ascontiguousarray(indptr),
        np.ascontiguousarray(indices),
        np.ascontiguousarray(values),
        _contiguous(fixed),
        _contiguous(fixed_bias, dtype),
        _contiguous(reg, np.float64),
        float(mean),
        _BIASES[biases],
        _SOLVERS[solver],
        cg_steps,
        _contiguous(noise, dtype),
        float(noise_scale),
        out,
        out_bias,
        squared_error,
        thread_count(threads),
    )
    return squared_error, int(singular)


def draw_weights(
    features: tuple[Int64, Int32, NDArray[np.float32]],
    reg: Floats,
    noise: Floats,
    weights: Floats,
    residual: Floats,
    *,
    threads: int | None = None,
) -> None:
    """Weights of features that describe rows, each drawn given all others, in their order, in place.

        e_i = t_i − Σ_f x_if w_f ~ N(0, 1)        w_f ~ N(0, 1/λ_f)        every column for itself

    ``features`` are the entries x, compressed by feature: indptr (features + 1,), rows and values (entries,). ``reg`` λ
    (positive), ``noise`` (standard normal) and ``weights`` w are (features, columns), ``residual`` e is (rows,
    columns); w and e change to what was drawn.
    """
    indptr, rows, values = features
    dtype, shape = residual.dtype, (len(indptr) - 1, residual.shape[1])
    _check(dtype in (np.float32, np.float64), "residual must be float32 or float64")
    _check(values.dtype == np.float32 and values.shape == rows.shape, "values must be float32, like rows")
    _check_pointers(indptr, rows, len(residual))
    for array in (reg, noise, weights):
        _check(array.shape == shape, "reg, noise and weights must be (features, columns)")
    for array in (weights, residual):
        _check(array.dtype == dtype and array.flags.c_contiguous, "weights must be contiguous, like residual")
        _check(array.flags.writeable, "weights and residual must be writeable")
    _check(bool((reg > 0).all()), "reg must be positive")
    _native.draw_weights(
        np.ascontiguousarray(indptr),
        np.ascontiguousarray(rows),
        np.ascontiguousarray(values),
        _contiguous(reg, dtype),
        _contiguous(noise, dtype),
        weights,
        residual,
        thread_count(threads),
    )


def apply_weights(
    features: tuple[Int64, Int32, NDArray[np.float32]], weights: Floats, *, threads: int | None = None
) -> Floats:
    """What features say of rows:  Σ_f x_if w_f  (rows, columns).

    ``features`` are the entries x, compressed by row: indptr (rows + 1,), features and values (entries,). ``weights``
    is (features, columns).
    """
    indptr, which, values = features
    _check(weights.dtype in (np.float32, np.float64), "weights must be float32 or float64")
    _check(
        values.dtype == np.float32 and values.shape == which.shape, "values must be float32, like features"
    )
    _check_pointers(indptr, which, len(weights))
    out = np.empty((len(indptr) - 1, weights.shape[1]), weights.dtype)
    _native.apply_weights(
        np.ascontiguousarray(indptr),
        np.ascontiguousarray(which),
        np.ascontiguousarray(values),
        _contiguous(weights),
        out,
        thread_count(threads),
    )
    return out


def draw_latent(
    scores: NDArray[np.float32],
    classes: NDArray[np.uint8],
    thresholds: NDArray[np.float64],
    uniform: NDArray[np.float32],
    *,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """z ~ N(score, 1) between the thresholds of its class, from uniform numbers in [0, 1): (n,).

    ``thresholds`` (classes + 1,) ascend from −∞ to ∞; class c lies between numbers c and c + 1 of them.
    """
    _check_thresholds(thresholds)
    _check(scores.dtype == np.float32 and scores.ndim == 1, "scores must be float32 (n,)")
    _check(classes.dtype == np.uint8 and classes.shape == scores.shape, "classes must be uint8 (n,)")
    _check(int(classes.max(initial=0)) < thresholds.shape[-1] - 1, "classes must be below their number")
    _check(uniform.dtype == np.float32 and uniform.shape == scores.shape, "uniform must be float32 (n,)")
    out = np.empty(len(scores), np.float32)
    arrays = (np.ascontiguousarray(array) for array in (scores, classes, thresholds, uniform))
    _native.draw_latent(*arrays, out, thread_count(threads))
    return out


def log_likelihood(
    scores: NDArray[np.float32], low: float, high: float, *, threads: int | None = None
) -> float:
    """Σ log(Φ(high − score) − Φ(low − score)), where a probability counts as at least 1e-300."""
    _check(scores.dtype == np.float32 and scores.ndim == 1, "scores must be float32 (n,)")
    return float(
        _native.log_likelihood(np.ascontiguousarray(scores), float(low), float(high), thread_count(threads))
    )


def add_interpolated(
    scores: NDArray[np.float32],
    points: NDArray[np.float32],
    begin: float,
    step: float,
    out: NDArray[np.float32],
    *,
    threads: int | None = None,
) -> None:
    """out += f(scores), all (n,), for f known at ``points``: f(begin), f(begin + step) …, with straight lines between
    them, and level beyond the first and last. Scores must not be NaN.
    """
    for array in (scores, points, out):
        _check(array.dtype == np.float32 and array.ndim == 1, "scores, points and out must be float32 (n,)")
    _check(scores.shape == out.shape and len(points) >= 2 and step > 0, "out must be like scores; 2 points")
    _check(len(points) < 1 << 24, "points must be fewer than 2^24")  # float32 counts them
    _check(not np.isnan(scores).any(), "scores must be numbers")
    _check(out.flags.c_contiguous and out.flags.writeable, "out must be contiguous and writeable")
    arrays = np.ascontiguousarray(scores), np.ascontiguousarray(points)
    _native.add_interpolated(*arrays, float(begin), float(step), out, thread_count(threads))


def class_probabilities(
    scores: NDArray[np.float32], thresholds: NDArray[np.float64], *, threads: int | None = None
) -> NDArray[np.float32]:
    """Probabilities of classes (n, classes), means over draws of  Φ(γ_{c+1} − score) − Φ(γ_c − score).

    ``scores`` (n, draws) and ``thresholds`` (draws, classes + 1) as in ``draw_latent``.
    """
    _check_thresholds(thresholds)
    _check(scores.dtype == np.float32 and scores.ndim == 2, "scores must be float32 (n, draws)")
    _check(scores.shape[1:] == thresholds.shape[:1], "thresholds must be of as many draws as scores")
    out = np.empty((len(scores), thresholds.shape[1] - 1), np.float32)
    _native.class_probabilities(
        np.ascontiguousarray(scores), np.ascontiguousarray(thresholds), out, thread_count(threads)
    )
    return out


def _check_thresholds(thresholds: NDArray[np.float64]) -> None:
    _check(thresholds.dtype == np.float64 and thresholds.shape[-1] >= 2, "thresholds must be float64")
    _check(bool((np.diff(thresholds, axis=-1) >= 0).all()), "thresholds must ascend")


def predict(
    users: Int32,
    items: Int32,
    user_factors: Floats,
    user_bias: Floats,
    item_factors: Floats,
    item_bias: Floats,
    mean: float,
    *,
    threads: int | None = None,
) -> Floats:
    """r̂ = mean + b_i + c_j + u_i·v_j for pairs of positions; −1 is unknown and adds nothing."""
    dtype = user_factors.dtype
    rank = user_factors.shape[1]
    _check(users.shape == items.shape, "users and items must have the same length")
    _check(item_factors.shape[1] == rank, "user and item factors must have the same rank")
    _check(user_bias.shape == user_factors.shape[:1], "user_bias must be (users,)")
    _check(item_bias.shape == item_factors.shape[:1], "item_bias must be (items,)")
    _check_positions(users, -1, len(user_factors))
    _check_positions(items, -1, len(item_factors))
    out = np.empty(len(users), dtype)
    _native.predict(
        np.ascontiguousarray(users),
        np.ascontiguousarray(items),
        _contiguous(user_factors),
        _contiguous(user_bias, dtype),
        _contiguous(item_factors, dtype),
        _contiguous(item_bias, dtype),
        float(mean),
        out,
        thread_count(threads),
    )
    return out


def topk(
    queries: Floats,
    items: Floats,
    bias: Floats,
    skip_indptr: Int64,
    skip_indices: Int32,
    n: int,
    *,
    threads: int | None = None,
) -> tuple[Int32, Floats]:
    """The n highest ``queries[q] @ items[j] + bias[j]`` for each q, exactly, best first.

    ``skip_indices[skip_indptr[q]:skip_indptr[q + 1]]``, ascending, are left out for query q. Ties go
    to the lower item; an item with a score of −∞ is not listed. Returns items (queries, n) int32, filled up
    with −1, and their scores.

    A score is the same, bit by bit, whatever the other queries and items are: a sum that begins with the bias and
    goes on by factor. Where there are many queries, items whose norm rules them out are not scored.
    """
    dtype = queries.dtype
    _check(items.shape[1] == queries.shape[1], "queries and items must have the same rank")
    _check(bias.shape == items.shape[:1], "bias must be (items,)")
    _check(len(skip_indptr) == len(queries) + 1, "skip_indptr must have one entry more than queries")
    _check_pointers(skip_indptr, skip_indices, len(items))
    _check(n >= 1, "n must be at least 1")
    out_items = np.empty((len(queries), n), np.int32)
    out_scores = np.empty((len(queries), n), dtype)
    _native.topk(
        _contiguous(queries),
        _contiguous(items, dtype),
        _contiguous(bias, dtype),
        np.ascontiguousarray(skip_indptr),
        np.ascontiguousarray(skip_indices),
        out_items,
        out_scores,
        thread_count(threads),
    )
    return out_items, out_scores


def aligned_zeros(rows: int, columns: int, dtype: DTypeLike) -> Floats:
    """Zeros (rows, columns) that begin with a cache line, so that no vector of a row lies across two."""
    line = 64
    size = rows * columns * np.dtype(dtype).itemsize
    memory = np.zeros(size + line, np.uint8)
    begin = -memory.ctypes.data % line
    return memory[begin : begin + size].view(dtype).reshape(rows, columns)


DESCENT_MULTIPLE = int(_native.descent_multiple)  # factors for ``descend`` are padded to so many columns
DESCENT_STRETCHES = int(
    _native.descent_stretches
)  # it takes the ratings of a part from so many places in turn


def descend(
    users: Int32,
    items: Int32,
    values: Floats,
    starts: Int64,
    rounds: Int32,
    user_shrink: Floats,
    item_shrink: Floats,
    user_bias_shrink: Floats,
    item_bias_shrink: Floats,
    rate: float,
    user_factors: Floats,
    user_bias: Floats,
    item_factors: Floats,
    item_bias: Floats,
    *,
    threads: int | None = None,
) -> float:
    """One sweep of stochastic gradient descent: for each rating, with e = r − b_i − c_j − u_i·v_j and η = ``rate``,

        u_i ← s_i (u_i + η e v_j)    v_j ← s_j (v_j + η e u_i)    b_i ← t_i (b_i + η e)    c_j ← t_j (c_j + η e)

    s = ``user_shrink`` (users,), ``item_shrink`` (items,) and t = ``user_bias_shrink``, ``item_bias_shrink``.
    ``users``, ``items`` and ``values`` (ratings,) stand part by part: part (a, c) is
    [starts[a·B + c], starts[a·B + c + 1]) for B = len(rounds) blocks of users and of items, which must share
    nobody. In round r, block a meets items (a + rounds[r]) mod B; ``rounds`` is a permutation. The ratings of a part
    are visited in turn from ``DESCENT_STRETCHES`` stretches of equal length: one from each, then the next of each.
    Factors (users, K), (items, K) and biases change in place; K is a multiple of ``DESCENT_MULTIPLE``. They are best
    made by ``aligned_zeros``.

    Returns Σ e² as met on the way.
    """
    dtype, blocks = user_factors.dtype, len(rounds)
    _check(dtype in (np.float32, np.float64), "factors must be float32 or float64")
    _check(item_factors.shape[1:] == user_factors.shape[1:], "user and item factors must have the same rank")
    _check(user_factors.shape[1] % DESCENT_MULTIPLE == 0, "factors must be padded to DESCENT_MULTIPLE")
    for factors, *of_rows in (
        (user_factors, user_bias, user_shrink, user_bias_shrink),
        (item_factors, item_bias, item_shrink, item_bias_shrink),
    ):
        _check(
            all(array.shape == factors.shape[:1] for array in of_rows), "biases and shrinks must be (rows,)"
        )
        for array in (factors, *of_rows):
            _check(
                array.dtype == dtype and array.flags.c_contiguous, "all must be contiguous and of one dtype"
            )
        _check(factors.flags.writeable and of_rows[0].flags.writeable, "factors and biases must be writeable")
    _check(users.shape == items.shape == values.shape, "users, items and values must have the same length")
    _check_positions(users, 0, len(user_factors))
    _check_positions(items, 0, len(item_factors))
    _check(
        rounds.dtype == np.int32 and sorted(rounds.tolist()) == list(range(blocks)),
        "rounds must be a permutation",
    )
    _check(
        starts.dtype == np.int64 and starts.shape == (blocks * blocks + 1,), "starts must be int64 (B·B + 1,)"
    )
    _check(starts[0] == 0 and starts[-1] == len(users), "starts must run from 0 to the number of ratings")
    _check(bool((starts[1:] >= starts[:-1]).all()), "starts must not decrease")
    return float(
        _native.descend(
            np.ascontiguousarray(users),
            np.ascontiguousarray(items),
            _contiguous(values, dtype),
            np.ascontiguousarray(starts),
            np.ascontiguousarray(rounds),
            user_shrink,
            item_shrink,
            user_bias_shrink,
            item_bias_shrink,
            float(rate),
            user_factors,
            user_bias,
            item_factors,
            item_bias,
            thread_count(threads),
        )
    )


def _check_values(indptr: Int64, positions: Int32, values: Floats, limit: int) -> None:
    _check_pointers(indptr, positions, limit)
    _check(
        values.dtype == np.float32 and values.shape == positions.shape,
        "values must be float32, one for each position",
    )


def similarities(
    indptr: Int64,
    columns: Int32,
    values: NDArray[np.float32],
    column_indptr: Int64,
    rows: Int32,
    row_values: NDArray[np.float32],
    n_rows: int,
    *,
    pearson: bool,
    shrinkage: float,
    min_overlap: int,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Similarity of each query with every row:  s = Σ v_a v_b / √(Σ v_a² Σ v_b²) · n / (n + shrinkage).

    The sums run over the n columns in common; with ``pearson`` their means there are taken off first. s is 0
    where n < ``min_overlap``, and where a length is 0. ``indptr``, ``columns``, ``values`` are the queries'
    own values; ``column_indptr``, ``rows``, ``row_values`` those of all rows, by column. Columns ascend within
    a query. Returns (queries, n_rows) float32.
    """
    _check_values(indptr, columns, values, len(column_indptr) - 1)
    _check_values(column_indptr, rows, row_values, n_rows)
    _check(shrinkage >= 0, "shrinkage must not be negative")
    out = np.empty((len(indptr) - 1, n_rows), np.float32)
    _native.similarities(
        *map(np.ascontiguousarray, (indptr, columns, values, column_indptr, rows, row_values)),
        pearson,
        float(shrinkage),
        min_overlap,
        out,
        thread_count(threads),
    )
    return out


def neighbour_pairs(
    indptr: Int64,
    columns: Int32,
    values: NDArray[np.float32],
    column_indptr: Int64,
    rows: Int32,
    row_values: NDArray[np.float32],
    n_rows: int,
    itself: Int32,
    pair_indptr: Int64,
    pair_list: Int32,
    list_indptr: Int64,
    list_rows: Int32,
    list_values: NDArray[np.float32],
    *,
    pearson: bool,
    shrinkage: float,
    min_overlap: int,
    k: int,
    damping: float,
    threads: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For pairs of a query and a list of rows:  Σ s v / (Σ s + damping)  over the list's k rows most like the query.

    Queries and rows as in ``similarities``. ``itself`` (queries,) is the row that a query is, or −1: never its own
    neighbour. The pairs of query q are ``pair_list[pair_indptr[q]:pair_indptr[q + 1]]``; list l holds the rows
    ``list_rows`` and values v ``list_values`` [list_indptr[l]:list_indptr[l + 1]], ascending. Only positive
    similarities count; ties go to the lower row. Returns the means and Σ s, both (pairs,) float32; both are 0 where
    there is no neighbour.
    """
    _check_values(indptr, columns, values, len(column_indptr) - 1)
    _check_values(column_indptr, rows, row_values, n_rows)
    _check_values(list_indptr, list_rows, list_values, n_rows)
    _check_positions(itself, -1, n_rows)
    _check(len(itself) == len(indptr) - 1, "itself must be (queries,)")
    _check(len(pair_indptr) == len(indptr), "pair_indptr must be (queries + 1,)")
    _check_pointers(pair_indptr, pair_list, len(list_indptr) - 1)
    _check(shrinkage >= 0 and damping >= 0, "shrinkage and damping must not be negative")
    _check(k >= 1, "k must be at least 1")
    mean, weight = np.empty(len(pair_list), np.float32), np.empty(len(pair_list), np.float32)
    _native.neighbour_pairs(
        *map(np.ascontiguousarray, (indptr, columns, values, column_indptr, rows, row_values)),
        n_rows,
        pearson,
        float(shrinkage),
        min_overlap,
        *map(np.ascontiguousarray, (itself, pair_indptr, pair_list, list_indptr, list_rows, list_values)),
        k,
        float(damping),
        mean,
        weight,
        thread_count(threads),
    )
    return mean, weight


def neighbour_rows(
    similarity: NDArray[np.float32],
    own: Int32,
    values: NDArray[np.float32],
    *,
    k: int,
    damping: float,
    threads: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same for every row and one list, ``own`` with its ``values``, ascending, from the list's side.

    ``similarity`` (len(own), rows) is that of ``own`` with all rows. Returns means and Σ s, (rows,) float32.
    """
    _check(similarity.dtype == np.float32 and similarity.ndim == 2, "similarity must be float32 (own, rows)")
    _check(len(own) == len(similarity), "similarity must have a row for each of own")
    _check_positions(own, 0, similarity.shape[1])
    _check(values.dtype == np.float32 and values.shape == own.shape, "values must be float32, like own")
    _check(k >= 1 and damping >= 0, "k must be at least 1 and damping not negative")
    mean, weight = np.empty(similarity.shape[1], np.float32), np.empty(similarity.shape[1], np.float32)
    _native.neighbour_rows(
        *map(np.ascontiguousarray, (similarity, own, values)),
        k,
        float(damping),
        mean,
        weight,
        thread_count(threads),
    )
    return mean, weight
