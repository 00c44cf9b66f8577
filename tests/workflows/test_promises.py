"""A calibration split, from training to sets of labels and abstention: what is kept, shown and refused."""

import csv
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest

from grunlock import SeriesClassifier, TextClassifier, load
from grunlock.artifact import read
from grunlock.data import open_prepared
from grunlock.data.texts import labelled_splits
from grunlock.errors import CalibrationError
from grunlock.recipe import read_recipe
from grunlock.recipe.text_options import TextDataOptions
from grunlock.training.run import train
from tests.conftest import COLOURS, colour_rows
from tests.workflows.conftest import SMALL, CommandLine, small
from tests.workflows.series_data import SMALL_SERIES, long_table, slopes
from tests.workflows.test_cold_start import FORBIDDEN, SERVING, python

LEARNED = ["embedding.size=16", "encoder.hidden_size=16", "batches.size=16", "training.epochs=10"]
HELD_OUT = ["data.valid_fraction=0.4", "data.calibration_fraction=0.5"]


def write_table(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    return path


@pytest.fixture(scope="module")
def promising(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with 120 calibration examples, that has learned its colours."""
    folder = tmp_path_factory.mktemp("promising")
    data = write_table(folder / "colours.csv", colour_rows(600))
    return train(data, read_recipe("tiny", [*LEARNED, *HELD_OUT]), folder / "run").folder


# ---- the split -------------------------------------------------------------------------------------


def test_the_split_is_said_and_kept_apart(grunlock: CommandLine, colours_csv: Path, tmp_path: Path) -> None:
    done = grunlock("train", colours_csv, "-o", tmp_path / "run", *small(*HELD_OUT))
    assert done.code == 0, done.err
    assert "valid 18 (cut from train), test 9 (cut from train), calibration 18 (cut from valid)" in done.out
    data = open_prepared(tmp_path / "run" / "data")
    assert data.calibration is not None
    assert np.bincount(data.calibration.targets).tolist() == [6, 6, 6]
    recipe = read_recipe("tiny", [*SMALL, *HELD_OUT])
    assert isinstance(recipe.data, TextDataOptions)
    splits = labelled_splits(colours_csv, None, None, recipe.data)
    texts = [text for split in splits.values() for text in split.texts]
    assert len(splits) == 4
    assert sorted(texts) == sorted(text for _, text in colour_rows(90))


def test_a_given_validation_file_is_cut_too(colours_csv: Path, tmp_path: Path) -> None:
    valid = write_table(tmp_path / "v.csv", colour_rows(30, offset=100))
    recipe = read_recipe("tiny", [*SMALL, "data.calibration_fraction=0.3"])
    data = open_prepared(train(colours_csv, recipe, tmp_path / "run", valid=valid).folder / "data")
    assert data.calibration is not None
    assert (data.train.num_examples, data.valid.num_examples, data.calibration.num_examples) == (90, 21, 9)


def test_no_weight_and_no_choice_sees_it(tmp_path: Path) -> None:
    """Other texts in the calibration split change temperature and guarantees, and nothing else."""
    recipe = read_recipe("tiny", [*SMALL, "training.epochs=3", "data.calibration_fraction=0.4"])
    rows = colour_rows(90)
    valid = colour_rows(60, offset=200)
    write_table(tmp_path / "train.csv", rows)
    write_table(tmp_path / "v.csv", valid)
    first = train(tmp_path / "train.csv", recipe, tmp_path / "a", valid=tmp_path / "v.csv")
    assert isinstance(recipe.data, TextDataOptions)
    splits = labelled_splits(tmp_path / "train.csv", tmp_path / "v.csv", None, recipe.data)
    unseen = set(splits["calibration"].texts)
    changed = [(label, "green red blue house" if text in unseen else text) for label, text in valid]
    assert sum(old != new for old, new in zip(valid, changed, strict=True)) == 24
    write_table(tmp_path / "v.csv", changed)
    second = train(tmp_path / "train.csv", recipe, tmp_path / "b", valid=tmp_path / "v.csv")
    for name, value in first.artifact.weights.items():
        np.testing.assert_array_equal(value, second.artifact.weights[name])
    without = ("nll", "ece", "brier", "intervals")  # they depend on the temperature
    assert {k: v for k, v in first.metrics.items() if k not in without} == {
        k: v for k, v in second.metrics.items() if k not in without
    }
    assert first.artifact.guarantees != second.artifact.guarantees


def test_without_the_option_the_artifact_says_nothing_of_it(colours_csv: Path, tmp_path: Path) -> None:
    result = train(colours_csv, read_recipe("tiny", SMALL), tmp_path / "run")
    data = open_prepared(tmp_path / "run" / "data")
    assert data.calibration is None
    assert not (tmp_path / "run" / "data" / "calibration").exists()
    # Recorded before there was such a split: the rows of the three others, as they were cut.
    assert data.fingerprint == "c583dd9978e827d898bf2b5f19c74487ebf895a275ac0eb2e627415eec2619fc"
    artifact = read(result.folder)
    assert artifact.guarantees is None
    with zipfile.ZipFile(tmp_path / "run" / "model.grunlock") as archive:
        assert (
            archive.read("calibration.json").decode() == f'{{\n  "temperature": {artifact.temperature}\n}}\n'
        )
        assert "calibrated" not in archive.read("card.md").decode()
    assert "sets" not in result.metrics


def test_series_are_cut_as_before_too(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(long_table(slopes(45)))
    train(tmp_path / "s.csv", read_recipe("series", SMALL_SERIES), tmp_path / "run")
    data = open_prepared(tmp_path / "run" / "data")
    assert data.fingerprint == "34cf8f7968d4189d0533c3f7f0f0eead7fa962735bd71033eee3148f20fb3a58"


def test_too_few_validation_examples_are_said(grunlock: CommandLine, tmp_path: Path) -> None:
    data = write_table(tmp_path / "few.csv", colour_rows(12))
    settings = ("data.valid_fraction=0.05", "data.calibration_fraction=0.5")
    done = grunlock("train", data, "-o", tmp_path / "run", *small(*settings))
    assert done.code == 1
    assert "too few validation examples to set some aside" in done.err
    assert "--set data.calibration_fraction=0" in done.err
    done = grunlock("train", data, "-o", tmp_path / "run", *small("data.calibration_fraction=0.95"))
    assert "data.calibration_fraction" in done.err
    assert "0.9" in done.err


# ---- in the artifact -------------------------------------------------------------------------------


def test_guarantees_are_read_as_they_were_written(promising: Path) -> None:
    found = read(promising).guarantees
    assert found is not None
    assert found.num_examples == 120
    assert list(found.quantiles["lac"]) == [0.8, 0.9, 0.95, 0.99]
    assert found.to_dict() == json.loads(json.dumps(found.to_dict()))
    assert type(found).from_dict(found.to_dict()) == found


# ---- in use ----------------------------------------------------------------------------------------


def test_sets_and_abstention_from_python(promising: Path) -> None:
    model = load(promising)
    assert isinstance(model, TextClassifier)
    rows = colour_rows(300, offset=900)
    texts = [text for _, text in rows]
    for method in ("lac", "raps"):
        sets = model.predict_set(texts, coverage=0.9, method=method)  # type: ignore[arg-type]
        assert np.mean([label in found for (label, _), found in zip(rows, sets, strict=True)]) > 0.85
        assert [found[0] for found in sets] == model.predict(texts)
    answers = model.predict_or_abstain([*texts, "red green blue"], max_error=0.05)
    wrong = [label != answer for (label, _), answer in zip(rows, answers, strict=False) if answer is not None]
    assert len(wrong) > 100
    assert np.mean(wrong) <= 0.05
    assert model.predict_set([]) == model.predict_or_abstain([], 0.05) == []


def test_what_cannot_be_promised_is_refused_with_the_cure(promising: Path, model: Path) -> None:
    plain, found = load(model), load(promising)
    assert isinstance(plain, TextClassifier)
    assert isinstance(found, TextClassifier)
    for ask in (lambda: plain.predict_set(["red"]), lambda: plain.predict_or_abstain(["red"], 0.05)):
        with pytest.raises(
            CalibrationError, match=r"without a calibration split(.|\n)*calibration_fraction=0.3"
        ):
            ask()
    with pytest.raises(CalibrationError, match=r"this coverage(.|\n)*0.85(.|\n)*0.8, 0.9, 0.95, 0.99"):
        found.predict_set(["red"], coverage=0.85)
    with pytest.raises(CalibrationError, match=r"this method(.|\n)*lac, raps"):
        found.predict_set(["red"], method="aps")  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match=r"this error rate(.|\n)*0.01, 0.02, 0.05, 0.1"):
        found.predict_or_abstain(["red"], max_error=0.5)
    with pytest.raises(CalibrationError, match=r"120 calibration examples; at least 459(.|\n)*0.05, 0.1"):
        found.predict_or_abstain(["red"], max_error=0.01)


def test_a_model_that_errs_too_often_says_so(colours_csv: Path, tmp_path: Path) -> None:
    rows = [(COLOURS[(i * i) % 3], text) for i, (_, text) in enumerate(colour_rows(500))]
    data = write_table(tmp_path / "noise.csv", rows)
    recipe = read_recipe("tiny", [*SMALL, *HELD_OUT, "batches.size=64"])
    model = train(data, recipe, tmp_path / "run").artifact.classifier()
    with pytest.raises(CalibrationError, match=r"too many errors(.|\n)*no rate(.|\n)*a better model"):
        model.predict_or_abstain(["red"], max_error=0.1)  # type: ignore[list-item]


def test_too_few_calibration_examples_make_sets_of_all_labels(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    grunlock("train", colours_csv, "-o", tmp_path / "run", *small("data.calibration_fraction=0.5"))
    found = read(tmp_path / "run").guarantees
    assert found is not None
    assert (found.num_examples, found.quantiles["lac"][0.9]) == (4, math.inf)
    shown = grunlock("predict", tmp_path / "run", "-t", "the red house", "--sets", 0.9)
    assert sorted(shown.out.split("\t")[2].split(", ")) == sorted(COLOURS)
    assert "too few calibration examples for this coverage" in grunlock("evaluate", tmp_path / "run").out


def test_predict_to_every_output(grunlock: CommandLine, promising: Path, tmp_path: Path) -> None:
    data = write_table(tmp_path / "new.csv", [*colour_rows(20, offset=900), ("red", "red green blue")])
    asked = ("--sets", 0.99, "--max-error", 0.05)
    lines = [line.split("\t") for line in grunlock("predict", promising, data, *asked).out.splitlines()]
    assert {len(line) for line in lines} == {4}
    grunlock("predict", promising, data, *asked, "-o", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [line[0] for line in lines]
    assert [json.loads(row["label_set"]) for row in rows] == [line[2].split(", ") for line in lines]
    grunlock("predict", promising, data, *asked, "-o", tmp_path / "out.jsonl")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["label"] for record in records] == [row["label"] for row in rows]
    assert [record["label_set"] for record in records] == [json.loads(row["label_set"]) for row in rows]
    model = load(promising)
    texts = [line[3] for line in lines]
    answers = model.predict_or_abstain(texts, 0.05)  # type: ignore[arg-type]
    assert [answer or "" for answer in answers] == [line[0] for line in lines]


def test_predict_refuses_what_the_model_cannot_promise(
    grunlock: CommandLine, model: Path, tmp_path: Path
) -> None:
    for asked in (("--sets", 0.9), ("--max-error", 0.05)):
        done = grunlock("predict", model, "-t", "red", *asked, "-o", tmp_path / "out.csv")
        assert done.code == 1
        assert "--set data.calibration_fraction=0.3" in done.err
        assert not (tmp_path / "out.csv").exists()


def test_evaluate_shows_what_was_kept(grunlock: CommandLine, promising: Path, model: Path) -> None:
    shown = grunlock("evaluate", promising).out
    assert "sets of labels" in shown
    assert "cannot promise" in shown
    result = json.loads(grunlock("evaluate", promising, "--json").out)
    sets = {(row["method"], row["promised_coverage"]): row for row in result["sets"]}
    assert len(sets) == 8
    assert sets["lac", 0.9]["coverage"] > 0.8
    assert 1 <= sets["lac", 0.9]["mean_size"] <= 3
    rates = {row["max_error"]: row for row in result["abstention"]}
    assert not rates[0.01]["can_promise"]
    assert rates[0.1]["answered_fraction"] > 0.5
    assert rates[0.1]["error"] <= 0.1
    of_file = json.loads(grunlock("evaluate", promising, promising.parent / "colours.csv", "--json").out)
    assert len(of_file["sets"]) == 8
    assert "sets" not in json.loads(grunlock("evaluate", model, "--json").out)


def test_series_promise_as_texts_do(grunlock: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "slopes.csv").write_text(long_table(slopes(300)))
    settings = [*SMALL_SERIES, "encoder.hidden_size=12", "training.epochs=6", "optim.lr=0.02", *HELD_OUT]
    run = train(tmp_path / "slopes.csv", read_recipe("series", settings), tmp_path / "run").folder
    model = load(run)
    assert isinstance(model, SeriesClassifier)
    rows = slopes(90, offset=900)
    sets = model.predict_set([values for _, values in rows], coverage=0.9)
    assert np.mean([label in found for (label, _), found in zip(rows, sets, strict=True)]) > 0.8
    assert len(model.predict_or_abstain([values for _, values in rows], max_error=0.1)) == 90
    shown = grunlock("predict", run, tmp_path / "slopes.csv", "--sets", 0.9, "--max-error", 0.1)
    assert shown.code == 0, shown.err
    assert {len(line.split("\t")) for line in shown.out.splitlines()} == {4}
    assert len(json.loads(grunlock("evaluate", run, "--json").out)["sets"]) == 8


def test_promises_need_no_library_of_training(promising: Path) -> None:
    asked = SERVING.replace(
        "model.predict_proba(texts)",
        "(model.predict_set(texts), model.predict_or_abstain(texts, 0.05)) and model.predict_proba(texts)",
    )
    done = python("-c", asked, promising / "model.grunlock", *FORBIDDEN)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["loaded"] == []
