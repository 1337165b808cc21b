"""The page of the demo: one self-contained HTML file with pictures, for light and dark, screen and phone."""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cofactor import __version__, figures
from cofactor.ids import Id
from cofactor.tables import printable, write_whole

if TYPE_CHECKING:
    from cofactor.demo import Demo

_MAIN_GENRES = 6  # so many colours can be told apart, also by the colour-blind
_OTHER = "other"
_LONGEST = 200  # characters of a title


def write_page(demo: Demo, path: str | Path) -> None:
    """Write the page of ``demo`` to ``path``, whole or not at all."""
    text = render_page(demo)
    write_whole(path, lambda file: file.write(text.encode("utf-8", "replace")))


def render_page(demo: Demo) -> str:
    """The page as text. It depends on ``demo`` alone, and loads nothing from anywhere."""
    template = Template(
        resources.files("cofactor").joinpath("data", "report", "page.html").read_text("utf-8")
    )
    return template.substitute(
        **_opening(demo), **_fit(demo), **_map(demo), **_list(demo), **_why(demo), **_predictions(demo)
    )


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


def _opening(demo: Demo) -> dict[str, str]:
    ratings, holdout = demo.ratings, demo.holdout
    lead = (
        f"{ratings.n_users:,} people rated {ratings.n_items:,} films. Matrix factorization gives each of them "
        f"{demo.model.rank} numbers, learnt from the ratings alone, and predicts the {1 - ratings.density:.1%} "
        f"of the table that nobody has filled in."
    )
    tiles = [
        ("Ratings", f"{len(ratings):,}", f"{ratings.scale[0]:g} to {ratings.scale[1]:g} points", ""),
        ("Known of the table", f"{ratings.density:.2%}", f"{ratings.n_users:,} × {ratings.n_items:,}", ""),
        ("Baseline", f"{holdout.baseline.rmse:.3f}", f"RMSE held out; MAE {holdout.baseline.mae:.3f}", ""),
        ("ALS", f"{holdout.model.rmse:.3f}", f"RMSE held out; MAE {holdout.model.mae:.3f}", "best"),
    ]
    return {
        "title": f"cofactor: {len(ratings):,} ratings, factorized",
        "heading": f"From {len(ratings):,} ratings to recommendations",
        "lead": lead,
        "figures": "".join(
            f'<div class="{kind}"><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>'
            for name, value, more, kind in tiles
        ),
        "footer": (
            (f"<p>{escape(demo.credit)}</p>" if demo.credit else "")
            + f"<p>Made by <code>cofactor demo</code>, cofactor {escape(__version__)}: {escape(_settings(demo))}.</p>"
        ),
    }


def _settings(demo: Demo) -> str:
    shown = ("rank", "reg", "reg_exponent", "sweeps", "biases", "seed")
    return f"ALS({', '.join(f'{name}={getattr(demo.model, name)!r}' for name in shown)})"


def _fit(demo: Demo) -> dict[str, str]:
    holdout, sweeps = demo.holdout, demo.holdout.sweeps
    side = "closer" if holdout.gain >= 0 else "further off"
    return {
        "objective_heading": "Alternating least squares never rises",
        "objective_note": (
            "Each sweep solves all users, then all items. The objective, squared error plus "
            "regularization, can only fall."
        ),
        "objective": figures.objective([sweep.objective for sweep in sweeps]),
        "errors_heading": f"{abs(holdout.gain):.1%} {side} than Baseline on unseen ratings",
        "errors_note": (
            f"{holdout.test:,} ratings were held out at random. Baseline knows the mean, and how far each "
            f"user and film lies from it."
        ),
        "errors": figures.errors(
            [sweep.train_rmse for sweep in sweeps],
            [sweep.holdout_rmse for sweep in sweeps],
            holdout.baseline.rmse,
        ),
    }


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


def _map(demo: Demo) -> dict[str, str]:
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
    return {
        "map_heading": "Films that please the same people lie together",
        "map_note": (
            f"The best-known films by the first two principal directions of their factors ({shares[0]:.0%} and "
            f"{shares[1]:.0%} of the variance). The size of a dot is the number of ratings. No title, genre or year "
            f"was used to place them; the colours were added afterwards."
        ),
        "map": f'<ul class="legend">{legend}</ul>{"".join(drawn)}',
    }


def _list(demo: Demo) -> dict[str, str]:
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
    user = escape(printable(demo.user))
    return {
        "list_heading": f"Ten films for user {user}" if len(rows) == 10 else f"For user {user}",
        "list_note": (
            f"The highest predicted ratings, on the scale of {low:g} to {high:g}, among all films that user {user} has "
            f"not rated; they have rated {rated:,}."
        ),
        "list": (
            '<table class="films"><thead><tr><th></th><th>Film</th><th class="genres-cell">Genres</th>'
            '<th class="bar"></th><th class="number">Score</th></tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table>"
        ),
    }


def _why(demo: Demo) -> dict[str, str]:
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
    return {
        "why_heading": f"Why {escape(short_title(_title(demo, best), 90))}",
        "why_note": (
            f"The score begins at the mean of all ratings. How this user rates, how this film is rated, and each film "
            f"the user rated (the rating in brackets) move it up or down, until they add up to {why.score:.2f}."
        ),
        "why": "".join(drawn),
    }


def _predictions(demo: Demo) -> dict[str, str]:
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
    return {
        "calibration_heading": f"Where it says {centre[top]:.1f}, people gave {answer[top]:.1f}",
        "calibration_note": (
            "Held-out ratings grouped by prediction: the mean rating given in each group. The larger a dot, the more "
            "ratings; on the dashed line predictions are right on average."
        ),
        "calibration": figures.calibration(centre, answer, counts[kept], (low, high)),
        "distribution_heading": (
            "Predictions are more cautious than people"
            if predicted.std() < given.std()
            else "Ratings, given and predicted"
        ),
        "distribution_note": (
            f"Ratings given vary by {given.std():.2f} points around their mean, predictions by {predicted.std():.2f}: "
            f"a prediction is an expectation, so it keeps away from the ends."
        ),
        "distribution": figures.distribution(edges, share[0], share[1]),
    }
