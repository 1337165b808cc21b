"""Evaluation: beside a slow twin, on models whose quality is planted, and where there is next to nothing to measure."""

from __future__ import annotations

import copy
import json
import math
import warnings
from dataclasses import FrozenInstanceError, dataclass
from statistics import mean

import numpy as np
import pytest

import cofactor as cf
from cofactor import trials
from cofactor.ids import IdMap
from cofactor.models import Model
from cofactor.ratings import Ratings
from tests.conftest import make_ratings


def table(rows: list[tuple], scale: tuple[float, float] | None = (1.0, 5.0)) -> Ratings:
    users, items, values = zip(*rows)
    user_ids, user_at = IdMap.encode(list(users))
    item_ids, item_at = IdMap.encode(list(items))
    return Ratings.from_positions(
        user_ids, item_ids, user_at, item_at, np.array(values, np.float32), None, scale
    )


def scoring(train: Ratings, scores: np.ndarray) -> cf.Baseline:
    """A model that predicts exactly these scores (users, items)."""
    model = cf.Baseline().fit(train)
    model.user_factors_ = scores.astype(np.float32)
    model.item_factors_ = np.eye(train.n_items, dtype=np.float32)
    model.user_bias_, model.item_bias_ = np.zeros(train.n_users), np.zeros(train.n_items)
    model.mean_ = 0.0
    return model


@pytest.fixture(scope="module")
def parts() -> tuple[Ratings, Ratings]:
    """Train and test in which some users and items of test are new, and both at once."""
    ratings = make_ratings(seed=4)
    new = (ratings.user_positions % 9 == 0) | (ratings.by_user.indices % 7 == 0)
    drawn = np.random.default_rng(0).random(len(ratings)) < 0.2
    return ratings.select(~(new | drawn)), ratings.select(new | drawn)


@pytest.fixture(scope="module")
def model(parts) -> cf.ALS:
    return cf.ALS(rank=4).fit(parts[0])


@dataclass(eq=False)
class Ranker(cf.Baseline):
    """Ranks, and predicts nothing."""

    predicts_ratings = False

    def predict(self, users, items, *, clip=False):
        raise cf.NotSupported("It ranks.")


# -- truth ---------------------------------------------------------------------------------------


def slowly(model: Model, train: Ratings, test: Ratings, k: int, relevant: float) -> dict[str, float]:
    """Every metric of the whole, one user at a time."""
    rows = list(zip(test.users.to_pylist(), test.items.to_pylist(), test.values.tolist()))
    misses = [float(model.predict([u], [i], clip=True)[0]) - r for u, i, r in rows]
    learnt = {}
    for user, item in zip(train.users.to_pylist(), train.items.to_pylist()):
        learnt.setdefault(item, set()).add(user)
    each = {name: [] for name in trials.RANKING}
    listed, information = {}, []
    for user in sorted({u for u, _, _ in rows}):
        if user not in model.user_ids_:
            continue
        best = [item for item, _ in model.recommend(user, n=k)]
        for item in best:
            listed[item] = listed.get(item, 0) + 1
            information.append(-math.log2(len(learnt[item]) / train.n_users))
        good = {i for u, i, r in rows if u == user and r >= relevant}
        if not good:
            continue
        hits = [p for p, item in enumerate(best, start=1) if item in good]
        each["precision"].append(len(hits) / k)
        each["recall"].append(len(hits) / len(good))
        ideal = sum(1 / math.log2(p + 1) for p in range(1, min(k, len(good)) + 1))
        each["ndcg"].append(sum(1 / math.log2(p + 1) for p in hits) / ideal)
        each["map"].append(sum(n / p for n, p in enumerate(hits, start=1)) / len(good))
        each["mrr"].append(1 / hits[0] if hits else 0)
    counts = sorted([*listed.values(), *[0] * (train.n_items - len(listed))])
    apart = sum(abs(a - b) for a in counts for b in counts)
    return {
        "rmse": math.sqrt(mean(m * m for m in misses)),
        "mae": mean(map(abs, misses)),
        **{f"{name}@{k}": mean(values) for name, values in each.items()},
        f"coverage@{k}": len(listed) / train.n_items,
        f"novelty@{k}": mean(information),
        f"gini@{k}": apart / (2 * len(counts) * sum(counts)),
    }


@pytest.mark.parametrize(("k", "relevant"), [(10, None), (3, 3.3), (100, 4.5)])
def test_every_metric_is_what_a_slow_count_finds(parts, model, k, relevant):
    train, test = parts
    found = cf.evaluate(model, test, k=k, relevant=relevant)
    expected = slowly(model, train, test, k, relevant or 4.0)
    assert found.metrics == pytest.approx(expected, rel=1e-5)
    assert list(found.metrics) == list(expected)
    assert found.rmse == pytest.approx(cf.rmse(test.values, model.predict(test.users, test.items, clip=True)))
    for name in ("rmse", "mae", "novelty", *trials.RANKING):
        low, high = found.intervals[name if name in ("rmse", "mae") else f"{name}@{k}"]
        assert low <= getattr(found, name) <= high
        assert low < high
    assert found.intervals[f"coverage@{k}"] is None
    assert (found.n, found.users, found.k) == (len(test), test.n_users, k)


def test_strata_are_what_a_slow_count_finds(parts, model):
    train, test = parts
    found = cf.evaluate(model, test)
    counts = dict(zip(train.user_ids.ids(np.arange(train.n_users)), train.by_user.counts.tolist()))
    middle = float(np.median(list(counts.values())))

    def kinds(user, item):
        old, known = user in counts, item in train.item_ids
        yield {
            (True, True): "known user and item",
            (False, True): "new user",
            (True, False): "new item",
            (False, False): "new user and item",
        }[old, known]
        if old:
            yield "few ratings" if counts[user] < middle else "many ratings"

    rows: dict[str, list] = {name: [] for name in found.strata}
    for user, item, rating in zip(test.users.to_pylist(), test.items.to_pylist(), test.values.tolist()):
        for kind in kinds(user, item):
            rows[kind].append((user, item, rating))
    for name, mine in rows.items():
        part = found.strata[name]
        assert (part.n, part.users) == (len(mine), len({user for user, _, _ in mine}))
        users, items, given = zip(*mine)
        predicted = model.predict(users, items, clip=True)
        assert part.rmse == pytest.approx(cf.rmse(given, predicted), rel=1e-5)
        assert part.mae == pytest.approx(cf.mae(given, predicted), rel=1e-5)
        if name.endswith(" ratings"):
            whole = slowly(model, train, table(mine), 10, 4.0)
            assert (part.recall, part.ndcg) == pytest.approx((whole["recall@10"], whole["ndcg@10"]))
        else:
            assert (part.recall, part.ndcg) == (None, None)
    assert sum(part.n for part in list(found.strata.values())[:4]) == len(test)


def test_calibration_shares_out_the_predictions(parts, model):
    _, test = parts
    found = cf.evaluate(model, test, metrics=["rmse"]).calibration
    predicted = model.predict(test.users, test.items, clip=True)
    assert len(found) == 10
    assert (found[0].low, found[-1].high) == test.scale
    assert sum(part.n for part in found) == len(test)
    for place, part in enumerate(found):
        mine = (predicted >= part.low) & ((predicted < part.high) | (place == 9))
        assert part.n == mine.sum()
        if part.n:
            assert part.predicted == pytest.approx(float(predicted[mine].mean()), rel=1e-5)
            assert part.given == pytest.approx(float(test.values[mine].mean()), rel=1e-5)
        else:
            assert (part.predicted, part.given) == (None, None)


def test_the_names_of_users_and_items_do_not_matter(parts):
    train, test = parts
    rng = np.random.default_rng(1)
    users = dict(zip(range(100, 160), rng.permutation(np.arange(5000, 5060)).tolist()))
    items = dict(
        zip((f"i{j:03d}" for j in range(40)), rng.permutation([f"x{j:02d}" for j in range(40)]).tolist())
    )

    def renamed(ratings):
        columns = ratings.users.to_pylist(), ratings.items.to_pylist(), ratings.values.tolist()
        return table([(users[u], items[i], r) for u, i, r in zip(*columns)])

    other = cf.Baseline(sweeps=100, tol=0).fit(renamed(train))
    found = cf.evaluate(cf.Baseline(sweeps=100, tol=0).fit(train), test)
    again = cf.evaluate(other, renamed(test))
    assert again.metrics == pytest.approx(found.metrics, rel=1e-4)
    for name, part in found.strata.items():
        assert len(again.strata[name]) == len(part)
        for one, value in zip(again.strata[name], part):
            assert one == (None if value is None else pytest.approx(value, rel=1e-4))


def test_users_in_batches_are_the_same(parts, model, monkeypatch):
    whole = cf.evaluate(model, parts[1]).to_dict()
    monkeypatch.setattr(trials, "_BATCH", 7)
    assert cf.evaluate(model, parts[1]).to_dict() == whole


# -- planted quality -----------------------------------------------------------------------------


def test_a_perfect_model_scores_one():
    ratings = make_ratings(seed=2, users=50, items=40, density=0.3)
    train, test = cf.split(ratings, by="user", last=3)
    scores = np.zeros((train.n_users, train.n_items))
    known = test.select(train.item_ids.positions(test.items) >= 0)
    at = train.user_ids.positions(known.users), train.item_ids.positions(known.items)
    scores[at] = known.values
    found = cf.evaluate(scoring(train, scores), known, k=5)
    assert found.rmse == pytest.approx(0, abs=1e-6)
    for name in ("recall", "ndcg", "map", "mrr"):
        assert getattr(found, name) == pytest.approx(1), name
        assert found.intervals[f"{name}@5"] == pytest.approx((1, 1))
    assert all(part.predicted == pytest.approx(part.given) for part in found.calibration if part.n)


def test_a_model_at_random_is_near_its_expectation():
    rng = np.random.default_rng(0)
    ratings = make_ratings(seed=3, users=600, items=50, density=0.3)
    train, test = cf.split(ratings, 0.5)
    found = cf.evaluate(scoring(train, rng.random((train.n_users, train.n_items))), test, k=5)
    good = test.select(test.values >= 4)
    learnt = dict(zip(train.user_ids.ids(np.arange(train.n_users)), train.by_user.counts))
    chance = mean(
        count / (train.n_items - learnt[user])
        for user, count in zip(good.user_ids.ids(np.arange(good.n_users)), good.by_user.counts)
        if user in learnt
    )
    low, high = found.intervals["precision@5"]
    assert abs(found.precision - chance) < high - low  # four standard errors
    assert found.coverage == 1
    assert found.gini < 0.1


def test_what_cannot_be_listed_counts_all_the_same():
    train = table([(1, "a", 5), (1, "b", 1), (2, "a", 4), (2, "c", 2), (3, "b", 3)])
    test = table([(1, "c", 5), (1, "new", 5), (3, "a", 2), (9, "a", 5)])
    found = cf.evaluate(cf.Baseline().fit(train), test, k=2)
    # User 1 gets c alone, of the two that are relevant; 3 has none that is; 9 is not known.
    assert found.ranked == 1
    assert found.recall == 0.5
    assert found.precision == 0.5
    assert found.ndcg == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert found.intervals["ndcg@2"] is None
    assert "1 of 3 test users are not in the model" in found.notes[0]
    assert "1 of 3 test users have no rating of 4 or more" in found.notes[1]


def test_relevant_starts_three_quarters_up_the_scale(model, parts):
    assert cf.evaluate(model, parts[1]).relevant == 4.0
    half = [(u, i, r) for u in range(4) for i, r in enumerate((0.5, 3.5, 4.0, 5.0))]
    assert cf.evaluate(cf.Baseline().fit(table(half, (0.5, 5.0))), table(half, None)).relevant == 3.875
    # 4.2 as a float32 lies below 4.2
    exact = cf.evaluate(
        cf.Baseline().fit(table([(1, 1, 1), (2, 2, 4.2)])), table([(1, 2, 4.2)]), relevant=4.2
    )
    assert exact.ranked == 1


# -- intervals -----------------------------------------------------------------------------------


def test_intervals_cover_at_their_nominal_rate():
    """Users differ in how far predictions are off: 95 % of intervals hold the true error, give or take."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        counts = rng.integers(1, 20, 120)
        scale = rng.choice([0.6, 1.0], 120)  # the mean squared error is (0.36 + 1) / 2
        squares = np.array([np.sum(rng.normal(0, s, n) ** 2) for s, n in zip(scale, counts)])
        low, high = trials.draw_intervals({"rmse": (squares, counts.astype(float))}, 200, trial)["rmse"]
        covered += low <= math.sqrt(0.68) <= high
    assert 0.90 <= covered / 400 <= 0.98


def test_intervals_repeat_by_seed_and_are_of_the_same_draws(parts, model):
    _, test = parts
    found = cf.evaluate(model, test, seed=3)
    assert cf.evaluate(model, test, seed=3).to_dict() == found.to_dict()
    assert cf.evaluate(model, test, seed=4).intervals != found.intervals
    alone = cf.evaluate(model, test, seed=3, metrics=["rmse", "ndcg"])
    for name in ("rmse", "ndcg@10"):
        assert alone.intervals[name] == pytest.approx(found.intervals[name], rel=1e-12)
    without = cf.evaluate(model, test, bootstrap=0)
    assert without.metrics == found.metrics
    assert set(without.intervals.values()) == {None}


def test_more_draws_of_more_users_narrow_the_interval():
    widths = []
    for users in (50, 800):
        rng = np.random.default_rng(users)
        sums = {"mae": (rng.exponential(1, users), np.ones(users))}
        low, high = trials.draw_intervals(sums, 500, 0)["mae"]
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)  # √(800 / 50)


def test_draws_without_anybody_ranked_are_left_out():
    ranked = np.zeros(50)
    ranked[:2] = 1
    for seed in range(20):
        for low, high in trials.draw_intervals({"ndcg": (ranked / 2, ranked)}, 1, seed).values():
            assert low == high == 0.5


# -- what comes out ------------------------------------------------------------------------------


def test_what_an_evaluation_gives(parts, model):
    found = cf.evaluate(model, parts[1], k=5)
    assert isinstance(found, cf.Evaluation)
    assert list(found.metrics) == ["rmse", "mae", *(f"{name}@5" for name in trials.METRICS[2:])]
    rows = found.table.to_pylist()
    assert [row["metric"] for row in rows] == list(found.metrics)
    assert rows[0] == {
        "metric": "rmse",
        "value": found.rmse,
        "low": found.intervals["rmse"][0],
        "high": found.intervals["rmse"][1],
    }
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    text = str(found)
    for part in ("ndcg@5", f"{found.rmse:.4f}", "95% interval", "new user and item", "mean given", "Note: "):
        assert part in text
    assert all(line == line.rstrip() for line in text.splitlines())
    with pytest.raises(AttributeError, match="has no 'accuracy'"):
        found.accuracy  # noqa: B018
    with pytest.raises(FrozenInstanceError):
        found.k = 3
    assert copy.deepcopy(found).rmse == found.rmse


def test_the_table_of_users_holds_what_the_metrics_are_means_of(parts, model):
    _, test = parts
    found = cf.evaluate(model, test)
    each = found.per_user.to_pandas()
    assert each["user"].tolist() == test.user_ids.array.to_pylist()
    assert math.sqrt(each["squared_error"].sum() / each["n"].sum()) == pytest.approx(found.rmse)
    assert each["absolute_error"].sum() / each["n"].sum() == pytest.approx(found.mae)
    assert each["ndcg@10"].mean() == pytest.approx(found.ndcg)
    assert each["ndcg@10"].notna().sum() == found.ranked < test.n_users


def test_only_what_is_asked_for_is_measured(parts, model, monkeypatch):
    _, test = parts
    assert list(cf.evaluate(model, test, metrics=["ndcg@10", "recall"]).metrics) == ["recall@10", "ndcg@10"]
    assert list(cf.evaluate(model, test, metrics="gini").metrics) == ["gini@10"]
    monkeypatch.setattr(type(model), "recommend", None)  # not called
    found = cf.evaluate(model, test, metrics=["mae", "rmse"])
    assert list(found.metrics) == ["rmse", "mae"]
    assert found.ndcg is None
    assert found.strata["few ratings"].ndcg is None


def test_a_model_that_only_ranks(parts):
    train, test = parts
    found = cf.evaluate(Ranker().fit(train), test)
    assert (found.rmse, found.mae, found.calibration) == (None, None, ())
    assert found.metrics["rmse"] is None
    assert "rmse" not in found.table["metric"].to_pylist()
    assert any("Ranker ranks and predicts no ratings" in note for note in found.notes)
    assert found.ndcg == cf.evaluate(cf.Baseline().fit(train), test).ndcg
    assert found.strata["new user"] == (
        found.strata["new user"].n,
        found.strata["new user"].users,
        *[None] * 4,
    )
    json.dumps(found.to_dict(), allow_nan=False)
    assert "rmse" not in str(found).split("Note")[0]
    with pytest.raises(cf.NotSupported, match="has no rmse"):
        cf.evaluate(Ranker().fit(train), test, metrics=["rmse"])


def test_ratings_that_were_learnt_from_are_told(parts, model):
    train, test = parts
    note = cf.evaluate(model, train).notes[0]
    assert f"learnt from {len(train):,} of these {len(train):,} pairs" in note
    assert not any("learnt" in note for note in cf.evaluate(model, test).notes)


# -- next to nothing -----------------------------------------------------------------------------


def sound(found: cf.Evaluation) -> dict:
    """What any evaluation must be: no number that is not one."""
    flat = json.dumps(found.to_dict(), allow_nan=False)
    assert "nan" not in str(found)
    return json.loads(flat)


def test_nobody_and_nothing_is_known(model):
    found = cf.evaluate(model, table([(1, "x", 4), (2, "y", 5)]))
    sound(found)
    assert found.strata["new user and item"].n == 2
    assert found.strata["known user and item"] == (0, 0, None, None, None, None)
    assert found.rmse is not None
    assert all(value is None for name, value in found.metrics.items() if name not in ("rmse", "mae"))
    assert found.table["metric"].to_pylist() == ["rmse", "mae"]


def test_one_rating(model, parts):
    for at in range(0, len(parts[1]), 9):
        found = cf.evaluate(model, parts[1].select(np.array([at])))
        sound(found)
        assert (found.n, found.users) == (1, 1)
        assert set(found.intervals.values()) == {None}
        assert any("one user: there are no intervals" in note for note in found.notes)


def test_all_ratings_are_equal():
    ratings = table([(u, i, 3) for u in range(6) for i in range(6)], None)
    train, test = cf.split(ratings, 0.3)
    found = cf.evaluate(cf.ALS(rank=2).fit(train), test, k=3)
    sound(found)
    assert found.relevant == 3
    assert found.rmse == pytest.approx(0, abs=1e-5)
    assert sum(part.n for part in found.calibration) == len(test)
    assert found.intervals["rmse"] == pytest.approx((0, 0), abs=1e-5)


def test_somebody_who_has_rated_everything():
    rows = [(1, i, 4) for i in range(5)] + [(2, 0, 4), (2, 1, 2)]
    found = cf.evaluate(cf.Baseline().fit(table(rows)), table([(1, 77, 5)]), k=3)
    sound(found)
    assert (found.recall, found.coverage, found.novelty, found.gini) == (0, None, None, None)


@pytest.mark.parametrize("seed", range(8))
def test_small_tables_of_any_kind(seed):
    rng = np.random.default_rng(seed)
    ratings = make_ratings(seed, users=int(rng.integers(2, 9)), items=int(rng.integers(2, 9)), density=0.4)
    train, test = cf.split(ratings, 0.4, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sound(cf.evaluate(cf.ALS(rank=1, reg=2.0).fit(train), test, k=int(rng.integers(1, 9)), bootstrap=50))


def test_a_model_without_its_ratings(parts, monkeypatch):
    train, test = parts
    model, bare = cf.Baseline().fit(train), cf.Baseline().fit(train)
    monkeypatch.setattr(bare, "recommend", model.recommend)
    del bare.ratings_
    whole, found = cf.evaluate(model, test), cf.evaluate(bare, test)
    assert found.novelty is None
    assert "few ratings" not in found.strata
    assert (found.rmse, found.ndcg, found.gini) == (whole.rmse, whole.ndcg, whole.gini)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 2.5}, "k is 2.5"),
        ({"bootstrap": -1}, "bootstrap is -1"),
        ({"seed": None}, "seed is None"),
        ({"relevant": float("nan")}, "relevant is nan"),
        ({"relevant": -1e300}, "relevant is -1e"),
        ({"relevant": "4"}, "relevant is '4'"),
        ({"metrics": ["accuracy"]}, "metrics has 'accuracy'"),
        ({"metrics": ["rmse@10"]}, "metrics has 'rmse@10'"),
        ({"metrics": ["ndcg@20"]}, "Give k=20, too"),
        ({"metrics": [3]}, "metrics has 3"),
        ({"metrics": []}, "metrics is empty"),
    ],
)
def test_what_is_refused(parts, model, options, says):
    with pytest.raises(cf.BadParameter, match=says):
        cf.evaluate(model, parts[1], **options)


def test_what_cannot_be_evaluated(parts, model):
    train, test = parts
    with pytest.raises(cf.NotFitted):
        cf.evaluate(cf.ALS(), test)
    with pytest.raises(cf.BadParameter, match="fitted model, not str"):
        cf.evaluate("model", test)
    with pytest.raises(cf.BadParameter, match="takes Ratings, not list"):
        cf.evaluate(model, [(100, "i001", 3.0)])
    with pytest.raises(cf.BadParameter, match=r"users here are integers.*these are strings"):
        cf.evaluate(model, table([("u", "i001", 3)]))
    with pytest.raises(cf.BadParameter, match=r"items here are strings.*these are integers"):
        cf.evaluate(model, table([(100, 1, 3)]))
    broken = scoring(train, np.full((train.n_users, train.n_items), np.nan))
    with pytest.raises(cf.BadParameter, match="not finite"):
        cf.evaluate(broken, test, metrics=["rmse"])


def test_the_name_stays_a_function():
    import cofactor.evaluation

    assert callable(cf.evaluate)
    assert cofactor.evaluation.evaluate is cf.evaluate
