"""Seconds of one epoch, from a sample of its steps and one whole pass over the validation split."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from benchmarks.encoders.plan import Task

from grunlock.recipe import read_recipe
from grunlock.shapes import IntArray
from grunlock.training.events import EpochDone, Event, Listener, RunStarted, StepDone
from grunlock.training.loop import Trainer
from grunlock.training.run import RunOptions, train

WARM_UP_STEPS = 3
SAMPLED_STEPS = 30
PASSES = 2  # over the sample; a step counts with its quicker one, so that a disturbance must hit it twice

Groups = Iterator[list[IntArray]]  # an epoch's steps, each with its batches
PlanEpoch = Callable[[Trainer, int, int], Groups]


class _MeasuredError(Exception):
    """Ends a training of which no more is needed."""


class _Clock:
    """A listener: seconds, of the clock and of this process, at the start and the end of each step and of
    the epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.cpu_times: list[float] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted | StepDone | EpochDone):
            self.times.append(time.perf_counter())
            self.cpu_times.append(time.process_time())
        if isinstance(event, EpochDone):
            raise _MeasuredError


def measure(task: Task, folder: Path, listen: Listener) -> dict[str, Any]:
    """Train a little in `folder`. All encoders of a set are timed on the same steps.

    cpu_share: of the time, how much this process had a CPU. Much below 1 the machine was not quiet.
    """
    clock = _Clock()
    counts: list[int] = []
    recipe = read_recipe(task.data_set.base, task.overrides)
    options = RunOptions(listeners=[listen, clock])
    sampled = patch.object(Trainer, "plan_epoch", _sampled(Trainer.plan_epoch, counts))
    with sampled, suppress(_MeasuredError):
        train(task.data_set.source, recipe, folder, options=options)
    seconds = np.diff(clock.times)
    steps = seconds[WARM_UP_STEPS:-1].reshape(PASSES, SAMPLED_STEPS).min(axis=0)
    return {
        "seconds_per_epoch": float(steps.mean() * counts[0] + seconds[-1]),
        "step_seconds": float(steps.mean()),
        "validation_seconds": float(seconds[-1]),
        "steps_per_epoch": counts[0],
        "cpu_share": (clock.cpu_times[-1] - clock.cpu_times[0]) / (clock.times[-1] - clock.times[0]),
    }


def _sampled(plan_epoch: PlanEpoch, counts: list[int]) -> PlanEpoch:
    """A plan_epoch that gives the sample only, and notes in `counts` how many steps the epoch has."""

    def plan(trainer: Trainer, epoch: int, first_step: int = 0) -> Groups:
        groups = list(plan_epoch(trainer, epoch, first_step))
        counts.append(len(groups))
        lengths = trainer.data.train.lengths
        chosen = spread([sum(int(lengths[batch].sum()) for batch in group) for group in groups])
        sample = [groups[i] for i in chosen]
        yield from [*sample[-WARM_UP_STEPS:], *sample * PASSES]

    return plan


def spread(sizes: list[int], count: int = SAMPLED_STEPS) -> list[int]:
    """Positions at `count` evenly spaced ranks of size, short of positions some more than once.

    A step's time follows its size, so their mean is nearer to that of all than a random sample's.
    """
    order = np.argsort(sizes, kind="stable")
    ranks = (2 * np.arange(count) + 1) * len(sizes) // (2 * count)
    return [int(i) for i in order[ranks]]
