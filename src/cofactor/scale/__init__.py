"""Ratings that memory does not hold: prepared into groups of users, trained on group by group."""
