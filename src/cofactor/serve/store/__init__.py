"""What the service keeps, in SQLite or PostgreSQL: plain functions on a connection, one module a kind of thing.

``database.Database`` opens connections; ``schema`` says what the tables are, and brings older ones up to date.
"""
