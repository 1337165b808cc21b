"""What every model must keep, whatever it is: ``check_model(make)``. Called by the tests of each model."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.models import Model
from cofactor.ratings import Ratings
from tests.conftest import make_ratings

Maker = Callable[[], Model]


def check_model(make: Maker, step: float | None = None) -> None:
    """Every check below, on a model of moderate hyperparameters that ``make`` gives anew each time.

    ``step`` rounds the ratings, for models that want steps.
    """
    ratings = make_ratings(seed=1, step=step)
    for check in (
        check_parameters,
        check_unfitted,
        check_fit_starts_afresh,
        check_failed_fit_leaves_no_model,
        check_callback,
        check_predict,
        check_recommend,
        check_recommend_for_somebody_new,
        check_similar,
        check_explain,
        check_fold_in,
        check_unknown_ids,
        check_extremes,
        check_state,
    ):
        check(make, ratings)


def some_user(model: Model) -> int:
    return model.user_ids_.id(3)  # type: ignore[return-value]


def check_parameters(make: Maker, ratings: Ratings) -> None:
    model = make()
    params = model.get_params()
    again = type(model)(**params)
    assert again.get_params() == params
    assert again.set_params(**params) is again
    with pytest.raises(cf.BadParameter, match="no parameter 'colour'"):
        model.set_params(colour=1)
    assert model.get_params() == params
    for name in params:
        assert name in repr(model)


def check_unfitted(make: Maker, ratings: Ratings) -> None:
    model = make()
    assert not model.is_fitted
    for call in (
        lambda: model.predict([1], ["a"]),
        lambda: model.recommend(1),
        lambda: model.similar_items("a"),
        lambda: model.explain(1, "a"),
        lambda: model.fold_in(ratings),
        model.state,
    ):
        with pytest.raises(cf.NotFitted, match=r"Call fit\(ratings\) first"):
            call()
    with pytest.raises(cf.BadParameter, match="read_ratings"):
        model.fit([(1, "a", 3.0)])  # type: ignore[arg-type]


def outcome(model: Model, ratings: Ratings) -> np.ndarray:
    """What the model says of users and items: its predictions, or the scores it ranks by."""
    if model.predicts_ratings:
        return model.predict(ratings.users, ratings.items)
    found = model.recommend(ratings.user_ids.array, n=10**6, exclude_seen=False)
    score = dict(zip(zip(found.users.to_pylist(), found.items.to_pylist()), found.scores))
    return np.array([score[pair] for pair in zip(ratings.users.to_pylist(), ratings.items.to_pylist())])


def check_fit_starts_afresh(make: Maker, ratings: Ratings) -> None:
    model = make()
    assert model.fit(ratings) is model
    first = outcome(model, ratings)
    model.fit(ratings.select(ratings.user_positions < 20))
    model.fit(ratings)
    assert_array_equal(outcome(model, ratings), first)


def check_failed_fit_leaves_no_model(make: Maker, ratings: Ratings) -> None:
    def interrupt(model: Model, sweep: int, objective: float) -> None:
        raise KeyboardInterrupt

    model = make().fit(ratings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(ratings, callback=interrupt)
    assert not model.is_fitted


def check_callback(make: Maker, ratings: Ratings) -> None:
    calls: list[tuple[int, float]] = []

    def note(model: Model, sweep: int, objective: float) -> bool:
        calls.append((sweep, objective))
        assert np.isfinite(outcome(model, ratings)).all()
        return sweep == 2

    make().fit(ratings, callback=note)
    steps = len(getattr(make().fit(ratings), "objective_", ())) or 1  # some models take but one
    assert [sweep for sweep, _ in calls] == [1, 2][:steps]
    assert np.isfinite([objective for _, objective in calls]).all()


def check_predict(make: Maker, ratings: Ratings) -> None:
    model = make().fit(ratings)
    if not model.predicts_ratings:
        with pytest.raises(cf.NotSupported, match="predicts no ratings"):
            model.predict(ratings.users, ratings.items)
        return
    users, items = ratings.users.to_pylist(), ratings.items.to_pylist()
    predicted = model.predict(users, items)
    assert predicted.shape == (len(ratings),)
    assert np.isfinite(predicted).all()
    # It has learnt something: nearer than the mean of all ratings is
    assert cf.rmse(ratings.values, predicted) < 0.95 * float(ratings.values.std())
    for other in (np.array(users), ratings.users):  # the same through every container
        assert_array_equal(model.predict(other, np.array(items, object)), predicted)
    for at in (0, len(users) // 2, len(users) - 1):  # and alone
        assert_allclose(model.predict([users[at]], [items[at]])[0], predicted[at], rtol=1e-6)
    clipped = model.predict(users, items, clip=True)
    assert_array_equal(clipped, np.clip(predicted, *ratings.scale))
    assert len(model.predict([], [])) == 0
    with pytest.raises(cf.BadParameter, match="pairs"):
        model.predict(users[:2], items[:3])
    with pytest.raises(cf.BadParameter):
        model.predict("u1", "i1")
    with pytest.raises(cf.BadParameter):
        model.predict([1.5], ["i001"])


def check_recommend(make: Maker, ratings: Ratings) -> None:
    model = make().fit(ratings)
    known = ratings.item_ids.array.to_pylist()
    for user in model.user_ids_.ids(np.array([0, 7, 33])):
        seen = set(ratings.items.filter(_equal(ratings.users, user)).to_pylist())
        every = model.recommend(user, n=10**6)
        scores = dict(every)
        assert len(scores) == len(every)
        assert set(scores) == set(known) - seen
        assert list(every.scores) == sorted(every.scores, reverse=True)
        if model.predicts_ratings:
            assert_allclose(every.scores, model.predict([user] * len(every), every.items), rtol=1e-5)
        assert [r.item for r in model.recommend(user, n=5)] == [r.item for r in every][:5]
        with_seen = model.recommend(user, n=10**6, exclude_seen=False)
        assert {r.item for r in with_seen} == set(known)
        top = every[0].item
        assert top not in dict(model.recommend(user, n=10**6, exclude=[top, "never heard of"]))
        few = model.recommend(user, n=10, among=[*known[:6], "never heard of"])
        assert {r.item for r in few} == set(known[:6]) - seen
        assert [r.item for r in few] == [r.item for r in every if r.item in known[:6]]
        nothing = model.recommend(user, among=known[:2], exclude=known[:2])
        assert len(nothing) == 0
        assert nothing.to_arrow().num_rows == 0
    several = model.user_ids_.ids(np.array([5, 0, 5]))
    together = model.recommend(several, n=3)
    assert together.to_arrow().column_names == ["user", "item", "score"]
    assert together.users.to_pylist() == [user for user in several for _ in range(3)]
    assert list(together.items) == [item for user in several for item in model.recommend(user, n=3).items]
    assert [*model.recommend(iter(several), n=3)] == [*together]  # any iterable, even one that runs once
    assert len(model.recommend([], n=3)) == 0
    assert "item" in str(together)
    for n in (0, -1, 2.5, True, "3", None):
        with pytest.raises(cf.BadParameter, match="n is"):
            model.recommend(some_user(model), n=n)  # type: ignore[arg-type]


def check_recommend_for_somebody_new(make: Maker, ratings: Ratings) -> None:
    model = make().fit(ratings)
    own = {"i003": 5.0, "i004": 1.0, "i010": 4.0}
    listed = model.recommend(ratings=own, n=100)
    assert not set(own) & {r.item for r in listed}
    assert len(listed) == len(model.item_ids_) - len(own)
    assert [*model.recommend(ratings=list(own.items()), n=100)] == [*listed]
    one = _given([7, 7, 7], list(own), list(own.values()), ratings)
    assert [*model.recommend(ratings=one, n=100)] == [*listed]
    # The same as being added to the model and asking then
    folded = model.fold_in(one)
    assert [r.item for r in folded.recommend(7, n=100)] == [r.item for r in listed]
    assert_allclose(folded.recommend(7, n=100).scores, listed.scores, rtol=1e-5)
    assert len(model.recommend(ratings={}, n=4)) == 4
    for bad in ({"i003": 99.0}, {"i003": float("nan")}, {"i003": "five"}, [("i003",)], ["i003"]):
        with pytest.raises(cf.BadParameter):
            model.recommend(ratings=bad)  # type: ignore[arg-type]
    with pytest.raises(cf.BadParameter, match="either"):
        model.recommend()
    with pytest.raises(cf.BadParameter, match="either"):
        model.recommend(some_user(model), ratings=own)
    with pytest.raises(cf.UnknownItem), warnings.catch_warnings():
        model.recommend(ratings={"never heard of": 3.0})
    with pytest.warns(UserWarning, match="1 of 4 ratings"):
        again = model.recommend(ratings={**own, "never heard of": 3.0}, n=100)
    assert [*again] == [*listed]


def check_similar(make: Maker, ratings: Ratings) -> None:
    model = make().fit(ratings)
    try:
        similar = model.similar_items("i005", n=1000)
    except cf.NotSupported:
        return
    assert {r.item for r in similar} == set(ratings.item_ids.array.to_pylist()) - {"i005"}
    assert list(similar.scores) == sorted(similar.scores, reverse=True)
    assert (np.abs(similar.scores) <= 1).all()
    other, score = similar[0]
    assert dict(model.similar_items(other, n=1000))["i005"] == pytest.approx(score, abs=1e-6)


def check_explain(make: Maker, ratings: Ratings) -> None:
    model = make().fit(ratings)
    for user in model.user_ids_.ids(np.array([0, 11])):
        mine = _equal(ratings.users, user)
        rated = dict(zip(ratings.items.filter(mine).to_pylist(), ratings.values[np.asarray(mine)]))
        for item in ("i001", next(iter(rated))):
            why = model.explain(user, item)
            score = dict(model.recommend(user, n=10**6, exclude_seen=False))[item]
            assert why.score == pytest.approx(score, rel=1e-5)
            total = why.mean + why.user + why.item + sum(p.part for p in (*why.parts, *why.neighbours))
            assert total == pytest.approx(why.score, abs=1e-6)
            assert {p.item: p.rating for p in why.parts}.items() <= rated.items()
            raters = _equal(ratings.items, item)
            given = dict(zip(ratings.users.filter(raters).to_pylist(), ratings.values[np.asarray(raters)]))
            assert {p.user: p.rating for p in why.neighbours}.items() <= given.items()
            assert user not in {p.user for p in why.neighbours}
            for parts in (why.parts, why.neighbours):
                assert [abs(p.part) for p in parts] == sorted((abs(p.part) for p in parts), reverse=True)
            assert "score" in str(why)


def check_fold_in(make: Maker, ratings: Ratings) -> None:
    model = make().fit(ratings)
    users = ratings.user_ids.array.to_pylist()
    before = outcome(model, ratings)
    new = _given([5, 5, 5, 99999, 99999], ["i001", "i002", "i007", "i007", "i030"], [5, 4, 1, 2, 5], ratings)
    folded = model.fold_in(new)
    assert folded is not model
    assert set(folded.user_ids_.array.to_pylist()) == {5, *users, 99999}
    assert 5 not in model.user_ids_
    assert folded.item_ids_ == model.item_ids_
    assert_array_equal(outcome(folded, ratings), before)  # nobody else changes
    assert_array_equal(outcome(model, ratings), before)
    assert not {"i007", "i030"} & {r.item for r in folded.recommend(99999, n=1000)}
    assert {p.item for p in folded.explain(5, "i009").parts} <= {"i001", "i002", "i007"}
    # A user the model has: the new ratings come on top of the old ones
    known = users[4]
    mine = set(ratings.items.filter(_equal(ratings.users, known)).to_pylist())
    fresh = next(i for i in ratings.item_ids.array.to_pylist() if i not in mine)
    more = model.fold_in(_given([known], [fresh], [1], ratings))
    assert not (mine | {fresh}) & {r.item for r in more.recommend(known, n=1000)}
    assert len(more.user_ids_) == len(users)
    others = np.asarray(_equal(ratings.users, known)) == 0
    assert_array_equal(outcome(more, ratings)[others], before[others])
    with pytest.warns(UserWarning, match="1 of 3 ratings"):
        model.fold_in(_given([1, 1, 1], ["i001", "i002", "zz"], [1, 1, 1], ratings))
    with pytest.raises(cf.UnknownItem, match="None of the 1"):
        model.fold_in(_given([1], ["zz"], [1], ratings))
    with pytest.raises(cf.BadParameter):
        model.fold_in("ratings.csv")  # type: ignore[arg-type]
    with pytest.raises(cf.BadParameter, match="string"):
        model.fold_in(_given(["1"], ["i001"], [1], ratings))


def check_unknown_ids(make: Maker, ratings: Ratings) -> None:
    model = make().fit(ratings)
    user, item = some_user(model), "i001"
    nobody, nothing = 10**15, "x" * 10_000
    if model.predicts_ratings:
        both, only_item = model.predict([nobody, nobody], [nothing, item])
        assert np.isfinite([both, only_item, *model.predict([user], [nothing])]).all()
    for call in (lambda: model.recommend(nobody), lambda: model.explain(nobody, item)):
        with pytest.raises(cf.UnknownUser, match="not among the 60 users"):
            call()
    for call in (
        lambda: model.similar_items(nothing),
        lambda: model.explain(user, nothing),
        lambda: model.recommend(user, among=[nothing]),
    ):
        with pytest.raises((cf.UnknownItem, cf.NotSupported)) as caught:
            call()
        assert len(str(caught.value)) < 400
    with pytest.raises(cf.BadParameter, match="integers"):
        model.recommend("100")  # "100" is not 100
    with pytest.raises(cf.UnknownUser):
        model.recommend(iter([user, nobody]))


def check_extremes(make: Maker, ratings: Ratings) -> None:
    """One user, one item, one rating; all ratings alike."""
    for users, items, values in (
        ([1], ["a"], [4]),
        ([1] * 5, list("abcde"), [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5], ["a"] * 5, [1, 2, 3, 4, 5]),
        ([1, 1, 2, 2], ["a", "b", "a", "b"], [3, 3, 3, 3]),
    ):
        tiny = _given(users, items, values)
        model = make()
        if "rank" in model.get_params():
            model.set_params(rank=1)
        model.fit(tiny)
        predicted = outcome(model, tiny)
        assert np.isfinite(predicted).all()
        if model.predicts_ratings:
            assert cf.rmse(tiny.values, predicted) <= cf.rmse(values, np.zeros(len(values)))
        assert len(model.recommend(1, n=9)) == len(set(items)) - users.count(1)


def check_state(make: Maker, ratings: Ratings) -> None:
    model = make().fit(ratings)
    arrays, facts = model.state()
    again = make().restore(model.user_ids_, model.item_ids_, copy.deepcopy(arrays), dict(facts))
    assert_array_equal(outcome(again, ratings), outcome(model, ratings))
    assert [*again.recommend(some_user(model))] == [*model.recommend(some_user(model))]
    for name in arrays:
        for broken in (None, arrays[name][:-1], arrays[name].astype(np.complex64)):
            mixed = (
                {**arrays, name: broken}
                if broken is not None
                else {k: v for k, v in arrays.items() if k != name}
            )
            if name == "objective" and broken is not None and broken.dtype == arrays[name].dtype:
                continue  # any number of sweeps is right
            with pytest.raises(cf.BadModel):
                make().restore(model.user_ids_, model.item_ids_, mixed, facts)


def _equal(column, value):
    import pyarrow.compute as pc

    return pc.equal(column, value)


def _given(users, items, values, among: Ratings | None = None) -> Ratings:
    """Ratings given at the latest moment that there is in others, on their scale."""
    times = np.full(len(values), 1_400_000_000 if among is None else among.times.max())
    scale = None if among is None else among.scale
    return Ratings.from_positions(*_encoded(users, items), np.array(values, np.float32), times, scale)


def _encoded(users, items):
    user_ids, user_at = IdMap.encode(users)
    item_ids, item_at = IdMap.encode(items)
    return user_ids, item_ids, user_at, item_at
