"""What all pages share: one self-contained HTML file of cards, for light and dark, screen and phone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import NamedTuple, TypeAlias

from cofactor import __version__
from cofactor.figures.drawing import palette
from cofactor.tables import printable, write_whole


class Tile(NamedTuple):
    """A number with its name above and more of it below."""

    name: str
    value: str
    more: str
    best: bool = False


class Card(NamedTuple):
    """A heading that says what there is to see, a sentence or two, and a picture or table, as HTML."""

    heading: str
    note: str
    content: str


Row: TypeAlias = tuple[Card, ...]  # one card, or two side by side


def render(
    *,
    command: str,
    title: str,
    heading: str,
    lead: str,
    tiles: Sequence[Tile],
    cards: Sequence[Row],
    made: str,
    credit: str = "",
) -> str:
    """The page as text; it loads nothing from anywhere. Texts are escaped here; the contents of cards are HTML.

    ``command`` made it, ``made`` tells with what settings, ``credit`` whose data it shows.
    """
    template = Template(
        resources.files("cofactor").joinpath("data", "report", "page.html").read_text("utf-8")
    )
    figures = "".join(
        f'<div class="{"best" if tile.best else ""}"><dt>{escape(tile.name)}</dt>'
        f"<dd>{escape(tile.value)}<small>{escape(tile.more)}</small></dd></div>"
        for tile in tiles
    )
    rows = "".join(
        _card(row[0]) if len(row) == 1 else f'<div class="pair">{"".join(map(_card, row))}</div>\n'
        for row in cards
    )
    paragraphs = [escape(credit)] if credit else []
    paragraphs.append(
        f"Made by <code>{escape(command)}</code>, cofactor {escape(__version__)}: {escape(made)}."
    )
    return template.substitute(
        palette=palette(),
        title=escape(title),
        kicker=escape(command),
        heading=escape(heading),
        lead=escape(lead),
        body=f'<dl class="figures">{figures}</dl>\n{rows}',
        footer="".join(f"<p>{text}</p>" for text in paragraphs),
    )


def _card(card: Card) -> str:
    return (
        f'<section class="card"><h2>{escape(card.heading)}</h2><p class="note">{escape(card.note)}</p>'
        f"{card.content}</section>\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table as HTML, its cells escaped; the columns in ``numbers`` flush right."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="{"number" if k in numbers else "text"}">{escape(printable(text))}</{tag}>'
            for k, text in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def write_page(text: str, path: str | Path) -> None:
    """Write a page to ``path``, whole or not at all."""
    write_whole(path, lambda file: file.write(text.encode("utf-8", "replace")))
