"""Learning anew from training and validation examples together, when validation has chosen everything.

A tenth of a small data set is worth having: what was set aside to choose the epoch, the wide path and the
temperature is learned from in the end, for as many epochs of the same schedule. The scores of a run are those
of the model before, and that model stays beside the other for whoever asks about validation.
"""

from dataclasses import replace

import numpy as np

from grunlock.artifact import Artifact
from grunlock.data.prepared import PreparedData
from grunlock.data.shards import ShardedStore
from grunlock.recipe import Recipe
from grunlock.training.events import Event, Listener, RunStarted, StepDone
from grunlock.training.loop import Trainer
from grunlock.training.start import derive_for, shared_start


def refit_trainer(before: Trainer, base: Artifact | None) -> Trainer:
    """A trainer before its first step, from the same start as the one that has found its best epoch."""
    recipe, data = _as_before(before.recipe, before.derived.epochs), with_validation(before.data)
    derived = derive_for(recipe, data)
    group = before.sharing.group
    start = shared_start(group, recipe, derived, data, base)
    progress, keep = before.progress, before.recipe.training.keep
    last_epoch = progress.best_epoch if keep == "best" else progress.epoch
    return Trainer(recipe, derived, data, start.model, last_epoch=last_epoch, group=group)


def refit_listener(tell: Listener) -> Listener:
    """Of the events of the learning anew, those that mean anything: its scores are on what it learns from."""

    def listen(event: Event) -> None:
        if isinstance(event, RunStarted | StepDone):
            tell(event)

    return listen


def refit_note(trainer: Trainer) -> str:
    return f"learning anew with the validation examples, {trainer.last_epoch} epochs"


def _as_before(recipe: Recipe, epochs: int) -> Recipe:
    """With the epochs that its own examples gave, of which the last ones count."""
    changes = {"epochs": epochs, "keep": "last", "patience_epochs": None}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


def with_validation(data: PreparedData) -> PreparedData:
    """The data with the validation examples behind the training examples."""
    learned = data.train
    assert not isinstance(learned, ShardedStore)  # derived.refit is off for so many examples
    train = learned.joined(data.valid)
    counts = np.bincount(train.targets, minlength=len(data.labels))
    return replace(data, train=train, label_counts=tuple(counts.tolist()))
