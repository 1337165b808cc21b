"""ALS and Baseline: the contract, the objective, and answers that are known beforehand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.kernels import reference
from cofactor.models import als
from cofactor.ratings import Ratings
from tests.conftest import make_ratings
from tests.contract import check_model

VARIANTS = {
    f"{solver}-{biases}-{dtype}": {"solver": solver, "biases": biases, "dtype": dtype}
    for solver in ("auto", "cholesky", "cg")
    for biases in ("joint", "sequential", None)
    for dtype in ("float32", "float64")
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_als_keeps_the_contract(variant):
    check_model(lambda: cf.ALS(rank=4, reg=0.5, sweeps=6, **VARIANTS[variant]))


def test_baseline_keeps_the_contract():
    check_model(cf.Baseline)


def reference_objective(model, ratings):
    counts = ratings.by_user.counts, ratings.by_item.counts
    reg = [model.reg * n.astype(float) ** model.reg_exponent for n in counts]
    return reference.objective(
        ratings.user_positions,
        ratings.by_user.indices,
        ratings.values,
        model.user_factors_,
        model.user_bias_,
        model.item_factors_,
        model.item_bias_,
        model.mean_,
        *reg,
    )


@pytest.mark.parametrize("variant", VARIANTS)
@given(
    seed=st.integers(0, 1000),
    rank=st.integers(1, 20),
    reg=st.floats(0.01, 20),
    exponent=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_objective_never_rises_and_is_what_it_says(variant, seed, rank, reg, exponent):
    ratings = make_ratings(seed, users=25, items=20)
    model = cf.ALS(rank=rank, reg=reg, reg_exponent=exponent, sweeps=6, seed=seed, **VARIANTS[variant])
    model.fit(ratings)
    rounding = 2e-6 if model.dtype == "float32" else 1e-12
    assert len(model.objective_) == 6
    assert (np.diff(model.objective_) <= rounding * model.objective_[:-1]).all()
    assert model.objective_[-1] == pytest.approx(reference_objective(model, ratings), rel=1e-5)


def by_the_book(triples, start, rank, reg, exponent, sweeps):
    """The formulas of the sequential update with dictionaries and loops: b, U, c, V in turn.

    b_i = Σ(r_ij − u_i·v_j − c_j − μ) / (|Ω_i| + λ_i)
    u_i = (Σ v_j v_jᵀ + λ_i I)⁻¹ Σ (r_ij − b_i − c_j − μ) v_j            and the same for c, v
    """
    rated_by, raters_of = {}, {}
    for i, j, r in triples:
        rated_by.setdefault(i, {})[j] = r
        raters_of.setdefault(j, {})[i] = r
    mean = sum(r for _, _, r in triples) / len(triples)
    b, c = dict.fromkeys(rated_by, 0.0), dict.fromkeys(raters_of, 0.0)
    U, V = {i: [0.0] * rank for i in rated_by}, {j: list(start[j]) for j in raters_of}

    def dot(x, y):
        return sum(p * q for p, q in zip(x, y))

    def gauss(A, y):  # elimination with pivots
        A = [[*row, right] for row, right in zip(A, y)]
        for k in range(len(A)):
            pivot = max(range(k, len(A)), key=lambda row: abs(A[row][k]))
            A[k], A[pivot] = A[pivot], A[k]
            for row in range(k + 1, len(A)):
                factor = A[row][k] / A[k][k]
                A[row] = [p - factor * q for p, q in zip(A[row], A[k])]
        x = [0.0] * len(A)
        for k in reversed(range(len(A))):
            x[k] = (A[k][-1] - dot(A[k][k + 1 : -1], x[k + 1 :])) / A[k][k]
        return x

    def half(rows, own_bias, own, other_bias, other):
        for i, row in rows.items():
            lam = reg * len(row) ** exponent
            own_bias[i] = sum(r - dot(own[i], other[j]) - other_bias[j] - mean for j, r in row.items())
            own_bias[i] /= len(row) + lam
        for i, row in rows.items():
            lam = reg * len(row) ** exponent
            A = [[sum(other[j][p] * other[j][q] for j in row) for q in range(rank)] for p in range(rank)]
            for p in range(rank):
                A[p][p] += lam
            y = [
                sum((r - own_bias[i] - other_bias[j] - mean) * other[j][p] for j, r in row.items())
                for p in range(rank)
            ]
            own[i] = gauss(A, y)

    for _ in range(sweeps):
        half(rated_by, b, U, c, V)
        half(raters_of, c, V, b, U)
    return mean, b, U, c, V


@pytest.mark.parametrize(("rank", "exponent"), [(1, 0.0), (3, 0.5), (5, 1.0)])
def test_sequential_is_the_book_number_by_number(rank, exponent):
    ratings = make_ratings(seed=2, users=12, items=9)
    model = cf.ALS(
        rank=rank,
        reg=0.7,
        reg_exponent=exponent,
        sweeps=4,
        biases="sequential",
        solver="cholesky",
        seed=5,
        dtype="float64",
    )
    model.fit(ratings)
    start = np.random.default_rng(5).standard_normal((ratings.n_items, rank)) * 0.1
    triples = list(
        zip(ratings.user_positions.tolist(), ratings.by_user.indices.tolist(), map(float, ratings.values))
    )
    mean, b, U, c, V = by_the_book(triples, start, rank, 0.7, exponent, 4)
    assert model.mean_ == pytest.approx(mean, rel=1e-14)
    for got, want in (
        (model.user_bias_, b),
        (model.item_bias_, c),
        (model.user_factors_, U),
        (model.item_factors_, V),
    ):
        assert_allclose(got, [want[k] for k in range(len(want))], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("biases", ["joint", None])
def test_joint_users_are_the_minimum_given_the_items(biases):
    """The gradient of J in every user's unknowns is zero; a fold-in of the same ratings changes nothing."""
    ratings = make_ratings(seed=3)
    model = cf.ALS(rank=5, reg=0.5, sweeps=5, biases=biases, dtype="float64").fit(ratings)
    for i in range(ratings.n_users):
        items, values = ratings.by_user.row(i)
        V = model.item_factors_[items]
        error = (
            values.astype(float)
            - model.mean_
            - model.user_bias_[i]
            - model.item_bias_[items]
            - V @ model.user_factors_[i]
        )
        lam = 0.5 * len(items) ** 0.5
        assert_allclose(V.T @ error, lam * model.user_factors_[i], atol=1e-9)
        if biases:
            assert error.sum() == pytest.approx(lam * model.user_bias_[i], abs=1e-9)
    folded = model.fold_in(ratings)
    assert_array_equal(folded.user_factors_, model.user_factors_)


def test_finite_differences_at_a_converged_fit():
    """Long after the first sweeps J is stationary: no small step in any direction lowers it."""
    ratings = make_ratings(seed=4, users=15, items=12)
    model = cf.ALS(rank=2, reg=1.0, sweeps=3000, solver="cholesky", dtype="float64").fit(ratings)
    rng = np.random.default_rng(0)
    names = ("user_factors_", "item_factors_", "user_bias_", "item_bias_")
    least = reference_objective(model, ratings)
    for _ in range(20):
        step = {name: rng.normal(size=getattr(model, name).shape) for name in names}
        values = []
        for h in (1e-4, -1e-4):
            moved = cf.ALS(rank=2, reg=1.0, dtype="float64").fit(ratings)
            for name in names:
                setattr(moved, name, getattr(model, name) + h * step[name])
            values.append(reference_objective(moved, ratings))
        slope = (values[0] - values[1]) / 2e-4
        assert abs(slope) < 1e-4 * least
        assert min(values) > least - 1e-8 * least


def permuted(ratings: Ratings, seed: int) -> tuple[Ratings, np.ndarray]:
    """The same ratings after the users changed their names; and which old user each new one is."""
    order = np.random.default_rng(seed).permutation(ratings.n_users)
    place = np.argsort(order)
    return (
        Ratings.from_positions(
            ratings.user_ids,
            ratings.item_ids,
            place[ratings.user_positions].astype(np.int32),
            ratings.by_user.indices.copy(),
            ratings.values.copy(),
            scale=ratings.scale,
        ),
        order,
    )


@given(seed=st.integers(0, 100), solver=st.sampled_from(["auto", "cholesky", "cg"]))
def test_permuting_users_permutes_user_factors(seed, solver):
    ratings = make_ratings(seed, users=20, items=15)
    other, order = permuted(ratings, seed)
    model = cf.ALS(rank=3, sweeps=4, solver=solver, dtype="float64")
    U, b, V = (lambda m: (m.user_factors_, m.user_bias_, m.item_factors_))(model.fit(ratings))
    model.fit(other)
    assert_allclose(model.user_factors_, U[order], rtol=1e-7, atol=1e-10)
    assert_allclose(model.user_bias_, b[order], rtol=1e-7, atol=1e-10)
    assert_allclose(model.item_factors_, V, rtol=1e-7, atol=1e-10)


def transformed(ratings: Ratings, change) -> Ratings:
    return Ratings.from_positions(
        ratings.user_ids,
        ratings.item_ids,
        ratings.user_positions,
        ratings.by_user.indices,
        change(ratings.values).astype(np.float32),
    )


@given(
    seed=st.integers(0, 100),
    shift=st.sampled_from([-8.0, 0.5, 16.0]),
    model=st.sampled_from(["als", "baseline"]),
)
def test_shifting_all_ratings_shifts_the_mean_alone(seed, shift, model):
    ratings = transformed(make_ratings(seed, users=20, items=15), np.round)
    make = (lambda: cf.ALS(rank=3, sweeps=4, dtype="float64")) if model == "als" else cf.Baseline
    first, second = make().fit(ratings), make().fit(transformed(ratings, lambda r: r + shift))
    assert second.mean_ == pytest.approx(first.mean_ + shift, abs=1e-9)
    for name in ("user_factors_", "item_factors_", "user_bias_", "item_bias_"):
        assert_allclose(getattr(second, name), getattr(first, name), rtol=1e-4, atol=1e-6)


@given(seed=st.integers(0, 100), biases=st.sampled_from(["joint", "sequential", None]))
def test_scaling_all_ratings_scales_predictions(seed, biases):
    """r → 4r with U → 2U, V → 2V, b → 4b keeps every update if the factors' λ grows fourfold, the biases'
    stays: exactly so without biases, where J(4R; 4λ) = 16 J(R; λ)."""
    ratings = make_ratings(seed, users=20, items=15)
    four = transformed(ratings, lambda r: 4 * r)
    if biases is None:
        # reg 4 and a start doubled: the start is fixed, so compare converged fits
        first = cf.ALS(rank=1, reg=0.3, sweeps=400, biases=None, dtype="float64").fit(ratings)
        second = cf.ALS(rank=1, reg=1.2, sweeps=400, biases=None, dtype="float64").fit(four)
        assert second.objective_[-1] == pytest.approx(16 * first.objective_[-1], rel=1e-6)
        assert_allclose(
            second.predict(ratings.users, ratings.items),
            4 * first.predict(ratings.users, ratings.items),
            rtol=1e-3,
        )
    else:  # the linear part: without factors' help the biases are linear in the ratings
        first, second = cf.Baseline().fit(ratings), cf.Baseline().fit(four)
        assert_allclose(second.user_bias_, 4 * first.user_bias_, rtol=1e-4, atol=1e-6)
        assert_allclose(
            second.predict(ratings.users, ratings.items),
            4 * first.predict(ratings.users, ratings.items),
            rtol=1e-5,
        )


@pytest.mark.parametrize("solver", ["auto", "cholesky", "cg"])
def test_a_planted_matrix_is_recovered(solver):
    """Half the cells of a noiseless rank-3 matrix with biases determine the other half."""
    ratings = make_ratings(seed=6, users=120, items=90, density=0.5, rank=3, noise=0.0)
    rng = np.random.default_rng(6)
    U, V = rng.normal(0, 0.7, (120, 3)), rng.normal(0, 0.7, (90, 3))
    full = 3 + rng.normal(0, 0.3, (120, 1)) + rng.normal(0, 0.3, 90) + U @ V.T
    planted = Ratings.from_positions(
        ratings.user_ids,
        ratings.item_ids,
        ratings.user_positions,
        ratings.by_user.indices,
        full[ratings.user_positions, ratings.by_user.indices].astype(np.float32),
    )
    train, test = cf.split(planted, holdout=0.2, seed=1)
    model = cf.ALS(rank=3, reg=1e-4, reg_exponent=0, sweeps=200, solver=solver).fit(train)
    assert cf.rmse(test.values, model.predict(test.users, test.items)) < 0.02
    # The same subspace, but for a shift of all items alike, which the users' biases can take up
    mine, planted_span = (np.linalg.qr(X - X.mean(axis=0))[0] for X in (model.item_factors_, V))
    cosines = np.linalg.svd(mine.T @ planted_span)[1]
    assert (cosines > 0.999).all()


def test_baseline_is_the_least_squares_solution():
    ratings = make_ratings(seed=7, users=15, items=10)
    model = cf.Baseline(reg=2.0, sweeps=2000, tol=0).fit(ratings)
    n, m = ratings.n_users, ratings.n_items
    X = np.zeros((len(ratings), n + m))
    X[np.arange(len(ratings)), ratings.user_positions] = 1
    X[np.arange(len(ratings)), n + ratings.by_user.indices] = 1
    t = ratings.values - ratings.values.mean(dtype=float)
    exact = np.linalg.solve(X.T @ X + 2.0 * np.eye(n + m), X.T @ t)
    assert_allclose(np.concatenate([model.user_bias_, model.item_bias_]), exact, atol=2e-6)


@pytest.mark.parametrize("solver", ["auto", "cholesky", "cg"])
def test_threads_change_no_bit_of_a_fit(solver):
    ratings = make_ratings(seed=8, users=300, items=200)
    fits = [cf.ALS(rank=20, sweeps=5, solver=solver, threads=threads).fit(ratings) for threads in (1, 2, 5)]
    for other in fits[1:]:
        for name in ("user_factors_", "item_factors_", "user_bias_", "item_bias_", "objective_"):
            assert_array_equal(getattr(other, name), getattr(fits[0], name))


def test_tol_stops_early_and_seed_matters(ratings):
    long = cf.ALS(rank=3, sweeps=200, tol=1e-3).fit(ratings)
    assert 1 < len(long.objective_) < 200
    a, b = (cf.ALS(rank=3, sweeps=1, seed=seed).fit(ratings).user_factors_ for seed in (1, 2))
    assert np.abs(a - b).max() > 1e-3


def test_progress_is_quiet_in_a_pipe_and_there_on_demand(ratings, capsys):
    cf.ALS(rank=2, sweeps=3).fit(ratings)
    assert capsys.readouterr() == ("", "")
    cf.ALS(rank=2, sweeps=3).fit(ratings, progress=True)
    out, error = capsys.readouterr()
    assert out == ""
    assert "Fitting" in error


BAD_PARAMETERS = {
    "rank": [0, -1, 2.5, True, "8", None, 41, 10**12],
    "reg": [-1, float("nan"), float("inf"), "1", None, True],
    "reg_exponent": [-0.5, float("nan"), "x"],
    "sweeps": [0, -3, 1.5, None],
    "biases": ["both", 0, False],
    "solver": ["sgd", None, 1],
    "tol": [-1e-3, float("nan"), None],
    "seed": [-1, 0.5, None],
    "cg_steps": [0, 1.5],
    "dtype": ["float16", np.float32, None],
    "threads": [0, -1, 1.5, "2", 10**6],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_PARAMETERS.items() for value in values]
)
def test_a_bad_parameter_is_named_with_its_mend(ratings, name, value):
    model = cf.ALS(**{name: value})  # stored as it is
    with pytest.raises(cf.BadParameter, match=rf"{name} is .*[Gg]ive") as caught:
        model.fit(ratings)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    if name in {field.name for field in dataclasses.fields(cf.Baseline)}:
        with pytest.raises(cf.BadParameter, match=f"{name} is"):
            cf.Baseline(**{name: value}).fit(ratings)


def test_no_regularization_needs_long_rows(ratings):
    with pytest.raises(
        cf.BadParameter, match=r"reg is 0, but (user|item) .* ratings for 31 unknowns.*reg > 0"
    ):
        cf.ALS(rank=30, reg=0).fit(ratings)
    dense = make_ratings(density=1.0)
    model = cf.ALS(rank=3, reg=0, sweeps=3, dtype="float64").fit(dense)
    assert (np.diff(model.objective_) <= 1e-9 * model.objective_[:-1]).all()


def test_without_regularization_a_short_newcomer_is_not_determined():
    model = cf.ALS(rank=3, reg=0, sweeps=3, dtype="float64").fit(make_ratings(density=1.0))
    with pytest.raises(cf.SingularSystem, match=r"3 ratings for 4 unknowns"):
        model.recommend(ratings={"i001": 5, "i002": 4, "i003": 3})
    assert len(model.recommend(ratings={"i001": 5, "i002": 4, "i003": 3, "i004": 2}, n=3)) == 3


def test_parts_do_not_depend_on_the_blocks_they_are_made_in(monkeypatch):
    from cofactor.models import explaining

    model = cf.ALS(rank=4, sweeps=3).fit(make_ratings())
    whole = model.explain(103, "i001")
    monkeypatch.setattr(explaining, "_BLOCK", 3)
    for one, other in zip(whole.parts, model.explain(103, "i001").parts):
        assert one.item == other.item
        assert one.part == pytest.approx(other.part, rel=1e-9)


def test_a_singular_row_is_named_by_its_id():
    """Everybody rates the same way: with no regularization the factors of a side are not determined."""
    users, items = np.divmod(np.arange(40, dtype=np.int32), 8)
    flat = Ratings.from_positions(
        IdMap(np.arange(5)),
        IdMap([f"film {j}" for j in range(8)]),
        users,
        items.astype(np.int32),
        np.full(40, 3, np.float32),
    )
    with pytest.raises(cf.SingularSystem, match=r"(user|item) .* larger reg"):
        cf.ALS(rank=2, reg=0, sweeps=3).fit(flat)


def test_explanation_parts_are_what_the_ratings_add():
    """Change one rating and fold in again: the score moves as its part says, for it is linear in it."""
    ratings = make_ratings(seed=11)
    model = cf.ALS(rank=4, reg=0.5, sweeps=8, dtype="float64").fit(ratings)
    own = {"i003": 5.0, "i004": 1.0, "i010": 4.0, "i020": 2.0}

    def folded(values):
        rows = Ratings.from_positions(
            IdMap([1]),
            IdMap(list(values)),
            np.zeros(len(values), np.int32),
            np.arange(len(values), dtype=np.int32),
            np.array(list(values.values()), np.float32),
        )
        return model.fold_in(rows).explain(1, "i007")

    before, after = folded(own), folded({**own, "i003": 2.0})
    part = {p.item: p.part for p in before.parts}
    changed = {p.item: p.part for p in after.parts}
    assert {k: v for k, v in part.items() if k != "i003"} == pytest.approx(
        {k: v for k, v in changed.items() if k != "i003"}
    )
    moved = (after.score - after.user) - (before.score - before.user)
    assert moved == pytest.approx(changed["i003"] - part["i003"], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_carried_too_far_is_taken_back(seed, monkeypatch):
    """Over many sweeps the weights of the way grow until J would rise: then it must not, and does not."""
    taken_back = []
    take_back = als._Momentum.take_back
    monkeypatch.setattr(als._Momentum, "take_back", lambda self: (taken_back.append(1), take_back(self)))
    ratings = make_ratings(seed, users=60, items=40)
    settings = {"rank": 4, "reg": 0.3, "sweeps": 150, "dtype": "float64"}
    carried = cf.ALS(**settings).fit(ratings)
    assert taken_back
    assert (np.diff(carried.objective_) <= 1e-12 * carried.objective_[:-1]).all()


def test_carrying_on_is_sooner_at_a_low_objective():
    ratings = cf.load_demo()
    settings = {"rank": 16, "sweeps": 12, "threads": 2}
    auto = cf.ALS(**settings).fit(ratings).objective_
    plain = cf.ALS(**settings, solver="cholesky").fit(ratings).objective_
    assert auto[-1] < plain[-1]
