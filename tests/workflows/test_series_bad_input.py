"""Series that cannot be learned from are refused in words and leave nothing; odd ones are noted."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from grunlock import load
from grunlock.errors import DataError
from grunlock.recipe import read_recipe
from grunlock.training.run import train
from tests.workflows.conftest import CommandLine, small
from tests.workflows.series_data import (
    SMALL_SERIES,
    Labelled,
    long_table,
    slopes,
    small_series,
    write_npz,
    write_ts,
)

TABLE = long_table(slopes(30))
Refused = Callable[..., str]


@pytest.fixture
def refused(grunlock: CommandLine, tmp_path: Path) -> Refused:
    """Train on a file and return the message; the refusal must leave no half-made run behind."""

    def run(
        content: str | Path,
        *settings: str,
        arguments: Callable[..., list[str]] = small_series,
        valid: Path | None = None,
    ) -> str:
        data = content
        if isinstance(content, str):
            data = tmp_path / "data.csv"
            data.write_text(content)
        before = sorted(tmp_path.iterdir())
        beside = [] if valid is None else ["--valid", valid]
        done = grunlock("train", data, "-o", tmp_path / "run", *arguments(*settings), *beside)
        assert done.code == 1, done.out
        assert "Traceback" not in done.err
        assert sorted(tmp_path.iterdir()) == before
        return done.err

    return run


@pytest.fixture(scope="module")
def series_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untaught model to read files with; its training had no missing value."""
    folder = tmp_path_factory.mktemp("series")
    (folder / "data.csv").write_text(TABLE)
    return train(folder / "data.csv", read_recipe("series", SMALL_SERIES), folder / "run").folder


def changed(place: int, values: np.ndarray, series: Labelled | None = None) -> Labelled:
    found = list(slopes(30) if series is None else series)
    found[place] = (found[place][0], values.astype(np.float32))
    return found


# ---- time ------------------------------------------------------------------------------------------


def test_time_that_falls(refused: Refused) -> None:
    lines = TABLE.splitlines()
    lines[2], lines[3] = lines[3], lines[2]
    message = refused("\n".join(lines) + "\n")
    assert "The time of a series does not rise." in message
    assert "data.csv, series s0, row 3" in message
    assert "got:      t = 1, after 2 in row 2" in message
    assert "expected: each step of a series later than the one before it" in message
    assert "cure:     sort the file by id and t" in message


def test_two_steps_at_one_time(refused: Refused) -> None:
    lines = TABLE.splitlines()
    message = refused("\n".join([*lines, lines[-1]]) + "\n")
    assert "A series has two steps at the same time." in message
    assert f"series s29, row {len(lines)}" in message
    assert "remove one of the two rows, or give repeated recordings ids of their own" in message


# ---- channels --------------------------------------------------------------------------------------


def test_a_channel_missing_in_some_series(grunlock: CommandLine, tmp_path: Path) -> None:
    values = slopes(30)[4][1].copy()
    values[:, 1] = np.nan
    (tmp_path / "data.csv").write_text(long_table(changed(4, values)))
    settings = small_series("data.test_fraction=0", "data.split_seed=1")
    done = grunlock("train", tmp_path / "data.csv", "-o", tmp_path / "run", *settings)
    assert done.code == 0, done.err
    assert "train: channel noise is missing in all steps of 1 of 30 series" in done.out
    front_end = json.loads((tmp_path / "run" / "data" / "series.json").read_text())
    assert front_end["standardization"]["indicators"] == [1]
    assert len(grunlock("predict", tmp_path / "run", tmp_path / "data.csv").out.splitlines()) == 30


def test_a_channel_missing_in_a_file_to_predict(
    grunlock: CommandLine, series_run: Path, tmp_path: Path
) -> None:
    data = tmp_path / "new.csv"
    data.write_text(long_table(slopes(3), channels=("height", "niose")))
    for command in ("predict", "evaluate"):
        done = grunlock(command, series_run, data)
        assert done.code == 1
        assert "There is no such channel column." in done.err
        assert "new.csv" in done.err
        assert "got:      noise" in done.err
        assert "expected: one of: id, t, label, height, niose" in done.err
        assert "cure:     did you mean niose?" in done.err
    other = write_npz(tmp_path / "new.npz", slopes(3), channels=("noise", "height"))
    done = grunlock("predict", series_run, other)
    assert "got:      2: noise, height\n  expected: 2: height, noise, as in the model" in done.err
    assert "put the channels into the same order" in done.err
    done = grunlock(
        "predict", series_run, write_npz(tmp_path / "one.npz", [("up", np.ones((4, 1)))], ["height"])
    )
    assert "got:      1: height" in done.err


def test_constant_channels_are_noted(grunlock: CommandLine, tmp_path: Path) -> None:
    constant = [(label, values * np.float32([1, 0]) + np.float32([0, 7])) for label, values in slopes(30)]
    data = write_npz(tmp_path / "data.npz", constant)
    done = grunlock("train", data, "-o", tmp_path / "run", *small_series())
    assert done.code == 0, done.err
    assert "channel noise is constant: its scale is 1" in done.out
    assert "accuracy" in grunlock("evaluate", tmp_path / "run", data).out


def test_channels_named_twice_or_not_there(refused: Refused) -> None:
    message = refused(TABLE, 'data.channels=["height", "height"]')
    assert "where:    data.channels" in message
    assert "each channel at most once, got ['height', 'height']" in message
    message = refused(TABLE, "data.channels=height")
    assert "got:      'height'" in message
    assert 'expected: a list such as ["a", "b"]' in message
    message = refused(TABLE, 'data.channels=["hight", "noise"]')
    assert "got:      hight" in message
    assert "did you mean height?" in message
    message = refused(TABLE, 'data.channels=["height", "label"]', "data.label_column=label")
    assert "One column is named for two roles." in message


# ---- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["inf", "-Infinity"])
def test_infinite_values_in_a_table(
    cell: str, refused: Refused, grunlock: CommandLine, series_run: Path, tmp_path: Path
) -> None:
    lines = TABLE.splitlines()
    lines[6] = lines[6].rpartition(",")[0] + f",{cell}"
    message = refused("\n".join(lines) + "\n")
    predicted = grunlock("predict", series_run, tmp_path / "data.csv", "-o", tmp_path / "out.csv")
    assert predicted.code == 1
    assert not (tmp_path / "out.csv").exists()
    for text in (message, predicted.err):
        assert "A value is infinite." in text
        assert "data.csv, series s1, row 6, column noise" in text
        assert f"got:      {cell!r}" in text
        assert "a finite number, or an empty cell where it is missing" in text


def test_infinite_values_in_arrays(
    refused: Refused, grunlock: CommandLine, series_run: Path, tmp_path: Path
) -> None:
    data = write_npz(tmp_path / "data.npz", changed(3, np.where(slopes(4)[3][1] > 0, np.inf, 1)))
    done = grunlock("evaluate", series_run, data)
    for text in (refused(data), done.err):
        assert "A value is infinite." in text
        assert "data.npz, X[3, " in text
        assert "a finite number, or NaN where it is missing" in text


def test_values_that_no_training_series_is_near(
    refused: Refused, grunlock: CommandLine, tmp_path: Path
) -> None:
    """A mark of missing values, left as it is, is found before the first step of training."""
    small_values = [(label, values / 100) for label, values in slopes(30)]
    far = tmp_path / "far.csv"
    far.write_text(long_table(changed(4, np.full((3, 2), 3.4e38), slopes(9))))
    message = refused(long_table(small_values), valid=far)
    done = grunlock("train", tmp_path / "data.csv", "-o", tmp_path / "run", *small_series())
    assert done.code == 0, done.err
    for text in (message, grunlock("predict", tmp_path / "run", far).err):
        assert "A value is too far from those of training." in text
        assert "far.csv, series s4, step 1, channel " in text
        assert "check the channel's unit" in text
    with pytest.raises(DataError, match=r"series\[1\], step 3, channel noise"):
        load(tmp_path / "run").predict([np.zeros((9, 2)), np.array([[0, 0], [0, 0], [0, 3e38]])])


def test_a_value_that_is_no_number(refused: Refused) -> None:
    message = refused(TABLE.replace("\n", "\ns99,0,up,high,3\n", 1))
    assert "A value is not a number." in message
    assert "series s99, row 1, column height" in message
    assert "got:      'high'" in message
    assert """--set 'data.channels=["noise"]'""" in message


def test_series_of_one_step_are_learned_from(grunlock: CommandLine, tmp_path: Path) -> None:
    single = [(label, values[-1:]) for label, values in slopes(30)]
    (tmp_path / "data.csv").write_text(long_table(single))
    settings = small_series("series.changes=true", "series.each_alone=true", "series.slicing=0.5")
    done = grunlock("train", tmp_path / "data.csv", "-o", tmp_path / "run", *settings)
    assert done.code == 0, done.err
    assert "train: 30 series have a single step" in done.out
    assert grunlock("evaluate", tmp_path / "run").code == 0
    assert load(tmp_path / "run").predict_proba([single[0][1]]).shape == (1, 3)


def test_series_without_a_step_or_a_value(
    refused: Refused, grunlock: CommandLine, series_run: Path, tmp_path: Path
) -> None:
    series = changed(5, np.empty((0, 2)))
    series = changed(8, np.full((3, 2), np.nan), series)
    data = write_npz(tmp_path / "data.npz", series)
    done = grunlock("predict", series_run, data)
    assert done.code == 1
    for text in (refused(data), done.err):
        assert "got:      2 problems" in text
        assert "1 series has no step." in text
        assert "data.npz, series X[5]" in text
        assert "1 series has no value." in text
        assert "data.npz, series X[8]" in text
        assert "every value is missing" in text
        assert "remove these series" in text
    message = refused("id,t,label,height\n" + "a,0,up,\na,1,up,NA\nb,0,down,1\n")
    assert "data.csv, series a" in message


# ---- labels ----------------------------------------------------------------------------------------


def test_a_label_only_in_test(refused: Refused, grunlock: CommandLine, tmp_path: Path) -> None:
    data = write_ts(tmp_path / "slopes_TRAIN.ts", [one for one in slopes(30) if one[0] != "up"])
    write_ts(tmp_path / "slopes_TEST.ts", slopes(6, offset=50))
    message = refused(data)
    assert "The test split has labels that the training split lacks." in message
    assert "slopes_TEST.ts" in message
    assert "got:      up (2 series)" in message
    assert "expected: one of: down, flat" in message
    assert "--set data.unseen_labels=keep" in message
    keep = ["data.unseen_labels=keep", "training.epochs=8", "optim.lr=0.02"]
    done = grunlock("train", data, "-o", tmp_path / "run", *small_series(*keep))
    assert done.code == 0, done.err
    result = json.loads(grunlock("evaluate", tmp_path / "run", "--json").out)
    up = next(row for row in result["classes"] if row["label"] == "up")
    assert (result["num_examples"], up["support"], up["recall"]) == (6, 2, 0.0)


def test_an_unknown_label_in_evaluation(grunlock: CommandLine, series_run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(long_table([("upp", slopes(1)[0][1]), *slopes(3)]))
    done = grunlock("evaluate", series_run, tmp_path / "new.csv")
    assert done.code == 1
    for part in ("unknown to the model", "new.csv", "upp (1 series)", "down, flat, up", "did you mean up?"):
        assert part in done.err
    assert grunlock("predict", series_run, tmp_path / "new.csv").code == 0


def test_labels_that_are_missing_or_change(refused: Refused) -> None:
    message = refused(TABLE.replace("s3,0,down", "s3,0,up"))
    assert "The label changes inside a series." in message
    assert "got:      'down'" in message
    assert "expected: 'up', as in row" in message
    message = refused(TABLE.replace("down", ""))
    assert "10 series have no label." in message
    assert "series s0, s3, s6, s9, s12 and more" in message


# ---- the wrong kind --------------------------------------------------------------------------------


def test_texts_for_a_recipe_of_series(refused: Refused, grunlock: CommandLine, series_run: Path) -> None:
    message = refused("label,text\n" + "red,a red house\nblue,a blue car\n" * 20)
    assert "No column holds the series ids." in message
    assert "got:      columns: label, text" in message
    assert 'texts are read by the recipe "default"' in message
    done = grunlock("predict", series_run, "--text", "a red house")
    assert done.code == 1
    assert "The model reads numeric series, not texts." in done.err
    assert "expected: series of the channels height, noise" in done.err
    assert "cure:     grunlock predict RUN FILE, with a file of series" in done.err
    done = grunlock("predict", series_run, "x.csv", "--text-column", "text")
    assert "where:    data.text_column" in done.err
    assert "expected: data.id_column, data.time_column" in done.err
    done = grunlock("predict", series_run, "x.csv", "--set", 'data.channels=["height"]')
    assert "except for how a file is read" in done.err


def test_series_for_a_recipe_of_texts(
    refused: Refused, grunlock: CommandLine, model: Path, tmp_path: Path
) -> None:
    data = write_npz(tmp_path / "data.npz", slopes(9))
    for message in (refused(data, arguments=small), grunlock("predict", model, data).err):
        assert "The file's kind is not supported." in message
        assert "data.npz" in message
        assert 'numeric series are read by the recipe "series"' in message
    message = refused(TABLE, arguments=small)
    assert "It is not clear which column holds the texts." in message
    assert 'if these are numeric series: the recipe "series"' in message


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("wide.buckets=8", ('with data.kind = "series"', "wide off, it is for texts")),
        ("embedding.size=8", ('with data.kind = "series"', "embedding off, it is for texts")),
        ("text.max_tokens=8", ('with data.kind = "series"', "text off, it is for texts")),
        ("series=off", ('with data.kind = "series": series on',)),
        ("data.text_column=a", ("Unknown key.", 'data.kind = "series" has no such option (text have)')),
        ("series.jiter=0.1", ("Unknown key.", "did you mean series.jitter")),
        ("series.slicing=1.0", ("Wrong value.", "series.slicing", "less than 1")),
        ("series.jitter=-1.0", ("Wrong value.", "series.jitter", "greater than or equal to 0")),
    ],
)
def test_options_of_texts_in_a_recipe_of_series(
    setting: str, parts: tuple[str, ...], refused: Refused
) -> None:
    message = refused(TABLE, setting)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("series.jitter=0.1", ('with data.kind = "text": series off, it is for numeric series',)),
        ("embedding=off", ('with data.kind = "text": embedding on',)),
        ("data.id_column=a", ("Unknown key.", 'data.kind = "text" has no such option (series have)')),
        ("data.kind=serie", ("Unknown kind.", 'did you mean "series"?')),
    ],
)
def test_options_of_series_in_a_recipe_of_texts(
    setting: str, parts: tuple[str, ...], refused: Refused
) -> None:
    message = refused("label,text\nred,a\nblue,b\n", setting, arguments=small)
    for part in parts:
        assert part in message
