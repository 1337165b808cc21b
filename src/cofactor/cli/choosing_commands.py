"""Commands that choose: tune, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cofactor.cli import options as opt
from cofactor.cli.output import note, say, show_json, show_table
from cofactor.cli.tell import show_tuning

Page = Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the page goes.")]


def tune(
    file: opt.RatingsFile,
    output: Page = Path("cofactor-tune.html"),
    model: Annotated[str, typer.Option(metavar="NAME", help="The model to tune.")] = "ALS",
    rank: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Ranks to try. [ALS: 2 to 64, doubling]")
    ] = None,
    reg: Annotated[
        str | None,
        typer.Option(metavar="X,X,…", help="Regularizations. [ALS: 0.5 to 2 times the ratings' spread]"),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--try", metavar="NAME=X,X,…", help="Values of another hyperparameter. Repeatable."),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation.")] = 5,
    search: Annotated[
        str, typer.Option(metavar="HOW", help="grid tries all; optuna searches between them.")
    ] = "grid",
    trials: Annotated[int, typer.Option(help="Settings that optuna tries.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the folds and the start.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads. [all processors]")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep what is done here. [beside the page, until it is written]"),
    ] = None,
    user: opt.UserColumn = None,
    item: opt.ItemColumn = None,
    rating: opt.RatingColumn = None,
    timestamp: opt.TimeColumn = None,
    no_timestamp: opt.NoTime = False,
    sep: opt.Separator = None,
    scale: opt.Scale = None,
    as_json: opt.JSON = False,
) -> None:
    """Choose hyperparameters by cross-validation. Prints a table and writes a page of pictures.

    After an interruption the same command goes on where it was.

    \b
    Example:
      cofactor tune ratings.csv
      cofactor tune ratings.csv --rank 8,16,32 --reg 0.5,1,2 --try reg_exponent=0,0.5,1
    """
    from cofactor.cli.jobs import tune_model

    done = tune_model(
        file,
        output,
        model,
        {"rank": rank, "reg": reg},
        values or [],
        {"folds": folds, "search": search, "trials": trials, "seed": seed},
        threads=threads,
        checkpoint=checkpoint,
        reading=opt.reading(user, item, rating, timestamp, no_timestamp, sep, scale),
    )
    if as_json:
        show_json({**done.to_dict(), "page": str(output)})
        return
    show_tuning(done)
    say(f"\nThe pictures are in {output}")


def compare(
    file: opt.RatingsFile,
    output: Page = Path("cofactor-compare.html"),
    holdout: Annotated[float, typer.Option(metavar="SHARE", help="Ratings held out to measure.")] = 0.1,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            "--split",
            metavar="HOW",
            help="Hold out at random, of each user, or the latest by time, where all that drifts competes.",
        ),
    ] = "random",
    k: Annotated[int, typer.Option("-k", metavar="N", help="Length of the lists.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    user: opt.UserColumn = None,
    item: opt.ItemColumn = None,
    rating: opt.RatingColumn = None,
    timestamp: opt.TimeColumn = None,
    no_timestamp: opt.NoTime = False,
    sep: opt.Separator = None,
    scale: opt.Scale = None,
    as_json: opt.JSON = False,
) -> None:
    """Fit all models on one split, and say which is best. Prints a table and writes a page of pictures.

    \b
    Example:
      cofactor compare ratings.csv
      cofactor compare ratings.csv --by time -k 20
    """
    from cofactor.cli.jobs import compare_models

    found = compare_models(
        file,
        output,
        {"holdout": holdout, "by": by, "k": k, "seed": seed},
        reading=opt.reading(user, item, rating, timestamp, no_timestamp, sep, scale),
    )
    if as_json:
        show_json({**found.to_dict(), "page": str(output)})
        return
    header, rows = found.rows()
    show_table(header, rows, right=range(1, len(header)))
    for text in found.notes:
        note(text)
    say(f"\nThe pictures are in {output}")


COMMANDS = (tune, compare)
