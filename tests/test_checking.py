"""check_ratings says what is in a table, and never stumbles over bad rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cofactor as cf


def test_a_sound_table(ratings):
    report = cf.check_ratings(ratings.to_arrow())
    assert (report.ratings, report.users, report.items) == (len(ratings), 60, 40)
    assert report.density == pytest.approx(len(ratings) / 2400)
    assert (report.user_ids, report.item_ids) == ("integer", "string")
    assert report.mean == pytest.approx(float(ratings.values.mean()), rel=1e-6)
    assert sum(bar["count"] for bar in report.histogram) == len(ratings)
    assert len(report.histogram) <= 20
    assert report.dates["first"] < report.dates["last"]
    assert report.dates["first"].startswith("201")
    assert report.user_rows["longest"]["ratings"] == ratings.by_user.counts.max()
    assert report.item_rows["median"] == np.median(ratings.by_item.counts)
    assert (report.bad_rows, report.warnings) == (0, [])
    assert json.loads(json.dumps(report.to_dict()))["users"] == 60


def test_stars_are_counted_one_by_one():
    report = cf.check_ratings({"user": [1, 2, 3], "item": [1, 1, 1], "rating": [5, 1, 5]})
    assert report.histogram == [{"from": 1.0, "to": 1.0, "count": 1}, {"from": 5.0, "to": 5.0, "count": 2}]
    assert report.dates is None


def test_bad_rows_are_reported_not_raised(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating\n1,1,3\n1,2,x\n1,3\n1,4,y\n,5,1\n")
    report = cf.check_ratings(path)
    assert (report.ratings, report.bad_rows) == (1, 4)
    assert report.bad_by_reason["the rating is not a number"] == 2
    assert [bad["row"] for bad in report.bad_examples] == [2, 3, 4, 5]
    path.write_text("user,item,rating\n" + "1,1,x\n" * 100)
    report = cf.check_ratings(path)
    assert (report.ratings, report.bad_rows, len(report.bad_examples)) == (0, 100, 20)
    json.dumps(report.to_dict())
    with pytest.raises(cf.BadRatings):
        cf.check_ratings(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"user": ["01", "1"], "item": [1, 1], "rating": [1, 2]}, "leading zeros"),
        ({"user": [" a", "b"], "item": [1, 1], "rating": [1, 2]}, "space"),
        ({"user": [1, 2], "item": [1, 1], "rating": [1, 1]}, "alike"),
        ({"user": [1, 2, 3], "item": [1, 1, 1], "rating": [1, 2, 3]}, "single rating"),
        ({"user": [1], "item": [1], "rating": [1], "time": [1_600_000_000_000]}, "milliseconds"),
        ({"user": [1, 1], "item": [1, 1], "rating": [1, 2]}, "again"),
    ],
)
def test_warnings(table, told):
    assert any(told in warning for warning in cf.check_ratings(table).warnings)
