"""One trial: a point of the space becomes a recipe, the recipe one run or several, the runs a result."""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from grunlock.data.prepared import open_prepared
from grunlock.recipe import Recipe, SearchSpace
from grunlock.recipe.validation import validate
from grunlock.training.events import EVENT_NAMES, EpochDone, Event, Listener, StepDone
from grunlock.training.history import read_history
from grunlock.training.run import RunOptions, complete
from grunlock.training.run_folder import RunFolder
from grunlock.tuning.data_cache import prepared_for
from grunlock.tuning.deployed import Cost, cost_of_file, cost_of_untrained, raw_examples
from grunlock.tuning.settings import QUALITY, Objective, StudySettings


@dataclass(frozen=True)
class Outcome:
    """What became of one trial that ran to its end.

    metrics: accuracy, macro_f1 and nll on validation, means over the runs; empty if it was not trained
    cost:    None where nobody asked
    violations: by how much each limit is exceeded, in its unit; at most 0 where it is kept
    folder:  of the run with the best first objective; None if not trained
    """

    metrics: Mapping[str, float]
    cost: Cost | None
    violations: Mapping[str, float] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def feasible(self) -> bool:
        return all(value <= 0 for value in self.violations.values())


class Report(Protocol):
    """Called with what is known so far. Raises to end the trial."""

    def value(self, step: int, value: float) -> None:
        """step: epochs done, or runs done where a trial has several. value: of the first objective."""

    def tick(self) -> None:
        """Called after every optimiser step, for limits of time."""


Evaluate = Callable[[int, Mapping[str, Any], Report], Outcome]


class TrainingObjective:
    """Trains. Runs stand in folder/trials/NUMBER/SEED, prepared data in folder/data, shared by the trials
    whose recipes read the data alike."""

    def __init__(
        self, settings: StudySettings, space: SearchSpace, folder: Path, listeners: tuple[Listener, ...] = ()
    ) -> None:
        self.settings = settings
        self.space = space
        self.folder = folder
        self.listeners = listeners
        self._examples: list[object] | None = None

    def __call__(self, number: int, values: Mapping[str, Any], report: Report) -> Outcome:
        recipe = self.recipe(values)
        if self.settings.measures_cost:
            data = open_prepared(self._prepared(recipe))
            cost = cost_of_untrained(recipe, data, self._raw_examples(recipe))
            violations = self._violations(cost)
            if any(value > 0 for value in violations.values()):
                return Outcome({}, cost, violations)
        return self._train_all(number, recipe, report)

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe at a point. Raises RecipeError for a combination that no recipe may have."""
        recipe = validate(self.space.at(values))
        # Learning anew from the validation examples would take as long again and change no score.
        own = {"metric": self.settings.objectives[0], "refit": False}
        return recipe.model_copy(update={"training": recipe.training.model_copy(update=own)})

    def _prepared(self, recipe: Recipe) -> Path:
        return prepared_for(recipe, self.folder / "data", self.settings.source, self.settings.valid)

    def _train_all(self, number: int, recipe: Recipe, report: Report) -> Outcome:
        several = self.settings.num_seeds > 1
        target = self.settings.objectives[0]
        results: list[tuple[dict[str, float], Path]] = []
        for index in range(self.settings.num_seeds):
            own = recipe.model_copy(update={"seed": recipe.seed + index})
            if self.settings.new_splits:
                cut = recipe.data.model_copy(update={"split_seed": recipe.data.split_seed + index})
                own = own.model_copy(update={"data": cut})
            folder = self.folder / "trials" / f"{number:04d}" / str(own.seed)
            watch = _Watch(report, target, by_epoch=not several)
            metrics = self._run(own, folder, watch)
            results.append((metrics, folder))
            if several:  # each run for itself: Wilcoxon's test pairs it with the best trial's same run
                report.value(index + 1, metrics[target])
        return self._outcome(recipe, results)

    def _run(self, recipe: Recipe, folder: Path, watch: "_Watch") -> dict[str, float]:
        """One run, from where it was stopped if it was."""
        watch.replay(RunFolder(folder))
        run = complete(
            self.settings.source,
            recipe,
            folder,
            valid=self.settings.valid,
            prepared=self._prepared(recipe),
            options=RunOptions(listeners=(watch, *self.listeners)),
        )
        metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
        return {name: float(metrics[name]) for name in QUALITY}

    def _outcome(self, recipe: Recipe, results: list[tuple[dict[str, float], Path]]) -> Outcome:
        target = self.settings.objectives[0]
        sign = -1.0 if target == "nll" else 1.0
        best = max(results, key=lambda result: sign * result[0][target])[1]
        metrics = {name: statistics.fmean(m[name] for m, _ in results) for name in results[0][0]}
        if not self.settings.measures_cost:
            return Outcome(metrics, None, {}, best)
        cost = cost_of_file(RunFolder(best).artifact, self._raw_examples(recipe))
        return Outcome(metrics, cost, self._violations(cost), best)

    def _violations(self, cost: Cost) -> dict[str, float]:
        limits = {"size": self.settings.max_size, "latency": self.settings.max_latency}
        return {name: getattr(cost, name) - limit for name, limit in limits.items() if limit is not None}

    def _raw_examples(self, recipe: Recipe) -> list[object]:
        if self._examples is None:
            self._examples = raw_examples(self.settings.source, recipe)
        return self._examples


class _Watch:
    """A listener that reports the best value so far, which is what the run will keep."""

    def __init__(self, report: Report, target: Objective, *, by_epoch: bool) -> None:
        self._report = report
        self._target = target
        self._by_epoch = by_epoch
        self._best: float | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._report.tick()
        if isinstance(event, EpochDone) and self._by_epoch:
            self._epoch(event.epoch, _value(self._target, event))

    def replay(self, run: RunFolder) -> None:
        """Report the epochs of a run that was stopped, as far as they are known."""
        for record in read_history(run.history):
            if record["event"] == EVENT_NAMES[EpochDone]:
                del record["event"]
                self(EpochDone(**record))

    def _epoch(self, epoch: int, value: float) -> None:
        better = min if self._target == "nll" else max
        self._best = value if self._best is None else better(self._best, value)
        self._report.value(epoch, self._best)


def _value(target: Objective, event: EpochDone) -> float:
    values: dict[str, float] = {
        "accuracy": event.valid_accuracy,
        "macro_f1": event.valid_macro_f1,
        "nll": event.valid_loss,
    }
    return values[target]
