"""What the commands do, from file to file. No printing here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cofactor.errors import BadParameter, BadRatings, shorten
from cofactor.evaluation import Evaluation, evaluate
from cofactor.holdout import Holdout, measure_holdout
from cofactor.ids import Id, IdMap
from cofactor.models import MODELS, Explanation, Model, Recommendations
from cofactor.models.base import check_choice
from cofactor.ratings import Ratings
from cofactor.storage import load, save
from cofactor.storage.folders import check_replaceable, resolve
from cofactor.tables import check_target, read_columns, write_table

if TYPE_CHECKING:
    from cofactor.catalog import Catalog
    from cofactor.comparing import Comparison
    from cofactor.scale.checkpoint import State
    from cofactor.tuning import Tuning


@dataclass(frozen=True, eq=False)
class Training:
    """What ``train_model`` did; ``holdout`` is None where nothing was measured."""

    ratings: Ratings
    model: Model
    holdout: Holdout | None
    output: Path

    @property
    def objective(self) -> list[float]:
        """J after each sweep of the model that was saved."""
        return [float(value) for value in getattr(self.model, "objective_", [])]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "ratings": len(self.ratings),
            "users": self.ratings.n_users,
            "items": self.ratings.n_items,
            "scale": list(self.ratings.scale),
            "duplicates": self.ratings.duplicates,
            "rejected": self.ratings.rejected,
            "model": {"kind": type(self.model).__name__, **self.model.get_params()},
            "objective": self.objective,
            "holdout": None if self.holdout is None else self.holdout.to_dict(),
            "output": str(self.output),
        }


def train_model(
    file: str,
    output: Path,
    kind: str,
    params: dict[str, Any],
    others: Sequence[str] = (),
    *,
    seed: int,
    holdout: float,
    by: str,
    on_bad: str,
    rejects: Path | None,
    reading: dict[str, Any],
) -> Training:
    """Read ratings, measure the model on a holdout unless that is 0, fit it on all of them, save it.

    ``others`` are further hyperparameters as typed, "name=value".
    """
    from cofactor.reading import read_ratings

    check_choice("--model", kind, tuple(MODELS))
    model = MODELS[kind]()
    for name, values in _listed("--set", others, params).items():
        if len(values) != 1:
            raise BadParameter(
                f"--set {name} has {len(values)} values; give one. To choose among several, use tune."
            )
        params = {**params, name: values[0]}
    known = _check_known(kind, params)
    model.set_params(**params, **({"seed": seed} if "seed" in known else {}))
    if params.get("biases") == "none":
        model.set_params(biases=None)
    check_replaceable(resolve(output))  # before the work, not after it
    ratings = read_ratings(
        file,
        **reading,
        on_bad=on_bad,  # type: ignore[arg-type]  # read_ratings checks it
        rejects=None if rejects is None else check_target(rejects),
    )
    if "rank" in known and "rank" not in params:
        # A small table takes fewer factors than the default; half its items, for a holdout may lack some.
        model.set_params(rank=min(known["rank"], max(1, ratings.n_items // 2)))
    wanted = holdout != 0 and model.predicts_ratings  # what only ranks has no error
    measured = measure_holdout(model, ratings, holdout, by, seed) if wanted else None
    model.fit(ratings)
    save(model, output)
    return Training(ratings, model, measured, output)


@dataclass(frozen=True, eq=False)
class DatasetTraining:
    """What ``train_on_dataset`` did: the sizes of the dataset, and the held-out error after each sweep (NaN: none)."""

    users: int
    items: int
    ratings: int
    held: int
    model: Model
    held_rmse: list[float]
    output: Path

    @property
    def objective(self) -> list[float]:
        """J after each sweep."""
        return [float(value) for value in getattr(self.model, "objective_", [])]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "ratings": self.ratings,
            "users": self.users,
            "items": self.items,
            "held_out": self.held,
            "model": {"kind": type(self.model).__name__, **self.model.get_params()},
            "objective": self.objective,
            "held_out_rmse": self.held_rmse if self.held else None,
            "output": str(self.output),
        }


def train_on_dataset(
    folder: str,
    output: Path,
    kind: str,
    params: dict[str, Any],
    *,
    engine: str,
    address: str | None,
    memory: int | None,
) -> DatasetTraining:
    """Train on a prepared dataset and save the item side; a training that was interrupted goes on.

    Its state is kept beside ``output`` until that is written.
    """
    from cofactor.models.als import ALS
    from cofactor.scale.dataset import Dataset
    from cofactor.scale.training import train

    if kind != "ALS":
        raise BadParameter(f"--model is {kind}; a dataset is fitted by ALS. Leave --model out.")
    _check_known(kind, params)
    biases = None if params.get("biases") == "none" else params.get("biases", "joint")
    model = ALS(**{**params, "biases": biases})
    target = resolve(output)
    check_replaceable(target)
    dataset = Dataset.open(folder)
    if "rank" not in params:
        model.set_params(rank=min(model.rank, max(1, dataset.n_items // 2)))
    checkpoint = target.with_name(f"{target.name}.checkpoint")
    errors: list[float] = []

    def note_errors(state: State) -> None:
        errors[:] = state.held_rmse[1:]

    trained = train(
        dataset,
        model,
        engine=engine,  # type: ignore[arg-type]  # train checks it
        address=address,
        checkpoint=checkpoint,
        memory=memory,
        callback=note_errors,
    )
    save(trained, output)
    checkpoint.unlink()
    return DatasetTraining(
        dataset.n_users, dataset.n_items, dataset.n_ratings, dataset.n_held, trained, errors, output
    )


def evaluate_model(
    folder: Path, file: str, *, k: int, relevant: float | None, seed: int, reading: dict[str, Any]
) -> Evaluation:
    """How good a saved model is on a file of test ratings."""
    from cofactor.reading import read_ratings

    model = load(folder)
    test = read_ratings(file, **reading)
    for ids, given, what in (
        (model.user_ids_, test.user_ids, "user"),
        (model.item_ids_, test.item_ids, "item"),
    ):
        if ids.kind != given.kind:
            raise BadRatings(
                f"{file}: its {what} ids are {given.kind}s, such as {shorten(given.id(0))}; those of the model are "
                f"{ids.kind}s, such as {shorten(ids.id(0))}. Give ids as they stood in the ratings it was fitted on."
            )
    return evaluate(model, test, k=k, relevant=relevant, seed=seed)


def tune_model(
    file: str,
    output: Path,
    kind: str,
    named: dict[str, str | None],
    others: Sequence[str],
    how: dict[str, Any],
    *,
    threads: int | None,
    checkpoint: Path | None,
    reading: dict[str, Any],
) -> Tuning:
    """Tune a model on a file of ratings and write the page.

    ``named`` and ``others`` ("name=a,b") give values as typed. Without a ``checkpoint`` one is kept beside the page
    until that is written.
    """
    from cofactor.reading import read_ratings
    from cofactor.report import render_tuning, write_page
    from cofactor.tuning import tune

    check_choice("--model", kind, tuple(MODELS))
    values: dict[str, Any] = {name: _values(name, text) for name, text in named.items() if text is not None}
    values |= _listed("--try", others, values)
    _check_known(kind, values)
    target = check_target(output)
    model = MODELS[kind]()
    for name, value in (("seed", how["seed"]), ("threads", threads)):
        if name in model.get_params():
            model.set_params(**{name: value})
    ratings = read_ratings(file, **reading)
    kept = checkpoint or target.with_name(target.name + ".partial")
    done = tune(model, ratings, **{**how, "checkpoint": kept, **values})
    write_page(render_tuning(done), target)
    if checkpoint is None:
        shutil.rmtree(kept, ignore_errors=True)
    return done


def _check_known(kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a kind of model; ``BadParameter`` where it lacks one of ``params``."""
    known = MODELS[kind]().get_params()
    for name in params:
        if name not in known:
            raise BadParameter(f"{kind} has no parameter {name!r}. It has: {', '.join(known) or 'none'}.")
    return known


def _listed(option: str, texts: Sequence[str], given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """``["k=10,20"]`` -> ``{"k": [10, 20]}``; no name twice, nor one that is given already."""
    values: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if not equals or name in values or name in given:
            raise BadParameter(f"{option} is {shorten(text)}; give NAME=VALUE, each name once.")
        values[name] = _values(name, listed)
    return values


def _values(name: str, text: str) -> list[Any]:
    """``"8,16"`` -> numbers where they are numbers, None where it says none, else text."""

    def value(word: str) -> Any:
        for kind in (int, float):
            try:
                return kind(word)
            except ValueError:
                pass
        return {"none": None, "true": True, "false": False}.get(word.lower(), word)

    words = [word.strip() for word in text.split(",")]
    if "" in words:
        raise BadParameter(f"--{name} is {shorten(text)}; give values with commas between, such as 8,16,32.")
    return [value(word) for word in words]


def compare_models(file: str, output: Path, how: dict[str, Any], *, reading: dict[str, Any]) -> Comparison:
    """Compare all models on a file of ratings and write the page."""
    from cofactor.comparing import compare
    from cofactor.reading import read_ratings
    from cofactor.report import render_comparison, write_page

    check_target(output)
    found = compare(read_ratings(file, **reading), **how)
    write_page(render_comparison(found), output)
    return found


@dataclass(frozen=True, eq=False)
class Predictions:
    """A table of user, item and rating, and what is to be said about it."""

    table: pa.Table
    notes: list[str] = field(default_factory=list)


def _with_users(model: Model, users: Any, dataset: Path | None) -> Model:
    """The model with these users folded in from a dataset, where one is given."""
    if dataset is None:
        return model
    from cofactor.scale.dataset import Dataset

    return model.fold_in(Dataset.open(dataset).ratings_of(users))


def predict_pair(folder: Path, user: str, item: str, *, clip: bool, dataset: Path | None) -> Predictions:
    """The predicted rating of one pair of ids as typed."""
    model = load(folder)
    users = pa.array([model.user_ids_.parse(user)])
    return _predict(_with_users(model, users, dataset), users, pa.array([model.item_ids_.parse(item)]), clip)


def predict_file(
    folder: Path, pairs: Path, *, clip: bool, output: Path | None, dataset: Path | None
) -> Predictions:
    """The predicted ratings of a file of pairs; written to ``output`` if given."""
    if output is not None:
        check_target(output, (".csv", ".parquet"))
    model = load(folder)
    table = read_columns(pairs, ("user", "item"))
    users = _typed(table["user"], model.user_ids_, "user", pairs)
    items = _typed(table["item"], model.item_ids_, "item", pairs)
    found = _predict(_with_users(model, users, dataset), users, items, clip)
    if output is not None:
        write_table(found.table, output)
    return found


def _predict(model: Model, users: pa.Array, items: pa.Array, clip: bool) -> Predictions:
    ratings = model.predict(users, items, clip=clip)
    notes = []
    for ids, given, what in ((model.user_ids_, users, "user"), (model.item_ids_, items, "item")):
        unknown = int((ids.positions(given, what) < 0).sum())
        if unknown and len(given) == 1:
            notes.append(
                f"The model does not know {what} {shorten(given[0].as_py())}: the prediction is made of the rest."
            )
        elif unknown:
            notes.append(
                f"{unknown:,} of {len(given):,} pairs have {'a' if what == 'user' else 'an'} {what} that the model "
                f"does not know: those predictions are made of the rest."
            )
    return Predictions(pa.table({"user": users, "item": items, "rating": pa.array(ratings)}), notes)


def recommend(
    folder: Path,
    *,
    user: str | None,
    ratings: Path | None,
    n: int,
    exclude: Sequence[str],
    among: Sequence[str] | None,
    include_seen: bool,
    titles: Path | None,
    output: Path | None,
    dataset: Path | None,
) -> tuple[Recommendations, Catalog | None]:
    """The best items for one user, for somebody with a file of ratings, or (neither given) for all users."""
    if output is not None:
        check_target(output, (".csv", ".parquet"))
    model, catalog = load(folder), _catalog(titles)
    parse = model.item_ids_.parse
    choice: dict[str, Any] = {
        "n": n,
        "exclude_seen": not include_seen,
        "exclude": [parse(item) for item in exclude],
        "among": None if among is None else [parse(item) for item in among],
    }
    if user is not None:
        who = model.user_ids_.parse(user)
        found = _with_users(model, [who], dataset).recommend(who, **choice)
    elif ratings is not None:
        found = _recommend_to_new(model, ratings, choice)
    else:
        found = model.recommend(model.user_ids_.array, **choice)
    if output is not None:
        table = found.to_arrow()
        if catalog is not None:
            text = [catalog.title(item) for item in found.items.to_pylist()]
            table = table.append_column("title", pa.array(text, pa.string()))
        write_table(table, output)
    return found, catalog


def _recommend_to_new(model: Model, path: Path, choice: dict[str, Any]) -> Recommendations:
    table = read_columns(path, ("item", "rating"))
    items = _typed(table["item"], model.item_ids_, "item", path).to_pylist()
    pairs: list[tuple[Id, float]] = []
    for row, (item, text) in enumerate(zip(items, table["rating"].to_pylist()), start=1):
        try:
            pairs.append((item, float(text)))
        except (TypeError, ValueError):
            raise BadRatings(
                f"{path}, row {row}: the rating {shorten(text)} is not a number. Mend that row, or leave it out."
            ) from None
        if not np.isfinite(pairs[-1][1]):
            raise BadRatings(
                f"{path}, row {row}: the rating {text} is not finite. Mend that row, or leave it out."
            )
    try:
        return model.recommend(ratings=pairs, **choice)
    except BadParameter as error:
        raise BadRatings(f"{path}: {error}") from None


def similar(
    folder: Path, item: str, *, n: int, titles: Path | None
) -> tuple[Recommendations, Catalog | None]:
    """The items most like one."""
    model, catalog = load(folder), _catalog(titles)
    return model.similar_items(model.item_ids_.parse(item), n), catalog


def explain(
    folder: Path, user: str, item: str, *, titles: Path | None, dataset: Path | None
) -> tuple[Explanation, Id, Id, Catalog | None]:
    """A score taken apart, and the ids of its user and item."""
    model, catalog = load(folder), _catalog(titles)
    who, what = model.user_ids_.parse(user), model.item_ids_.parse(item)
    return _with_users(model, [who], dataset).explain(who, what), who, what, catalog


def export_all_users(dataset: Path, folder: Path, output: Path) -> int:
    """Solve every user of a dataset for a model's items and write them; returns how many."""
    from cofactor.models.als import ALS
    from cofactor.scale.exporting import export_users

    model = load(folder)
    if not isinstance(model, ALS):
        raise BadParameter(
            f"{folder} is a {type(model).__name__}; users are exported for ALS trained on a dataset."
        )
    return export_users(dataset, model, output)


def _catalog(path: Path | None) -> Catalog | None:
    if path is None:
        return None
    from cofactor.catalog import read_catalog

    return read_catalog(path)


def _typed(column: pa.ChunkedArray, ids: IdMap, what: str, path: Path) -> pa.Array:
    """Ids from a file in the kind that the model has: text becomes integers where the ids are integers."""
    column = column.combine_chunks()
    if pa.types.is_integer(column.type) or ids.kind == "string":
        return column
    encoded = column.dictionary_encode()
    parsed = [ids.parse(text) for text in encoded.dictionary.to_pylist()]
    codes = encoded.indices.to_numpy()
    for code, value in enumerate(parsed):
        if isinstance(value, str):
            row = int(np.argmax(codes == code)) + 1
            raise BadRatings(
                f"{path}, row {row}: {what} {shorten(value)} is not a whole number, as the {what} ids of this "
                f"model are. Give ids as they stood in the ratings."
            )
    return pa.array(parsed).take(encoded.indices)
