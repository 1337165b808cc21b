"""Commands about ratings, models and the machine: demo, check, train, verify, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cofactor.cli import options as opt
from cofactor.cli.output import count, note, say, show_json
from cofactor.cli.tell import (
    show_check,
    show_dataset_training,
    show_demo,
    show_doctor,
    show_training,
    show_verified,
)
from cofactor.errors import BadParameter


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the page goes.")
    ] = Path("cofactor-demo.html"),
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Whom to recommend to (1 to 671).")
    ] = None,
    as_json: opt.JSON = False,
) -> None:
    """Do the main job on bundled ratings. Measure, fit, recommend, explain, and write a page of pictures.

    \b
    Example:
      cofactor demo
      cofactor demo --user 15 -o mine.html
    """
    from cofactor.demo import run_demo
    from cofactor.report import render_demo, write_page
    from cofactor.tables import check_target

    check_target(output)
    done = run_demo(user)
    write_page(render_demo(done), output)
    if as_json:
        show_json({**done.to_dict(), "page": str(output)})
        return
    show_demo(done)
    say(f"\nThe pictures are in {output}")


def check(
    file: opt.RatingsFile,
    user: opt.UserColumn = None,
    item: opt.ItemColumn = None,
    rating: opt.RatingColumn = None,
    timestamp: opt.TimeColumn = None,
    no_timestamp: opt.NoTime = False,
    sep: opt.Separator = None,
    scale: opt.Scale = None,
    as_json: opt.JSON = False,
) -> None:
    """Say what is in a file of ratings, and what is wrong with it. Exit code 3 if rows cannot be used.

    \b
    Example:
      cofactor check ratings.csv
      cofactor check ratings.csv --user userId --item movieId --scale 0.5,5
    """
    from cofactor.checking import check_ratings

    keywords = opt.reading(user, item, rating, timestamp, no_timestamp, sep, scale)
    report = check_ratings(file, **keywords).to_dict()
    if as_json:
        show_json(report)
    else:
        show_check(report)
    if report["bad_rows"] or not report["ratings"]:
        raise typer.Exit(3)


def prepare(
    file: opt.RatingsFile,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FOLDER", help="The dataset's folder.", show_default=False),
    ],
    memory: opt.Memory = None,
    holdout: Annotated[
        float, typer.Option(metavar="SHARE", help="Ratings held out to measure; 0 measures nothing.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of what is held out.")] = 0,
    groups: Annotated[
        int | None, typer.Option(help="Groups of users. [one for each two million ratings]")
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add the ratings to the dataset that is there.")
    ] = False,
    user: opt.UserColumn = None,
    item: opt.ItemColumn = None,
    rating: opt.RatingColumn = None,
    timestamp: opt.TimeColumn = None,
    no_timestamp: opt.NoTime = False,
    sep: opt.Separator = None,
    scale: opt.Scale = None,
    as_json: opt.JSON = False,
) -> None:
    """Make a dataset of ratings that need not fit in memory.

    Called again after an interruption it goes on where it was. A dataset that is there already stays
    as it is until the new one is whole.

    \b
    Example:
      cofactor prepare ratings.csv -o dataset --memory 2GB --holdout 0.02
      cofactor prepare test.csv -o dataset --append
    """
    from cofactor.scale.preparing import Forecast
    from cofactor.scale.preparing import prepare as prepare_dataset

    def announce(forecast: Forecast) -> None:
        note(
            f"About {count(forecast.ratings, 'rating')} in {count(forecast.groups, 'group')}: "
            f"{forecast.staging / 2**30:.2g} GiB of disk on the way and {forecast.result / 2**30:.2g} GiB in the end, "
            f"{forecast.seconds / 60:.0f} minutes."
        )

    done = prepare_dataset(
        file,
        output,
        memory=opt.size(memory),
        holdout=holdout,
        seed=seed,
        groups=groups,
        append=append,
        **opt.reading(user, item, rating, timestamp, no_timestamp, sep, scale),
        announce=None if as_json else announce,
    )
    if as_json:
        show_json(
            {
                "ratings": done.n_ratings,
                "held_out": done.n_held,
                "users": done.n_users,
                "items": done.n_items,
                "mean": done.mean,
                "groups": done.n_groups,
                "bytes": sum(entry.bytes for entry in done.all_files),
                "output": str(output),
            }
        )
    else:
        say(
            f"{output}: {count(done.n_ratings, 'rating')} of {count(done.n_items, 'item')} by "
            f"{count(done.n_users, 'user')}, and {done.n_held:,} held out, in {count(done.n_groups, 'group')}."
        )


def train(
    file: opt.RatingsFile,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="The model's folder.", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="ALS, SGD, BayesianMF, ContentMap, CosineNeighbours, LineBaseline, Baseline, Popular.",
        ),
    ] = "ALS",
    rank: Annotated[
        int | None, typer.Option(help="Factors of users and items. [ALS: 32, at most half the items]")
    ] = None,
    reg: Annotated[float | None, typer.Option(help="Regularization. [ALS: 1; others: 5]")] = None,
    reg_exponent: Annotated[
        float | None, typer.Option(help="0: plain, 1: times the ratings of a row. [ALS: 0.5; Baseline: 0]")
    ] = None,
    sweeps: Annotated[int | None, typer.Option(help="Sweeps at most. [ALS: 15; Baseline: 20]")] = None,
    biases: Annotated[
        str | None, typer.Option(metavar="HOW", help="joint, sequential or none. [ALS: joint]")
    ] = None,
    solver: Annotated[
        str | None, typer.Option(metavar="HOW", help="auto, cholesky or cg. [ALS: auto]")
    ] = None,
    tol: Annotated[
        float | None, typer.Option(help="Stop once the objective falls by a smaller share than this.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the start and of the split.")] = 0,
    dtype: Annotated[
        str | None, typer.Option(metavar="KIND", help="float32 or float64. [ALS: float32]")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads. [all processors]")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=X", help="Another hyperparameter of the model. Repeatable."),
    ] = None,
    holdout: Annotated[
        float, typer.Option(metavar="SHARE", help="Ratings held out to measure; 0 measures nothing.")
    ] = 0.1,
    split: Annotated[
        str, typer.Option(metavar="HOW", help="Hold out at random, by user (the last of each) or by time.")
    ] = "random",
    on_bad: Annotated[
        str, typer.Option(metavar="HOW", help="Rows that cannot be used: raise an error, or drop them.")
    ] = "raise",
    rejects: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where dropped rows are written.")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="Of a dataset: local (this machine), ray or spark.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the cluster: of Ray, or Spark's master. [one on this machine]")
    ] = None,
    memory: opt.Memory = None,
    user: opt.UserColumn = None,
    item: opt.ItemColumn = None,
    rating: opt.RatingColumn = None,
    timestamp: opt.TimeColumn = None,
    no_timestamp: opt.NoTime = False,
    sep: opt.Separator = None,
    scale: opt.Scale = None,
    as_json: opt.JSON = False,
) -> None:
    """Fit a model on ratings or a dataset, measure it, save it.

    The errors are measured by a model that has not seen the held-out ratings. The model that is saved
    is then fitted on all of them.

    A dataset is a folder that `cofactor prepare` made, and need not fit into memory. What is held out
    there is not learnt from; the model that is saved has the items alone, and the state of the
    training is kept beside it until it is done, so that it goes on after an interruption. For a
    dataset, --engine, --address and --memory count; options about reading do not.

    \b
    Example:
      cofactor train ratings.csv -o model
      cofactor train ratings.csv -o model --rank 8 --reg 2 --split time --holdout 0.2
      cofactor train dataset -o large-model --memory 2GB
    """
    from cofactor.cli.jobs import train_model, train_on_dataset
    from cofactor.scale.dataset import is_dataset

    given: dict[str, Any] = {
        "rank": rank,
        "reg": reg,
        "reg_exponent": reg_exponent,
        "sweeps": sweeps,
        "biases": biases,
        "solver": solver,
        "tol": tol,
        "dtype": dtype,
        "threads": threads,
    }
    params = {name: value for name, value in given.items() if value is not None}
    if is_dataset(file):
        trained = train_on_dataset(
            file,
            output,
            model,
            {**params, "seed": seed},
            engine=engine,
            address=address,
            memory=opt.size(memory),
        )
        if as_json:
            show_json(trained.to_dict())
        else:
            show_dataset_training(trained)
        return
    if engine != "local" or address is not None:
        raise BadParameter(f"{file} is not a dataset. Make one with cofactor prepare, or leave --engine out.")
    done = train_model(
        file,
        output,
        model,
        params,
        settings or [],
        seed=seed,
        holdout=holdout,
        by=split,
        on_bad=on_bad,
        rejects=rejects,
        reading=opt.reading(user, item, rating, timestamp, no_timestamp, sep, scale),
    )
    if as_json:
        show_json(done.to_dict())
    else:
        show_training(done)


def verify(folder: opt.ModelFolder, as_json: opt.JSON = False) -> None:
    """Check a saved model, file by file. Sizes, checksums, and what is inside.

    \b
    Example:
      cofactor verify model
    """
    from cofactor.storage import verify as verify_model

    report = verify_model(folder).to_dict()
    if as_json:
        show_json(report)
        return
    show_verified(report)


def doctor(as_json: opt.JSON = False) -> None:
    """Say what cofactor runs on here. Version, vector code, threads, optional parts; and a self-test.

    \b
    Example:
      cofactor doctor
    """
    from cofactor.doctor import examine

    found = examine()
    if as_json:
        show_json(found.to_dict())
    else:
        show_doctor(found)
    if not found.sound:
        raise typer.Exit(1)
