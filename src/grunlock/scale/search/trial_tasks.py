"""One trial as a Ray task. Its values reach the driver through a queue while it trains."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ray.util.queue import Queue

from grunlock.recipe import SearchSpace, read_recipe
from grunlock.scale.search.workspace import RUN, Workspace
from grunlock.training.run_folder import RunFolder
from grunlock.tuning.data_cache import prepared_for
from grunlock.tuning.objective import Outcome, TrainingObjective
from grunlock.tuning.settings import StudySettings


@dataclass(frozen=True)
class TrialSetting:
    """What all trials of a study have in common. queue: of (attempt, step, value)."""

    settings: StudySettings
    space: SearchSpace
    workspace: Workspace
    queue: Queue
    threads: int


@dataclass(frozen=True)
class TrialEnd:
    """values: all that was reported, by step: a task's end may overtake its last values in the queue."""

    outcome: Outcome
    values: dict[int, float]


def run_trial_here(setting: TrialSetting, number: int, values: Mapping[str, Any], attempt: str) -> TrialEnd:
    """Train a trial, or go on with it. Raises what training raises.

    Whoever ends it early cancels the task: as after Ctrl-C a checkpoint is written.
    """
    torch.set_num_threads(setting.threads)
    report = _Sent(setting.queue, attempt)
    with setting.workspace.opened(trial_part(number)) as (root, mirrors):
        link_data(root / trial_part(number), root, setting.settings)
        evaluate = TrainingObjective(setting.settings, setting.space, root, tuple(mirrors))
        outcome = evaluate(number, values, report)
        folder = None if outcome.folder is None else setting.workspace.here(outcome.folder, root)
        return TrialEnd(replace(outcome, folder=folder), report.values)


def trial_part(number: int) -> str:
    """Of a study's folder."""
    return f"trials/{number:04d}"


def link_data(part: Path, root: Path, settings: StudySettings) -> None:
    """Have runs that came from elsewhere find the prepared data of the study's folder `root`."""
    for about in part.rglob(RUN):
        run = RunFolder(about.parent)
        if not run.data.exists():
            prepared = prepared_for(read_recipe(run.recipe), root / "data", settings.source, settings.valid)
            run.data.symlink_to(prepared.resolve(), target_is_directory=True)


class _Sent:
    """A report to the driver, which alone decides whether the trial goes on."""

    def __init__(self, queue: Queue, attempt: str) -> None:
        self._queue = queue
        self._attempt = attempt
        self.values: dict[int, float] = {}

    def value(self, step: int, value: float) -> None:
        self.values[step] = value
        self._queue.put((self._attempt, step, value))

    def tick(self) -> None:
        """The driver keeps the time."""
