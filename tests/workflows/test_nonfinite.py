"""Steps whose loss or gradients are not finite: skipped, counted, and after too many explained."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grunlock.data.batches import Batch, plan_batches
from grunlock.data.prepare import prepare
from grunlock.errors import TrainingError
from grunlock.models import SequenceClassifier
from grunlock.recipe import derive, read_recipe
from grunlock.shapes import FloatArray
from grunlock.training.batch_gradients import BatchGradients
from grunlock.training.events import EpochDone, Event, StepDone
from grunlock.training.history import read_history
from grunlock.training.loop import Trainer
from grunlock.training.run import RunOptions, resume, train
from grunlock.training.start import data_facts
from tests.workflows.conftest import SMALL

# A learning rate at which the second loss already overflows.
EXPLODING = [*SMALL, "optim.kind=sgd", "optim.lr=1e38", "schedule.kind=constant", "clip=off"]


def steps_of(events: list[Event]) -> list[StepDone]:
    return [event for event in events if isinstance(event, StepDone)]


@pytest.fixture
def make_trainer(colours_csv: Path, tmp_path: Path) -> Callable[..., Trainer]:
    def make(*settings: str) -> Trainer:
        recipe = read_recipe("tiny", [*SMALL, *settings])
        data = prepare(colours_csv, recipe, tmp_path / "data")
        batches = plan_batches(data.train.lengths, recipe.batches, recipe.seed, epoch=0)
        derived = derive(recipe, data_facts(data, len(batches)))
        torch.manual_seed(0)
        return Trainer(recipe, derived, data, SequenceClassifier(recipe, derived))

    return make


@pytest.mark.parametrize("allowed", [1, 4])
def test_too_many_in_a_row_stop_the_training(allowed: int, colours_csv: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    recipe = read_recipe("tiny", [*EXPLODING, f"training.max_nonfinite_steps={allowed}"])
    with pytest.raises(TrainingError) as stopped:
        train(colours_csv, recipe, tmp_path / "run", options=RunOptions(listeners=(events.append,)))
    steps = steps_of(events)
    assert [step.skipped for step in steps] == [False, False, *[True] * allowed]
    message = str(stopped.value)
    assert f"{allowed} step{'s' if allowed > 1 else ''} in a row gave no finite" in message
    assert "Likely causes:" in message
    assert "lower optim.lr (this step used 1e+38)" in message
    assert 'set clip.kind = "norm" (clip is off)' in message
    assert "training.max_nonfinite_steps" in message
    assert len(read_history(tmp_path / "run" / "history.jsonl")) == 1 + len(steps)


def test_a_single_bad_step_is_skipped_counted_and_over(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("encoder.norm=batch", "training.max_nonfinite_steps=2")
    batches = list(trainer.plan_epoch(0))
    poisoned = {2, 4}  # never two in a row
    honest = trainer.gradients.loss

    def spoilt(*arguments: Any) -> torch.Tensor:
        loss = honest(*arguments)
        return loss * float("nan") if trainer.progress.step in poisoned else loss

    monkeypatch.setattr(trainer.gradients, "loss", spoilt)
    events: list[Event] = []
    for batch in batches:
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        events.append(trainer.train_step(batch))
        after = trainer.model.state_dict()
        unchanged = all(torch.equal(before[name], after[name]) for name in before)
        assert unchanged == steps_of(events)[-1].skipped
    assert [step.step for step in steps_of(events) if step.skipped] == [3, 5]
    done = trainer.end_epoch(started=0.0)
    assert (done.skipped_steps, done.step) == (2, len(batches))
    assert done.train_loss == pytest.approx(1.1, abs=0.1)  # of the sound steps only


@pytest.mark.parametrize("settings", [("training.ema_decay=0.5",), ("sam.rho=0.1",), ("optim.kind=muon",)])
def test_a_loss_without_end_changes_nothing_though_gradients_are_finite(
    settings: tuple[str, ...], make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(*settings)
    batch = next(trainer.plan_epoch(0))
    trainer.train_step(batch)
    honest = trainer.gradients.loss
    monkeypatch.setattr(trainer.gradients, "loss", lambda *arguments: honest(*arguments) + float("inf"))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    average = None if trainer.average is None else repr(trainer.average.state_dict())
    assert trainer.train_step(batch).skipped
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    assert average == (None if trainer.average is None else repr(trainer.average.state_dict()))


def test_skipped_steps_are_told_in_events_and_history(
    colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, steps = BatchGradients.loss, itertools.count()
    monkeypatch.setattr(
        BatchGradients,
        "loss",
        lambda *arguments: honest(*arguments) * (float("nan") if next(steps) == 1 else 1.0),
    )
    events: list[Event] = []
    run = tmp_path / "run"
    train(colours_csv, read_recipe("tiny", SMALL), run, options=RunOptions(listeners=(events.append,)))
    assert [event.skipped_steps for event in events if isinstance(event, EpochDone)] == [1]
    told = [event["skipped"] for event in read_history(run / "history.jsonl") if event["event"] == "step"]
    assert told == [step.skipped for step in steps_of(events)] == [i == 1 for i in range(len(told))]


def test_weights_that_answer_nothing_are_not_kept(
    colours_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many bad steps are allowed, no model of NaN comes out, and the checkpoint stays."""
    honest = Trainer.forward

    def nothing(self: Trainer, batch: Batch) -> FloatArray:
        return honest(self, batch) * np.float32("nan")

    recipe = read_recipe("tiny", [*SMALL, "training.checkpoint_every_steps=3"])
    monkeypatch.setattr(Trainer, "forward", nothing)
    with pytest.raises(TrainingError, match=r"not finite(.|\n)*end of epoch 1, step 9(.|\n)*lower optim.lr"):
        train(colours_csv, recipe, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    assert not (tmp_path / "run" / "model.grunlock").exists()
    monkeypatch.setattr(Trainer, "forward", honest)
    assert resume(tmp_path / "run").metrics["num_examples"] == 9
