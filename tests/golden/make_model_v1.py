"""Made tests/golden/model-v1, once, with cofactor 0.1.0. It is not to be made again: a golden folder
shows that what was written then is read today. A new format version gets a folder of its own.

    python tests/golden/make_model_v1.py tests/golden/model-v1
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.ratings import Ratings


def ratings() -> Ratings:
    """12 users with ids around 2**63, 8 items with ids that only exact keeping tells apart."""
    users = np.arange(2**63 - 6, 2**63 + 6, dtype=np.uint64)
    items = np.array(["1", "01", " 1", "\u00e9", "e\u0301", "\u6620\u753b", "", "\0"], dtype=object)
    pairs = [(i, j) for i in range(12) for j in range(8) if (i * 7 + j * 5) % 3 or i == j]
    values = np.array([1 + (i * i + 3 * j) % 9 / 2 for i, j in pairs], np.float32)
    user_ids, user_at = IdMap.encode(users[[i for i, _ in pairs]])
    item_ids, item_at = IdMap.encode(items[[j for _, j in pairs]])
    return Ratings.from_positions(user_ids, item_ids, user_at, item_at, values, scale=(1.0, 5.0))


if __name__ == "__main__":
    table = ratings()
    model = cf.ALS(rank=3, reg=0.5, sweeps=4, seed=1).fit(table)
    folder = cf.save(model, sys.argv[1])
    users, items = table.user_ids.array[:8], table.item_ids.array[:8]
    expected = {"users": users.to_pylist(), "items": items.to_pylist()}
    expected["predictions"] = [float(score) for score in model.predict(users, items)]
    Path(folder.parent, folder.name + ".json").write_text(json.dumps(expected, indent=1) + "\n")
