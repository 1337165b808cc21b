"""The command: what each part prints, its JSON, its exit codes, and that the examples in its help run."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len

import cofactor as cf
from cofactor.cli import main
from cofactor.models import MODELS

COMMANDS = [
    "demo",
    "check",
    "prepare",
    "train",
    "tune",
    "compare",
    "evaluate",
    "predict",
    "recommend",
    "similar",
    "explain",
    "export-users",
    "verify",
    "doctor",
]
LONG = "A very long title that goes on for much more than the eighty columns of a terminal, and then on"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as the examples of the help name them: 40 users, 45 items, and a model fitted on them."""
    here = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((40, 45)) < 0.4)
    score = 3 + rng.normal(0, 0.5, 40)[user] + rng.normal(0, 0.6, 45)[item] + rng.normal(0, 0.3, len(user))
    columns = {
        "userId": user + 1,
        "movieId": item + 240,
        "rating": np.clip(np.round(2 * score) / 2, 0.5, 5),
        "timestamp": 1_400_000_000 + 1000 * rng.permutation(len(user)),
    }
    pyarrow.csv.write_csv(pa.table(columns), here / "ratings.csv")
    titles = [LONG, "Red \x1b[31m alert", "Ordinary, The", *(f"Film {k}" for k in range(42))]
    catalog = {"item": np.arange(240, 285), "title": titles, "genres": ["Drama|War"] * 45}
    pyarrow.csv.write_csv(pa.table(catalog), here / "items.csv")
    later = {name: column[::7] for name, column in columns.items()}
    later["movieId"] = 240 + (later["movieId"] - 239) % 45  # others than were learnt from, most of them
    pyarrow.csv.write_csv(pa.table(later), here / "test.csv")
    (here / "pairs.csv").write_text("user,item\n15,260\n3,241\n4,999\n")
    (here / "mine.csv").write_text("item,rating\n241,5\n250,1\n")
    assert main(["train", str(here / "ratings.csv"), "-o", str(here / "model"), "--rank", "4", "--json"]) == 0
    return here


@pytest.fixture
def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``run("predict", "model", ...)`` in that folder -> exit code, stdout, stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("COFACTOR_DEBUG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def ask(run: Callable[..., tuple[int, str, str]]) -> Callable[..., Any]:
    """``ask("verify", "model")`` -> what the command prints with --json."""

    def ask(*arguments: str) -> Any:
        code, out, _ = run(*arguments, "--json")
        assert code == 0
        return json.loads(out)

    return ask


def process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cofactor", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# -- help ----------------------------------------------------------------------------------------


def examples() -> list[str]:
    found = []
    for command in COMMANDS:
        done = process(command, "--help")
        text = done.communicate()[0]
        assert done.returncode == 0
        found += re.findall(
            r"^ +(cofactor .+)$", text.split("Example:")[1].split("Options:")[0], re.MULTILINE
        )
    return found


def test_every_command_has_examples_that_run(run, monkeypatch) -> None:
    in_time = {"ALS": cf.ALS(rank=2), "drift": cf.TasteDrift(rank=2, epochs=0, items="als")}
    monkeypatch.setattr(
        "cofactor.comparing.models_in_time", lambda ratings: in_time
    )  # all would take a minute
    lines = examples()
    assert {line.split()[1] for line in lines} == set(COMMANDS)
    for line in lines:
        code, out, err = run(*shlex.split(line)[1:])
        assert code == 0, (line, err)
        assert out, line


def test_help_lists_the_commands(run) -> None:
    listed = [*COMMANDS[:-2], "serve", *COMMANDS[-2:], "keys"]
    for arguments in ([], ["--help"], ["-h"]):
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        assert re.findall(r"^  ([\w-]+)  ", out.split("Commands:")[1], re.MULTILINE) == listed
        assert "..." not in out.split("Commands:")[1]  # each fits on its line


def test_a_dataset_from_the_command_line(run, folder: Path, tmp_path: Path) -> None:
    dataset, model = str(tmp_path / "dataset"), str(tmp_path / "model")
    code, out, err = run("prepare", "ratings.csv", "-o", dataset, "--groups", "2", "--holdout", "0.2")
    assert (code, out.count("held out")) == (0, 1)
    assert "GiB of disk on the way" in err
    told = json.loads(run("prepare", "ratings.csv", "-o", dataset, "--append", "--json")[1])
    assert told["ratings"] + told["held_out"] == len((folder / "ratings.csv").read_text().splitlines()) - 1
    code, out, _ = run("train", dataset, "-o", model, "--rank", "3", "--sweeps", "2", "--biases", "none")
    assert code == 0
    assert out.count("held-out RMSE") == 2
    trained = json.loads(run("train", dataset, "-o", model, "--rank", "3", "--sweeps", "2", "--json")[1])
    assert len(trained["objective"]) == len(trained["held_out_rmse"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "model"]
    known = json.loads(
        run("predict", model, "--user", "15", "--item", "260", "--dataset", dataset, "--json")[1]
    )
    unknown = json.loads(run("predict", model, "--user", "15", "--item", "260", "--json")[1])
    assert known != unknown
    assert run("recommend", model, "--user", "15", "--dataset", dataset)[0] == 0
    assert run("explain", model, "--user", "15", "--item", "260", "--dataset", dataset)[0] == 0
    assert run("predict", model, "--pairs", "pairs.csv", "--dataset", dataset)[0] == 0
    (tmp_path / "other.csv").write_text("user,item,rating\n1,1,3\n1,2,4\n2,1,5\n")
    other = str(tmp_path / "other")
    assert run("train", str(tmp_path / "other.csv"), "-o", other, "--rank", "1", "--holdout", "0")[0] == 0
    for arguments, code, words in (
        (("recommend", model, "--user", "15"), 3, "15"),
        (("recommend", model, "--user", "999", "--dataset", dataset), 3, "no rating by user 999"),
        (("train", dataset, "-o", model, "--model", "SGD"), 2, "ALS"),
        (("train", "ratings.csv", "-o", model, "--engine", "ray"), 2, "not a dataset"),
        (("train", dataset, "-o", model, "--memory", "much"), 2, "500MB"),
        (("train", dataset, "-o", model, "--memory", "1MB"), 2, "GiB"),
        (("train", dataset, "-o", model, "--engine", "dask"), 2, "engine"),
        (("prepare", "ratings.csv", "-o", dataset, "--memory", "1MB"), 2, "GiB are needed"),
        (("export-users", dataset, other, "-o", str(tmp_path / "users")), 2, "items of this dataset"),
    ):
        got, _, err = run(*arguments)
        assert (got, words in err) == (code, True), (arguments, err)


def test_help_states_the_defaults_of_the_models(run) -> None:
    _, out, _ = run("train", "--help")
    stated = re.findall(r"--([a-z-]+) [^\[\]]*\[((?:\w+: [\w.]+(?:;\s+)?)+)\]", out)
    assert len(stated) >= 7
    for option, defaults in stated:
        for name, value in re.findall(r"(\w+): ([\w.]+)", defaults):
            if name in MODELS:
                assert (
                    f"{MODELS[name]().get_params()[option.replace('-', '_')]:{'g' if value[0].isdigit() else ''}}"
                    == value
                )


def test_help_and_version_import_nothing_heavy() -> None:
    script = (
        "import sys, cofactor.cli; cofactor.cli.main(['--help']); cofactor.cli.main(['--version']);"
        "heavy = {'numpy', 'pyarrow', 'duckdb', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"cofactor {cf.__version__}" in done.stdout


# -- what each command does ----------------------------------------------------------------------


def test_check(run, ask, folder: Path) -> None:
    found = ask("check", "ratings.csv")
    ratings = cf.read_ratings(folder / "ratings.csv")
    assert found["ratings"] == len(ratings)
    code, out, _ = run("check", "ratings.csv")
    assert code == 0
    assert f"{len(ratings):,}" in out


def test_check_finds_bad_rows(run, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("user,item,rating\n1,2,3\n1,3,five\n2,2,4\n")
    code, out, _ = run("check", str(file))
    assert code == 3
    assert "five" in out
    code, out, _ = run("check", str(file), "--json")
    assert code == 3
    assert json.loads(out)


def test_train_measures_and_saves(run, ask, tmp_path: Path) -> None:
    found = ask(
        "train", "ratings.csv", "-o", str(tmp_path / "m"), "--rank", "3", "--biases", "none", "--seed", "5"
    )
    assert found["holdout"]["test"] == round(found["ratings"] / 10)
    assert found["model"]["biases"] is None
    assert found["model"]["seed"] == 5
    assert len(found["objective"]) == 15
    assert len(cf.load(tmp_path / "m").ratings_.values) == found["ratings"]  # refitted on all of them
    code, out, _ = run("train", "ratings.csv", "-o", str(tmp_path / "m"), "--rank", "3", "--split", "time")
    assert code == 0
    assert "RMSE" in out
    assert "Baseline" in out
    assert "fitted on all" in out
    assert (
        ask("train", "ratings.csv", "-o", str(tmp_path / "m"), "--split", "user")["holdout"]["by"] == "user"
    )


def test_train_without_measuring(run, tmp_path: Path) -> None:
    arguments = ["train", "ratings.csv", "-o", str(tmp_path / "m"), "--model", "Baseline", "--holdout", "0"]
    code, out, _ = run(*arguments)
    assert code == 0
    assert "RMSE" not in out
    assert isinstance(cf.load(tmp_path / "m"), cf.Baseline)


def test_train_drops_and_lists_bad_rows(run, folder: Path, tmp_path: Path) -> None:
    file, rejects = tmp_path / "some.csv", tmp_path / "rejects.csv"
    file.write_text((folder / "ratings.csv").read_text() + "1,241,five,1\n")
    code, _, err = run("train", str(file), "-o", str(tmp_path / "m"))
    assert code == 3
    assert "five" in err
    assert not (tmp_path / "m").exists()
    arguments = ["--on-bad", "drop", "--rejects", str(rejects), "--rank", "2"]
    code, _, err = run("train", str(file), "-o", str(tmp_path / "m"), *arguments)
    assert code == 0
    assert "1 row could not be used" in err
    assert "five" in rejects.read_text()


def test_evaluate(run, ask, folder: Path) -> None:
    model, test = cf.load(folder / "model"), cf.read_ratings(folder / "test.csv")
    expected = cf.evaluate(model, test, k=5, relevant=4.5)
    found = ask("evaluate", "model", "test.csv", "-k", "5", "--relevant", "4.5")
    assert found == json.loads(json.dumps(expected.to_dict()))
    assert found["metrics"].keys() >= {"rmse", "ndcg@5"}
    code, out, err = run("evaluate", "model", "test.csv", "-k", "5", "--relevant", "4.5")
    assert code == 0
    assert err.count("Note: ") == len(expected.notes) > 0
    for text in (f"{expected.rmse:.4f}", "ndcg@5", "95% interval", "new item", "mean given"):
        assert text in out
    assert all(cell_len(line) <= 80 for line in out.splitlines())


def test_evaluate_ratings_of_other_ids(run, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("user,item,rating\n1,a,3\n")
    code, out, err = run("evaluate", "model", str(tmp_path / "other.csv"))
    assert (code, out) == (3, "")
    assert "its item ids are strings" in err


def test_predict_one(run, ask, folder: Path) -> None:
    found = ask("predict", "model", "--user", "15", "--item", "260")["predictions"]
    expected = cf.load(folder / "model").predict([15], [260], clip=True)[0]
    assert found == [{"user": 15, "item": 260, "rating": pytest.approx(float(expected))}]
    code, out, _ = run("predict", "model", "--user", "15", "--item", "260")
    assert code == 0
    assert f"{expected:.3f}" in out


def test_predict_says_what_it_does_not_know(run) -> None:
    code, _, err = run("predict", "model", "--user", "777", "--item", "260")
    assert code == 0
    assert "does not know user 777" in err
    code, _, err = run("predict", "model", "--pairs", "pairs.csv")
    assert code == 0
    assert "1 of 3 pairs have an item" in err


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predict_a_file(ask, folder: Path, tmp_path: Path, ending: str) -> None:
    output = tmp_path / f"out.{ending}"
    found = ask("predict", "model", "--pairs", "pairs.csv", "-o", str(output), "--no-clip")
    assert found == {"predictions": 3, "output": str(output)}
    table = pq.read_table(output) if ending == "parquet" else pyarrow.csv.read_csv(output)
    assert table.column_names == ["user", "item", "rating"]
    expected = cf.load(folder / "model").predict([15, 3, 4], [260, 241, 999])
    np.testing.assert_allclose(table["rating"].to_numpy(), expected, rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_recommend(run, ask, folder: Path) -> None:
    expected = cf.load(folder / "model").recommend(15, 4, exclude=[245])
    found = ask("recommend", "model", "--user", "15", "-n", "4", "--exclude", "245", "--titles", "items.csv")
    assert [row["item"] for row in found["recommendations"]] == expected.items.to_pylist()
    assert found["recommendations"][0]["genres"] == ["Drama", "War"]
    one = ask("recommend", "model", "--user", "15", "--among", "240", "--among", "241", "--include-seen")
    assert {row["item"] for row in one["recommendations"]} == {240, 241}
    code, out, _ = run("recommend", "model", "--user", "15", "-n", "2")
    assert code == 0
    assert len(out.splitlines()) == 3


def test_recommend_to_somebody_new(ask, folder: Path) -> None:
    expected = cf.load(folder / "model").recommend(ratings={241: 5, 250: 1}, n=3)
    found = ask("recommend", "model", "--ratings", "mine.csv", "-n", "3")["recommendations"]
    assert [row["item"] for row in found] == expected.items.to_pylist()


def test_recommend_to_everybody(ask, tmp_path: Path) -> None:
    output = tmp_path / "all.csv"
    found = ask("recommend", "model", "--all-users", "-n", "3", "-o", str(output), "--titles", "items.csv")
    assert found == {"users": 40, "rows": 120, "output": str(output)}
    table = pyarrow.csv.read_csv(output)
    assert table.column_names == ["user", "item", "score", "title"]
    assert len(table) == 120


def test_nothing_left_to_recommend(run, folder: Path) -> None:
    seen = cf.load(folder / "model")
    item = str(seen.item_ids_.id(int(seen.ratings_.row(0)[0][0])))
    code, out, _ = run("recommend", "model", "--user", str(seen.user_ids_.id(0)), "--among", item)
    assert (code, out) == (0, "Nothing is left to list.\n")


def test_similar_and_explain(run, ask, folder: Path) -> None:
    model = cf.load(folder / "model")
    found = ask("similar", "model", "--item", "260", "-n", "3")["similar"]
    assert [row["item"] for row in found] == model.similar_items(260, 3).items.to_pylist()
    why = ask("explain", "model", "--user", "15", "--item", "260", "--titles", "items.csv")
    assert why["score"] == pytest.approx(model.explain(15, 260).score)
    assert why["title"] == "Film 17"
    for command in (
        ["similar", "model", "--item", "260"],
        ["explain", "model", "--user", "15", "--item", "260"],
    ):
        assert run(*command)[0] == 0


def test_explain_names_the_neighbours(run, folder: Path, tmp_path: Path) -> None:
    ratings = cf.read_ratings(folder / "ratings.csv")
    model = cf.CosineNeighbours(of="users", shrinkage=1.0).fit(ratings)
    cf.save(model, tmp_path / "like-minded")
    line = ["explain", str(tmp_path / "like-minded"), "--user", "15", "--item", "260"]
    why = json.loads(run(*line, "--json")[1])
    adds = sum(part["adds"] for part in (*why["parts"], *why["neighbours"]))
    assert why["mean"] + why["user_adds"] + why["item_adds"] + adds == pytest.approx(why["score"])
    assert len(why["neighbours"]) > 8
    code, out, _ = run(*line)
    assert code == 0
    assert f"user {why['neighbours'][0]['user']} rated this" in out
    assert f"{len(why['neighbours']) - 8} more users" in out


def test_verify(run, ask) -> None:
    assert ask("verify", "model")["ok"] is True
    code, out, _ = run("verify", "model")
    assert code == 0
    assert "as it was saved" in out


def test_doctor(run, ask, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask("doctor")
    assert found["version"] == cf.__version__
    assert found["kernels_agree"] is True
    assert found["vector_bits"] >= 64
    assert found["optional"]["ray"]["modules"].keys() == {"ray"}
    assert "agree with NumPy" in run("doctor")[1]
    monkeypatch.setattr("cofactor.doctor._kernel_error", lambda: float("inf"))
    code, out, _ = run("doctor")
    assert code == 1
    assert "DISAGREE" in out
    assert json.loads(run("doctor", "--json")[1])["kernel_error"] is None


def test_demo(run, ask, tmp_path: Path) -> None:
    found = ask("demo", "-o", str(tmp_path / "page.html"))
    assert found["holdout"]["model"]["rmse"] < found["holdout"]["baseline"]["rmse"]
    assert found["page"] == str(tmp_path / "page.html")
    assert "F. M. Harper and J. A. Konstan" in (tmp_path / "page.html").read_text("utf-8")


# -- text ----------------------------------------------------------------------------------------


def test_tables_fit_eighty_columns_and_are_plain(run) -> None:
    _, out, _ = run(
        "recommend", "model", "--user", "15", "-n", "45", "--include-seen", "--titles", "items.csv"
    )
    assert LONG[:30] in out
    assert LONG not in out
    assert "Red" in out
    assert "\x1b" not in out
    assert all(cell_len(line) <= 80 for line in out.splitlines())
    _, out, _ = run("explain", "model", "--user", "15", "--item", "260", "--titles", "items.csv")
    assert all(cell_len(line) <= 80 for line in out.splitlines())


def test_ids_keep_their_kind(run, ask, tmp_path: Path) -> None:
    file, model = tmp_path / "kinds.csv", str(tmp_path / "m")
    rows = [
        f"{user},{item},{1 + (len(user) + item) % 5}" for user in ("1", "01", "001", "x") for item in range(4)
    ]
    file.write_text("\n".join(["user,item,rating", *rows]))
    assert run("train", str(file), "-o", model, "--rank", "2", "--holdout", "0")[0] == 0
    scores = [ask("explain", model, "--user", user, "--item", "0") for user in ("1", "01", "001")]
    assert [found["user"] for found in scores] == ["1", "01", "001"]
    assert len({found["score"] for found in scores}) == 3
    assert run("recommend", model, "--user", "0001")[0] == 3
    assert run("recommend", "model", "--user", "015")[0] == 2  # the users there are integers


# -- errors --------------------------------------------------------------------------------------

WRONG_USAGE = [
    ["bogus"],
    ["recommend", "model", "--bogus"],
    ["recommend"],
    ["recommend", "model"],
    ["recommend", "model", "--user", "15", "--all-users", "-o", "x.csv"],
    ["recommend", "model", "--all-users"],
    ["recommend", "model", "--all-users", "-o", "x.txt"],
    ["recommend", "model", "--user", "15", "-n", "0"],
    ["predict", "model"],
    ["predict", "model", "--user", "15"],
    ["predict", "model", "--pairs", "pairs.csv", "--user", "15"],
    ["predict", "model", "--user", "15", "--item", "260", "-o", "x.csv"],
    ["predict", "model", "--pairs", "pairs.csv", "-o", "nowhere/x.csv"],
    ["train", "ratings.csv"],
    ["train", "ratings.csv", "-o", "items.csv"],
    ["train", "ratings.csv", "-o", "new", "--rank", "0"],
    ["train", "ratings.csv", "-o", "new", "--rank", "x"],
    ["train", "ratings.csv", "-o", "new", "--rank", "5000"],
    ["train", "ratings.csv", "-o", "new", "--reg", "-1"],
    ["train", "ratings.csv", "-o", "new", "--reg", "0"],
    ["train", "ratings.csv", "-o", "new", "--sweeps", "0"],
    ["train", "ratings.csv", "-o", "new", "--model", "Best"],
    ["train", "ratings.csv", "-o", "new", "--model", "Baseline", "--rank", "3"],
    ["train", "ratings.csv", "-o", "new", "--solver", "magic"],
    ["train", "ratings.csv", "-o", "new", "--holdout", "1"],
    ["train", "ratings.csv", "-o", "new", "--split", "luck"],
    ["train", "ratings.csv", "-o", "new", "--scale", "high"],
    ["train", "ratings.csv", "-o", "new", "--on-bad", "ignore"],
    ["train", "ratings.csv", "-o", "new", "--rejects", "rejects.csv"],
    ["train", "ratings.csv", "-o", "new", "--timestamp", "timestamp", "--no-timestamp"],
    ["evaluate", "model"],
    ["evaluate", "model", "test.csv", "-k", "0"],
    ["evaluate", "model", "test.csv", "--relevant", "high"],
    ["evaluate", "model", "test.csv", "--relevant", "nan"],
    ["demo", "-o", "."],
    ["demo", "-o", "nowhere/page.html"],
]
BAD_DATA = [
    ["check", "missing.csv"],
    ["train", "missing.csv", "-o", "new"],
    ["train", "ratings.csv", "-o", "new", "--user", "nobody"],
    ["train", "ratings.csv", "-o", "new", "--scale", "1,2"],
    ["recommend", "missing", "--user", "15"],
    ["recommend", "model", "--user", "777"],
    ["recommend", "model", "--user", "15", "--among", "777"],
    ["recommend", "model", "--user", "15", "--titles", "missing.csv"],
    ["recommend", "model", "--ratings", "missing.csv"],
    ["recommend", "model", "--ratings", "pairs.csv"],
    ["similar", "model", "--item", "777"],
    ["explain", "model", "--user", "15", "--item", "777"],
    ["explain", "model", "--user", "777", "--item", "260"],
    ["predict", "model", "--pairs", "missing.csv"],
    ["predict", "model", "--pairs", "mine.csv"],
    ["evaluate", "missing", "test.csv"],
    ["evaluate", "model", "missing.csv"],
    ["evaluate", "model", "test.csv", "--user", "nobody"],
    ["verify", "missing"],
    ["verify", "ratings.csv"],
    ["demo", "--user", "777777"],
]


@pytest.mark.parametrize(("code", "arguments"), [(2, a) for a in WRONG_USAGE] + [(3, a) for a in BAD_DATA])
def test_errors_are_one_paragraph_with_an_exit_code(
    run, folder: Path, code: int, arguments: list[str]
) -> None:
    before = {path.name for path in folder.iterdir()}
    assert run(*arguments)[0] == code
    found, out, err = run(*arguments, "--json")
    assert found == code
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    error = json.loads(out)["error"]
    assert err == f"Error: {error['message']}\n"
    assert error["type"]
    out = run(*arguments)[1]
    assert out == ""
    assert {path.name for path in folder.iterdir()} == before  # nothing is left half-written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("item,rating\n241,five\n", "row 1: the rating 'five'"),
        ("item,rating\n241,5\n250,inf\n", "row 2: the rating inf"),
        ("item,rating\n241,5\n,3\n", "row 2: the item is missing"),
        ("item,rating\n241,5\nx,3\n", "row 2: item 'x'"),
        ("item,rating\n241,500\n", "scale"),
        ("item,rating\n999,5\n", "None of the 1 rated items"),
        ("item,rating\n", "no rows"),
        ("", "empty"),
        ("item,stars!?\n1,2\n", "rating"),
    ],
)
def test_bad_files_of_own_ratings(run, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.csv").write_text(text)
    code, out, err = run("recommend", "model", "--ratings", str(tmp_path / "mine.csv"))
    assert code == 3
    assert "mine.csv" in err or "None of the" in err
    if says != "rating":
        assert says in err
    assert out == ""


def test_a_byte_flipped_in_a_model(run, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    for file in (folder / "model").iterdir():
        data = bytearray(file.read_bytes())
        if file.name == "factors.safetensors":
            data[-1] ^= 1
        (copy / file.name).write_bytes(data)
    for arguments in (["verify", str(copy)], ["recommend", str(copy), "--user", "15"]):
        code, _, err = run(*arguments)
        assert code == 3
        assert "factors.safetensors" in err


def test_a_failure_is_exit_code_1(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("cofactor.storage.verify", fail)
    for error, says in (
        (RuntimeError("odd"), "please report"),
        (PermissionError(13, "Permission denied", "place"), "Permission denied (place)"),
        (MemoryError(), "memory"),
        (cf.SingularSystem("Give a larger reg."), "larger reg"),
    ):
        code, out, err = run("verify", "model", "--json")
        assert code == 1
        assert says in err
        assert json.loads(out)["error"]["type"] == type(error).__name__
    monkeypatch.setenv("COFACTOR_DEBUG", "1")
    with pytest.raises(cf.SingularSystem):
        main(["verify", "model"])


def test_interruption(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cofactor.storage.verify", interrupt)
    assert run("verify", "model") == (130, "", "Interrupted.\n")


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes as on POSIX")
def test_a_closed_pipe_is_quiet(folder: Path) -> None:
    running = process("recommend", "model", "--user", "15", "--json", cwd=folder)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait() in (141, -signal.SIGPIPE)
    running.stderr.close()


def test_a_small_table_trains_without_a_word_of_ranks(run, tmp_path) -> None:
    file = tmp_path / "films.csv"
    file.write_text("user,item,rating\nA,1,4\nA,2,5\nA,3,5\nB,1,4\nB,3,5\nB,4,1\nC,2,2\nC,4,5\n", "utf-8")
    code, out, error = run("train", str(file), "-o", str(tmp_path / "m"), "--json")
    assert code == 0, error
    assert json.loads(out)["model"]["rank"] == 2
    assert run("recommend", str(tmp_path / "m"), "--user", "A")[0] == 0
    code, _, error = run("train", str(file), "-o", str(tmp_path / "m"), "--rank", "9")
    assert code == 2
    assert "at most" in error


def test_train_sets_any_hyperparameter(run, folder):
    base = ["train", "ratings.csv", "-o", "knn", "--model", "CosineNeighbours", "--json"]
    code, out, _ = run(*base, "--set", "k=7", "--set", "of=users", "--set", "baseline=false")
    told = json.loads(out)["model"]
    assert (code, told["k"], told["of"], told["baseline"]) == (0, 7, "users", False)
    for wrong in (["k=1,2"], ["k"], ["colour=red"], ["k=1", "k=2"], ["k=many"]):
        assert run(*base, *(part for text in wrong for part in ("--set", text)))[0] == 2
    assert run("train", "ratings.csv", "-o", "pop", "--model", "Popular")[0] == 0
    code, out, _ = run("recommend", "pop", "--user", "3")
    assert code == 0
    assert run("predict", "pop", "--user", "3", "--item", "241")[0] == 1


def test_tune(run, folder):
    code, out, err = run(
        "tune", "ratings.csv", "--rank", "1,2", "--reg", "0.5,1", "--try", "biases=joint,none"
    )
    assert code == 0
    header, *rows = out.splitlines()[:9]
    assert header.split()[:4] == ["rank", "reg", "biases", "RMSE"]
    assert len(rows) == 8
    assert "best" in rows[0]
    assert "Best: rank " in out
    assert "leaks the future" in err
    assert (folder / "cofactor-tune.html").read_text("utf-8").startswith("<!doctype html>")
    assert not list(folder.glob("*.partial"))
    code, out, _ = run(
        "tune", "ratings.csv", "--model", "Baseline", "--reg", "1,5", "--folds", "2", "--json", "-o", "b.html"
    )
    told = json.loads(out)
    assert (code, told["folds"], told["page"]) == (0, 2, "b.html")
    assert told["best"]["reg"] in (1, 5)


def test_tune_keeps_what_is_asked_for(run, folder):
    run("tune", "ratings.csv", "--rank", "1,2", "--checkpoint", "kept", "-o", "kept.html")
    assert list((folder / "kept").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--rank", "4,"], "commas between"),
        (["--rank", "many"], "rank is 'many'"),
        (["--try", "sweeps"], "NAME=VALUE"),
        (["--try", "rank=2", "--rank", "3"], "each name once"),
        (["--try", "folds=2"], "no parameter 'folds'"),
        (["--try", "checkpoint=x"], "no parameter 'checkpoint'"),
        (["--model", "Magic"], "--model is 'Magic'"),
        (["--folds", "100000"], "folds"),
        (["-o", "no-such-folder/page.html"], "no-such-folder"),
    ],
)
def test_tune_refuses(run, folder, arguments, match):
    code, _, err = run("tune", "ratings.csv", *arguments)
    assert code == 2
    assert match in err
    assert not list(folder.glob("*.partial/*.safetensors"))


@pytest.mark.parametrize("option", ["--by", "--split"])
def test_compare_by_time(run, folder, monkeypatch, option):
    monkeypatch.setattr("cofactor.comparing.models_in_time", lambda ratings: {"ALS": cf.ALS(rank=2)})
    code, out, err = run("compare", "ratings.csv", option, "time")
    assert code == 0
    assert "RMSE told" in out
    assert "leaks" not in err


def test_compare(run, folder):
    code, out, err = run("compare", "ratings.csv", "-k", "5")
    assert code == 0
    usual = set(MODELS) - {"ContentMap", "TasteDrift"}  # without content the former is ALS
    assert {line.split()[0] for line in out.splitlines()[1 : 1 + len(usual)]} == usual
    assert "NDCG@5" in out
    assert "leaks" in err
    assert (folder / "cofactor-compare.html").read_text("utf-8").startswith("<!doctype html>")
    code, out, _ = run("compare", "ratings.csv", "--json", "-o", "c.html")
    assert code == 0
    assert {model["kind"] for model in json.loads(out)["models"]} == usual
    assert run("compare", "ratings.csv", "--holdout", "1.5")[0] == 2
    assert run("compare", "no-such-file.csv")[0] == 3
