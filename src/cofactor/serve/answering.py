"""Answers of a snapshot: pure functions, from ratings to what is sent."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cofactor import kernels
from cofactor.errors import NotSupported, SingularSystem
from cofactor.models.factors import FactorModel
from cofactor.models.intervals import Strategy, SureModel, deviations
from cofactor.ratings import Compressed
from cofactor.serve.snapshot import Positions, Snapshot

POOL = 10  # of how many times as many items a varied list is chosen


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for.

    Attributes:
        n: how many items.
        category, among: only items of these; ``among`` are raw ids.
        exclude: raw ids never to list.
        exclude_seen: leave out what the user has rated.
        explain: say why.
        position: say where on the map the user stands.
        diversity: 0: the best; towards 1, items unlike each other are preferred.
        interval: with which share of ratings expected between its ends; None: no interval.
        strategy: what the list is sorted by; see ``SureModel.recommend``.
    """

    n: int = 10
    category: str | None = None
    among: Collection[str] | None = None
    exclude: Collection[str] = ()
    exclude_seen: bool = True
    explain: bool = False
    position: bool = False
    diversity: float = 0.0
    interval: float | None = None
    strategy: Strategy = "mean"


def recommendation_id(snapshot: Snapshot) -> str:
    """A name for one answer, which tells the version of the model."""
    return f"{snapshot.version or 0}.{secrets.token_hex(8)}"


def version_of(recommendation: str) -> int | None:
    """The version of the model that gave an answer of this name; None where it was none."""
    head = recommendation.partition(".")[0]
    return int(head) if head.isdecimal() and int(head) else None


def source_of(
    snapshot: Snapshot, row: Compressed, written: int | None
) -> Literal["model", "fold_in", "popular"]:
    """What an answer about somebody with these ratings is made of; ``written`` as in ``recommend``."""
    if not len(row.indices):
        return "popular"
    return "model" if written is not None and written < snapshot.trained_at else "fold_in"


def user_of(
    snapshot: Snapshot, ratings: Mapping[str, float], times: Mapping[str, int] | None = None
) -> FactorModel:
    """The model, with somebody of these ratings as its user "0", as they are at this moment.

    ``times``: when each was given, in microseconds since 1970; None: now. Only a user who drifts depends on it.
    """
    model, row = snapshot.model, snapshot.row(ratings)
    assert model is not None
    now = int(time.time())
    if times is None:
        given = np.full(len(row.indices), now)
    else:
        given = np.array(
            [times[snapshot.ids[place]] // 1_000_000 for place in row.indices.tolist()], np.int64
        )
    return model.only_items(row, np.minimum(given, now), now)


def recommend(
    snapshot: Snapshot,
    ratings: Mapping[str, float],
    wish: Wish,
    written: int | None = None,
    times: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The answer for somebody with these ratings; ``items`` is empty only where nothing is left to list.

    ``written``: when the last of the ratings was stored; None where they are not stored. ``times`` as in ``user_of``.
    """
    row, taste = snapshot.row(ratings), None
    if snapshot.model is not None and len(row.indices):
        try:
            user = user_of(snapshot, ratings, times)
            taste = user.user_factors_[0], float(user.user_bias_[0])
        except SingularSystem:
            taste = None  # without regularization a few ratings determine nothing
    listed: list[tuple[int, float | None]] = []
    source: str = "popular"
    if taste is not None:
        source = source_of(snapshot, row, written)
        listed = [*_best(snapshot, row, taste, ratings, wish)]
    if not listed:
        source, listed = "popular", [*_popular(snapshot, ratings, wish)]
    items = [_described(snapshot, place, score) for place, score in listed]
    if wish.interval is not None:
        ends = _intervals(snapshot, row, [place for place, _ in listed], wish.interval)
        for it, (low, high) in zip(items, ends):
            it |= {"low": low, "high": high}
    if wish.explain and snapshot.model is not None and source != "popular":
        for (place, _), it in zip(listed, items):
            it["explanation"] = explanation(snapshot, user, place)
    answer: dict[str, Any] = {
        "model_version": snapshot.version,
        "recommendation_id": recommendation_id(snapshot),
        "source": source,
        "items": items,
    }
    if wish.position:
        plane = snapshot.plane
        answer["position"] = None if taste is None or plane is None else plane.place(taste[0])
    return answer


def _best(
    snapshot: Snapshot,
    row: Compressed,
    taste: tuple[NDArray[Any], float],
    ratings: Mapping[str, float],
    wish: Wish,
) -> list[tuple[int, float]]:
    """Positions and predicted ratings of the best items."""
    model = snapshot.model
    assert model is not None
    candidates = _candidates(snapshot, wish)
    out = row.indices if wish.exclude_seen else np.empty(0, np.int32)
    if wish.exclude:
        more = [
            snapshot.at[raw]
            for raw in wish.exclude
            if snapshot.at.get(raw, snapshot.n_known) < snapshot.n_known
        ]
        out = np.union1d(out, more).astype(np.int32)
    factors, bias, (query, own) = model.item_factors_, snapshot.bias, taste
    known = model.mean_ + own
    if wish.strategy != "mean" and isinstance(model, SureModel):
        scores = model.optimistic(wish.strategy, 1.0, np.random.default_rng(), 0, row)
        factors, bias, query = scores[:, None], np.where(np.isfinite(bias), 0, bias), np.ones(1, scores.dtype)
        known = 0.0
    if candidates is not None:
        candidates = np.setdiff1d(candidates[candidates < snapshot.n_known], out)
        factors, bias, out = factors[candidates], bias[candidates], np.empty(0, np.int32)
    if not len(bias):
        return []
    n = wish.n if wish.diversity == 0 else min(wish.n * POOL, 1000)
    pointers = np.array([0, len(out)], np.int64)
    found, scores = kernels.topk(query[None], factors, bias, pointers, out, min(n, len(bias)), threads=1)
    kept = found[0] >= 0
    places = found[0][kept] if candidates is None else candidates[found[0][kept]]
    values = scores[0][kept] + known
    if wish.diversity > 0:
        chosen = _varied(model.item_factors_[places], values, wish.n, wish.diversity)
        places, values = places[chosen], values[chosen]
    return list(zip(places.tolist(), values.tolist()))


def _candidates(snapshot: Snapshot, wish: Wish) -> Positions | None:
    """Positions that may be listed; None where all may."""
    places: Positions | None = None
    if wish.category is not None:
        places = snapshot.by_category.get(wish.category, np.empty(0, np.int32))
    if wish.among is not None:
        among = np.array(sorted({snapshot.at[raw] for raw in wish.among if raw in snapshot.at}), np.int32)
        places = among if places is None else np.intersect1d(places, among)
    return places


def _popular(snapshot: Snapshot, ratings: Mapping[str, float], wish: Wish) -> list[tuple[int, float | None]]:
    """The items rated most, and what the model thinks of them in general."""
    out = {snapshot.at.get(raw, -1) for raw in wish.exclude}
    if wish.exclude_seen:
        out |= {snapshot.at.get(raw, -1) for raw in ratings}
    order = snapshot.popular
    candidates = _candidates(snapshot, wish)
    if candidates is not None:
        order = order[np.isin(order, candidates)]
    chosen = [place for place in order[: wish.n + len(out)].tolist() if place not in out][: wish.n]
    return [(place, _general(snapshot, place)) for place in chosen]


def _general(snapshot: Snapshot, place: int) -> float | None:
    """What somebody unknown is predicted to give an item; None where the model does not know it."""
    if snapshot.model is None or place >= snapshot.n_known:
        return None
    return snapshot.model.mean_ + float(snapshot.model.item_bias_[place])


def _varied(factors: NDArray[Any], scores: NDArray[Any], n: int, diversity: float) -> list[int]:
    """Some of the items, best first, each weighed against its likeness to those before it (maximal marginal relevance).

    Carbonell and Goldstein, SIGIR 1998:  (1 − d) score − d · spread · max cosine.
    """
    unit = factors / np.maximum(np.linalg.norm(factors, axis=1, keepdims=True), 1e-12)
    spread = float(scores.max() - scores.min()) or 1.0
    likeness = np.zeros(len(scores))
    left, chosen = np.ones(len(scores), bool), []
    for _ in range(min(n, len(scores))):
        value = np.where(left, (1 - diversity) * scores - diversity * spread * likeness, -np.inf)
        best = int(value.argmax())
        chosen.append(best)
        left[best] = False
        likeness = np.maximum(likeness, unit @ unit[best])
    return chosen


def _described(snapshot: Snapshot, place: int, score: float | None) -> dict[str, Any]:
    return {
        "item": snapshot.ids[place],
        "title": snapshot.title(place),
        "categories": list(snapshot.categories[place]),
        "score": score,
        "ratings": int(snapshot.counts[place]),
        "new": snapshot.is_new(place),
    }


def explanation(snapshot: Snapshot, user: FactorModel, place: int) -> dict[str, Any]:
    """Why an item has its score for the one user of a model:  score = mean + user_adds + item_adds + Σ adds."""
    found = user.explain("0", user.item_ids_.id(place))
    parts = []
    for raw, rating, adds in found.parts:
        at = snapshot.at[str(raw)]
        parts.append({"item": str(raw), "title": snapshot.title(at), "rating": rating, "adds": adds})
    return {"mean": found.mean, "user_adds": found.user, "item_adds": found.item, "parts": parts}


def _intervals(
    snapshot: Snapshot, row: Compressed, places: Collection[int], share: float
) -> list[tuple[float | None, float | None]]:
    """Where so large a share of ratings is expected, on the scale; (None, None) where nobody can tell."""
    model = snapshot.model
    nothing: list[tuple[float | None, float | None]] = [(None, None)] * len(places)
    if not isinstance(model, SureModel):
        return nothing
    at = np.array([place if place < snapshot.n_known else -1 for place in places], np.int32)
    who = np.full(len(at), 0 if len(row.indices) else -1, np.int32)
    try:
        variance = model.doubt(who, at, row) + model.noise_variance()
        factors, bias = model.solve_users(row)
    except (NotSupported, SingularSystem):
        return nothing
    none = np.zeros(1, model.item_bias_.dtype)
    items = np.where(at >= 0, at, len(model.item_bias_))
    middle = (
        np.append(model.item_factors_ @ factors[0] + model.item_bias_, none)[items] + model.mean_ + bias[0]
    )
    reach = deviations(share) * np.sqrt(variance)
    low, high = (np.clip(end, *model.scale_).tolist() for end in (middle - reach, middle + reach))
    return list(zip(low, high))


def predict(
    snapshot: Snapshot,
    ratings: Mapping[str, float],
    items: Collection[str],
    times: Mapping[str, int] | None = None,
    interval: float | None = None,
) -> list[dict[str, Any]]:
    """Predicted ratings; of an item that the model does not know, from the mean and the user alone."""
    model = user_of(snapshot, ratings, times)
    factors, bias = model.user_factors_, model.user_bias_
    row = snapshot.row(ratings)
    found = []
    for raw in items:
        place = snapshot.at.get(raw, snapshot.n_known)
        known = place < snapshot.n_known
        score = model.mean_ + float(bias[0])
        if known:
            score += float(model.item_bias_[place]) + float(model.item_factors_[place] @ factors[0])
        found.append({"item": raw, "score": score, "known": known})
    if interval is not None:
        places = [snapshot.at.get(raw, snapshot.n_known) for raw in items]
        for it, (low, high) in zip(found, _intervals(snapshot, row, places, interval)):
            it |= {"low": low, "high": high}
    return found


def similar(snapshot: Snapshot, place: int, n: int) -> list[dict[str, Any]]:
    """Available items most like one that the model knows; scores are cosines."""
    model = snapshot.model
    assert model is not None
    factors = model.item_factors_
    lengths = np.sqrt(np.einsum("ij,ij->i", factors, factors))
    scores = factors @ factors[place] / np.maximum(lengths * lengths[place], 1e-12)
    scores[~snapshot.available[: snapshot.n_known]] = -np.inf
    scores[place] = -np.inf
    some = np.argpartition(-scores, min(n, len(scores) - 1))[:n]
    best = some[np.lexsort((some, -scores[some]))]
    return [
        _described(snapshot, place, float(np.clip(scores[place], -1, 1)) + 0.0)
        for place in best.tolist()
        if scores[place] > -np.inf
    ]


def popular(snapshot: Snapshot, n: int, category: str | None) -> list[dict[str, Any]]:
    """The items rated most."""
    wish = Wish(n, category=category)
    return [_described(snapshot, place, score) for place, score in _popular(snapshot, {}, wish)]
