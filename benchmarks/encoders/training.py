"""One run: train with the epochs that pace allows, then look at the test split once."""

from pathlib import Path
from typing import Any

from benchmarks.encoders.plan import Task

from grunlock.evaluation import evaluate_run
from grunlock.recipe import read_recipe
from grunlock.training.events import EpochDone, Event, Listener
from grunlock.training.run import RunOptions, train

# Writing checkpoints is no training, and a run that was cut short is begun anew.
NO_CHECKPOINTS = "training.checkpoint_every_seconds=1e9"


def train_once(task: Task, folder: Path, listen: Listener) -> dict[str, Any]:
    """Train in `folder`, which keeps the model. wall_seconds: of steps and validation passes, not of
    preparing the data."""
    epochs: list[EpochDone] = []

    def note(event: Event) -> None:
        if isinstance(event, EpochDone):
            epochs.append(event)

    recipe = read_recipe(task.data_set.base, [*task.overrides, NO_CHECKPOINTS])
    done = train(task.data_set.source, recipe, folder, options=RunOptions(listeners=[listen, note]))
    test = evaluate_run(folder, "test")
    return {
        "test_accuracy": test.accuracy,
        "test_macro_f1": test.macro_f1,
        "num_test": test.num_examples,
        "valid_accuracy": done.metrics["accuracy"],
        "parameters": sum(value.size for value in done.artifact.weights.values()),
        "epochs": len(epochs),
        "best_epoch": max(event.epoch for event in epochs if event.best),
        "wall_seconds": sum(event.seconds for event in epochs),
        "data_fingerprint": done.artifact.data_fingerprint,
    }
