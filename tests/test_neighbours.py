"""CosineNeighbours: the contract, the equations by loops and dictionaries, and answers known beforehand."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import cofactor as cf
from cofactor import kernels
from cofactor.ids import IdMap
from cofactor.kernels import reference
from cofactor.models import neighbours
from cofactor.ratings import Ratings
from tests.conftest import make_ratings
from tests.contract import check_model

VARIANTS = {
    f"{of}-{similarity}-{'baseline' if baseline else 'ratings'}": {
        "of": of,
        "similarity": similarity,
        "baseline": baseline,
    }
    for of in ("items", "users")
    for similarity in ("cosine", "centred", "pearson")
    for baseline in (True, False)
}
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def table(triples, scale=None) -> Ratings:
    users, items, values = zip(*triples)
    user_ids, user_at = IdMap.encode(list(users))
    item_ids, item_at = IdMap.encode(list(items))
    return Ratings.from_positions(
        user_ids, item_ids, user_at, item_at, np.array(values, np.float32), scale=scale
    )


def triples_of(ratings: Ratings) -> list:
    return list(zip(ratings.users.to_pylist(), ratings.items.to_pylist(), map(float, ratings.values)))


@every_variant
def test_it_keeps_the_contract(variant):
    check_model(lambda: cf.CosineNeighbours(**variant, k=10, shrinkage=2.0, damping=0.1))


def test_it_keeps_the_contract_as_it_comes():
    check_model(cf.CosineNeighbours)


def by_the_book(model, triples):
    """r̂ as a function of user and item, from nothing but ratings, with dictionaries and loops."""
    mean = sum(r for _, _, r in triples) / len(triples)
    bias, item_bias = {}, {}
    if model.baseline:
        bias = dict(zip(model.user_ids_.array.to_pylist(), map(float, model.user_bias_)))
        item_bias = dict(zip(model.item_ids_.array.to_pylist(), map(float, model.item_bias_)))
    rows, columns = {}, {}
    for user, item, r in triples:
        v = r - mean - bias[user] - item_bias[item] if model.baseline else r
        a, x = (item, user) if model.of == "items" else (user, item)
        rows.setdefault(a, {})[x] = v
        columns.setdefault(x, {})[a] = v
    centre = {
        a: 0.0 if model.similarity == "cosine" else sum(row.values()) / len(row) for a, row in rows.items()
    }

    def similarity(a, b):
        common = sorted(rows[a].keys() & rows[b].keys())
        n = len(common)
        if n < model.min_overlap:
            return 0.0
        p, q = [rows[a][x] - centre[a] for x in common], [rows[b][x] - centre[b] for x in common]
        if model.similarity == "pearson":
            p, q = [v - sum(p) / n for v in p], [v - sum(q) / n for v in q]
        length = math.sqrt(sum(v * v for v in p) * sum(v * v for v in q))
        if length < 1e-12:
            return 0.0
        cosine = sum(v * w for v, w in zip(p, q)) / length
        return float(np.float32(cosine * n / (n + model.shrinkage)))  # as it is kept: so ties are ties

    def predict(user, item):
        a, x = (item, user) if model.of == "items" else (user, item)
        near = [(similarity(a, b), b) for b in columns.get(x, {}) if b != a] if a in rows else []
        near = sorted((-s, b) for s, b in near if s > 1e-7)[: model.k]
        plain = model.similarity == "cosine" and not model.baseline
        if model.baseline:
            base = mean + bias.get(user, 0) + item_bias.get(item, 0) + centre.get(a, 0)
        elif a in rows:
            base = sum(rows[a].values()) / len(rows[a])
        else:
            base = sum(columns[x].values()) / len(columns[x]) if x in columns else mean
        if not near:
            return base
        weights = sum(-s for s, _ in near) + (0 if plain else model.damping)
        return (0 if plain else base) + sum(-s * (columns[x][b] - centre[b]) for s, b in near) / weights

    return predict


@every_variant
@pytest.mark.parametrize(
    "setting",
    [
        {"k": 1, "shrinkage": 0, "min_overlap": 1, "damping": 0},
        {"k": 4, "shrinkage": 3.0, "min_overlap": 3, "damping": 0.7},
        {"k": 1000, "shrinkage": 20, "min_overlap": 2, "damping": 0.1},
    ],
)
def test_it_is_the_book_number_by_number(variant, setting):
    ratings = make_ratings(seed=4, users=30, items=18, density=0.35)
    model = cf.CosineNeighbours(**variant, **setting).fit(ratings)
    predict = by_the_book(model, triples_of(ratings))
    users, items = zip(*[(i, j) for i in [*range(100, 130), 7] for j in [f"i{n:03d}" for n in range(19)]])
    want = [predict(i, j) for i, j in zip(users, items)]
    assert_allclose(model.predict(users, items), want, atol=2e-5)
    # and every way of asking says the same
    for user in (100, 111, 129):
        listed = model.recommend(user, n=100, exclude_seen=False)
        assert_allclose(listed.scores, [predict(user, item) for item in listed.items.to_pylist()], atol=2e-5)


def batman(**options):
    """The table of the tutorial: two men, five films; each has not seen one of them."""
    rated = {"A": (None, 4, 5, 5, 2), "B": (4, None, 5, 5, 1)}
    films = ("Batman", "Returns", "Begins", "Dark Knight", "Robin")
    triples = [(u, f, r) for u, row in rated.items() for f, r in zip(films, row) if r]
    return cf.CosineNeighbours(of="users", similarity="cosine", baseline=False, **options).fit(table(triples))


@pytest.mark.parametrize("options", [{}, {"shrinkage": 0.0, "damping": 0.0, "k": 1}])
def test_the_table_of_the_tutorial(options):
    model = batman(**options)
    assert_array_equal(model.predict(["A", "B"], ["Batman", "Returns"]), [4, 4])
    alike = dict(model.similar_users("A"))
    assert alike == {"B": pytest.approx(52 / math.sqrt(54 * 51) * 3 / (3 + model.shrinkage))}
    why = model.explain("A", "Batman")
    assert (why.mean, why.user, why.item, why.parts, why.neighbours) == (0, 0, 0, (), (("B", 4, 4),))
    assert "user B rated this  4       +4.000" in str(why)
    assert "user" in str(model.similar_users("A"))
    assert model.similar_users("A").to_arrow().column_names == ["user", "score"]


@every_variant
def test_threads_change_no_bit(variant):
    ratings = make_ratings(seed=6, users=60, items=30)
    everybody = ratings.user_ids.array
    answers = []
    for threads in (1, 2, 3, 7):
        model = cf.CosineNeighbours(**variant, k=5, threads=threads).fit(ratings)
        listed = model.recommend(everybody, n=5)
        for user in everybody.to_pylist()[
            ::9
        ]:  # whichever way the work was done: for all at once, or for one
            assert_array_equal(model.recommend(user, n=5).scores, listed.for_user(user).scores)
        answers.append((model.predict(ratings.users, ratings.items), listed.scores))
    for predicted, scores in answers[1:]:
        assert_array_equal(predicted, answers[0][0])
        assert_array_equal(scores, answers[0][1])


@pytest.mark.parametrize("variant", [VARIANTS["items-cosine-baseline"], VARIANTS["items-pearson-ratings"]])
def test_both_ways_to_score_all_items_agree_to_the_bit(variant, monkeypatch):
    ratings = make_ratings(seed=6, users=80, items=50)
    model = cf.CosineNeighbours(**variant, k=5).fit(ratings)
    users, items = model._users(np.arange(80, dtype=np.int32)), np.arange(50, dtype=np.int32)
    by_own_rows = np.array([model._score_row(users, at, items) for at in range(80)])
    at = np.repeat(np.arange(80, dtype=np.int32), 50)
    assert_array_equal(model._score_pairs(users, at, np.tile(items, 80)), by_own_rows.ravel())
    whole = model.recommend(ratings.user_ids.array, n=5)
    monkeypatch.setattr(neighbours, "_PAIRS", 170)  # three users at a time
    monkeypatch.setattr(neighbours, "_TABLE", 0)
    again = model.recommend(ratings.user_ids.array, n=5)
    assert_array_equal(again.scores, whole.scores)
    assert again.items == whole.items


@every_variant
def test_permuting_the_table_changes_nothing_else(variant):
    ratings = make_ratings(seed=3, users=40, items=25)
    rng = np.random.default_rng(0)
    user_name = dict(zip(range(100, 140), rng.permutation(40).tolist()))
    item_name = dict(zip([f"i{j:03d}" for j in range(25)], rng.permutation(25).tolist()))
    renamed = table([(user_name[u], item_name[i], r) for u, i, r in triples_of(ratings)], ratings.scale)
    users, items = zip(*[(u, i) for u in user_name for i in item_name])
    # k of all rows: ties between the last neighbours would go another way
    one = cf.CosineNeighbours(**variant, k=100).fit(ratings).predict(users, items)
    other = cf.CosineNeighbours(**variant, k=100).fit(renamed)
    renamed_pairs = [user_name[u] for u in users], [item_name[i] for i in items]
    assert_allclose(other.predict(*renamed_pairs), one, atol=1e-5)


@pytest.mark.parametrize("variant", [v for v in VARIANTS.values() if not v["baseline"]])
@pytest.mark.parametrize("factor", [2.0, -1.0])
def test_scaling_all_ratings_scales_predictions(variant, factor):
    ratings = make_ratings(seed=3)
    scaled = table([(u, i, factor * r) for u, i, r in triples_of(ratings)])
    one = cf.CosineNeighbours(**variant).fit(ratings).predict(ratings.users, ratings.items)
    other = cf.CosineNeighbours(**variant).fit(scaled).predict(ratings.users, ratings.items)
    assert_allclose(other, factor * one, rtol=1e-5, atol=1e-5)


@every_variant
def test_more_neighbours_than_there_are_is_all_of_them(variant):
    ratings = make_ratings(seed=3)
    some, all_ = (cf.CosineNeighbours(**variant, k=k).fit(ratings) for k in (60, 10**6))
    assert_array_equal(some.predict(ratings.users, ratings.items), all_.predict(ratings.users, ratings.items))


def clusters(seed=0, groups=4, users=80, items=60):
    """Everybody likes a quarter of the items, 5, and dislikes the rest, 1; half of the table is known."""
    rng = np.random.default_rng(seed)
    wants = np.arange(users)[:, None] % groups == np.arange(items) % groups
    known = rng.random((users, items)) < 0.5
    triples = [(f"u{i:02d}", f"i{j:02d}", 5 if wants[i, j] else 1) for i, j in zip(*np.nonzero(known))]
    hidden = [(f"u{i:02d}", f"i{j:02d}", 5 if wants[i, j] else 1) for i, j in zip(*np.nonzero(~known))]
    return table(triples), hidden


@every_variant
def test_planted_clusters_are_found(variant):
    ratings, hidden = clusters()
    model = cf.CosineNeighbours(**variant, k=3, shrinkage=5.0, damping=0.0).fit(ratings)
    pairs, values = ([u for u, _, _ in hidden], [i for _, i, _ in hidden]), np.array([r for *_, r in hidden])
    predicted = model.predict(*pairs)
    # Hidden fives and ones are told apart, which no means can do.
    assert (predicted[values == 5].mean() - predicted[values == 1].mean()) > 3
    assert cf.rmse(values, predicted) < 0.6 * cf.rmse(values, cf.Baseline().fit(ratings).predict(*pairs))
    for at in range(0, 24, 5):
        assert {int(i[1:]) % 4 for i, _ in model.similar_items(f"i{at:02d}", n=5)} == {at % 4}
        assert {int(u[1:]) % 4 for u, _ in model.similar_users(f"u{at:02d}", n=5)} == {at % 4}


@every_variant
def test_users_folded_in_are_nobodys_neighbours(variant):
    ratings = make_ratings(seed=8)
    model = cf.CosineNeighbours(**variant, k=7).fit(ratings)
    everything = [(u, i) for u in range(100, 160) for i in ratings.item_ids.array.to_pylist()]
    users, items = zip(*everything)
    before = model.predict(users, items)
    folded = model
    # Somebody new, somebody who is known and changes a rating, then the first of them again
    for new in ([(5, "i001", 5), (5, "i002", 1)], [(103, "i001", 1), (103, "i004", 5)], [(5, "i007", 3)]):
        folded = folded.fold_in(table(new, ratings.scale))
    others = np.array(users) != 103
    assert_array_equal(folded.predict(users, items)[others], before[others])
    assert (folded.predict(users, items)[~others] != before[~others]).any()
    assert_array_equal(model.predict(users, items), before)
    own = {"i001": 5, "i002": 1, "i007": 3}
    assert dict(zip(folded.ratings_.row(0)[0].tolist(), folded.ratings_.row(0)[1].tolist())) == {
        1: 5,
        2: 1,
        7: 3,
    }
    assert [*folded.recommend(5, n=99)] == [*model.recommend(ratings=own, n=99)]
    assert 5 not in dict(folded.similar_users(104, n=999))
    assert dict(folded.similar_users(104, n=999)) == dict(model.similar_users(104, n=999))
    assert set(dict(folded.similar_users(5, n=999))) == set(range(100, 160))
    assert dict(folded.similar_items("i003", n=99)) == dict(model.similar_items("i003", n=99))
    why = folded.explain(5, "i009")
    total = why.mean + why.user + why.item + sum(p.part for p in (*why.parts, *why.neighbours))
    assert total == pytest.approx(folded.predict([5], ["i009"])[0], abs=1e-6)


def test_somebody_with_the_ratings_of_a_user_gets_what_that_user_gets():
    ratings = make_ratings(seed=8)
    for of in ("items", "users"):
        model = cf.CosineNeighbours(of=of, k=100, shrinkage=5.0).fit(ratings)
        items, values = model.ratings_.row(11)
        own = dict(zip(model.item_ids_.ids(items), map(float, values)))
        twin = model.recommend(ratings=own, n=99)
        # Of users, the user is the newcomer's twin: then all neighbours but one are the same.
        known = dict(model.recommend(111, n=99))
        assert known.keys() == dict(twin).keys()
        if of == "items":
            assert_allclose([known[i] for i, _ in twin], twin.scores, atol=1e-6)
        assert_allclose(
            model.fold_in(table([(1, i, r) for i, r in own.items()])).user_bias_[0],
            model.user_bias_[11],
            atol=1e-6,
        )


def test_a_folded_model_is_stored_with_what_it_learnt_from(tmp_path):
    ratings = make_ratings(seed=8)
    model = cf.CosineNeighbours(of="users").fit(ratings)
    folded = model.fold_in(table([(5, "i001", 5), (103, "i001", 1)], ratings.scale))
    for kept, name in ((model, "plain"), (folded, "folded")):
        cf.save(kept, tmp_path / name)
        again = cf.load(tmp_path / name)
        users, items = [5, 103, 120] * 2, ["i001"] * 3 + ["i009"] * 3
        assert_array_equal(again.predict(users, items), kept.predict(users, items))
        assert [*again.recommend(103)] == [*kept.recommend(103)]
        assert cf.verify(tmp_path / name).ratings == len(ratings)
    arrays, facts = folded.state()

    def restore(changed=None, **new_facts):
        kept = {k: v for k, v in {**arrays, **(changed or {})}.items() if v is not None}
        return cf.CosineNeighbours(of="users").restore(
            folded.user_ids_, folded.item_ids_, kept, {**facts, **new_facts}
        )

    assert_array_equal(restore().predict([5], ["i009"]), folded.predict([5], ["i009"]))
    bad = [{name: None} for name in arrays] + [
        {name: arrays[name][:-1]} for name in arrays if name != "objective"
    ]
    bad += [
        {"folded_users": np.array(users, np.int32)}
        for users in ([0, 61], [-1, 4], [4, 4], [4, 0], [0, 2**31 - 1])
    ]
    bad += [
        {"folded_bias": np.array([0, np.nan], np.float32)},
        {"user_bias": np.full(61, np.inf, np.float32)},
    ]
    bad += [
        {"folded_indices": arrays["folded_indices"] + 40},
        {"ratings_indices": arrays["ratings_indices"] - 1},
    ]
    for changed in bad:
        with pytest.raises(cf.BadModel):
            restore(changed)
    for folded_count in (None, 1, -1, 99, True, "2", 2.0):
        with pytest.raises(cf.BadModel):
            restore(folded=folded_count)
    without = cf.CosineNeighbours(baseline=False)
    for changed in ({}, {"user_bias": np.zeros(61, np.float32), "item_bias": np.zeros(40, np.float32)}):
        with pytest.raises(cf.BadModel, match="no baseline"):
            without.restore(folded.user_ids_, folded.item_ids_, {**arrays, **changed}, facts)


EXTREMES = {
    "one rating": [(1, "a", 4)],
    "one user": [(1, "a", 4), (1, "b", 2), (1, "c", 3)],
    "one item": [(1, "a", 4), (2, "a", 2), (3, "a", 3)],
    "all alike": [(u, i, 0.1) for u in range(6) for i in "abcde" if (u, i) != (0, "a")],
    "all zero": [(u, i, 0) for u in range(6) for i in "abcde" if (u, i) != (0, "a")],
    "negative": [(u, i, -1 - (u * 7 + ord(i)) % 4) for u in range(6) for i in "abcde" if (u, i) != (0, "a")],
    "huge": [(u, i, 1e9 * (-1) ** (u + ord(i))) for u in range(6) for i in "abcde" if (u, i) != (0, "a")],
    "tiny": [(u, i, 1e-30 * (1 + u % 2)) for u in range(6) for i in "abcde" if (u, i) != (0, "a")],
    "no two in common": [(u, i, u + 1) for u, i in zip(range(5), "abcde")],
}


@every_variant
@pytest.mark.parametrize("triples", EXTREMES.values(), ids=EXTREMES)
def test_hostile_tables_give_numbers(variant, triples):
    ratings = table(triples)
    model = cf.CosineNeighbours(**variant, shrinkage=0.0, damping=0.0).fit(ratings)
    users, items = ratings.user_ids.array.to_pylist(), ratings.item_ids.array.to_pylist()
    pairs = [(u, i) for u in [*users, 99] for i in [*items, "zz"]]
    predicted = model.predict(*zip(*pairs))
    assert np.isfinite(predicted).all()
    low, high = ratings.scale
    if low == high:
        assert_allclose(predicted, low, rtol=1e-6)
    for user in users:
        assert np.isfinite(model.recommend(user, exclude_seen=False).scores).all()
        alike = model.similar_users(user, n=99)
        assert {u for u, _ in alike} == set(users) - {user}
        assert (np.abs(alike.scores) <= 1).all()
    alike = model.similar_items(items[0], n=99)
    assert {i for i, _ in alike} == set(items) - {items[0]}
    assert (np.abs(alike.scores) <= 1).all()
    if low == high and not (variant["similarity"] == "cosine" and not variant["baseline"] and low):
        assert not alike.scores.any()  # nothing varies, so nothing is alike


def test_a_rating_does_not_predict_itself():
    """Change one rating: where only its own pair is concerned, and no similarity, the prediction stays."""
    triples = [(u, i, 1 + (3 * u + 5 * j + u * j) % 5) for u in range(6) for j, i in enumerate("abcd")]
    changed = [(u, i, 1 if (u, i) == (2, "b") else r) for u, i, r in triples]
    for of in ("items", "users"):
        predicted = []
        for known in (triples, changed):
            model = cf.CosineNeighbours(of=of, baseline=False, shrinkage=1e15).fit(table(known))
            why = model.explain(2, "b")
            assert "b" not in {p.item for p in why.parts}
            assert 2 not in {p.user for p in why.neighbours}
            predicted.append(why.score)
        values = sorted(r for u, i, r in triples if (i == "b") != (u == 2))
        assert values[0] <= predicted[0] <= values[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("of", v) for v in ("item", None, 1)],
        *[("similarity", v) for v in ("jaccard", None)],
        *[("k", v) for v in (0, -1, 2.0, "3", True)],
        *[("shrinkage", v) for v in (-1, math.nan, math.inf, "2", None)],
        *[("min_overlap", v) for v in (0, -1, 1.5)],
        *[("baseline", v) for v in (1, "yes", None)],
        *[("damping", v) for v in (-0.1, math.nan, math.inf)],
        *[("reg", v) for v in (-1, math.nan)],
        ("threads", 0),
    ],
)
def test_a_bad_parameter_is_named_with_its_mend(ratings, name, value):
    with pytest.raises(cf.BadParameter, match=rf"{name}.* is .*; give"):
        cf.CosineNeighbours(**{name: value}).fit(ratings)


def test_more_than_there_can_be_is_all_or_nothing(ratings):
    users, items = ratings.users, ratings.items
    every = cf.CosineNeighbours(k=2**70).fit(ratings).predict(users, items)
    assert_array_equal(every, cf.CosineNeighbours(k=40).fit(ratings).predict(users, items))
    alone = cf.CosineNeighbours(min_overlap=2**70).fit(ratings).predict(users, items)
    assert_allclose(alone, cf.Baseline().fit(ratings).predict(users, items), rtol=1e-6)


def test_similar_users_refuses_strangers(ratings):
    model = cf.CosineNeighbours().fit(ratings)
    with pytest.raises(cf.UnknownUser, match="not among the 60 users"):
        model.similar_users(99999)
    with pytest.raises(cf.BadParameter, match="n is"):
        model.similar_users(103, n=0)
    with pytest.raises(cf.NotFitted):
        cf.CosineNeighbours().similar_users(103)


# -- the kernels against their twins ----------------------------------------------------------


def problem(rng, queries=9, rows=14, columns=11):
    def sparse(n, width, share):
        known = rng.random((n, width)) < share
        indptr = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int64)
        indices = np.nonzero(known)[1].astype(np.int32)
        return [indptr, indices, rng.integers(-3, 4, len(indices)).astype(np.float32)]

    pairs = sparse(queries, 7, 0.5)
    names = ["indptr", "columns", "values", "column_indptr", "rows", "row_values"]
    compared = dict(zip(names, [*sparse(queries, columns, 0.6), *sparse(columns, rows, 0.6)]))
    lists = dict(zip(["list_indptr", "list_rows", "list_values"], sparse(7, rows, 0.5)))
    itself = rng.integers(-1, rows, queries).astype(np.int32)
    return {**compared, "n_rows": rows}, {
        "itself": itself,
        "pair_indptr": pairs[0],
        "pair_list": pairs[1],
        **lists,
    }


@given(
    seed=st.integers(0, 2**32 - 1),
    pearson=st.booleans(),
    shrinkage=st.sampled_from([0.0, 3.0]),
    min_overlap=st.integers(1, 4),
    k=st.integers(1, 12),
    damping=st.sampled_from([0.0, 0.4]),
    threads=st.integers(1, 4),
)
def test_kernels_are_their_twins(seed, pearson, shrinkage, min_overlap, k, damping, threads):
    compared, pairs = problem(np.random.default_rng(seed))
    how = {"pearson": pearson, "shrinkage": shrinkage, "min_overlap": min_overlap}
    got = kernels.similarities(**compared, **how, threads=threads)
    want = reference.similarities(**compared, **how)
    assert_allclose(got, want, atol=1e-6)
    # Sums of small whole numbers are exact, so what is a tie for one is a tie for the other, but for Pearson's
    # means: there two similarities may differ in the last bit in one and not in the other.
    if pearson:
        k = 99
    got_pairs = kernels.neighbour_pairs(**compared, **pairs, **how, k=k, damping=damping, threads=threads)
    want_pairs = reference.neighbour_pairs(**compared, **pairs, **how, k=k, damping=damping)
    for one, other in zip(got_pairs, want_pairs):
        assert_allclose(one, other, atol=1e-5)
    own = np.sort(np.random.default_rng(seed).choice(14, len(got), replace=False)).astype(np.int32)
    values = np.arange(len(got), dtype=np.float32)
    got_rows = kernels.neighbour_rows(got, own, values, k=k, damping=damping, threads=threads)
    for one, other in zip(got_rows, reference.neighbour_rows(got, own, values, k=k, damping=damping)):
        assert_allclose(one, other, atol=1e-5)


BAD_CALLS = {
    "a column that no row can have": lambda c, p: c["columns"].__setitem__(0, 11),
    "a row beyond the last": lambda c, p: c["rows"].__setitem__(0, 14),
    "pointers that fall": lambda c, p: c["column_indptr"].__setitem__(1, 999),
    "values of another length": lambda c, p: c.update(values=c["values"][:-1]),
    "values of another kind": lambda c, p: c.update(row_values=c["row_values"].astype(np.float64)),
    "a pair with a list that is not there": lambda c, p: p["pair_list"].__setitem__(0, 7),
    "a listed row beyond the last": lambda c, p: p["list_rows"].__setitem__(0, -1),
    "too few of itself": lambda c, p: p.update(itself=p["itself"][:-1]),
    "itself beyond the last row": lambda c, p: p["itself"].__setitem__(0, 14),
    "pairs of fewer queries": lambda c, p: p.update(pair_indptr=p["pair_indptr"][:-1]),
    "no neighbours wanted": lambda c, p: p.update(k=0),
    "a negative damping": lambda c, p: p.update(damping=-1.0),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_no_unchecked_array_reaches_the_kernels(name):
    compared, pairs = problem(np.random.default_rng(0))
    pairs |= {"k": 3, "damping": 0.0}
    BAD_CALLS[name](compared, pairs)
    with pytest.raises(ValueError, match="must"):
        kernels.neighbour_pairs(**compared, **pairs, pearson=False, shrinkage=0.0, min_overlap=1)


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_ctrl_c_stops_a_long_comparison():
    program = textwrap.dedent(
        """
        import numpy as np
        from cofactor import kernels
        n, columns = 20_000, 400  # 20,000 · 400 · 20,000 additions
        rows = (np.arange(n + 1) * columns, np.tile(np.arange(columns, dtype="i4"), n), np.ones(n * columns, "f4"))
        by_column = (np.arange(columns + 1) * n, np.tile(np.arange(n, dtype="i4"), columns), rows[2])
        print("ready", flush=True)
        try:
            kernels.neighbour_pairs(*rows, *by_column, n, np.arange(n, dtype="i4"), np.zeros(n + 1, "i8"),
                                    np.empty(0, "i4"), np.zeros(1, "i8"), np.empty(0, "i4"), np.empty(0, "f4"),
                                    pearson=True, shrinkage=0.0, min_overlap=1, k=1, damping=0.0, threads=1)
            print("ran to its end")
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # into the kernel, which would take minutes
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "interrupted\n"
