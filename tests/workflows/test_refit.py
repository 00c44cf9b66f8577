"""When all is chosen, validation examples are learned from too, and nothing is scored on them then."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import BEFORE_REFIT_NAME, read
from grunlock.data.prepared import open_prepared
from grunlock.data.store import TokenStore
from grunlock.errors import RunError, RunInterruptedError
from grunlock.evaluation import evaluate_run, run_answers
from grunlock.recipe import derived as derived_values
from grunlock.recipe import read_recipe
from grunlock.training.events import EpochDone, Event, RunStarted, StepDone
from grunlock.training.loop import Trainer
from grunlock.training.refit import refit_trainer
from grunlock.training.run import RunOptions, resume, train
from grunlock.training.start import build_start, derive_for

SETTINGS = [
    "embedding.size=8",
    "encoder.hidden_size=6",
    "training.epochs=5",
    "training.refit=true",
    "training.checkpoint_every_steps=2",
    "batches.size=8",
]


def test_scores_are_those_of_the_model_before(colours_csv: Path, tmp_path: Path) -> None:
    result = train(colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "run")
    before, after = read(tmp_path / "run" / BEFORE_REFIT_NAME), read(tmp_path / "run")
    assert not before.derived.refit
    assert after.derived.refit
    assert not np.array_equal(before.weights["head.weight"], after.weights["head.weight"])
    assert (after.temperature, after.metrics) == (before.temperature, before.metrics)
    assert evaluate_run(tmp_path / "run", "valid").accuracy == result.metrics["accuracy"]
    plain = train(colours_csv, read_recipe("tiny", [*SETTINGS, "training.refit=false"]), tmp_path / "plain")
    assert plain.metrics == result.metrics
    for split, alike in (("valid", True), ("test", False)):
        ours, _ = run_answers(tmp_path / "run", split)
        others, _ = run_answers(tmp_path / "plain", split)
        assert np.array_equal(ours, others) == alike


def test_it_learns_all_examples_for_as_many_epochs(colours_csv: Path, tmp_path: Path) -> None:
    recipe = read_recipe("tiny", [*SETTINGS, "training.refit=false"])
    train(colours_csv, recipe, tmp_path / "run")
    data = open_prepared(tmp_path / "run" / "data")
    derived = derive_for(recipe, data)
    first = Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)
    first.progress.best_epoch = 3
    again = refit_trainer(first, None)
    assert again.data.train.num_examples == data.train.num_examples + data.valid.num_examples
    assert again.last_epoch == 3
    assert again.derived.total_steps == 5 * again.derived.steps_per_epoch  # the schedule of all epochs
    assert sum(again.data.label_counts) == again.data.train.num_examples
    wanted = np.concatenate([data.train.targets, data.valid.targets])
    assert np.array_equal(again.data.train.targets, wanted)
    last = np.array([again.data.train.num_examples - 1])
    joined, alone = again.data.train, data.valid
    assert isinstance(joined, TokenStore)
    assert isinstance(alone, TokenStore)
    found = joined.tokens_of(last)[0]
    assert np.array_equal(found, alone.tokens_of(np.array([alone.num_examples - 1]))[0])


def test_more_examples_do_not_shorten_the_schedule(
    colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 72 examples auto makes 5 epochs, of the 81 with validation it would make 4."""
    monkeypatch.setattr(derived_values, "EXAMPLES_SEEN", 360)
    recipe = read_recipe("tiny", [*SETTINGS, "training.epochs=auto", "training.refit=false"])
    train(colours_csv, recipe, tmp_path / "run")
    data = open_prepared(tmp_path / "run" / "data")
    derived = derive_for(recipe, data)
    assert (data.train.num_examples, data.valid.num_examples, derived.epochs) == (72, 9, 5)
    first = Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)
    first.progress.best_epoch = 5
    again = refit_trainer(first, None)
    assert again.last_epoch == again.derived.epochs == 5


def test_an_interrupted_refit_goes_on_to_the_same_artifact(colours_csv: Path, tmp_path: Path) -> None:
    whole = train(colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "whole")
    starts = 0

    def interrupt(event: Event) -> None:
        nonlocal starts
        starts += isinstance(event, RunStarted)
        if starts == 2 and isinstance(event, StepDone) and event.step == 7:
            signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "stopped"
    with pytest.raises(RunInterruptedError, match="Stopped after step 7") as stopped:
        train(colours_csv, read_recipe("tiny", SETTINGS), folder, options=RunOptions(listeners=(interrupt,)))
    assert f"grunlock train --resume {folder}" in str(stopped.value)
    assert not (folder / "model.grunlock").exists()
    assert resume(folder).artifact_sha256 == whole.artifact_sha256


def test_no_score_of_the_refit_is_shown(colours_csv: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    recipe = read_recipe("tiny", SETTINGS)
    train(colours_csv, recipe, tmp_path / "run", options=RunOptions(listeners=(events.append,)))
    second = [i for i, event in enumerate(events) if isinstance(event, RunStarted)][1]
    started = events[second]
    assert isinstance(started, RunStarted)
    assert "learning anew with the validation examples" in started.notes[0]
    assert not any(isinstance(event, EpochDone) for event in events[second:])


@pytest.mark.parametrize("why", ["valid", "off"])
def test_examples_that_were_given_for_validation_are_not_learned(
    why: str, colours_csv: Path, tmp_path: Path
) -> None:
    given = tmp_path / "valid.csv"
    shutil.copy(colours_csv, given)
    settings = SETTINGS if why == "valid" else [*SETTINGS, "training.refit=false"]
    valid = given if why == "valid" else None
    train(colours_csv, read_recipe("tiny", settings), tmp_path / "run", valid=valid)
    assert not (tmp_path / "run" / "refit").exists()
    assert not json.loads((tmp_path / "run" / "derived.json").read_text())["refit"]


def test_a_model_alone_is_not_scored_on_what_it_has_learned(colours_csv: Path, tmp_path: Path) -> None:
    train(colours_csv, read_recipe("tiny", SETTINGS), tmp_path / "run")
    (tmp_path / "run" / BEFORE_REFIT_NAME).unlink()
    with pytest.raises(RunError, match=r"has learned its validation examples(.|\n)*before_refit"):
        evaluate_run(tmp_path / "run", "valid")


def test_the_wide_path_and_promises_of_a_refit(colours_csv: Path, tmp_path: Path) -> None:
    extra = [
        "wide.training=apart",
        "wide.buckets=512",
        "data.calibration_fraction=0.5",
        "data.valid_fraction=0.3",
    ]
    train(colours_csv, read_recipe("tiny", [*SETTINGS, *extra]), tmp_path / "run")
    before, after = read(tmp_path / "run" / BEFORE_REFIT_NAME), read(tmp_path / "run")
    assert len(after.weights["wide.rows"]) > len(before.weights["wide.rows"])  # n-grams of validation texts
    assert before.guarantees is not None
    assert after.guarantees is not None
    assert after.guarantees.num_examples == before.guarantees.num_examples
