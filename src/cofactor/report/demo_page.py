"""The page of ``cofactor demo``."""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cofactor import figures
from cofactor.ids import Id
from cofactor.report.layout import Card, Tile, render
from cofactor.tables import printable

if TYPE_CHECKING:
    from cofactor.demo import Demo

_MAIN_GENRES = 6  # so many colours can be told apart, also by the colour-blind
_OTHER = "other"
_LONGEST = 200  # characters of a title


def render_demo(demo: Demo) -> str:
    """The page as text. It depends on ``demo`` alone, and loads nothing from anywhere."""
    objective, errors = _fit(demo)
    calibration, distribution = _predictions(demo)
    cards = [(objective, errors), (_map(demo),), (_list(demo),), (_why(demo),), (calibration, distribution)]
    return render(cards=cards, **_opening(demo))


def _title(demo: Demo, item: Id) -> str:
    title = natural_title(printable(demo.catalog.title(item) or item).strip()[:_LONGEST])
    return title or printable(item)[:_LONGEST]


def natural_title(title: str) -> str:
    """A title as one says it: ``"Godfather, The (1972)"`` is ``"The Godfather (1972)"``."""
    return re.sub(r"^([^()]+), (The|A|An|Le|La|Les|Das|Der|Die|El|Il)(?= \(|$)", r"\2 \1", title)


def short_title(title: str, most: int = 30) -> str:
    """A title for a picture: without what stands in brackets; where it is long, its last part."""
    while (cut := re.sub(r"(?<=\S)\s*\([^()]*\)\s*$", "", title)) != title:
        title = cut
    if len(title) > most:  # of a series the last part says which it is
        last = re.split(r": | - ", title)[-1]
        title = last if 5 <= len(last) < len(title) else title
    return title if len(title) <= most else title[: most - 1].rstrip(" ,:;-") + "…"


def _opening(demo: Demo) -> dict[str, Any]:
    ratings, holdout = demo.ratings, demo.holdout
    lead = (
        f"{ratings.n_users:,} people rated {ratings.n_items:,} films. Matrix factorization gives each of them "
        f"{demo.model.rank} numbers, learnt from the ratings alone, and predicts the {1 - ratings.density:.1%} "
        f"of the table that nobody has filled in."
    )
    tiles = [
        Tile("Ratings", f"{len(ratings):,}", f"{ratings.scale[0]:g} to {ratings.scale[1]:g} points"),
        Tile("Known of the table", f"{ratings.density:.2%}", f"{ratings.n_users:,} × {ratings.n_items:,}"),
        Tile("Baseline", f"{holdout.baseline.rmse:.3f}", f"RMSE held out; MAE {holdout.baseline.mae:.3f}"),
        Tile("ALS", f"{holdout.model.rmse:.3f}", f"RMSE held out; MAE {holdout.model.mae:.3f}", best=True),
    ]
    return {
        "command": "cofactor demo",
        "title": f"cofactor: {len(ratings):,} ratings, factorized",
        "heading": f"From {len(ratings):,} ratings to recommendations",
        "lead": lead,
        "tiles": tiles,
        "made": _settings(demo),
        "credit": demo.credit,
    }


def _settings(demo: Demo) -> str:
    shown = ("rank", "reg", "reg_exponent", "sweeps", "biases", "seed")
    return f"ALS({', '.join(f'{name}={getattr(demo.model, name)!r}' for name in shown)})"


def _fit(demo: Demo) -> tuple[Card, Card]:
    holdout, sweeps = demo.holdout, demo.holdout.sweeps
    side = "closer" if holdout.gain >= 0 else "further off"
    objective = Card(
        "Alternating least squares never rises",
        "Each sweep solves all users, then all items. The objective, squared error plus regularization, can only fall.",
        figures.objective([sweep.objective for sweep in sweeps]),
    )
    errors = Card(
        f"{abs(holdout.gain):.1%} {side} than Baseline on unseen ratings",
        f"{holdout.test:,} ratings were held out at random. Baseline knows the mean, and how far each user and film "
        f"lies from it.",
        figures.errors(
            [sweep.train_rmse for sweep in sweeps],
            [sweep.holdout_rmse for sweep in sweeps],
            holdout.baseline.rmse,
        ),
    )
    return objective, errors


def principal_directions(factors: NDArray[Any], count: int = 2) -> tuple[NDArray[Any], NDArray[Any]]:
    """Coordinates (items, count) along the principal directions of the factors, and their shares of the variance.

    Each direction points to where its largest coordinate is positive, so that the picture has one form.
    """
    centred = factors.astype(np.float64) - factors.mean(axis=0, dtype=np.float64)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(factors), count))
    known = min(count, len(directions))
    places[:, :known] = centred @ directions[:known].T
    signs = np.sign(places[np.abs(places).argmax(axis=0), np.arange(count)])
    shares = np.zeros(count)
    shares[:known] = lengths[:known] ** 2 / max(float((lengths**2).sum()), 1e-300)
    return places * np.where(signs == 0, 1, signs), shares


def _groups(genres: list[tuple[str, ...]]) -> tuple[list[str], NDArray[np.int64]]:
    """The main genres and, for each item, which of them it is: the rarest of its own, else the last, "other"."""
    counts = Counter(genre for own in genres for genre in own)
    main = [name for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_MAIN_GENRES]]
    chosen = [
        min((main.index(g) for g in own if g in main), key=lambda k: counts[main[k]], default=_MAIN_GENRES)
        for own in genres
    ]
    return main, np.array(chosen, np.int64)


def _map(demo: Demo) -> Card:
    model, ratings = demo.model, demo.ratings
    places, shares = principal_directions(model.item_factors_)
    counts = ratings.by_item.counts
    best_known = np.argsort(-counts, kind="stable")[:400]
    ids = ratings.item_ids.ids(best_known)
    main, groups = _groups([tuple(demo.catalog.genres(item)) for item in ids])
    drawn = []
    for name, size, items, font, most, length in (
        ("wide", (1040, 620), 400, 12.5, 60, 48),
        ("narrow", (360, 460), 200, 11.5, 24, 22),
    ):
        labels = [short_title(_title(demo, item), length) for item in ids[:items]]
        first = best_known[:items]
        picture = figures.item_map(
            places[first], counts[first], groups[:items], labels, f"map-{name}", size, font, most
        )
        drawn.append(f'<div class="map {name}">{picture}</div>')
    names = [*main, *([_OTHER] if (groups == _MAIN_GENRES).any() else [])]
    colours = [*range(len(main)), _MAIN_GENRES]
    legend = "".join(
        f'<li><i style="background:var(--group-{colour})"></i>{escape(printable(name))}</li>'
        for colour, name in zip(colours, names)
    )
    return Card(
        "Films that please the same people lie together",
        f"The best-known films by the first two principal directions of their factors ({shares[0]:.0%} and "
        f"{shares[1]:.0%} of the variance). The size of a dot is the number of ratings. No title, genre or year "
        f"was used to place them; the colours were added afterwards.",
        f'<ul class="legend">{legend}</ul>{"".join(drawn)}',
    )


def _list(demo: Demo) -> Card:
    low, high = demo.ratings.scale
    rows = []
    for place, (item, score) in enumerate(demo.recommendations, start=1):
        genres = escape(printable(", ".join(demo.catalog.genres(item))))
        length = 100 * min(max((score - low) / max(high - low, 1e-9), 0.0), 1.0)
        rows.append(
            f'<tr><td class="rank">{place}</td>'
            f'<td class="title">{escape(_title(demo, item))}<span class="genres">{genres}</span></td>'
            f'<td class="genres genres-cell">{genres}</td>'
            f'<td class="bar"><i style="width:{length:.1f}%"></i></td><td class="number score">{score:.2f}</td></tr>'
        )
    rated = int(demo.ratings.by_user.counts[demo.ratings.user_ids.position(demo.user)])
    user = printable(demo.user)
    return Card(
        f"Ten films for user {user}" if len(rows) == 10 else f"For user {user}",
        f"The highest predicted ratings, on the scale of {low:g} to {high:g}, among all films that user {user} has "
        f"not rated; they have rated {rated:,}.",
        '<table class="films"><thead><tr><th></th><th>Film</th><th class="genres-cell">Genres</th>'
        '<th class="bar"></th><th class="number">Score</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
    )


def _why(demo: Demo) -> Card:
    why, best = demo.explanation, demo.recommendations[0].item
    drawn = []
    for name, size, listed, length in (("wide", (1040, 460), 10, 50), ("narrow", (360, 400), 8, 18)):
        first, rest = why.parts[:listed], why.parts[listed:]
        rows = [("mean of all ratings" if name == "wide" else "mean", why.mean)]
        rows += [("this user", why.user), ("this film", why.item)]
        for item, rating, part in first:
            rows.append((f"{short_title(_title(demo, item), length)}  ({rating:g})", part))
        if rest:
            rows.append((f"{len(rest)} more films", sum(part.part for part in rest)))
        labels, parts = zip(*rows)
        picture = figures.waterfall(labels, parts, why.score, f"why-{name}", size)
        drawn.append(f'<div class="{name}">{picture}</div>')
    return Card(
        f"Why {short_title(_title(demo, best), 90)}",
        f"The score begins at the mean of all ratings. How this user rates, how this film is rated, and each film "
        f"the user rated (the rating in brackets) move it up or down, until they add up to {why.score:.2f}.",
        "".join(drawn),
    )


def _predictions(demo: Demo) -> tuple[Card, Card]:
    given = demo.holdout.given.astype(np.float64)
    predicted = demo.holdout.predicted.astype(np.float64)
    low, high = demo.ratings.scale
    step = (high - low) / 18 if high > low else 1.0
    places = np.round((predicted - low) / step).astype(int)
    counts = np.bincount(places)
    kept = np.flatnonzero(counts >= max(1, len(given) // 500))
    centre = np.bincount(places, predicted)[kept] / counts[kept]
    answer = np.bincount(places, given)[kept] / counts[kept]
    common = np.flatnonzero(counts[kept] >= len(given) / 100)
    top = int(common[-1]) if len(common) else int(counts[kept].argmax())
    values = np.unique(given)
    gap = float(np.diff(values).min()) if 1 < len(values) <= 40 else step
    bins = max(1, round((high - low) / gap)) + 1
    edges = low - gap / 2 + gap * np.arange(bins + 1)
    share = [np.histogram(column, edges)[0] / len(given) for column in (given, predicted)]
    calibration = Card(
        f"Where it says {centre[top]:.1f}, people gave {answer[top]:.1f}",
        "Held-out ratings grouped by prediction: the mean rating given in each group. The larger a dot, the more "
        "ratings; on the dashed line predictions are right on average.",
        figures.calibration(centre, answer, counts[kept], (low, high)),
    )
    cautious = predicted.std() < given.std()
    distribution = Card(
        "Predictions are more cautious than people" if cautious else "Ratings, given and predicted",
        f"Ratings given vary by {given.std():.2f} points around their mean, predictions by {predicted.std():.2f}: "
        f"a prediction is an expectation, so it keeps away from the ends.",
        figures.distribution(edges, share[0], share[1]),
    )
    return calibration, distribution
