"""Commands of the service: serve, and keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cofactor.cli import options as opt
from cofactor.cli.output import note, say, show_json, show_table
from cofactor.errors import BadParameter

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="FOLDER", help="Models and database. [cofactor-service]", show_default=False
    ),
]
Db = Annotated[
    str,
    typer.Option(
        "--db", metavar="URL", help="sqlite:///FILE or postgresql+psycopg://… [a file in the folder]"
    ),
]

keys = typer.Typer(
    help="Make, list and revoke the keys of a service.", rich_markup_mode=None, no_args_is_help=True
)


def serve(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="A saved model.", show_default=False)
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Serve the bundled ratings.")] = False,
    folder: Folder = None,
    db: Db = "",
    ratings: Annotated[
        str | None, typer.Option("--ratings", metavar="FILE", help="Store these ratings, if there are none.")
    ] = None,
    titles: opt.Titles = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; another than this needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that answer.")] = 1,
    retrain_every: Annotated[
        float,
        typer.Option(min=0, metavar="HOURS", help="Train so often, where there are new ratings. 0: never."),
    ] = 0.0,
    rate: Annotated[
        float, typer.Option(min=0, help="Requests a second for each key or address. 0: any.")
    ] = 0.0,
    time_limit: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="For one request.")] = 30.0,
    drain: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Answer so long after SIGTERM, but not ready.")
    ] = 0.0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Answer to this name. Repeatable."),
    ] = None,
    open_page: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open the page. [with --demo at a terminal]")
    ] = None,
) -> None:
    """Answer over HTTP, with a page for people.

    Ratings are stored and count in the next answer; a user is folded in from them. Training runs beside it, asked
    for by POST /v1/jobs/train or --retrain-every, and a model that is worse is not activated.

    \b
    Example:
      cofactor serve --demo
      cofactor serve model --ratings ratings.csv --titles movies.csv
      cofactor serve --db postgresql+psycopg://cofactor@localhost/cofactor --workers 4
    """
    need_parts()
    from cofactor.cli.serving import Start, start

    if demo and (model is not None or ratings is not None):
        raise BadParameter("--demo brings its own model and ratings. Leave MODEL and --ratings out.")
    folder = folder or Path("cofactor-service-demo" if demo else "cofactor-service")
    wanted = Start(
        model, demo, ratings, titles, open_page if open_page is not None else demo and sys.stdout.isatty()
    )
    code = start(
        wanted,
        folder=str(folder),
        db=db,
        host=host,
        port=port,
        workers=workers,
        retrain_every=retrain_every * 3600,
        rate=rate,
        time_limit=time_limit,
        drain=drain,
        allowed_hosts=tuple(name.lower() for name in allow_host or ()),
        demo=demo,
    )
    if code:
        raise typer.Exit(code)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.", show_default=False)],
    scope: Annotated[
        str, typer.Option(metavar="SCOPE", help="read, write or admin; each includes those before.")
    ] = "read",
    folder: Folder = None,
    db: Db = "",
    as_json: opt.JSON = False,
) -> None:
    """Make a key, and show it, this once. From the first one on, the service answers to keys alone."""
    from cofactor.serve.store import keys as store

    with _store(folder, db) as connection:
        key = store.create(connection, name, scope)
    if as_json:
        show_json({"name": name, "scope": scope, "key": key})
        return
    say(key)
    note("It is not kept anywhere and cannot be shown again. Send it as `Authorization: Bearer …`.")


@keys.command("list")
def list_keys(folder: Folder = None, db: Db = "", as_json: opt.JSON = False) -> None:
    """List the keys, not what opens."""
    from cofactor.serve.schemas import iso
    from cofactor.serve.store import keys as store

    with _store(folder, db) as connection:
        rows = store.every(connection)
    if as_json:
        show_json(
            {
                "keys": [
                    {"name": r.name, "scope": r.scope, "created": iso(r.created), "revoked": iso(r.revoked)}
                    for r in rows
                ]
            }
        )
        return
    table = [(r.name, r.scope, (iso(r.created) or "")[:19], (iso(r.revoked) or "")[:19]) for r in rows]
    show_table(("name", "scope", "created", "revoked"), table)


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the key.", show_default=False)],
    folder: Folder = None,
    db: Db = "",
) -> None:
    """Let a key open nothing more, from the next second on."""
    from cofactor.serve.store import keys as store

    with _store(folder, db) as connection:
        store.revoke(connection, name)
    say(f"The key {name} opens nothing more.")


def need_parts() -> None:
    """Raises ``BadParameter`` where the parts of the service are not installed."""
    from importlib.util import find_spec

    missing = [
        name for name in ("fastapi", "uvicorn", "sqlalchemy", "prometheus_client") if not find_spec(name)
    ]
    if missing:
        raise BadParameter(f"The service needs {', '.join(missing)}: pip install 'cofactor[serve]'.")


def _store(folder: Path | None, db: str):  # type: ignore[no-untyped-def]  # its type is of a module that may be missing
    need_parts()
    from cofactor.serve.settings import Settings
    from cofactor.serve.store.database import Database

    database = Database(Settings(folder=str(folder or Path("cofactor-service")), db=db).url)
    database.upgrade()
    return database.write()
