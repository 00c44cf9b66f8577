"""From training to answers before the end: what is found, kept in the file, shown and refused."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grunlock import SeriesClassifier, TextClassifier, load
from grunlock.artifact import BEFORE_REFIT_NAME, Artifact, read, save
from grunlock.compression.compress import compress
from grunlock.data import open_prepared
from grunlock.errors import CalibrationError, StreamError
from grunlock.evaluation import early_curve_file, early_curve_run
from grunlock.evaluation.splits import split_paths
from grunlock.recipe import read_recipe
from grunlock.training.run import train
from tests.conftest import COLOURS, colour_rows
from tests.workflows.conftest import CommandLine
from tests.workflows.series_data import SMALL_SERIES, long_table, slopes
from tests.workflows.test_cold_start import FORBIDDEN, SERVING, python
from tests.workflows.test_promises import HELD_OUT, LEARNED, write_table

WIDE = ["wide.training=apart", "wide.buckets=512", "training.refit=true"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 validation and 120 calibration examples, whose colours the model has learned; one label in 60 is
    another one."""
    folder = tmp_path_factory.mktemp("early")
    rows = [
        (COLOURS[(i + 1) % 3] if i % 60 == 7 else label, text)
        for i, (label, text) in enumerate(colour_rows(600))
    ]
    data = write_table(folder / "colours.csv", rows)
    return train(data, read_recipe("tiny", [*LEARNED, *HELD_OUT, *WIDE]), folder / "run").folder


def text_model(run: Path) -> TextClassifier:
    model = load(run)
    assert isinstance(model, TextClassifier)
    return model


def test_a_colour_is_seen_before_the_end(run: Path) -> None:
    model, right, early = text_model(run), [], []
    for label, text in colour_rows(60, offset=900):
        stream = model.stream(max_error=0.1)
        for piece in f"{text} and so on and on":
            stream.feed(piece)
            if stream.decided:
                break
        stream.finish()
        assert stream.decided
        right.append(stream.answer == label)
        words = text.split()
        early.append(stream.decided_at <= words.index(label) + 1)
    assert np.mean(right) > 0.9
    assert np.mean(early) > 0.5


def test_what_is_found_is_in_the_file(run: Path, tmp_path: Path) -> None:
    artifact = read(run)
    assert len(artifact.step_temperatures) == 3  # after 1, 2, 4 steps
    assert artifact.guarantees is not None
    assert set(artifact.guarantees.early or ()) == {0.01, 0.02, 0.05, 0.1}
    save(artifact, tmp_path / "again.grunlock")
    again = read(tmp_path / "again.grunlock")
    assert (again.step_temperatures, again.guarantees) == (artifact.step_temperatures, artifact.guarantees)


def test_promises_of_a_refit_come_from_temperatures_that_have_not_seen_its_calibration_split(
    run: Path,
) -> None:
    before, after = read(run / BEFORE_REFIT_NAME), read(run)
    assert before.guarantees is not None
    assert after.guarantees is not None
    assert after.guarantees.temperature == before.guarantees.temperature != before.temperature
    assert after.step_temperatures == before.step_temperatures


def test_a_file_of_an_older_version_streams_without_early_decisions(run: Path, tmp_path: Path) -> None:
    artifact = read(run)
    assert artifact.guarantees is not None
    older = replace(artifact, step_temperatures=(), guarantees=replace(artifact.guarantees, early=None))
    save(older, tmp_path / "older.grunlock")
    with zipfile.ZipFile(tmp_path / "older.grunlock") as archive:
        assert b"step_temperatures" not in archive.read("calibration.json")
    model = text_model(tmp_path / "older.grunlock")
    stream = model.stream()
    stream.feed("the red house")
    np.testing.assert_allclose(stream.outlook, model.predict_proba(["the red house"])[0], atol=1e-6)
    with pytest.raises(CalibrationError, match="not calibrated for early decisions"):
        model.stream(max_error=0.1)


def test_calibration_that_is_off_stays_off(colours_csv: Path, tmp_path: Path) -> None:
    settings = [*LEARNED, *HELD_OUT, "calibration=off", "training.epochs=1"]
    artifact = train(colours_csv, read_recipe("tiny", settings), tmp_path / "run").artifact
    assert artifact.step_temperatures == ()
    assert artifact.guarantees is not None
    assert artifact.guarantees.early is not None


def test_a_model_that_needs_the_whole_has_none_of_it(
    grunlock: CommandLine, colours_csv: Path, tmp_path: Path
) -> None:
    settings = [*LEARNED, *HELD_OUT, "encoder.bidirectional=true", "training.epochs=1"]
    done = train(colours_csv, read_recipe("tiny", settings), tmp_path / "run")
    assert done.artifact.step_temperatures == ()
    assert done.artifact.guarantees is not None
    assert done.artifact.guarantees.early is None
    model = text_model(done.folder)
    with pytest.raises(StreamError, match=r"--set encoder.bidirectional=false"):
        model.stream()
    with pytest.raises(StreamError, match=r"--set encoder.bidirectional=false"):
        early_curve_run(done.folder, "valid")
    shown = grunlock("evaluate", done.folder, "--early")
    assert shown.code == 1
    assert "train with --set encoder.bidirectional=false" in shown.err


def test_a_smaller_model_decides_early_too(run: Path) -> None:
    small = compress(run, 20_000).artifact
    assert small.step_temperatures
    assert small.guarantees is not None
    assert small.guarantees.early is not None
    assert small.guarantees.temperature != small.temperature


def test_the_curve_of_a_split_and_of_a_file(run: Path, tmp_path: Path) -> None:
    found = early_curve_run(run, "valid")
    assert found.num_examples == 120
    accuracies = [row.accuracy for row in found.shares]
    assert accuracies[0] < 0.7 < 0.9 < accuracies[-1]
    assert found.shares[2].nll < found.shares[2].plain_nll + 0.02
    rates = {row.max_error: row for row in found.decisions}
    assert rates[0.01].can_promise is False
    assert rates[0.1].can_promise
    assert rates[0.1].share_read < 0.9
    assert rates[0.1].error is not None
    assert rates[0.1].error < 0.1
    new = write_table(tmp_path / "new.csv", colour_rows(60, offset=900))
    of_file = early_curve_file(run, new)
    model = text_model(run)
    rows = colour_rows(60, offset=900)
    assert of_file.num_examples == 60
    right = [model.predict([text])[0] == label for label, text in rows]
    assert of_file.shares[-1].accuracy == pytest.approx(np.mean(right))
    halves = [" ".join(text.split()[: -(-len(text.split()) // 2)]) for _, text in rows]
    right = [answer == label for answer, (label, _) in zip(model.predict(halves), rows, strict=True)]
    assert of_file.shares[4].accuracy == pytest.approx(np.mean(right))


def test_the_command(grunlock: CommandLine, run: Path, model: Path, tmp_path: Path) -> None:
    shown = grunlock("evaluate", run, "--early")
    assert shown.code == 0, shown.err
    assert "early decisions" in shown.out
    assert "cannot promise" in shown.out
    result = json.loads(grunlock("evaluate", run, "--early", "--split", "valid", "--json").out)
    assert result == early_curve_run(run, "valid").to_dict()
    assert [row["share"] for row in result["shares"]][::9] == [0.1, 1.0]
    new = write_table(tmp_path / "new.csv", colour_rows(30, offset=900))
    of_file = json.loads(grunlock("evaluate", run, new, "--early", "--json").out)
    assert of_file["num_examples"] == 30
    assert "need a model trained with data.calibration_fraction" in grunlock("evaluate", model, "--early").out


def test_series_as_texts(grunlock: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "slopes.csv").write_text(long_table(slopes(400)))
    settings = [*SMALL_SERIES, "encoder.hidden_size=12", "training.epochs=6", "optim.lr=0.02", *HELD_OUT]
    forward = ["encoder.bidirectional=false", "stem=off", "series.each_alone=false"]
    run = train(
        tmp_path / "slopes.csv", read_recipe("series", [*settings, *forward]), tmp_path / "run"
    ).folder
    model = load(run)
    assert isinstance(model, SeriesClassifier)
    stream = model.stream()
    _, values = slopes(1, offset=950)[0]
    for step in values:
        stream.feed(step)
    np.testing.assert_allclose(stream.probabilities, model.predict_proba([values])[0], atol=1e-5)
    found = early_curve_run(run, "valid")
    assert found.shares[-1].accuracy > found.shares[0].accuracy
    of_file = early_curve_file(run, tmp_path / "slopes.csv")
    assert of_file.num_examples == 400
    assert grunlock("evaluate", run, tmp_path / "slopes.csv", "--early").code == 0


def test_streams_need_no_library_of_training(run: Path) -> None:
    asked = SERVING.replace(
        "probs = model.predict_proba(texts).tolist()",
        "stream = model.stream(max_error=0.1)\nstream.feed('the red house')\nstream.finish()\n"
        "assert stream.answer == 'red'\nprobs = stream.probabilities.tolist()",
    )
    done = python("-c", asked, run / "model.grunlock", *FORBIDDEN)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["loaded"] == []


def test_an_artifact_can_be_made_without_temperatures(artifact: Artifact) -> None:
    assert artifact.classifier().step_temperatures == ()


def test_paths_of_some_examples_are_those_of_all(run: Path) -> None:
    network, store = read(run).network(), open_prepared(run / "data").valid
    paths = dict(split_paths(network, store))
    assert sorted(paths) == list(range(120))
    some = dict(split_paths(network, store, 50))
    assert len(some) == 50
    assert np.ptp(list(some)) > 110
    for example, logits in some.items():
        assert len(logits) == store.lengths[example]
        np.testing.assert_allclose(logits, paths[example], atol=3e-6)
