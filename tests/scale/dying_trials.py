"""Trials that meet accidents on a node: tasks for the tests of searches, named by number of the trial."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from grunlock.errors import TrainingError
from grunlock.scale.search.trial_tasks import TrialEnd, TrialSetting, run_trial_here
from grunlock.training.events import CheckpointWritten, Event, Listener, StepDone
from grunlock.tuning import objective

DIES_ONCE, FAILS, ALWAYS_DIES = 1, 2, 3
SLOW_STEP_SECONDS = 0.05


def with_accidents(setting: TrialSetting, number: int, values: Mapping[str, Any], attempt: str) -> TrialEnd:
    """DIES_ONCE: its process ends without a word right after its second checkpoint, the first time."""
    if number == FAILS:
        raise TrainingError("The loss is not finite.", where="a planted fault")
    if number == ALWAYS_DIES:
        os._exit(1)
    if number == DIES_ONCE and attempt == f"{DIES_ONCE}.1":
        with _watching(_die_at_second_checkpoint()):
            return run_trial_here(setting, number, values, attempt)
    return run_trial_here(setting, number, values, attempt)


def slow(setting: TrialSetting, number: int, values: Mapping[str, Any], attempt: str) -> TrialEnd:
    """Steps take long enough for a node to be lost in the middle; says on which node each attempt is."""
    place = Path(setting.settings.source).parent / f"node-of-{attempt}"
    place.write_text(ray.get_runtime_context().get_node_id(), encoding="utf-8")

    def wait(event: Event) -> None:
        if isinstance(event, StepDone):
            time.sleep(SLOW_STEP_SECONDS)

    with _watching(wait):
        return run_trial_here(setting, number, values, attempt)


def _die_at_second_checkpoint() -> Listener:
    seen = []

    def watch(event: Event) -> None:
        if isinstance(event, CheckpointWritten):
            seen.append(event.step)
        if len(seen) == 2:
            os._exit(1)

    return watch


@contextmanager
def _watching(listen: Listener) -> Iterator[None]:
    """A listener more, for trainings of this process inside the block."""
    before = objective._Watch.__call__

    def call(watch: objective._Watch, event: Event) -> None:
        before(watch, event)
        listen(event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective._Watch, "__call__", call)
        yield
