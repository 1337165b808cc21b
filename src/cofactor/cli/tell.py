"""Results as tables for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cofactor.cli.output import count, note, say, show_table
from cofactor.tables import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from cofactor.catalog import Catalog
    from cofactor.cli.jobs import DatasetTraining, Training
    from cofactor.demo import Demo
    from cofactor.doctor import Health
    from cofactor.evaluation import Evaluation
    from cofactor.holdout import Holdout
    from cofactor.ids import Id
    from cofactor.models.results import Explanation, Recommendations
    from cofactor.tuning import Tuning

_PARTS = 8  # parts of an explanation that are listed one by one


def show_holdout(kind: str, holdout: Holdout) -> None:
    """The held-out errors of a model beside those of Baseline."""
    how = {"random": "drawn at random", "user": "some of each user", "time": "the latest"}[holdout.by]
    say(f"Errors on {holdout.test:,} ratings held out ({how}), learnt from the other {holdout.train:,}:\n")
    show_table(
        ["model", "RMSE", "MAE"],
        [
            [name, f"{errors.rmse:.4f}", f"{errors.mae:.4f}"]
            for name, errors in {"Baseline": holdout.baseline, kind: holdout.model}.items()
        ],
        right=(1, 2),
    )
    if kind != "Baseline":
        side = "below" if holdout.gain >= 0 else "above"
        say(f"\n{kind} is {abs(holdout.gain):.1%} {side} Baseline in RMSE.")


def show_training(done: Training) -> None:
    """What was read, how good the model is, how its objective fell, and where it is."""
    ratings, (low, high) = done.ratings, done.ratings.scale
    say(
        f"Read {count(len(ratings), 'rating')} of {count(ratings.n_items, 'item')} by "
        f"{count(ratings.n_users, 'user')}, {low:g} to {high:g}."
    )
    if ratings.duplicates:
        note(
            f"{count(ratings.duplicates, 'repeated rating')} left out: a later one is of the same user and item."
        )
    if ratings.rejected:
        note(f"{count(ratings.rejected, 'row')} could not be used: left out.")
    if not done.model.predicts_ratings:
        note(
            "This model ranks and predicts no ratings, so it has no error. Its lists: cofactor compare, evaluate."
        )
    if done.holdout is not None:
        say()
        show_holdout(type(done.model).__name__, done.holdout)
        say(f"\nThe saved model is fitted on all {len(ratings):,} ratings, those held out as well.")
    objective = done.objective
    if objective:
        say(
            f"Objective {objective[0]:,.6g} after the first sweep, {objective[-1]:,.6g} after sweep "
            f"{len(objective)}."
        )
    rank = done.model.get_params().get("rank")
    say(f"Saved in {done.output}: {type(done.model).__name__}{'' if rank is None else f' of rank {rank}'}")


def show_dataset_training(done: DatasetTraining) -> None:
    """The size of the dataset, the held-out error and the objective sweep by sweep, and where the model is."""
    say(
        f"{count(done.ratings, 'rating')} of {count(done.items, 'item')} by {count(done.users, 'user')}, "
        f"and {done.held:,} held out."
    )
    for sweep, J in enumerate(done.objective):
        error = f", held-out RMSE {done.held_rmse[sweep]:.4f}" if done.held else ""
        say(f"Sweep {sweep + 1}: objective {J:,.6g}{error}")
    say(
        f"Saved in {done.output}: {type(done.model).__name__} of rank {done.model.get_params()['rank']}, its items"
    )


def show_demo(done: Demo) -> None:
    """The main job: its errors, its recommendations, its reasons."""
    ratings, catalog = done.ratings, done.catalog
    say(f"MovieLens: {len(ratings):,} ratings of {ratings.n_items:,} films by {ratings.n_users:,} users.\n")
    show_holdout("ALS", done.holdout)
    say(f"\nFor user {done.user}, of what they have not rated:\n")
    show_recommendations(done.recommendations, catalog)
    say(f"\nWhy {printable(catalog.title(done.recommendations[0].item))}:\n")
    show_explanation(done.explanation, catalog)


def show_evaluation(found: Evaluation) -> None:
    """The metrics with their intervals, then the strata and the calibration; the notes on stderr."""
    for place, (title, header, rows) in enumerate(found.sections()):
        say(f"{title if place == 0 else chr(10) + title}\n")
        show_table(header, rows, right=range(1, len(header)))
    for text in found.notes:
        note(text)


def show_recommendations(found: Recommendations, catalog: Catalog | None = None, what: str = "score") -> None:
    """Items and scores, with titles and genres where there is a catalog."""
    if not len(found):
        say("Nothing is left to list.")
        return
    rows: list[list[Any]] = [
        [place, f"{score:.3f}", item]
        + ([] if catalog is None else [catalog.title(item) or "", ", ".join(catalog.genres(item))])
        for place, (item, score) in enumerate(found, start=1)
    ]
    header = ["", what, "item", "title", "genres"][: len(rows[0])]
    show_table(header, rows, right=(0, 1), flexible=(3, 4)[: len(rows[0]) - 3])


def show_explanation(found: Explanation, catalog: Catalog | None = None) -> None:
    """The parts of a score, largest first, down to their sum."""

    def name(item: Id) -> str:
        return (catalog.title(item) if catalog is not None else None) or str(item)

    lines = [
        ("mean of all ratings", "", found.mean),
        ("this user rates higher or lower", "", found.user),
        ("this item is rated higher or lower", "", found.item),
        *found.lines(_PARTS, name),
    ]
    rows = [(f"{part:+.3f}", what, rating) for what, rating, part in lines]
    rows.append((f"{found.score:.3f}", "= score", ""))
    show_table(["adds", "part", "rating"], rows, right=(0, 2), flexible=(1,))


def show_tuning(done: Tuning) -> None:
    """All settings, the best first, and which to take."""
    header, rows = done.rows()
    right = [k for k, name in enumerate(header) if name]
    show_table(header, rows, right=right)
    best, simplest = done.best_setting, done.simplest_setting
    say(f"\nBest: {_told(best.params)}, RMSE {best.rmse:.4f} over {done.folds} folds.")
    if simplest is not best:
        say(f"Simplest within a standard error of it: {_told(simplest.params)}, RMSE {simplest.rmse:.4f}.")
    for text in done.notes:
        note(text)


def _told(params: dict[str, Any]) -> str:
    return ", ".join(f"{name} {v:g}" if isinstance(v, float) else f"{name} {v}" for name, v in params.items())


def show_predictions(table: pa.Table) -> None:
    """Pairs and their predicted ratings."""
    rows = zip(*(table[name].to_pylist() for name in ("user", "item", "rating")))
    show_table(["user", "item", "rating"], ((u, i, f"{r:.3f}") for u, i, r in rows), right=(2,))


def show_doctor(found: Health) -> None:
    """The state of the installation."""
    agree = "agree with NumPy" if found.kernels_agree else "DISAGREE with NumPy: reinstall cofactor"
    show_table(
        ["cofactor", found.version],
        [
            ["Python", found.python],
            ["platform", found.platform],
            ["vector code", f"{found.instructions}, {found.vector_bits} bits"],
            ["threads", found.threads],
            ["kernels", f"{agree} (largest difference {found.kernel_error:.0e})"],
            *([name, version or "MISSING"] for name, version in found.required.items()),
        ],
        flexible=(1,),
    )
    say()
    rows = []
    for name, part in found.optional.items():
        missing = [module for module, version in part.versions.items() if version is None]
        rows.append([name, f"without {', '.join(missing)}" if missing else "present", part.purpose])
    show_table(["optional", "", "for"], rows, flexible=(1,))


def show_check(report: dict[str, Any]) -> None:
    """What is in a file of ratings, then what is wrong with it."""
    if report["ratings"]:
        _show_contents(report)
    else:
        say(f"{printable(report['source'])} has no usable rating.")
    for warning in report["warnings"]:
        say(f"\nBeware: {printable(warning)}")
    if not report["bad_rows"]:
        return
    say(f"\n{count(report['bad_rows'], 'row')} cannot be used:\n")
    show_table(["rows", "why"], [(f"{n:,}", why) for why, n in report["bad_by_reason"].items()], (0,), (1,))
    say()
    columns = ["row", "user", "item", "rating", "timestamp", "reason"]
    rows = [["" if bad[name] is None else bad[name] for name in columns] for bad in report["bad_examples"]]
    show_table(columns, rows, right=(0,), flexible=(5, 1, 2, 3, 4))
    say("\nMend these rows, or leave them out: cofactor train --on-bad drop --rejects FILE")


def _show_contents(report: dict[str, Any]) -> None:
    low, high = report["scale"]
    dates = report["dates"]
    rows = [
        ["users", f"{report['users']:,} ({report['user_ids']} ids)"],
        ["items", f"{report['items']:,} ({report['item_ids']} ids)"],
        ["density", f"{report['density']:.3%} of the users x items table"],
        ["scale", f"{low:g} to {high:g}, mean {report['mean']:.3f}"],
        ["times", f"{dates['first']} to {dates['last']}" if dates else "none"],
    ]
    for side in ("user", "item"):
        ends = report[f"{side}_rows"]
        few, many = ends["shortest"], ends["longest"]
        rows.append(
            [
                f"ratings per {side}",
                f"{few['ratings']:,} ({side} {few['id']}) to {many['ratings']:,} ({side} {many['id']}), "
                f"median {ends['median']:g}",
            ]
        )
    show_table(["ratings", f"{report['ratings']:,}"], rows, flexible=(1,))
    say()
    most = max(bar["count"] for bar in report["histogram"])
    block = "\u2588" if "utf" in (getattr(sys.stdout, "encoding", "") or "").lower() else "#"
    bars = []
    for bar in report["histogram"]:
        name = f"{bar['from']:g}" if bar["from"] == bar["to"] else f"{bar['from']:g} to {bar['to']:g}"
        share = bar["count"] / report["ratings"]
        bars.append([name, f"{bar['count']:,}", f"{share:.1%}", block * round(40 * bar["count"] / most)])
    show_table(["rating", "count", "share", ""], bars, right=(0, 1, 2))


def show_verified(report: dict[str, Any]) -> None:
    """What a sound model holds."""
    objective = report["objective"]
    rows = [
        ["kind", report["kind"]],
        ["users", f"{report['users']:,}"],
        ["items", f"{report['items']:,}"],
        ["ratings", "unknown" if report["ratings"] is None else f"{report['ratings']:,}"],
        ["objective", "unknown" if objective is None else f"{objective:,.6g}"],
        ["settings", ", ".join(f"{name}={value!r}" for name, value in report["hyperparameters"].items())],
        ["saved", f"{report['created']} by cofactor {report['cofactor_version']}"],
        *([file["name"], f"{file['bytes']:,} bytes, checksum right"] for file in report["files"]),
    ]
    show_table(["model", report["path"]], rows, flexible=(1,))
    say("\nEverything is as it was saved.")
