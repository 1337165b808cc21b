"""What content is worth for items that nobody has rated, and while their first ratings come in.

    python benchmarks/cold_start.py --data FOLDER [--folds 3]

1. MovieLens: a tenth of the items is held out whole, with year and genres as features. Held-out RMSE of ``ContentMap``
   beside μ + b_i (``Baseline``, which does not know the items) and cmfrec's content-based mode, which gets the same
   features, in an environment of its own (``contest/content_peer.py``). Tenths that do not overlap are pooled; the
   interval of a ratio is of 95 %, by drawing items again, for ratings of one item go together. λ of both, and whether
   features stand in the objective (``collective``), are chosen on a tenth of the items of the training part, fold by
   fold. cmfrec takes minutes for a fit of 1M. "With hold" is ``ContentMap`` for items without ratings alone.
2. The same items, as 1, 2, 5, 10 ratings of each come in: the rule that joins content and ratings, ratings alone
   (the same users, drawn towards 0) and content alone. Errors on the ratings after the tenth, mean over orders.
3. Digits (scikit-learn's images, 8 × 8): 300 images rated by 600 simulated readers who like three digits each, the
   other 1,497 new. How they are ranked, as the share of pairs of a liked and another image in the right order (AUC);
   and, as a check of the networks alone, the share of digits named rightly by networks with as many parameters.
4. Tones that begin anywhere, at any pitch; half have an echo, and half of the listeners like that. New tones, ranked.

3 and 4 need the extra ``content``, 3 also scikit-learn.
"""

from __future__ import annotations

import copy
import re
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import SCALE, Figure, data_file, parser, show
from contest.environments import PEERS, Absent, interpreter
from numpy.typing import NDArray

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.ratings import Ratings

HERE = Path(__file__).resolve().parent
SETS = {"MovieLens 100K": "ml-100k", "MovieLens 1M": "ml-1m"}
SETTINGS = [{"reg": reg, "collective": weight} for reg in (1.0, 1.5, 2.0) for weight in (0.0, 1.0)]
HELD = [{"reg": reg, "reg_exponent": 0.0, "hold": hold} for reg in (5.0, 10.0) for hold in (100.0, 300.0)]
PEER_REGS = (30.0, 100.0, 300.0)
RANK, PEER_RANK = 16, 8  # the peer's errors do not fall beyond
COUNTS = (1, 2, 5, 10)
THREADS = 2


# -- held-out items ------------------------------------------------------------------------------------


def features_of(catalog: cf.Catalog) -> cf.Features:
    """Year, which stands in the title, and genres."""
    years = [
        int(found[1]) if (found := re.search(r"\((\d{4})\)\s*$", t or "")) else None for t in catalog.titles
    ]
    table = {"item": catalog.item_ids.array, "year": years, "genres": [list(g) for g in catalog.genres_of]}
    return cf.read_catalog(table).features("year", "genres")


def by_items(ratings: Ratings, fold: int, seed: int) -> tuple[Ratings, Ratings]:
    """All but a tenth of the items, and that tenth, by users who have rated others too."""
    place = np.random.default_rng(seed).permutation(ratings.n_items)
    held = (place * 10 // ratings.n_items == fold)[ratings.by_user.indices]
    train, test = ratings.select(~held), ratings.select(held)
    known = train.user_ids.positions(test.user_ids.array) >= 0
    return train, test.select(known[test.user_positions])


def squared(model: Any, test: Ratings) -> NDArray[np.float64]:
    return (model.predict(test.users, test.items, clip=True).astype(np.float64) - test.values) ** 2


def content_map(settings: dict[str, float]) -> cf.ContentMap:
    return cf.ContentMap(rank=RANK, threads=THREADS, **settings)


def chosen_of(
    settings: list[dict[str, float]], inner: tuple[Ratings, Ratings], train: Ratings, features: cf.Features
) -> cf.ContentMap:
    """Fitted to ``train`` with the settings that do best on the items held out of it."""
    tried = [
        squared(content_map(given).fit(inner[0], items=features, progress=False), inner[1]).mean()
        for given in settings
    ]
    return content_map(settings[int(np.argmin(tried))]).fit(train, items=features, progress=False)


def peer_errors(
    python: str, train: Ratings, inner: tuple[Ratings, Ratings], test: Ratings, features: cf.Features
) -> NDArray[np.float64]:
    """Squared errors of cmfrec on ``test``."""
    given: dict[str, Any] = {"features": features.values, "n_users": train.n_users, "scale": SCALE}
    given |= {"regs": PEER_REGS, "rank": PEER_RANK, "threads": THREADS}
    for name, part in (("train", train), ("inner", inner[0]), ("choice", inner[1]), ("test", test)):
        given[f"{name}_users"] = train.user_ids.positions(part.user_ids.array)[part.user_positions]
        given[f"{name}_items"] = features.ids.positions(part.item_ids.array)[part.by_user.indices]
        given[f"{name}_values"] = part.values
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, **given)
        command = [python, "-W", "ignore", str(HERE / "contest/content_peer.py"), str(source), str(target)]
        subprocess.run(command, check=True, capture_output=True)
        return (np.load(target)["predicted"] - test.values) ** 2


def ratio(ours: NDArray[Any], theirs: NDArray[Any], items: NDArray[Any]) -> tuple[float, float, float]:
    """RMSE over RMSE, and the ends of its 95 % interval, items drawn again."""
    _, at = np.unique(items, return_inverse=True)
    sums = np.array([np.bincount(at, errors) for errors in (ours, theirs)])
    draws = np.random.default_rng(0).multinomial(
        sums.shape[1], np.full(sums.shape[1], 1 / sums.shape[1]), 2000
    )
    found = np.sqrt((draws @ sums[0]) / (draws @ sums[1]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(np.sqrt(ours.mean() / theirs.mean())), float(low), float(high)


def held_out_items(
    name: str, ratings: Ratings, features: cf.Features, folds: int, python: str | None
) -> tuple[list[Figure], list[str]]:
    """Parts 1 and 2 of a set."""
    held = "ContentMap with hold"
    errors: dict[str, list[NDArray[Any]]] = {"mu + b_i": [], "ContentMap": [], held: [], "cmfrec": []}
    items, arrivals = [], []
    for fold in range(folds):
        train, test = by_items(ratings, fold, seed=0)
        inner = by_items(train, 0, seed=1)
        model, tight = (chosen_of(some, inner, train, features) for some in (SETTINGS, HELD))
        errors["mu + b_i"].append(squared(cf.Baseline().fit(train, progress=False), test))
        errors["ContentMap"].append(squared(model, test))
        errors[held].append(squared(tight, test))
        if python is not None:
            errors["cmfrec"].append(peer_errors(python, train, inner, test, features))
        items.append(features.ids.positions(test.item_ids.array)[test.by_user.indices] + fold * len(features))
        arrivals.append(as_ratings_come(model, test))
    joined = {who: np.concatenate(parts) for who, parts in errors.items() if parts}
    every = np.concatenate(items)
    figures = [
        Figure(f"{name}, new items, {who}", float(np.sqrt(e.mean())), "RMSE") for who, e in joined.items()
    ]
    notes = []
    for own in ("ContentMap", held):
        for who in [other for other in ("mu + b_i", "cmfrec") if other in joined]:
            value, low, high = ratio(joined[own], joined[who], every)
            # ahead of the baseline with all of the interval, and no worse than the peer
            of_peer = who == "cmfrec"
            label = f"{own} / {who}" + ("" if of_peer else ", upper end")
            figures.append(Figure(f"{name}, new items, {label}", value if of_peer else high, "ratio", 1.0))
            notes.append(f"{name}: RMSE of {own} / {who} {value:.4f}, 95 % interval {low:.4f} to {high:.4f}")
    table = np.mean(arrivals, axis=0)
    for count, (both, rated, alone) in zip(COUNTS, table):
        for who, error in (("both", both), ("ratings alone", rated), ("content alone", alone)):
            figures.append(Figure(f"{name}, {count} ratings, {who}", float(error), "RMSE"))
        label = f"{name}, {count} ratings, both / better of the two"
        figures.append(Figure(label, float(both / min(rated, alone)), "ratio", 1.0))
    return figures, notes


def as_ratings_come(model: cf.ContentMap, test: Ratings, orders: int = 5) -> NDArray[np.float64]:
    """RMSE (counts, 3) of both, ratings alone and content alone on the ratings after the tenth of each item."""
    plain = copy.copy(model)
    at = model.item_ids_.positions(test.item_ids.array)
    plain.items_, plain.item_factors_, plain.item_bias_ = (
        None,
        model.item_factors_.copy(),
        model.item_bias_.copy(),
    )
    plain.item_factors_[at], plain.item_bias_[at] = 0, 0
    items, random = test.by_user.indices, np.random.default_rng(0)
    found = []
    for _ in range(orders):
        order = np.lexsort((random.random(len(items)), items))
        place = np.empty(len(items), np.int64)
        place[order] = np.arange(len(items)) - np.searchsorted(items[order], items[order])
        later = test.select(place >= max(COUNTS))
        alone = squared(model, later).mean()
        rows = []
        for count in COUNTS:
            given = test.select(place < count)
            joined, rated = (squared(m.fold_in_items(given), later).mean() for m in (model, plain))
            rows.append((joined, rated, alone))
        found.append(rows)
    return np.asarray(np.sqrt(np.mean(found, axis=0)))


# -- images and sounds ---------------------------------------------------------------------------------


def liking(
    kinds: NDArray[Any], liked: NDArray[np.bool_], rated: NDArray[Any], each: int, random: np.random.Generator
) -> Ratings:
    """Ratings of ``each`` of the items ``rated`` by readers who like some kinds (readers, kinds)."""
    readers = len(liked)
    who = np.repeat(np.arange(readers), each)
    what = np.concatenate([random.permutation(rated)[:each] for _ in range(readers)])
    values = np.where(liked[who, kinds[what]], 4.2, 2.2) + random.normal(0, 0.8, len(who))
    ids, at = IdMap.encode(what)
    values = np.clip(values, *SCALE).astype(np.float32)
    return Ratings.from_positions(
        IdMap(np.arange(readers)), ids, who.astype(np.int32), at, values, scale=SCALE
    )


def ranked(model: cf.ContentMap, new: NDArray[Any], relevant: NDArray[np.bool_]) -> float:
    """Mean AUC of the ranking of new items for each reader; ``relevant`` is (readers, new)."""
    at = model.item_ids_.positions(new)
    scores = model.user_factors_ @ model.item_factors_[at].T + model.item_bias_[at]
    place = scores.argsort(axis=1).argsort(axis=1)
    wanted = relevant.sum(axis=1)
    above = (place * relevant).sum(axis=1) - wanted * (wanted - 1) / 2
    return float((above / (wanted * (relevant.shape[1] - wanted))).mean())


def ranking(
    what: str, x: NDArray[Any], kinds: NDArray[Any], liked: NDArray[np.bool_], n_rated: int, each: int,
    models: dict[str, Callable[[], cf.ContentMap]], random: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """AUC of new items by each model, in one set."""
    order = random.permutation(len(x))
    rated, new = np.sort(order[:n_rated]), np.sort(order[n_rated:])
    ratings = liking(kinds, liked, rated, each, random)
    features = cf.Features.of_arrays(np.arange(len(x)), x)
    relevant = liked[:, kinds[new]]
    return {
        name: ranked(make().fit(ratings, items=features, progress=False), new, relevant)
        for name, make in models.items()
    }


def digits(quick: bool) -> list[Figure]:
    from sklearn.datasets import load_digits

    from cofactor.models.network import train

    found = load_digits()
    x, y = found.images[..., None].astype(np.float32) / 16, found.target
    settings: dict[str, Any] = {"rank": 12, "epochs": 8 if quick else 300, "threads": THREADS}
    models: dict[str, Callable[[], cf.ContentMap]] = {"linear": lambda: cf.ContentMap(**settings)}
    for kind, width in (("mlp", 10), ("conv2d", 16)):
        for augment in (False, True):
            given = {"encoder": kind, "width": width, "augment": augment, **settings}
            models[kind + (", shifted images" if augment else "")] = partial(cf.ContentMap, **given)
    aucs: dict[str, list[float]] = {"popularity": []}
    right: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for seed in range(1 if quick else 3):
        random = np.random.default_rng(seed)
        liked = np.zeros((600, 10), bool)
        np.put_along_axis(liked, random.random((600, 10)).argsort(axis=1)[:, :3], True, axis=1)
        aucs["popularity"].append(0.5)  # nobody has rated them: all tie
        for name, auc in ranking("digits", x, y, liked, 300, 60, models, random).items():
            aucs.setdefault(name, []).append(auc)
        order = random.permutation(len(x))
        learnt, new = order[:300], order[300:]
        for kind, width in (("mlp", 10), ("conv2d", 16)):
            network = train(
                x[learnt], np.eye(10)[y[learnt]], np.ones(300), np.eye(10),
                kind=kind, width=width, epochs=settings["epochs"], augment=False, seed=seed, progress=False,
            )  # fmt: skip
            right.setdefault(kind, []).append(float((network(x[new]).argmax(axis=1) == y[new]).mean()))
            sizes[kind] = sum(layer.size for layer in network.layers)
    figures = [
        Figure(f"digits, new images, {name}", float(np.mean(auc)), "AUC") for name, auc in aucs.items()
    ]
    means = {name: float(np.mean(auc)) for name, auc in aucs.items()}
    for kind in ("mlp", "conv2d"):  # each as it does best
        means[kind] = max(means[kind], means[f"{kind}, shifted images"])
    for worse, better in (("popularity", "linear"), ("linear", "mlp"), ("mlp", "conv2d")):
        value = means[better] / means[worse]
        figures.append(Figure(f"digits, {better} / {worse}", value, "ratio", 1.0, most=False))
    for kind, shares in right.items():
        figures.append(
            Figure(
                f"digits named rightly, {kind}, {sizes[kind]:,} parameters", float(np.mean(shares)), "of all"
            )
        )
    share = float(np.mean(right["conv2d"]) / np.mean(right["mlp"]))
    return [*figures, Figure("digits named rightly, conv2d / mlp", share, "ratio", 1.0, most=False)]


def tones(n: int, random: np.random.Generator, samples: int = 512) -> tuple[NDArray[Any], NDArray[Any]]:
    """Short tones (n, samples, 1) of any pitch, anywhere; and whether each has an echo."""
    echoes = random.integers(0, 2, n)
    x = random.normal(0, 0.03, (n, samples))
    for k in range(n):
        pitch, phase = random.uniform(0.05, 0.2), random.uniform(0, 2 * np.pi)
        burst = np.sin(2 * np.pi * pitch * np.arange(64) + phase) * np.hanning(64)
        at, delay = random.integers(0, samples - 64 - 160), random.integers(80, 140)
        x[k, at : at + 64] += burst
        x[k, at + delay : at + delay + 64] += 0.7 * echoes[k] * burst
    return x[..., None].astype(np.float32), echoes


def echoes(quick: bool) -> list[Figure]:
    random = np.random.default_rng(0)
    x, y = tones(300 if quick else 1500, random)
    liked = np.eye(2, dtype=bool)[random.integers(0, 2, 400)]
    settings: dict[str, Any] = {"rank": 4, "width": 8, "epochs": 3 if quick else 60, "threads": THREADS}
    models = {
        "linear on raw samples": lambda: cf.ContentMap(**settings),
        "conv1d": lambda: cf.ContentMap(encoder="conv1d", **settings),
    }
    found = ranking("tones", x, y, liked, len(x) * 4 // 5, 40, models, random)
    bounds = {"linear on raw samples": (0.6, True), "conv1d": (0.95, False)}
    return [Figure(f"tones with an echo, {name}", auc, "AUC", *bounds[name]) for name, auc in found.items()]


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--folds", type=int, default=3, help="tenths of the items that are held out in turn [3]"
    )
    options.add_argument(
        "--envs",
        type=Path,
        default=HERE / ".envs",
        help="folder of the peer's environment [benchmarks/.envs]",
    )
    args = options.parse_args()
    figures, notes, python = [], [], None
    try:
        python = interpreter(PEERS["cmfrec"], args.envs, make=not args.quick)
    except Absent as reason:
        notes.append(f"cmfrec was left out: {reason}.")
    for name, file in list(SETS.items())[: 1 if args.quick else None]:
        ratings = cf.read_ratings(data_file(args.data, f"{file}.parquet"), scale=SCALE)
        features = features_of(cf.read_catalog(data_file(args.data, f"{file}-items.parquet")))
        more, told = held_out_items(name, ratings, features, 1 if args.quick else args.folds, python)
        figures, notes = figures + more, notes + told
    for part in (digits, echoes):
        try:
            figures += part(args.quick)
        except (ImportError, cf.NotSupported) as error:
            notes.append(f"{part.__name__} were left out: {error}")
    show(figures, args.json, notes)


if __name__ == "__main__":
    main()
