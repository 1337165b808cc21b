"""Seconds and memory to read ratings: a million rows of Parquet, ten million of CSV.

    python benchmarks/reading.py

Makes its tables itself, in a temporary folder: users alike, items with a long tail, half stars, times. Memory is the
rise of the resident set of a process of its own while it reads, over the bytes of the arrays it keeps.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from common import Figure, parser, show


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def read(path: str) -> dict[str, float]:
    """Read one file in this process: seconds, and peak memory over the bytes kept."""
    import cofactor as cf

    cf.read_ratings({"user": [1], "item": [2], "rating": [3]})  # imports are not reading
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    ratings = cf.read_ratings(path)
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    sides = (ratings.by_user, ratings.by_item)
    kept = sum(a.nbytes for side in sides for a in (side.indptr, side.indices, side.values))
    kept += 0 if ratings.times is None else ratings.times.nbytes
    return {"seconds": seconds, "memory": (peak[0] - before) / kept}


def write_tables(folder: Path, rows: int) -> tuple[Path, Path]:
    """``rows`` ratings as CSV, and the first tenth of them as Parquet."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "userId": rng.integers(0, rows // 150, rows),
            "movieId": (rng.random(rows) ** 2 * min(60_000, rows // 50)).astype(np.int64),
            "rating": rng.integers(1, 11, rows) / 2,
            "timestamp": rng.integers(10**9, 15 * 10**8, rows),
        }
    )
    pc.write_csv(table, folder / "ratings.csv")
    pq.write_table(table.slice(0, rows // 10), folder / "ratings.parquet")
    return folder / "ratings.csv", folder / "ratings.parquet"


def main() -> None:
    if sys.argv[1:2] == ["--read"]:
        print(json.dumps(read(sys.argv[2])))
        return
    args = parser(__doc__).parse_args()
    rows = 1_000_000 if args.quick else 10_000_000
    figures = []
    with tempfile.TemporaryDirectory() as name:
        for path, count, bound in zip(write_tables(Path(name), rows), (rows, rows // 10), (15.0, 1.0)):
            runs = []
            for _ in range(1 if args.quick else 5):
                command = [sys.executable, __file__, "--read", str(path)]
                runs.append(
                    json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                )
            middle = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
            kind = f"{count:,} rows of {path.suffix[1:]}"
            figures.append(Figure(f"{kind}, time", middle["seconds"], "s", None if args.quick else bound))
            figures.append(
                Figure(f"{kind}, peak memory", middle["memory"], "times kept", None if args.quick else 5.0)
            )
    show(figures, args.json)


if __name__ == "__main__":
    main()
