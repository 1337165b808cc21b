"""Popular: the most rated first, for everybody."""

import numpy as np
from numpy.testing import assert_array_equal

import cofactor as cf
from tests.conftest import make_ratings
from tests.contract import check_model


def test_contract():
    check_model(cf.Popular)


def test_the_score_is_the_number_of_ratings():
    ratings = make_ratings()
    found = cf.Popular().fit(ratings).recommend(100, n=1000, exclude_seen=False)
    counts = ratings.by_item.counts
    order = np.argsort(-counts, kind="stable")  # of equal ones the lower id first
    assert found.items.to_pylist() == ratings.item_ids.ids(order)
    assert_array_equal(found.scores, counts[order])


def test_a_list_is_the_common_list_without_what_was_seen():
    ratings = make_ratings()
    model = cf.Popular().fit(ratings)
    everything = model.recommend(100, n=1000, exclude_seen=False).items.to_pylist()
    for user in (100, 133):
        at = ratings.user_ids.position(user)
        seen = set(ratings.item_ids.ids(ratings.by_user.row(at)[0]))
        assert model.recommend(user, n=1000).items.to_pylist() == [i for i in everything if i not in seen]


def test_it_survives_storage(tmp_path):
    model = cf.Popular(threads=1).fit(make_ratings())
    cf.save(model, tmp_path / "model")
    again = cf.load(tmp_path / "model")
    assert [*again.recommend(101)] == [*model.recommend(101)]
