"""The commands, one after another, as a user types them."""

import csv
import gzip
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from grunlock import __version__
from grunlock.errors import RunInterruptedError
from grunlock.recipe import read_recipe
from grunlock.training.events import Event, StepDone
from grunlock.training.run import RunOptions, train
from tests.conftest import COLOURS, colour_rows
from tests.workflows.conftest import SMALL, CommandLine, small

TEXTS = ["the red house", "a green car", "very blue today"]
CHINESE = [
    ("好评", "味道非常好吃很喜欢"),
    ("差评", "送餐太慢态度很差"),
    ("好评", "很快就送到了"),
    ("差评", "没有送水难吃"),
]


def table(rows: list[tuple[str, str]], mark: str = ",") -> str:
    return f"label{mark}text\n" + "".join(f"{label}{mark}{text}\n" for label, text in rows)


# ---- train, then use -------------------------------------------------------------------------------


def test_train_says_what_it_did_and_where_things_lie(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    done = grunlock("train", colours_csv, "-o", tmp_path / "[run]", *small())
    assert (done.code, done.err) == (0, "")
    assert "examples: train 72, valid 9 (cut from train), test 9 (cut from train)" in done.out
    assert "valid accuracy" in done.out
    assert f"run       {tmp_path}/[run]\n" in done.out
    assert f"next      grunlock evaluate {tmp_path}/[run]\n" in done.out


def test_evaluate_own_split_and_file(grunlock: CommandLine, model: Path, tmp_path: Path) -> None:
    own = grunlock("evaluate", model)
    assert own.code == 0
    assert "9 examples" in own.out
    assert "confusion" in own.out
    data = tmp_path / "more.csv"
    data.write_text(table(colour_rows(30, offset=300)))
    done = grunlock("evaluate", model, data, "--json")
    result = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert result["num_examples"] == 30
    assert result["accuracy"] > 0.9
    assert [row["label"] for row in result["classes"]] == sorted(COLOURS)
    assert result["intervals"]["accuracy"]["low"] <= result["accuracy"]
    assert json.loads(grunlock("evaluate", model, "--split", "valid", "--json").out)["num_examples"] == 9


def test_evaluate_refuses_what_it_would_ignore(grunlock: CommandLine, model: Path) -> None:
    done = grunlock("evaluate", model, "--split", "tset")
    assert (done.code, "got:      tset" in done.err, "valid or test" in done.err) == (1, True, True)
    assert "none is given" in grunlock("evaluate", model, "--text-column", "text").err
    assert "none is given" in grunlock("predict", model, "-t", "red", "--set", "data.encoding=big5").err


def test_predict_to_every_output(grunlock: CommandLine, model: Path, tmp_path: Path) -> None:
    data = tmp_path / "new.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in TEXTS), ["two\nlines of\tblue"]])
    lines = [line.split("\t") for line in grunlock("predict", model, data).out.splitlines()]
    assert [(label, text) for label, _, text in lines] == [
        *zip(["red", "green", "blue"], TEXTS, strict=True),
        ("blue", "two lines of blue"),
    ]
    assert grunlock("predict", model, data, "-o", tmp_path / "out.csv").out == ""
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["red", "green", "blue", "blue"]
    assert rows[3]["text"] == "two\nlines of\tblue"
    grunlock("predict", model, data, "-o", tmp_path / "out.jsonl")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["label"] for record in records] == ["red", "green", "blue", "blue"]
    for record in records:
        assert sum(record["probs"].values()) == pytest.approx(1, abs=1e-5)
        assert record["probability"] == max(record["probs"].values())
    given = grunlock("predict", model, *(f"--text={text}" for text in TEXTS))
    assert given.out.splitlines() == ["\t".join(line) for line in lines[:3]]


def test_predict_asks_for_one_source_and_a_known_output(
    grunlock: CommandLine, model: Path, tmp_path: Path
) -> None:
    assert "either a file or texts" in grunlock("predict", model).err
    done = grunlock("predict", model, "-t", "red", "-o", tmp_path / "out.xlsx")
    assert done.code == 1
    assert ".csv or .jsonl" in done.err


# ---- recipes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "seed", "tiny"])
def test_a_printed_recipe_is_complete_and_reads_back_equal(
    name: str, grunlock: CommandLine, tmp_path: Path
) -> None:
    path = tmp_path / "copy.toml"
    path.write_text(grunlock("recipe", name, "--set", "optim.lr=3e-3").out)
    assert read_recipe(path) == read_recipe(name, ["optim.lr=3e-3"])
    assert grunlock("recipe", path).out == path.read_text()


def test_a_recipe_may_be_a_file_or_a_run(
    grunlock: CommandLine, model: Path, colours_csv: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text('base = "tiny"\n[encoder]\nhidden_size = 5\n')
    for recipe in (tmp_path / "mine.toml", model):
        run = tmp_path / f"run of {recipe.name}"
        done = grunlock("train", colours_csv, "-r", recipe, "-o", run, "--set", "training.epochs=1")
        assert done.code == 0
        kept = read_recipe(run)
        assert kept.training.epochs == 1
        assert kept.encoder.hidden_size == read_recipe(recipe).encoder.hidden_size


# ---- resume and from -------------------------------------------------------------------------------


def test_resume_goes_on(grunlock: CommandLine, colours_csv: Path, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            signal.raise_signal(signal.SIGINT)

    recipe = read_recipe("tiny", SMALL)
    whole = train(colours_csv, recipe, tmp_path / "whole")
    with pytest.raises(RunInterruptedError, match="Stopped after step 3"):
        train(colours_csv, recipe, tmp_path / "run", options=RunOptions(listeners=(interrupt,)))
    done = grunlock("train", "--resume", tmp_path / "run")
    assert done.code == 0
    assert "resumed after step 3" in done.out
    assert whole.artifact_sha256 in done.out


@pytest.mark.parametrize(
    "beside", [["--recipe", "seed"], ["--set", "seed=1"], ["--test", "x.csv"], ["--overwrite"], ["x.csv"]]
)
def test_resume_takes_nothing_else(beside: list[str], grunlock: CommandLine, model: Path) -> None:
    done = grunlock("train", "--resume", model, *beside)
    assert done.code == 1
    assert "exactly as the run was started" in done.err


def test_from_continues_a_model(grunlock: CommandLine, model: Path, tmp_path: Path) -> None:
    data = tmp_path / "new.csv"
    data.write_text(table([*colour_rows(30, offset=500), *(("house", f"car today n{i}") for i in range(12))]))
    done = grunlock("train", data, "--from", model, "-o", tmp_path / "run", "--set", "training.epochs=1")
    assert done.code == 0
    shutil.copy(tmp_path / "run" / "model.grunlock", tmp_path / "moved.grunlock")
    predicted = grunlock("predict", tmp_path / "moved.grunlock", "-t", "the red house")
    assert predicted.out.startswith("red\t")
    labels = json.loads(grunlock("evaluate", tmp_path / "run", "--json").out)["classes"]
    assert [row["label"] for row in labels] == ["blue", "green", "red", "house"]


# ---- sources ---------------------------------------------------------------------------------------


def write_source(kind: str, folder: Path) -> str:
    rows = colour_rows(60)
    match kind:
        case "gz":
            (folder / "a.tsv.gz").write_bytes(gzip.compress(table(rows, "\t").encode()))
            return str(folder / "a.tsv.gz")
        case "jsonl":
            lines = [json.dumps({"text": text, "label": label}) for label, text in rows]
            (folder / "a.jsonl").write_text("\n".join(lines))
            return str(folder / "a.jsonl")
        case "parquet":
            (folder / "a.csv").write_text(table(rows))
            duckdb.sql(f"COPY (FROM '{folder}/a.csv') TO '{folder}/a.parquet' (FORMAT parquet)")
            return str(folder / "a.parquet")
        case "glob":
            (folder / "part1.csv").write_text(table(rows[:30]))
            (folder / "part2.csv").write_text(table(rows[30:]))
            return str(folder / "part*.csv")
    for name, part in (("train", rows[:40]), ("dev", rows[40:50]), ("test", rows[50:])):
        (folder / f"{name}.csv").write_text(table(part))
    return str(folder)


@pytest.mark.parametrize("kind", ["gz", "jsonl", "parquet", "glob", "folder"])
def test_every_source_is_learned_from(kind: str, grunlock: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    source = write_source(kind, tmp_path / "data")
    done = grunlock("train", source, "-o", tmp_path / "run", *small())
    assert done.code == 0, done.err
    sizes = "train 40, valid 10, test 10" if kind == "folder" else "train 48, valid 6 (cut"
    assert f"examples: {sizes}" in done.out
    evaluated = json.loads(grunlock("evaluate", tmp_path / "run", source, "--json").out)
    assert evaluated["num_examples"] == (10 if kind == "folder" else 60)
    assert len(grunlock("predict", tmp_path / "run", source).out.splitlines()) == evaluated["num_examples"]


@pytest.mark.parametrize("tokens", ["characters", "chinese_words"])
def test_chinese(tokens: str, grunlock: CommandLine, tmp_path: Path) -> None:
    data = tmp_path / "reviews.csv"
    data.write_text("标签,内容\n" + "".join(f"{label},{text}\n" for label, text in CHINESE * 10))
    settings = small(f"text.tokens={tokens}", "training.epochs=8", "optim.lr=0.02")
    done = grunlock("train", data, "-o", tmp_path / "run", *settings)
    assert done.code == 0, done.err
    assert f"writing system han; tokens {tokens}" in done.out
    assert "好评" in grunlock("evaluate", tmp_path / "run").out
    assert grunlock("predict", tmp_path / "run", "-t", "非常好吃").out.startswith("好评\t")


def test_labels_that_look_like_markup_are_shown_as_they_are(grunlock: CommandLine, tmp_path: Path) -> None:
    data = tmp_path / "odd.csv"
    names = {"red": "[red]", "green": "[/b]", "blue": "[link=x]"}
    data.write_text(table([(names[label], text) for label, text in colour_rows(30)]))
    assert grunlock("train", data, "-o", tmp_path / "run", *small()).code == 0
    shown = grunlock("evaluate", tmp_path / "run").out
    assert all(name in shown for name in names.values())


def test_version_and_module(grunlock: CommandLine) -> None:
    assert grunlock("--version").out == f"grunlock {__version__}\n"
    command = [sys.executable, "-m", "grunlock", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == f"grunlock {__version__}\n"


def test_a_run_without_a_name_gets_one(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert grunlock("train", colours_csv, *small("name=my first")).code == 0
    assert (tmp_path / "runs" / "colours-my_first" / "model.grunlock").is_file()
    again = grunlock("train", colours_csv, *small("name=my first"))
    assert "not empty" in again.err
