"""The bundled demo: MovieLens latest-small, the edition of 2016.

F. M. Harper, J. A. Konstan, "The MovieLens Datasets: History and Context", ACM Transactions on
Interactive Intelligent Systems 5(4), article 19, 2015. Its terms lie beside the files, in
``data/movielens/``. ``scripts/make_demo.py`` makes the files.
"""

from __future__ import annotations

from importlib.resources import as_file, files

from cofactor.catalog import Catalog, read_catalog
from cofactor.ratings import Ratings
from cofactor.reading import read_ratings


def load_demo() -> Ratings:
    """100,004 ratings from ½ to 5 by 671 users of 9,066 films, with times from 1995 to 2016."""
    with as_file(files("cofactor").joinpath("data/movielens/ratings.parquet")) as path:
        return read_ratings(path, scale=(0.5, 5.0))


def load_demo_catalog() -> Catalog:
    """Title, year and genres of the films of ``load_demo``."""
    with as_file(files("cofactor").joinpath("data/movielens/items.parquet")) as path:
        return read_catalog(path)
