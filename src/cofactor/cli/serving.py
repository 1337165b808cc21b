"""What `cofactor serve` does before and while it serves."""

from __future__ import annotations

import sys
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cofactor as cf
from cofactor.serve import demo, installing, running
from cofactor.serve.settings import LOOPBACK, Settings
from cofactor.serve.store import models, ratings
from cofactor.serve.store.database import Database


@dataclass(frozen=True)
class Start:
    """What to bring along: a model or the demo, ratings, titles; and whether to open the page."""

    model: Path | None
    demo: bool
    ratings: str | None
    titles: Path | None
    open_page: bool


def start(wanted: Start, **facts: Any) -> int:
    """Fill the store with what was brought along, and answer until told to end; returns the exit code."""
    settings = Settings(**facts)
    if settings.host in LOOPBACK:
        hosts = tuple(dict.fromkeys((*LOOPBACK, *settings.allowed_hosts)))
        settings = Settings(**{**facts, "allowed_hosts": hosts})
    database = Database(settings.url)
    database.upgrade()
    running.check_address(settings, database)
    listening = running.listen(settings.host, settings.port)  # before the work that would be for nothing
    if wanted.demo:
        print("Fitting the bundled ratings …", file=sys.stderr)
        demo.install(database, settings)
    if wanted.ratings is not None:
        _store_ratings(database, wanted.ratings)
    if wanted.titles is not None:
        installing.store_catalog(database, cf.read_catalog(wanted.titles))
    if wanted.model is not None:
        installing.install_model(database, settings, wanted.model)
    with database.read() as connection:
        active, (n_ratings, n_users) = models.active(connection), ratings.totals(connection)
    database.close()
    host, port = listening.getsockname()[:2]
    url = f"http://{'[' + host + ']' if ':' in host else host}:{port}/"
    model = "no model yet" if active is None else f"model {active.version}, {active.kind}"
    print(f"{url}  ({model}; {n_ratings:,} ratings of {n_users:,} users)", flush=True)
    if wanted.open_page:
        threading.Timer(1.5, webbrowser.open, (url,)).start()
    return running.serve(settings, listening)


def _store_ratings(database: Database, file: str) -> None:
    with database.read() as connection:
        empty = ratings.is_empty(connection)
    if not empty:
        print("Note: there are ratings in the store; those of --ratings were not read.", file=sys.stderr)
        return
    stored = installing.store_ratings(database, installing.of_table(cf.read_ratings(file)))
    print(f"Stored {stored:,} ratings.", file=sys.stderr)
