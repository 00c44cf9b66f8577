"""Numeric series from file to prediction, as a user types the commands."""

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from grunlock import GRUClassifier, SeriesClassifier, load
from grunlock.errors import DataError, NotFittedError, RecipeError, RunInterruptedError
from grunlock.recipe import read_recipe
from grunlock.training.events import Event, StepDone
from grunlock.training.run import RunOptions, train
from tests.workflows.conftest import CommandLine
from tests.workflows.series_data import (
    CHANNELS,
    SLOPES,
    SMALL_SERIES,
    Labelled,
    long_table,
    slopes,
    small_series,
    write_npz,
    write_ts,
)
from tests.workflows.test_cold_start import FORBIDDEN, SERVING, python

AUGMENTED = ["series.jitter=0.1", "series.scaling=0.1", "series.slicing=0.2", "series.masking=0.2"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A long-format table of 45 series in three classes."""
    path = tmp_path / "slopes.csv"
    path.write_text(long_table(slopes(45)))
    return path


@pytest.fixture(scope="module")
def series_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder to read from that has learned the slopes."""
    folder = tmp_path_factory.mktemp("series")
    (folder / "slopes.csv").write_text(long_table(slopes(90)))
    settings = ["encoder.hidden_size=12", "batches.size=8", "training.epochs=10", "optim.lr=0.02"]
    recipe = read_recipe("series", [*settings, "series.changes=true"])
    return train(folder / "slopes.csv", recipe, folder / "run").folder


# ---- train -----------------------------------------------------------------------------------------


def test_a_long_table(grunlock: CommandLine, table: Path, tmp_path: Path) -> None:
    done = grunlock("train", table, "-o", tmp_path / "run", *small_series())
    assert (done.code, done.err) == (0, "")
    assert "id → id, t → time, label → label, channels height, noise; guessed by name" in done.out
    assert "examples: train 37, valid 4 (cut from train), test 4 (cut from train)" in done.out
    assert f"next      grunlock evaluate {tmp_path}/run\n" in done.out


def test_named_columns_and_chosen_channels(grunlock: CommandLine, tmp_path: Path) -> None:
    lines = long_table(slopes(30)).replace("id,t,label", "patient,minute,diagnosis", 1)
    (tmp_path / "a.csv").write_text(lines)
    columns = ["id_column=patient", "time_column=minute", "label_column=diagnosis", 'channels=["height"]']
    named = [f"data.{column}" for column in columns]
    done = grunlock("train", tmp_path / "a.csv", "-o", tmp_path / "run", *small_series(*named))
    assert done.code == 0, done.err
    assert "guessed" not in done.out
    assert load(tmp_path / "run").channels == ("height",)
    done = grunlock("evaluate", tmp_path / "run", tmp_path / "a.csv")
    assert "--set data.id_column=..." in done.err
    given = [f"--set={column}" for column in named[:3]]
    assert grunlock("evaluate", tmp_path / "run", tmp_path / "a.csv", *given).code == 0


def test_npz_chooses_its_recipe(grunlock: CommandLine, tmp_path: Path) -> None:
    data = write_npz(tmp_path / "slopes.npz", slopes(45))
    done = grunlock("train", data, "-o", tmp_path / "run", *small_series(recipe=False))
    assert done.code == 0, done.err
    assert read_recipe(tmp_path / "run").name == "series"
    assert load(tmp_path / "run").channels == CHANNELS
    result = json.loads(grunlock("evaluate", tmp_path / "run", data, "--json").out)
    assert result["num_examples"] == 45
    assert len(grunlock("predict", tmp_path / "run", data).out.splitlines()) == 45


def test_a_pair_of_ts_files(grunlock: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_ts(tmp_path / "slopes_TRAIN.ts", slopes(30))
    write_ts(tmp_path / "slopes_TEST.ts", slopes(12, offset=100))
    done = grunlock("train", "slopes_TRAIN.ts", *small_series(recipe=False))
    assert done.code == 0, done.err
    assert "slopes_TRAIN.ts → train, slopes_TEST.ts → test" in done.out
    assert "examples: train 27, valid 3 (cut from train), test 12" in done.out
    run = next((tmp_path / "runs").iterdir())
    assert json.loads(grunlock("evaluate", run, "--json").out)["num_examples"] == 12
    assert len(grunlock("predict", run, "slopes_TEST.ts").out.splitlines()) == 12


def test_the_files_of_three_kinds_teach_the_same(grunlock: CommandLine, tmp_path: Path) -> None:
    """One data set in three files: the same splits, and models that answer alike."""
    rounded = [(label, values.round(4)) for label, values in slopes(30)]
    (tmp_path / "a.csv").write_text(long_table(rounded))
    sources = [
        tmp_path / "a.csv",
        write_npz(tmp_path / "b.npz", rounded),
        write_ts(tmp_path / "c.ts", rounded),
    ]
    found = []
    for source in sources:
        run = tmp_path / f"run of {source.name}"
        assert grunlock("train", source, "-o", run, *small_series()).code == 0
        found.append(load(run).predict_proba([values for _, values in rounded]))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


# ---- evaluate and predict --------------------------------------------------------------------------


def test_evaluate_own_split_and_file(grunlock: CommandLine, series_run: Path, tmp_path: Path) -> None:
    own = grunlock("evaluate", series_run)
    assert "9 examples" in own.out
    assert "confusion" in own.out
    data = tmp_path / "more.csv"
    data.write_text(long_table(slopes(30, offset=300)))
    result = json.loads(grunlock("evaluate", series_run, data, "--json").out)
    assert result["num_examples"] == 30
    assert result["accuracy"] > 0.9
    assert [row["label"] for row in result["classes"]] == sorted(SLOPES)


def test_predict_to_every_output(grunlock: CommandLine, series_run: Path, tmp_path: Path) -> None:
    data, series = tmp_path / "new.csv", slopes(6, offset=500)
    data.write_text(long_table(series, first=7))
    lines = [line.split("\t") for line in grunlock("predict", series_run, data).out.splitlines()]
    labels = [label for label, _ in series]
    assert [(label, series_id) for label, _, series_id in lines] == [
        (label, f"s{i}") for i, label in enumerate(labels, start=7)
    ]
    assert grunlock("predict", series_run, data, "-o", tmp_path / "out.csv").out == ""
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["series"], row["label"]) for row in rows] == [(line[2], line[0]) for line in lines]
    assert list(rows[0]) == ["series", "label", "probability"]
    grunlock("predict", series_run, data, "-o", tmp_path / "out.jsonl")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["label"] for record in records] == labels
    for record, row in zip(records, rows, strict=True):
        assert sum(record["probs"].values()) == pytest.approx(1, abs=1e-5)
        assert record["probability"] == max(record["probs"].values())
        assert float(row["probability"]) == pytest.approx(record["probability"], abs=1e-6)


def test_columns_that_the_model_does_not_read_are_left(
    grunlock: CommandLine, series_run: Path, tmp_path: Path
) -> None:
    """Other columns, in another order and without labels, give the same answers."""
    (tmp_path / "a.csv").write_text(long_table(slopes(6, offset=500)))
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "b.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["remark", "noise", "t", "height", "id"])
        writer.writerows([f"read {i}", r["noise"], r["t"], r["height"], r["id"]] for i, r in enumerate(rows))
    expected = grunlock("predict", series_run, tmp_path / "a.csv")
    assert grunlock("predict", series_run, tmp_path / "b.csv").out == expected.out != ""


# ---- the same again --------------------------------------------------------------------------------


def test_resume_goes_on_with_the_same_augmentation(
    grunlock: CommandLine, table: Path, tmp_path: Path
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 7:
            signal.raise_signal(signal.SIGINT)

    recipe = read_recipe("series", [*SMALL_SERIES, *AUGMENTED, "training.epochs=3"])
    whole = train(table, recipe, tmp_path / "whole")
    with pytest.raises(RunInterruptedError, match="Stopped after step 7"):
        train(table, recipe, tmp_path / "run", options=RunOptions(listeners=(interrupt,)))
    done = grunlock("train", "--resume", tmp_path / "run")
    assert done.code == 0
    assert "resumed after step 7" in done.out
    assert whole.artifact_sha256 in done.out


def test_a_seed_decides_everything(table: Path, tmp_path: Path) -> None:
    def sha256(name: str, *overrides: str) -> str:
        recipe = read_recipe("series", [*SMALL_SERIES, *AUGMENTED, *overrides])
        return train(table, recipe, tmp_path / name).artifact_sha256

    assert sha256("a") == sha256("b") != sha256("c", "seed=1")


def test_from_continues_a_model(grunlock: CommandLine, series_run: Path, tmp_path: Path) -> None:
    jumps: Labelled = [("jump", values * np.float32(-1) ** np.arange(len(values))[:, None] * 9)
                       for _, values in slopes(15, offset=900)]  # fmt: skip
    (tmp_path / "new.csv").write_text(long_table([*slopes(30, offset=700), *jumps]))
    settings = ["--set", "training.epochs=2", "--set", "series.jitter=0.05"]
    done = grunlock("train", tmp_path / "new.csv", "--from", series_run, "-o", tmp_path / "run", *settings)
    assert done.code == 0, done.err
    shutil.copy(tmp_path / "run" / "model.grunlock", tmp_path / "moved.grunlock")
    model, base = load(tmp_path / "moved.grunlock"), load(series_run)
    assert isinstance(model, SeriesClassifier)
    assert isinstance(base, SeriesClassifier)
    assert model.labels == ("down", "flat", "up", "jump")
    assert model.front_end.to_json() == base.front_end.to_json()
    series = [values for _, values in slopes(9, offset=1000)]
    assert model.predict(series) == base.predict(series)
    changed = ["--set", "series.changes=false"]
    done = grunlock("train", tmp_path / "new.csv", "--from", series_run, "-o", tmp_path / "b", *changed)
    assert (done.code, "where:    series\n" in done.err) == (1, True)


def test_from_refuses_another_kind_of_data_and_other_channels(
    grunlock: CommandLine, series_run: Path, model: Path, colours_csv: Path, tmp_path: Path
) -> None:
    for base, recipe, data in ((series_run, "tiny", colours_csv), (model, "series", tmp_path / "a.csv")):
        done = grunlock("train", data, "--from", base, "-r", recipe, "-o", tmp_path / "run")
        assert done.code == 1
        assert "A model can only be continued on its own kind of data." in done.err
        assert "where:    data.kind" in done.err
    (tmp_path / "a.csv").write_text(long_table(slopes(30), channels=("hight", "noise")))
    done = grunlock("train", tmp_path / "a.csv", "--from", series_run, "-o", tmp_path / "run")
    assert done.code == 1
    assert "got:      2: hight, noise" in done.err
    assert "expected: 2: height, noise, as in the model" in done.err
    assert "cure:     rename hight (did you mean height?)" in done.err
    assert not (tmp_path / "run").exists()


# ---- from Python -----------------------------------------------------------------------------------


def test_arrays_are_predicted_without_torch(series_run: Path, tmp_path: Path) -> None:
    series = [values for _, values in slopes(2, offset=500)]
    np.savez(tmp_path / "two.npz", *series)
    reading = f"import numpy as np\ntexts = list(np.load({str(tmp_path / 'two.npz')!r}).values())\n"
    code = SERVING.replace('texts = ["the red house", "a green car"]\n', reading)
    assert code != SERVING
    done = python("-c", code, series_run / "model.grunlock", *FORBIDDEN)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["loaded"] == []
    here = load(series_run)
    assert answer["labels"] == here.predict(series)
    np.testing.assert_allclose(answer["probs"], here.predict_proba(series), atol=1e-6)


def test_batches_of_a_prediction_do_not_matter(series_run: Path) -> None:
    model, series = load(series_run), [values for _, values in slopes(20)]
    apart = np.concatenate([model.predict_proba([values]) for values in series])
    np.testing.assert_allclose(model.predict_proba(series), apart, atol=1e-5)
    assert model.predict_proba([]).shape == (0, 3)


SETTINGS = {"encoder.hidden_size": 12, "batches.size": 8, "training.epochs": 10, "optim.lr": 0.02}


def test_the_estimator_on_lists_and_on_one_array() -> None:
    labels, arrays = zip(*slopes(90), strict=True)
    numbers = [{"down": -1, "flat": 0, "up": 1}[label] for label in labels]
    fitted = GRUClassifier("series", {**SETTINGS, "series.changes": True}).fit(arrays, numbers)
    assert list(fitted.classes_) == [-1, 0, 1]
    assert fitted.score([values for _, values in slopes(30, offset=300)], numbers[:30]) > 0.9
    even = np.stack([values[:4] for values in arrays])
    small = {**SETTINGS, "training.epochs": 1}
    whole = GRUClassifier("series", small).fit(even, labels)
    listed = GRUClassifier("series", small).fit(list(even), labels)
    assert whole.predict_proba(even).shape == (90, 3)
    np.testing.assert_array_equal(whole.predict_proba(even), listed.predict_proba(list(even)))
    single = GRUClassifier("series", small).fit(even[:, :, 0], labels)
    assert single.classifier_.channels == ("channel1",)
    np.testing.assert_array_equal(single.predict(even[:, :, 0]), single.predict(even[:, :, :1]))


def test_the_estimator_says_what_is_wrong() -> None:
    labels, arrays = (list(column) for column in zip(*slopes(30), strict=True))
    small = GRUClassifier("series", {**SETTINGS, "training.epochs": 1})
    with pytest.raises(NotFittedError, match=r"call fit"):
        small.predict(arrays)
    with pytest.raises(DataError, match=r"30 examples, labels of shape \(29,\)"):
        small.fit(arrays, labels[:-1])
    with pytest.raises(DataError, match=r"X\[29\](.|\n)*1 channels(.|\n)*2, as X\[0\] has"):
        small.fit([*arrays[:-1], arrays[0][:, :1]], labels)
    with pytest.raises(DataError, match=r"not an array(.|\n)*X\[0\](.|\n)*\"default\""):
        small.fit(["some text"] * 30, labels)
    broken = [*arrays[:3], arrays[3][:0], np.where(arrays[4] > 100, 0, np.inf), *arrays[5:]]
    with pytest.raises(DataError, match=r"2 problems(.|\n)*no step(.|\n)*X, series 3(.|\n)*infinite"):
        small.fit(broken, labels)
    with pytest.raises(
        DataError, match=r"recipe is for texts(.|\n)*an array(.|\n)*GRUClassifier\(\"series\"\)"
    ):
        GRUClassifier("default").fit(arrays, labels)
    with pytest.raises(RecipeError, match=r"wide off, it is for texts"):
        GRUClassifier("series", {"wide.buckets": 64}).fit(arrays, labels)
    small.fit(arrays, labels)
    with pytest.raises(DataError, match=r"series\[1\](.|\n)*\[5, 1\](.|\n)*\[steps, 2\]: channel1, channel2"):
        small.predict([arrays[0], arrays[1][:, :1]])
    with pytest.raises(DataError, match=r"pass \[series\]"):
        small.predict(arrays[0])
    with pytest.raises(DataError, match=r"not an array of numbers(.|\n)*series\[0\](.|\n)*some text"):
        small.predict(["some text"])
