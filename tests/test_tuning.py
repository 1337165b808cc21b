"""tune: the choice is right, honest about what it saved, the same for any number of threads, and resumable."""

import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from importlib.util import find_spec

import numpy as np
import pytest

import cofactor as cf
from cofactor import crossvalidation
from cofactor.crossvalidation import FoldResult, compare_folds
from cofactor.ids import IdMap
from cofactor.ratings import Ratings
from cofactor.tuning import Setting, Tuning
from tests.conftest import make_ratings, missing

GRID = {"rank": [1, 2, 4, 8], "reg": [0.1, 0.5, 2.0]}


@pytest.fixture(scope="module")
def table() -> Ratings:
    return make_ratings(seed=5, users=150, items=80, density=0.35, rank=3, noise=0.3)


def by_hand(model: cf.Model, ratings: Ratings, folds: int, seed: int = 0) -> list[float]:
    """The RMSE of each fold, by fits from scratch."""
    return [
        cf.rmse(test.values, model.fit(train).predict(test.users, test.items, clip=True))
        for train, test in cf.folds(ratings, folds, seed=seed, warn=False)
    ]


def figures(tuning: Tuning) -> list[tuple]:
    """All but the seconds."""
    return [(s.params, s.rmse, s.se, s.folds, s.stopped) for s in tuning.settings]


def test_the_planted_rank_is_found(table):
    found = cf.tune(cf.ALS(), table, **GRID)
    assert found.best_setting.params["rank"] in (4, 8)
    assert found.simplest_setting.params["rank"] == 4
    assert found.best_setting.params["reg"] < 2.0
    assert isinstance(found.best, cf.ALS)
    assert found.best.get_params() == {**cf.ALS().get_params(), **found.best_setting.params}
    assert not found.best.is_fitted
    assert len(found.settings) == 12
    assert [s.rmse for s in found.settings] == sorted(s.rmse for s in found.settings)


def test_one_setting_is_plain_cross_validation(table):
    found = cf.tune(cf.ALS(sweeps=7), table, rank=[3], reg=[0.4], folds=4, seed=2).best_setting
    errors = by_hand(cf.ALS(rank=3, reg=0.4, sweeps=7), table, 4, seed=2)
    assert found.rmse == np.mean(errors)
    assert found.se == pytest.approx(np.std(errors, ddof=1) / 2)
    assert (found.folds, found.stopped) == (4, False)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (cf.Baseline(), {"reg": [0.5, 5.0, 50.0]}),
        (cf.LineBaseline(), {"reg": [1.0, 5.0], "reg_exponent": [0.0, 0.5]}),
        (cf.ALS(rank=2), {"biases": ["joint", "sequential", None]}),
    ],
)
def test_models_and_values_without_a_path_are_fitted_from_scratch(model, values, table):
    found = cf.tune(model, table, folds=2, **values)
    for setting in found.settings:
        one = type(model)(**{**model.get_params(), **setting.params})
        assert setting.rmse == pytest.approx(np.mean(by_hand(one, table, 2)), rel=1e-12)


def test_a_warm_start_ends_where_a_fit_from_scratch_does(table):
    found = cf.tune(cf.ALS(sweeps=60), table, folds=2, rank=[1, 2, 4], reg=[0.4, 0.8])
    for setting in found.settings:
        scratch = np.mean(by_hand(cf.ALS(sweeps=120, **setting.params), table, 2))
        assert setting.rmse == pytest.approx(scratch, abs=0.004), setting


def test_losers_are_stopped_and_were_losers(table):
    found = cf.tune(cf.ALS(), table, **GRID, folds=5)
    stopped = [s for s in found.settings if s.stopped]
    assert stopped
    best = found.best_setting
    for setting in found.settings:
        assert setting.folds == (2 if setting.stopped else 5)
        assert (setting.se is None) == setting.stopped
    for setting in stopped:
        scratch = np.mean(by_hand(cf.ALS(**setting.params), table, 5))
        assert scratch > best.rmse + best.se
        assert setting.rmse == pytest.approx(scratch, abs=0.06)  # of two folds, and warm


def test_folds_compared_are_what_brute_force_says():
    rng = np.random.default_rng(0)
    errors = rng.normal(0, 1, (2, 3, 400)) * [[[1.0]], [[1.3]]]  # settings, folds, ratings
    users = rng.integers(0, 50, (3, 400))

    def result(error, user):
        square = error**2
        squares, counts = np.bincount(user, square, minlength=50), np.bincount(user, minlength=50)
        return FoldResult(
            np.sqrt(square.mean()), squares, counts.astype(float), float((square**2).sum()), 0.0
        )

    best, other = ([result(e, u) for e, u in zip(errors[k], users)] for k in (0, 1))
    beside = compare_folds(other, best, folds=6)
    assert beside.difference == pytest.approx(np.mean([o.rmse - b.rmse for o, b in zip(other, best)]))
    squares = errors[0] ** 2
    se = (
        squares.std() / np.sqrt(2 * 1200) / 2 / np.sqrt(squares.mean())
    )  # six folds, of which three were seen
    assert beside.se_of_best == pytest.approx(se, rel=1e-9)
    drawn = []
    for _ in range(400):  # users drawn anew
        weight = np.bincount(rng.integers(0, 50, 50), minlength=50)[users]
        mean = [(weight * errors[k] ** 2).sum() / weight.sum() for k in (1, 0)]
        drawn.append(np.sqrt(mean[0]) - np.sqrt(mean[1]))
    assert beside.se == pytest.approx(np.std(drawn), rel=0.25)


def test_the_same_for_any_number_of_threads(table):
    first = cf.tune(cf.ALS(threads=1), table, **GRID, folds=3)
    for threads in (2, 5):
        assert figures(cf.tune(cf.ALS(threads=threads), table, **GRID, folds=3)) == figures(first)


def setting(rmse, se, stopped=False, **params):
    return Setting(params, rmse, None if stopped else se, 2 if stopped else 5, 0.1, stopped)


@pytest.mark.parametrize(
    ("settings", "simplest"),
    [
        ([setting(0.90, 0.01, rank=8, reg=1.0), setting(0.905, 0.01, rank=2, reg=1.0)], 1),
        ([setting(0.90, 0.01, rank=8, reg=1.0), setting(0.911, 0.01, rank=2, reg=1.0)], 0),
        (
            [setting(0.90, 0.01, rank=8, reg=1.0), setting(0.905, 0.01, rank=8, reg=2.0)],
            1,
        ),  # more reg is simpler
        ([setting(0.90, 0.01, rank=8, reg=1.0), setting(0.905, 0.01, rank=2, reg=1.0, stopped=True)], 0),
        ([setting(0.89, 0.01, rank=2, reg=1.0, stopped=True), setting(0.90, 0.01, rank=8, reg=1.0)], 1),
        ([setting(0.90, 0.01, k=40), setting(0.901, 0.01, k=10)], 1),
    ],
)
def test_the_simplest_within_one_standard_error(settings, simplest):
    tuning = Tuning(cf.ALS(), tuple(settings), 5, 0, 100, 10, 10, ())
    assert tuning.simplest_setting is settings[simplest]


def test_an_interrupted_search_goes_on(table, tmp_path, monkeypatch):
    whole = cf.tune(cf.ALS(threads=1), table, **GRID)
    fit, fits = cf.ALS.fit_from, []

    def interrupted(self, *args, **keywords):
        fits.append(self.get_params())
        if len(fits) == 11:
            raise KeyboardInterrupt
        return fit(self, *args, **keywords)

    monkeypatch.setattr(cf.ALS, "fit_from", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cf.tune(cf.ALS(threads=1), table, **GRID, checkpoint=tmp_path / "kept")
    fits[:] = [{}] * 11
    resumed = cf.tune(cf.ALS(threads=1), table, **GRID, checkpoint=tmp_path / "kept")
    again = len(fits) - 11
    assert figures(resumed) == figures(whole)
    fits[:] = [{}] * 11
    cf.tune(cf.ALS(threads=1), table, **GRID)
    assert 0 < again < len(fits) - 11
    fits[:] = [{}] * 11
    assert figures(cf.tune(cf.ALS(threads=2), table, **GRID, checkpoint=tmp_path / "kept")) == figures(whole)
    assert len(fits) == 11  # all of it was kept


def test_a_killed_search_goes_on(table, tmp_path):
    import pyarrow.csv as pc

    pc.write_csv(table.to_arrow(), tmp_path / "ratings.csv")
    command = [
        sys.executable,
        "-m",
        "cofactor",
        "tune",
        "ratings.csv",
        "--json",
        "--threads",
        "1",
        "--scale",
        "1,5",
    ]
    command += ["--rank", "2,4,8,16", "--reg", "0.3,0.5,0.8,1.2", "--try", "sweeps=150"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = tmp_path / "cofactor-tune.html.partial"
    while running.poll() is None and len(list(kept.glob("*.safetensors"))) < 2:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = len(list(kept.glob("*.safetensors")))
    assert before >= 2
    assert not (tmp_path / "cofactor-tune.html").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    whole = cf.tune(cf.ALS(), table, rank=[2, 4, 8, 16], reg=[0.3, 0.5, 0.8, 1.2], sweeps=[150]).to_dict()
    assert [{**s, "seconds": 0} for s in found["settings"]] == [
        {**s, "seconds": 0} for s in whole["settings"]
    ]
    assert (tmp_path / "cofactor-tune.html").stat().st_size > 10_000
    assert not kept.exists()


def test_what_was_kept_is_checked(table, tmp_path):
    values = {"rank": [2, 4], "reg": [0.5]}
    whole = cf.tune(cf.ALS(), table, **values, checkpoint=tmp_path)
    files = sorted(tmp_path.iterdir())
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    files[2].write_bytes(files[3].read_bytes()[:-8])
    assert figures(cf.tune(cf.ALS(), table, **values, checkpoint=tmp_path)) == figures(whole)
    # Other ratings, another estimator, other folds: nothing is taken over
    other = make_ratings(seed=6, users=150, items=80, density=0.35)
    for model, ratings, seed in ((cf.ALS(), other, 0), (cf.ALS(sweeps=4), table, 0), (cf.ALS(), table, 1)):
        fresh = cf.tune(model, ratings, **values, seed=seed)
        assert figures(cf.tune(model, ratings, **values, seed=seed, checkpoint=tmp_path)) == figures(fresh)
    (tmp_path / "file").write_text("")
    with pytest.raises(cf.BadParameter, match="not a folder"):
        cf.tune(cf.ALS(), table, **values, checkpoint=tmp_path / "file")


def test_an_error_in_one_fit_ends_the_search(table):
    with pytest.raises(cf.BadParameter, match="reg is 0"):
        cf.tune(cf.ALS(), table, rank=[2, 30], reg=[0.0, 1.0])


@pytest.mark.parametrize(
    ("keywords", "match"),
    [
        ({"rank": []}, "rank has no values"),
        ({"rank": [2, 2]}, "lists a value twice"),
        ({"colour": [1]}, "no parameter 'colour'"),
        ({"rank": [2], "folds": 1}, "folds is 1"),
        ({"rank": [2], "folds": 10**6}, "folds"),
        ({"rank": [0, 2]}, "rank=0: rank is 0"),
        ({"rank": [2, 10**6]}, "more than the"),
        ({"reg": [float("nan")]}, "reg is nan"),
        ({"reg": ["high"]}, "reg is 'high'"),
        ({"rank": [2], "search": "luck"}, "search is 'luck'"),
        ({"rank": [2], "trials": 0}, "trials is 0"),
        ({"rank": [2], "seed": -1}, "seed is -1"),
    ],
)
def test_bad_input(keywords, match, table):
    with pytest.raises(cf.BadParameter, match=match):
        cf.tune(cf.ALS(), table, **keywords)


def test_what_cannot_be_tuned(table):
    with pytest.raises(cf.NotSupported, match="ranks items"):
        cf.tune(cf.Popular(), table, threads=[1, 2])
    with pytest.raises(cf.BadParameter, match=r"tune\(Baseline\(\), ratings, reg="):
        cf.tune(cf.Baseline(), table)
    with pytest.raises(cf.BadParameter, match="takes a model"):
        cf.tune("ALS", table)  # type: ignore[arg-type]
    with pytest.raises(cf.BadParameter, match="read_ratings"):
        cf.tune(cf.ALS(), "ratings.csv")  # type: ignore[arg-type]


def test_the_usual_values_go_with_the_ratings(table):
    twice = Ratings.from_positions(
        table.user_ids,
        table.item_ids,
        table.user_positions,
        table.by_user.indices,
        2 * table.values,
        scale=(2, 10),
    )
    one, two = cf.tune(cf.ALS(), table, folds=2), cf.tune(cf.ALS(), twice, folds=2)
    regs = [sorted({s.params["reg"] for s in found.settings}) for found in (one, two)]
    np.testing.assert_allclose(regs[1], 2 * np.array(regs[0]), rtol=0.05)
    assert two.best_setting.rmse == pytest.approx(2 * one.best_setting.rmse, rel=0.02)


def test_ratings_all_alike_have_no_error():
    users, items = np.divmod(np.arange(60), 6)
    (user_ids, user_at), (item_ids, item_at) = IdMap.encode(users), IdMap.encode(items)
    alike = Ratings.from_positions(user_ids, item_ids, user_at, item_at, np.full(60, 4.0, np.float32))
    found = cf.tune(cf.ALS(), alike, rank=[1, 2], reg=[0.5, 1.0])
    assert [s.rmse for s in found.settings] == [0.0] * 4
    assert "<svg" in found.plot().svg


def test_two_ratings_and_two_folds():
    (user_ids, users), (item_ids, items) = IdMap.encode([1, 2]), IdMap.encode(["a", "a"])
    two = Ratings.from_positions(user_ids, item_ids, users, items, np.array([2, 4], np.float32))
    found = cf.tune(cf.ALS(), two, rank=[1], reg=[1.0], folds=2)
    assert np.isfinite(found.best_setting.rmse)
    with pytest.raises(cf.BadParameter, match="folds"):
        cf.tune(cf.ALS(), two, rank=[1], folds=3)


def test_it_tells_what_it_found(table, tmp_path):
    found = cf.tune(cf.ALS(), table, rank=[2, 4, 8], reg=[2.0, 4.0, 8.0])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["best"] == found.best_setting.params
    assert found.table.column_names == ["rank", "reg", "rmse", "se", "folds", "seconds", "stopped"]
    assert found.table["rmse"].to_pylist() == [s.rmse for s in found.settings]
    assert "The best reg, 2, is the least that was tried" in str(found)
    assert "leaks the future" in str(found)
    assert str(found).count("\n") >= 10
    found.plot(tmp_path / "tuning.svg")
    root = ET.fromstring((tmp_path / "tuning.svg").read_text("utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert found.plot()._repr_svg_() == (tmp_path / "tuning.svg").read_text("utf-8")
    with pytest.raises(cf.BadParameter, match="svg"):
        found.plot(tmp_path / "tuning.png")


def test_optuna_searches_between_the_values(table, tmp_path):
    if find_spec("optuna") is None:
        missing("Optuna")
    values = {"rank": [1, 8], "reg": [0.01, 10.0], "biases": ["joint", None]}
    found = cf.tune(cf.ALS(), table, **values, folds=3, search="optuna", trials=12, checkpoint=tmp_path)
    assert 0 < len(found.settings) <= 12
    assert all(1 <= s.params["rank"] <= 8 and 0.01 <= s.params["reg"] <= 10 for s in found.settings)
    assert len({tuple(s.params.items()) for s in found.settings}) == len(found.settings)
    assert found.best_setting.rmse < cf.tune(cf.Baseline(), table, reg=[5.0], folds=3).best_setting.rmse
    again = cf.tune(cf.ALS(), table, **values, folds=3, search="optuna", trials=12, checkpoint=tmp_path)
    assert figures(again) == figures(found)


def test_without_optuna_it_says_what_to_install(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(cf.BadParameter, match=r"cofactor\[tune\]"):
        cf.tune(cf.ALS(), table, rank=[1, 2], search="optuna")


def test_groups_of_users_bound_the_memory(table, monkeypatch):
    every = cf.tune(cf.ALS(), table, **GRID, folds=3)
    monkeypatch.setattr(crossvalidation, "_GROUPS", 40)
    grouped = cf.tune(cf.ALS(), table, **GRID, folds=3)
    assert grouped.best_setting.params == every.best_setting.params
    assert grouped.best_setting.rmse == every.best_setting.rmse
