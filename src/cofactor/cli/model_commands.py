"""Commands that use a saved model: evaluate, predict, recommend, similar, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cofactor.cli import options as opt
from cofactor.cli.output import count, note, say, show_json
from cofactor.cli.tell import (
    show_evaluation,
    show_explanation,
    show_predictions,
    show_recommendations,
)
from cofactor.errors import BadParameter

Written = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this .csv or .parquet file.")
]


def evaluate(
    folder: opt.ModelFolder,
    file: opt.RatingsFile,
    k: Annotated[int, typer.Option("-k", metavar="K", help="Length of the ranked lists.")] = 10,
    relevant: Annotated[
        float | None,
        typer.Option(metavar="RATING", help="Items rated so or higher count as relevant. [3/4 up the scale]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws behind the intervals.")] = 0,
    user: opt.UserColumn = None,
    item: opt.ItemColumn = None,
    rating: opt.RatingColumn = None,
    timestamp: opt.TimeColumn = None,
    no_timestamp: opt.NoTime = False,
    sep: opt.Separator = None,
    scale: opt.Scale = None,
    as_json: opt.JSON = False,
) -> None:
    """Measure a saved model on ratings it has not learnt from.

    Errors of predictions, and metrics of ranked lists from the whole catalogue, with 95 % intervals; by what the
    model knows of user and item; and how predictions compare with what was given.

    \b
    Example:
      cofactor evaluate model test.csv
      cofactor evaluate model test.csv -k 5 --relevant 4.5
    """
    from cofactor.cli.jobs import evaluate_model

    found = evaluate_model(
        folder,
        file,
        k=k,
        relevant=relevant,
        seed=seed,
        reading=opt.reading(user, item, rating, timestamp, no_timestamp, sep, scale),
    )
    if as_json:
        show_json(found.to_dict())
    else:
        show_evaluation(found)


def predict(
    folder: opt.ModelFolder,
    user: Annotated[str | None, typer.Option(metavar="ID", help="A user, with --item.")] = None,
    item: Annotated[str | None, typer.Option(metavar="ID", help="An item, with --user.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Many pairs: columns user and item, CSV or Parquet.")
    ] = None,
    output: Written = None,
    clip: Annotated[bool, typer.Option(help="Keep predictions on the scale of the ratings.")] = True,
    dataset: opt.Dataset = None,
    as_json: opt.JSON = False,
) -> None:
    """Predict the ratings of pairs of user and item.

    \b
    Example:
      cofactor predict model --user 15 --item 260
      cofactor predict model --pairs pairs.csv -o predicted.csv
    """
    from cofactor.cli.jobs import predict_file, predict_pair

    if (pairs is None) != (user is not None and item is not None) or (pairs and (user or item)):
        raise BadParameter("Give either --user and --item, or --pairs with a file of them.")
    if output is not None and pairs is None:
        raise BadParameter("-o goes with --pairs. A single prediction is printed.")
    if pairs is None:
        found = predict_pair(folder, str(user), str(item), clip=clip, dataset=dataset)
    else:
        found = predict_file(folder, pairs, clip=clip, output=output, dataset=dataset)
    for text in found.notes:
        note(text)
    if as_json:
        written = {} if output is None else {"output": str(output)}
        show_json({"predictions": found.table.to_pylist() if output is None else len(found.table), **written})
    elif output is not None:
        say(f"{count(len(found.table), 'prediction')} written to {output}")
    else:
        show_predictions(found.table)


def recommend(
    folder: opt.ModelFolder,
    user: Annotated[str | None, typer.Option(metavar="ID", help="For this user.")] = None,
    ratings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For somebody new: columns item and rating.")
    ] = None,
    all_users: Annotated[bool, typer.Option("--all-users", help="For every user, with -o.")] = False,
    output: Written = None,
    n: opt.Count = 10,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Never this item. Repeatable.")
    ] = None,
    among: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this item. Repeatable.")] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also what the user has rated.")
    ] = False,
    titles: opt.Titles = None,
    dataset: opt.Dataset = None,
    as_json: opt.JSON = False,
) -> None:
    """List the best items for a user, or for everybody. Those they have rated are left out.

    \b
    Example:
      cofactor recommend model --user 15 -n 5 --titles items.csv
      cofactor recommend model --ratings mine.csv --exclude 260
      cofactor recommend model --all-users -o recommended.parquet
    """
    from cofactor.answers import recommendation_dicts
    from cofactor.cli.jobs import recommend as recommend_items

    if sum((user is not None, ratings is not None, all_users)) != 1:
        raise BadParameter("Give one of --user, --ratings with a file, and --all-users.")
    if all_users and output is None:
        raise BadParameter("--all-users needs -o with a .csv or .parquet file to write to.")
    found, catalog = recommend_items(
        folder,
        user=user,
        ratings=ratings,
        n=n,
        exclude=exclude or [],
        among=among,
        include_seen=include_seen,
        titles=titles,
        output=output,
        dataset=dataset,
    )
    if output is not None:
        users = {"users": len(set(found.users.to_pylist()))} if found.users is not None else {}
        if as_json:
            show_json({**users, "rows": len(found), "output": str(output)})
        else:
            say(f"{count(len(found), 'recommendation')} written to {output}")
    elif as_json:
        show_json({"recommendations": recommendation_dicts(found, catalog)})
    else:
        show_recommendations(found, catalog)


def similar(
    folder: opt.ModelFolder,
    item: opt.Item,
    n: opt.Count = 10,
    titles: opt.Titles = None,
    as_json: opt.JSON = False,
) -> None:
    """List the items most like one. The score is the cosine of their factors.

    \b
    Example:
      cofactor similar model --item 260 --titles items.csv
    """
    from cofactor.answers import recommendation_dicts
    from cofactor.cli.jobs import similar as similar_items

    found, catalog = similar_items(folder, item, n=n, titles=titles)
    if as_json:
        show_json({"similar": recommendation_dicts(found, catalog)})
    else:
        show_recommendations(found, catalog, "cosine")


def explain(
    folder: opt.ModelFolder,
    user: opt.User,
    item: opt.Item,
    titles: opt.Titles = None,
    dataset: opt.Dataset = None,
    as_json: opt.JSON = False,
) -> None:
    """Say what a predicted rating is made of. Each rating of the user adds its part to the score.

    \b
    Example:
      cofactor explain model --user 15 --item 260 --titles items.csv
    """
    from cofactor.answers import explanation_dict
    from cofactor.cli.jobs import explain as explain_score

    found, who, what, catalog = explain_score(folder, user, item, titles=titles, dataset=dataset)
    if as_json:
        show_json(explanation_dict(found, who, what, catalog))
    else:
        show_explanation(found, catalog)


def export_users(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="The dataset's folder.", show_default=False)
    ],
    folder: opt.ModelFolder,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="A new folder.", show_default=False)
    ],
    as_json: opt.JSON = False,
) -> None:
    """Write bias and factors of every user of a dataset.

    \b
    Example:
      cofactor export-users dataset large-model -o users
    """
    from cofactor.cli.jobs import export_all_users

    users = export_all_users(dataset, folder, output)
    if as_json:
        show_json({"users": users, "output": str(output)})
    else:
        say(f"{count(users, 'user')} written to {output}")


COMMANDS = (evaluate, predict, recommend, similar, explain, export_users)
