"""Training one recipe with several seeds, and which examples each of the runs gets right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from grunlock.artifact import read as read_artifact
from grunlock.evaluation import run_answers
from grunlock.recipe import Recipe
from grunlock.training.events import EVENT_NAMES, EpochDone, Listener
from grunlock.training.history import read_history
from grunlock.training.run import RunOptions, complete


@dataclass(frozen=True)
class Source:
    """Where all contenders learn from. on: the split whose examples decide, "valid" or "test"."""

    train: str
    valid: str | None
    test: str | None
    on: str


@dataclass(frozen=True)
class SeedRun:
    """One training. right: [n] bool on the examples that decide. size: bytes of the model file."""

    seed: int
    folder: Path
    right: NDArray[np.bool_]
    seconds: float
    size: int
    parameters: int

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


@dataclass(frozen=True)
class SeedPlan:
    """Trainings of one recipe, each in folder/SEED. What is finished there is not done again, what was cut
    short goes on."""

    recipe: Recipe
    source: Source
    folder: Path
    seeds: tuple[int, ...]

    def train(self, seed: int, listeners: Sequence[Listener] = ()) -> SeedRun:
        """Raises what training raises."""
        changes: dict[str, object] = {"seed": seed}
        if self.source.on == "valid":  # what is learned after the scores of validation does not change them
            changes["training"] = self.recipe.training.model_copy(update={"refit": False})
        return _run(self.recipe.model_copy(update=changes), self.source, self.folder / str(seed), listeners)


class SeedRunner(Protocol):
    """Whoever carries plans out."""

    def announce(self, plans: Sequence[SeedPlan]) -> None:
        """All plans that `run` will be asked for, so that several can be under way at once."""

    def run(self, plan: SeedPlan, listen: Callable[[SeedRun], None] | None) -> list[SeedRun]:
        """The runs in the order of their seeds, listen called after each. Raises what training raises."""


class InTurn:
    """One training after the other, in this process."""

    def announce(self, plans: Sequence[SeedPlan]) -> None:
        """Nothing is begun ahead."""

    def run(self, plan: SeedPlan, listen: Callable[[SeedRun], None] | None) -> list[SeedRun]:
        runs = []
        for seed in plan.seeds:
            runs.append(plan.train(seed))
            if listen is not None:
                listen(runs[-1])
        return runs


def _run(recipe: Recipe, source: Source, folder: Path, listeners: Sequence[Listener]) -> SeedRun:
    options = RunOptions(listeners=listeners)
    run = complete(source.train, recipe, folder, valid=source.valid, test=source.test, options=options)
    probs, targets = run_answers(folder, source.on)
    histories = [part.history for part in (run, run.refit) if part.history.is_file()]
    epochs = [
        record
        for history in histories
        for record in read_history(history)
        if record["event"] == EVENT_NAMES[EpochDone]
    ]
    return SeedRun(
        seed=recipe.seed,
        folder=folder,
        right=probs.argmax(axis=1) == targets,
        seconds=sum(record["seconds"] for record in epochs),
        size=run.artifact.stat().st_size,
        parameters=sum(value.size for value in read_artifact(folder).weights.values()),
    )
