"""All users of a dataset, solved for the items of a model, as Parquet files: one more pass over the ratings."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cofactor.errors import BadParameter
from cofactor.models.als import ALS
from cofactor.progress import Progress
from cofactor.scale.dataset import Dataset, read_group
from cofactor.scale.passes import Items, solve_users
from cofactor.scale.training import problem_of
from cofactor.storage.folders import display


def export_users(
    dataset: Dataset | str | os.PathLike[str],
    model: ALS,
    path: str | os.PathLike[str],
    *,
    progress: bool | None = None,
) -> int:
    """Write b_i and u_i of every user to a new folder, a file for each group; returns the number of users.

    Columns: ``user``, the raw id; ``bias`` float32; ``factors``, a list of ``rank`` float32. They are the exact
    solution for the model's items and the user's ratings that were not held out, the same as a training ends with.

    Raises ``BadParameter`` where the model is not of this dataset, or something is at ``path``; ``BadDataset``.
    """
    dataset = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise BadParameter(f"{display(target)} is there already. Give a new folder, or delete this one.")
    if not isinstance(model, ALS) or not model.item_ids_.array.equals(dataset.item_ids.array):
        raise BadParameter("The model does not have the items of this dataset. Give the model trained on it.")
    problem = problem_of(model, dataset)
    factors = np.empty_like(model.item_factors_)
    bias = np.empty_like(model.item_bias_)
    factors[dataset.item_numbers], bias[dataset.item_numbers] = model.item_factors_, model.item_bias_
    items, users = Items(factors, bias), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    beside.mkdir()
    try:
        with Progress(dataset.n_groups, "Exporting users", progress) as bar:
            for number in range(dataset.n_groups):
                group = read_group(dataset.files(number))
                solved, own_bias, _ = solve_users(group, items, problem, model.threads)
                table = pa.table(
                    {
                        "user": group.users,
                        "bias": pa.array(own_bias),
                        "factors": pa.FixedSizeListArray.from_arrays(solved.ravel(), model.rank),
                    }
                )
                with open(beside / f"{number:05d}.parquet", "xb") as file:
                    pq.write_table(table, file)
                    file.flush()
                    os.fsync(file.fileno())
                users += len(group.users)
                bar.advance()
        if target.exists():
            target.rmdir()
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return users
