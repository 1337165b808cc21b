"""One pass over a dataset against its slow twin; what must change no bit of it, and what it must not survive."""

from __future__ import annotations

import numpy as np
import pytest

import cofactor as cf
from cofactor.models.als import start_factors
from cofactor.scale import local
from cofactor.scale.checkpoint import State, read_state, write_state
from cofactor.scale.dataset import Dataset, read_group
from cofactor.scale.exporting import export_users
from cofactor.scale.local import LocalEngine
from cofactor.scale.passes import Items, Part, Totals, fold, map_groups, shards, solve_items
from cofactor.scale.preparing import prepare
from cofactor.scale.training import problem_of, train
from tests.conftest import make_ratings


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """800 ratings in 5 groups, a quarter held out."""
    folder = tmp_path_factory.mktemp("passes") / "dataset"
    return prepare(make_ratings(1).to_arrow(), folder, groups=5, holdout=0.25, memory=1 << 30)


def random_items(dataset: Dataset, rank: int, seed: int = 0) -> Items:
    rng = np.random.default_rng(seed)
    return Items(
        start_factors(dataset.n_items, rank, seed, np.float32),
        rng.normal(0, 0.3, dataset.n_items).astype(np.float32),
    )


def one_pass(dataset, items, problem, block=None, threads=1):
    files = [dataset.files(k) for k in range(dataset.n_groups)]
    block = range(dataset.n_items) if block is None else block
    return fold(
        map_groups([files[k] for k in shard], items, problem, block, threads=threads)
        for shard in shards(len(files))
    )


def twin(dataset, items, problem):
    """The pass in NumPy and double precision, user by user and rating by rating."""
    V, c = items.factors.astype(float), items.bias.astype(float)
    n, K = V.shape
    unknowns = K + problem.biased
    A, y = np.zeros((n, unknowns, unknowns)), np.zeros((n, unknowns))
    totals = np.zeros(4)
    for k in range(dataset.n_groups):
        group = read_group(dataset.files(k))
        solved = []
        for row in range(len(group.users)):
            mine = slice(group.indptr[row], group.indptr[row + 1])
            j, r = group.items[mine], group.values[mine].astype(float)
            z = np.hstack([V[j], np.ones((len(j), int(problem.biased)))])
            t = r - problem.mean - (c[j] if problem.biased else 0)
            lam = problem.reg * max(len(j), 1) ** problem.reg_exponent
            x = np.linalg.solve(z.T @ z + lam * np.eye(unknowns), z.T @ t)
            solved.append(x)
            totals[0] += ((t - z @ x) ** 2).sum()
            totals[1] += lam * (x @ x)
            w = np.append(x[:K], 1) if problem.biased else x
            for item, rating in zip(j, r):
                target = rating - problem.mean - (x[K] if problem.biased else 0)
                A[item] += np.outer(w, w)
                y[item] += target * w
        for row, item, rating in zip(group.held_users, group.held_items, group.held_values):
            x = solved[row]
            r = problem.mean + V[item] @ x[:K] + (x[K] + c[item] if problem.biased else 0)
            totals[2] += (np.clip(r, *problem.scale) - rating) ** 2
            totals[3] += 1
    lam = problem.row_reg(dataset.item_counts)
    rows = [
        np.linalg.solve(A[k] + lam[k] * np.eye(unknowns), y[k])
        if dataset.item_counts[k]
        else np.zeros(unknowns)
        for k in range(n)
    ]
    return totals, np.array(rows)


@pytest.mark.parametrize("biases", ["joint", None])
@pytest.mark.parametrize("rank", [1, 5, 12])
def test_a_pass_is_its_twin(dataset, rank, biases):
    problem = problem_of(cf.ALS(rank=rank, reg=0.7, biases=biases), dataset)
    items = random_items(dataset, rank)
    part = one_pass(dataset, items, problem)
    solved, singular = solve_items(part, dataset.item_counts, problem)
    totals, rows = twin(dataset, items, problem)
    assert singular == -1
    got = [part.totals.squared_error, part.totals.penalty, part.totals.held_squares, part.totals.held]
    np.testing.assert_allclose(got, totals, rtol=1e-5)
    assert part.totals.held == dataset.n_held > 100
    np.testing.assert_allclose(solved.factors, rows[:, :rank], atol=2e-5)
    if biases:
        np.testing.assert_allclose(solved.bias, rows[:, rank], atol=2e-5)


def test_blocks_of_items_and_threads_change_no_bit(dataset):
    problem = problem_of(cf.ALS(rank=6), dataset)
    items = random_items(dataset, 6)
    whole = one_pass(dataset, items, problem)
    assert np.array_equal(one_pass(dataset, items, problem, threads=5).equations, whole.equations)
    for block in (range(7), range(7, 30), range(30, dataset.n_items)):
        part = one_pass(dataset, items, problem, block)
        assert np.array_equal(part.equations, whole.equations[block.start : block.stop])
        assert part.totals == whole.totals
    nothing = one_pass(dataset, items, problem, range(0))
    assert nothing.totals == whole.totals
    assert nothing.equations.size == 0


def test_memory_that_was_used_before_changes_nothing(dataset):
    problem = problem_of(cf.ALS(rank=3), dataset)
    items = random_items(dataset, 3)
    files, block = [dataset.files(0)], range(dataset.n_items)
    fresh = map_groups(files, items, problem, block)
    used = map_groups(files, items, problem, block, memory=np.full_like(fresh.equations, np.nan))
    assert np.array_equal(used.equations, fresh.equations)


@pytest.mark.parametrize("n_groups", [1, 2, 3, 5, 16, 17, 100, 2861])
def test_every_group_is_in_one_part(n_groups):
    parts = shards(n_groups)
    assert [group for part in parts for group in part] == list(range(n_groups))
    assert all(len(part) for part in parts)
    assert len(parts) <= n_groups**0.5 + 1


def test_fold_adds_in_order_and_leaves_shared_memory_alone():
    rng = np.random.default_rng(0)
    values = [rng.normal(0, 10.0**k, (3, 4)) for k in range(-6, 7)]
    first = values[0].copy()
    first.flags.writeable = False
    total = fold(Part(v, Totals(1.0, 2.0, 3.0, 4)) for v in [first, *values[1:]])
    want = values[0].copy()
    for v in values[1:]:
        want += v
    assert np.array_equal(total.equations, want)
    assert np.array_equal(first, values[0])
    assert total.totals == Totals(13.0, 26.0, 39.0, 52)


def test_objective_never_rises_and_is_that_of_the_model_in_memory(tmp_path, ratings):
    dataset = prepare(ratings.to_arrow(), tmp_path / "dataset", groups=4, memory=1 << 30)
    for biases in ("joint", None):
        model = cf.ALS(rank=4, sweeps=12, biases=biases, solver="cholesky", reg=0.5)
        trained = train(dataset, model, progress=False)
        assert (np.diff(trained.objective_) <= 1e-6 * trained.objective_[0]).all()
        model.fit(ratings)
        assert trained.objective_[-1] == pytest.approx(model.objective_[-1], rel=1e-5)
        np.testing.assert_allclose(trained.item_factors_, model.item_factors_, atol=2e-3)
        users = ratings.user_ids.ids(np.arange(10))
        known = trained.fold_in(dataset.ratings_of(users))
        items = ratings.item_ids.ids(np.arange(10))
        np.testing.assert_allclose(known.predict(users, items), model.predict(users, items), atol=2e-3)


def test_the_model_has_the_items_alone_and_is_saved(tmp_path, dataset):
    model = train(dataset, cf.ALS(rank=3, sweeps=2), progress=False)
    assert len(model.user_ids_) == 0
    cf.save(model, tmp_path / "model")
    loaded = cf.load(tmp_path / "model")
    own = {"i001": 5.0, "i002": 1.0}
    assert list(loaded.recommend(ratings=own, n=3)) == list(model.recommend(ratings=own, n=3))
    assert loaded.predict([100], ["i001"])[0] == model.predict([100], ["i001"])[0]
    assert len(loaded.similar_items("i001")) == 10


def test_a_limit_of_memory_takes_several_rounds_and_the_same_bits(dataset, monkeypatch):
    monkeypatch.setattr(local, "_FEWEST_ITEMS", 2)
    model = cf.ALS(rank=8, sweeps=2)
    whole = train(dataset, model, progress=False)
    problem = problem_of(model, dataset)
    with pytest.raises(cf.BadParameter, match=r"need ([\d.]+) GiB at least"):
        LocalEngine(dataset, problem, 2, 1 << 20)
    low, high = 1 << 20, 1 << 30
    while high - low > 1000:  # the least that it takes
        middle = (low + high) // 2
        try:
            LocalEngine(dataset, problem, 2, middle)
            high = middle
        except cf.BadParameter:
            low = middle
    assert LocalEngine(dataset, problem, 2, high).rounds > 4
    assert LocalEngine(dataset, problem, 2, 1 << 30).rounds == 1
    tight = train(dataset, model, memory=high, progress=False)
    assert np.array_equal(tight.item_factors_, whole.item_factors_)
    assert np.array_equal(tight.objective_, whole.objective_)


def test_tol_and_callback_end_a_training(dataset):
    assert len(train(dataset, cf.ALS(rank=2, sweeps=30, tol=0.01), progress=False).objective_) < 15
    states = []
    stopped = train(
        dataset,
        cf.ALS(rank=2, sweeps=9),
        progress=False,
        callback=lambda state: states.append(list(state.held_rmse)) or len(states) == 4,
    )
    assert len(stopped.objective_) == 3
    assert [len(errors) for errors in states] == [1, 2, 3, 4]
    assert states[-1][-1] < states[-1][0]


def test_going_on_from_a_checkpoint(tmp_path, dataset):
    model = cf.ALS(rank=3, sweeps=5)
    whole = train(dataset, model, progress=False)
    path = tmp_path / "state"
    count = []

    def interrupt(state):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, model, checkpoint=path, callback=interrupt, progress=False)
    passed = []
    gone_on = train(
        dataset, model, checkpoint=path, callback=lambda state: passed.append(1) and None, progress=False
    )
    assert len(passed) == 4
    assert np.array_equal(gone_on.item_factors_, whole.item_factors_)
    assert np.array_equal(gone_on.objective_, whole.objective_)
    again = train(dataset, model, checkpoint=path, progress=False)  # nothing is left to do
    assert np.array_equal(again.item_factors_, whole.item_factors_)


def test_checkpoints_of_something_else_are_refused(tmp_path, dataset, ratings):
    path = tmp_path / "state"
    train(dataset, cf.ALS(rank=3, sweeps=1), checkpoint=path, progress=False)
    before = path.read_bytes()
    with pytest.raises(cf.BadData, match="differs in rank"):
        train(dataset, cf.ALS(rank=2, sweeps=1), checkpoint=path, progress=False)
    other = prepare(ratings.to_arrow(), tmp_path / "other", groups=2, memory=1 << 30)
    with pytest.raises(cf.BadData, match="differs in dataset"):
        train(other, cf.ALS(rank=3, sweeps=1), checkpoint=path, progress=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_checkpoint_that_was_cut_off_or_changed(tmp_path, share):
    path, belongs = tmp_path / "state", {"dataset": "x"}
    items = Items(np.ones((5, 3), np.float32), np.zeros(5, np.float32))
    write_state(path, State(items, [2.0], [np.nan]), belongs)
    assert read_state(path, belongs).objective == [2.0]
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(cf.BadData, match="Begin anew"):
        read_state(path, belongs)
    flipped = bytearray(data)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(cf.BadData):
        read_state(path, belongs)
    path.write_bytes(data.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(cf.BadData, match="version 2"):
        read_state(path, belongs)


def test_parameters_that_are_not_for_datasets(dataset):
    for model in (cf.ALS(biases="sequential"), cf.ALS(dtype="float64"), cf.ALS(reg=0), cf.ALS(rank=1000)):
        with pytest.raises(cf.BadParameter):
            train(dataset, model, progress=False)
    with pytest.raises(cf.BadParameter, match="engine"):
        train(dataset, cf.ALS(rank=2), engine="dask", progress=False)


def test_exported_users_are_those_folded_in(tmp_path, dataset):
    import pyarrow.parquet as pq

    model = train(dataset, cf.ALS(rank=3, sweeps=2), progress=False)
    assert export_users(dataset, model, tmp_path / "users", progress=False) == dataset.n_users
    table = pq.read_table(tmp_path / "users").sort_by("user")
    assert table.num_rows == dataset.n_users
    group = read_group(dataset.files(0))
    row = int(np.argmax(np.diff(group.indptr)))
    mine = slice(group.indptr[row], group.indptr[row + 1])
    names = dataset.item_ids.ids(np.argsort(dataset.item_numbers))
    own = {names[item]: float(value) for item, value in zip(group.items[mine], group.values[mine])}
    user = group.users[row].as_py()
    known = model.fold_in(
        cf.read_ratings({"user": [user] * len(own), "item": list(own), "rating": list(own.values())})
    )
    at = table["user"].to_pylist().index(user)
    np.testing.assert_allclose(table["factors"][at].as_py(), known.user_factors_[0], atol=1e-5)
    assert table["bias"][at].as_py() == pytest.approx(float(known.user_bias_[0]), abs=1e-5)
    with pytest.raises(cf.BadParameter, match="there already"):
        export_users(dataset, model, tmp_path / "users")
    stranger = cf.ALS(rank=2, sweeps=1).fit(make_ratings(5, items=20))
    with pytest.raises(cf.BadParameter, match="items of this dataset"):
        export_users(dataset, stranger, tmp_path / "others")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["users"]


def test_rows_that_are_not_determined_are_said_to_be(dataset):
    with pytest.raises(cf.SingularSystem, match="Give a larger reg"):
        train(dataset, cf.ALS(rank=30, sweeps=1, reg=1e-12, reg_exponent=0.0), progress=False)
