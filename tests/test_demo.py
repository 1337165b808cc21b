"""The main job as one function, and the measuring on a holdout that it shares with ``cofactor train``."""

import json

import numpy as np
import pytest

from cofactor.datasets import load_demo
from cofactor.demo import DEMO_USER, Demo, run_demo
from cofactor.errors import BadParameter, UnknownUser
from cofactor.holdout import measure_holdout
from cofactor.metrics import rmse
from cofactor.models import ALS, Baseline
from cofactor.ratings import Ratings
from cofactor.splits import split
from tests.conftest import make_ratings

SETTINGS = {"rank": 3, "reg": 0.5, "sweeps": 6}


class Titles:
    """Just enough of a catalog: a title and genres for every item."""

    def title(self, item: object) -> str | None:
        return f"Title of {item}"

    def genres(self, item: object) -> tuple[str, ...]:
        return ("Drama", "War") if str(item) < "i02" else ()


@pytest.fixture(scope="module")
def demo() -> Demo:
    return run_demo(ratings=make_ratings(), catalog=Titles(), settings=SETTINGS)  # type: ignore[arg-type]


def test_the_holdout_is_what_split_and_rmse_say(ratings: Ratings) -> None:
    train, test = split(ratings, 0.2, "random", 4)
    model = ALS(**SETTINGS)
    found = measure_holdout(model, ratings, 0.2, seed=4)
    fitted = ALS(**SETTINGS).fit(train)
    assert found.model.rmse == rmse(test.values, fitted.predict(test.users, test.items, clip=True))
    baseline = Baseline().fit(train)
    assert found.baseline.rmse == rmse(test.values, baseline.predict(test.users, test.items, clip=True))
    assert (found.train, found.test) == (len(train), len(test))
    assert not model.is_fitted
    assert found.sweeps == ()
    assert found.gain == pytest.approx(1 - found.model.rmse / found.baseline.rmse)


def test_sweeps_fall_and_end_where_the_model_stands(ratings: Ratings) -> None:
    found = measure_holdout(ALS(**SETTINGS), ratings, per_sweep=True)
    objective = np.array([sweep.objective for sweep in found.sweeps])
    assert len(objective) == SETTINGS["sweeps"]
    assert (np.diff(objective) <= 1e-6 * objective[0]).all()
    assert found.sweeps[-1].holdout_rmse == found.model.rmse


def test_a_holdout_by_time_takes_the_latest(ratings: Ratings) -> None:
    found = measure_holdout(Baseline(), ratings, 0.25, by="time")
    assert found.by == "time"
    assert found.model == found.baseline


def test_too_few_ratings_to_hold_out() -> None:
    one = make_ratings(users=1, items=1)
    with pytest.raises(BadParameter, match="holdout 0"):
        measure_holdout(Baseline(), one)


def test_the_demo_recommends_and_explains(demo: Demo) -> None:
    assert demo.user == 100  # the first, as there is no user of the bundled ratings here
    assert len(demo.recommendations) == 10
    rated = set(demo.ratings.item_ids.ids(demo.ratings.by_user.row(0)[0]))
    assert not rated & {item for item, _ in demo.recommendations}
    why = demo.explanation
    assert why.mean + why.user + why.item + sum(part.part for part in why.parts) == pytest.approx(why.score)
    assert why.score == pytest.approx(demo.recommendations[0].score, abs=1e-5)
    assert demo.model.ratings_.indptr[-1] == len(demo.ratings)  # fitted on all, once measured


def test_the_demo_as_json(demo: Demo) -> None:
    found = json.loads(json.dumps(demo.to_dict(), allow_nan=False))
    assert found["recommendations"][0]["title"].startswith("Title of i")
    assert found["explanation"]["item"] == found["recommendations"][0]["item"]
    assert set(found["holdout"]["model"]) == {"rmse", "mae"}
    parts = sum(part["adds"] for part in found["explanation"]["parts"])
    whole = found["explanation"]
    assert whole["mean"] + whole["user_adds"] + whole["item_adds"] + parts == pytest.approx(whole["score"])


def test_a_user_as_typed(ratings: Ratings) -> None:
    assert run_demo("107", ratings=ratings, catalog=Titles(), settings=SETTINGS).user == 107  # type: ignore[arg-type]
    for typed in ("0107", "9999", "nobody"):
        with pytest.raises(UnknownUser, match="from 100 to 159"):
            run_demo(typed, ratings=ratings, catalog=Titles(), settings=SETTINGS)  # type: ignore[arg-type]


def test_a_user_who_has_rated_everything() -> None:
    full = make_ratings(users=12, items=8, density=1.0)
    found = run_demo(ratings=full, catalog=Titles(), settings=SETTINGS)  # type: ignore[arg-type]
    assert len(found.recommendations) == 8


def test_the_bundled_ratings_have_the_user_of_the_demo() -> None:
    assert DEMO_USER in load_demo().user_ids
