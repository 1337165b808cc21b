"""The kernels again, slowly, in NumPy and double precision, line by line like the mathematics.

The same signatures as in ``cofactor.kernels``; the tests hold the compiled kernels against these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofactor.kernels import DESCENT_STRETCHES, Biases, Floats, Int32, Int64, Solver


def group(keys: Int32, n: int) -> tuple[Int64, Int64]:
    """Stable sort of ``keys``: where each key's places begin, and the places."""
    indptr = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=n))])
    return indptr.astype(np.int64), np.argsort(keys, kind="stable").astype(np.int64)


def conjugate_gradient(
    A: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64], steps: int
) -> NDArray[np.float64]:
    """``steps`` of conjugate gradient on A x = y. M. Hestenes, E. Stiefel, 1952."""
    residual = y - A @ x
    direction, norm = residual, residual @ residual
    enough = 1e-30 * norm
    for _ in range(steps):
        if norm <= enough:
            break
        image = A @ direction
        length = norm / (direction @ image)
        x = x + length * direction
        residual = residual - length * image
        norm, before = residual @ residual, norm
        direction = residual + norm / before * direction
    return x


def transpose(
    indptr: Int64, indices: Int32, values: NDArray[np.float32], columns: int
) -> tuple[Int64, Int32, NDArray[np.float32]]:
    """Compressed ratings the other way round."""
    column_indptr, order = group(indices, columns)
    rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
    return column_indptr, rows[order], values[order]


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
    """sums_j += upper half of Σ z zᵀ, then Σ (r − mean − b) z."""
    Z = user_factors.astype(np.float64)
    bias = np.zeros(len(Z)) if user_bias is None else user_bias.astype(np.float64)
    if user_bias is not None:
        Z = np.hstack([Z, np.ones((len(Z), 1))])
    upper = np.triu_indices(Z.shape[1])
    for j in range(len(indptr) - 1):
        part = slice(indptr[j], indptr[j + 1])
        z, t = Z[users[part]], values[part] - mean - bias[users[part]]
        sums[j] += np.concatenate([(z.T @ z)[upper], z.T @ t])


def solve_item_sums(
    sums: NDArray[np.float64],
    counts: Int64,
    reg: NDArray[np.float64],
    rank: int,
    *,
    biased: bool,
    dtype: Any = np.float64,
    threads: int | None = None,
) -> tuple[Floats, Floats, int]:
    """x_j = (A_j + reg_j I)⁻¹ y_j."""
    n = rank + biased
    x = np.zeros((len(sums), n))
    for j in np.flatnonzero(counts):
        A, y = np.zeros((n, n)), sums[j, -n:]
        A[np.triu_indices(n)] = sums[j, :-n]
        A += np.triu(A, 1).T
        x[j] = np.linalg.solve(A + reg[j] * np.eye(n), y)
    return x[:, :rank], x[:, rank] if biased else np.zeros(len(sums)), -1


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
    """Every row's ridge regression on the other side's factors, as in ``cofactor.kernels``."""
    squared_error = np.zeros(len(reg))
    for i, lam in enumerate(reg):
        rated = indices[indptr[i] : indptr[i + 1]]
        n, V = len(rated), fixed[rated].astype(np.float64)  # (n, rank)
        x = out[i].astype(np.float64)
        drawn = np.zeros(fixed.shape[1] + 1)
        if noise is not None:
            drawn[: noise.shape[1]] = noise_scale * noise[i].astype(np.float64)
        if n == 0:
            out[i] = drawn[:-1] / np.sqrt(lam) if noise is not None else 0
            if biases is not None:
                assert out_bias is not None
                out_bias[i] = drawn[-1] / np.sqrt(lam) if noise is not None else 0
            continue
        t = values[indptr[i] : indptr[i + 1]].astype(np.float64)
        if biases is None:
            Z = V
        else:
            assert fixed_bias is not None
            assert out_bias is not None
            t = t - mean - fixed_bias[rated]
            if biases == "sequential":
                out_bias[i] = np.sum(t - V @ x) / (n + lam)
                t = t - out_bias[i]
                Z = V
            else:
                Z = np.column_stack([V, np.ones(n)])
                x = np.append(x, out_bias[i])
        A, y = Z.T @ Z + lam * np.eye(Z.shape[1]), Z.T @ t
        if solver == "cg":
            x = conjugate_gradient(A, y, x, cg_steps)
        elif solver == "dual":
            x = Z.T @ np.linalg.solve(Z @ Z.T + lam * np.eye(n), t)
        else:
            x = np.linalg.solve(A, y)
        if noise is not None:  # U⁻¹ ε for A = UᵀU, the bias taken first
            order = np.roll(np.arange(len(x)), 1 if biases == "joint" else 0)
            upper = np.linalg.cholesky(A[np.ix_(order, order)]).T
            epsilon = np.concatenate([drawn[-1:], drawn[:-1]]) if biases == "joint" else drawn[:-1]
            x[order] += np.linalg.solve(upper, epsilon)
        squared_error[i] = np.sum((t - Z @ x) ** 2)
        out[i] = x[: fixed.shape[1]]
        if biases == "joint":
            assert out_bias is not None
            out_bias[i] = x[-1]
    return squared_error, -1


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
) -> NDArray[Any]:
    """r̂ = mean + b_i + c_j + u_i·v_j, without the parts of unknown (−1) users and items."""
    out = np.empty(len(users))
    for r, (i, j) in enumerate(zip(users, items)):
        out[r] = mean + (user_bias[i] if i >= 0 else 0) + (item_bias[j] if j >= 0 else 0)
        if i >= 0 and j >= 0:
            out[r] += user_factors[i].astype(np.float64) @ item_factors[j].astype(np.float64)
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
) -> tuple[Int32, NDArray[Any]]:
    """All scores, sorted: highest first, of equal ones the lower item first."""
    best = np.full((len(queries), n), -1, np.int32)
    best_scores = np.full((len(queries), n), -np.inf)
    for q, query in enumerate(queries):
        scores = items.astype(np.float64) @ query.astype(np.float64) + bias
        left = np.setdiff1d(np.arange(len(items)), skip_indices[skip_indptr[q] : skip_indptr[q + 1]])
        order = left[np.argsort(-scores[left], kind="stable")][:n]
        best[q, : len(order)], best_scores[q, : len(order)] = order, scores[order]
    return best, best_scores


def objective(
    users: Int32,
    items: Int32,
    values: NDArray[np.float32],
    user_factors: Floats,
    user_bias: Floats,
    item_factors: Floats,
    item_bias: Floats,
    mean: float,
    user_reg: NDArray[np.float64],
    item_reg: NDArray[np.float64],
) -> float:
    """J = Σ (r − r̂)² + Σ_i λ_i (‖u_i‖² + b_i²) + Σ_j λ_j (‖v_j‖² + c_j²)."""
    error = values - predict(users, items, user_factors, user_bias, item_factors, item_bias, mean)
    U, V = user_factors.astype(np.float64), item_factors.astype(np.float64)
    b, c = user_bias.astype(np.float64), item_bias.astype(np.float64)
    squares = (U**2).sum(axis=1) + b**2, (V**2).sum(axis=1) + c**2
    return float((error**2).sum() + user_reg @ squares[0] + item_reg @ squares[1])


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
    """Round by round, block by block, rating by rating: those of a part from several stretches in turn."""
    U, b, V, c = user_factors, user_bias, item_factors, item_bias
    blocks, total = len(rounds), 0.0
    for step in rounds:
        for a in range(blocks):
            part = a * blocks + (a + step) % blocks
            begin, end = starts[part], starts[part + 1]
            stretch = -((begin - end) // DESCENT_STRETCHES)
            for r in (r for at in range(begin, begin + stretch) for r in range(at, end, stretch)):
                i, j = users[r], items[r]
                e = values[r] - b[i] - c[j] - U[i] @ V[j]
                total += float(e) ** 2
                b[i] = user_bias_shrink[i] * (b[i] + rate * e)
                c[j] = item_bias_shrink[j] * (c[j] + rate * e)
                u, v = U[i].copy(), V[j].copy()
                U[i] = user_shrink[i] * (u + rate * e * v)
                V[j] = item_shrink[j] * (v + rate * e * u)
    return total


def draw_weights(
    features: tuple[Int64, Int32, NDArray[np.float32]],
    reg: Floats,
    noise: Floats,
    weights: Floats,
    residual: Floats,
    *,
    threads: int | None = None,
) -> None:
    """w_f ~ N((x_f·e + ‖x_f‖² w_f) / (‖x_f‖² + λ_f), 1 / (‖x_f‖² + λ_f)), one feature after another."""
    indptr, rows, values = features
    for f in range(len(weights)):
        part = slice(indptr[f], indptr[f + 1])
        x, at = values[part].astype(np.float64), rows[part]
        precision = x @ x + reg[f]
        drawn = (x @ residual[at] + (x @ x) * weights[f]) / precision + noise[f] / np.sqrt(precision)
        np.subtract.at(residual, at, np.outer(x, drawn - weights[f]))
        weights[f] = drawn


def apply_weights(
    features: tuple[Int64, Int32, NDArray[np.float32]], weights: Floats, *, threads: int | None = None
) -> Floats:
    """X W, with X made dense."""
    indptr, which, values = features
    x = np.zeros((len(indptr) - 1, len(weights)))
    np.add.at(x, (np.repeat(np.arange(len(x)), np.diff(indptr)), which), values)
    return np.asarray(x @ weights)


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
) -> NDArray[np.float64]:
    """s = Σ v_a v_b / √(Σ v_a² Σ v_b²) · n / (n + shrinkage)  over the columns in common, one pair at a time."""
    everyone = np.full((n_rows, len(column_indptr) - 1), np.nan)
    everyone[rows, np.repeat(np.arange(len(column_indptr) - 1), np.diff(column_indptr))] = row_values
    out = np.zeros((len(indptr) - 1, n_rows))
    for q in range(len(indptr) - 1):
        mine = slice(indptr[q], indptr[q + 1])
        for row in range(n_rows):
            v_a, v_b = values[mine].astype(np.float64), everyone[row, columns[mine]]
            common = ~np.isnan(v_b)
            n = common.sum()
            if n < max(min_overlap, 1):
                continue
            v_a, v_b = v_a[common], v_b[common]
            if pearson and (np.ptp(v_a) == 0 or np.ptp(v_b) == 0):
                continue  # a side that does not vary is like nothing
            if pearson:
                v_a, v_b = v_a - v_a.mean(), v_b - v_b.mean()
            length = np.sqrt(np.sum(v_a**2) * np.sum(v_b**2))
            if length > 0:
                out[q, row] = np.sum(v_a * v_b) / length * n / (n + shrinkage)
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
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Σ s v / (Σ s + damping)  over the k rows of each list most like the query, for which s > 0; and Σ s."""
    s = similarities(
        indptr,
        columns,
        values,
        column_indptr,
        rows,
        row_values,
        n_rows,
        pearson=pearson,
        shrinkage=shrinkage,
        min_overlap=min_overlap,
    ).astype(np.float32)  # as the kernel has it, so that ties are ties
    mean, weight = np.zeros(len(pair_list)), np.zeros(len(pair_list))
    for q in range(len(itself)):
        for p in range(pair_indptr[q], pair_indptr[q + 1]):
            part = slice(list_indptr[pair_list[p]], list_indptr[pair_list[p] + 1])
            mean[p], weight[p] = _nearest(s[q], list_rows[part], list_values[part], itself[q], k, damping)
    return mean, weight


def neighbour_rows(
    similarity: NDArray[np.float32],
    own: Int32,
    values: NDArray[np.float32],
    *,
    k: int,
    damping: float,
    threads: int | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same for every row, from the rows ``own``."""
    n_rows = similarity.shape[1]
    mean, weight = np.zeros(n_rows), np.zeros(n_rows)
    for row in range(n_rows):
        with_row = np.zeros(n_rows)
        with_row[own] = similarity[:, row]
        mean[row], weight[row] = _nearest(with_row, own, values, row, k, damping)
    return mean, weight


def _nearest(
    s: NDArray[Any], rows: Int32, values: NDArray[np.float32], itself: int, k: int, damping: float
) -> tuple[float, float]:
    alike = np.flatnonzero((s[rows] > 0) & (rows != itself))
    alike = alike[np.argsort(-s[rows[alike]], kind="stable")][:k]
    weights = s[rows[alike]].astype(np.float64)
    total = float(weights.sum())
    return (float(weights @ values[alike]) / (total + damping) if total > 0 else 0.0), total
