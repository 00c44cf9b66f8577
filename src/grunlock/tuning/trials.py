"""Between our trials and Optuna's: running one to an end that the storage knows, and reading them back."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from grunlock.errors import GrunlockError, RunInterruptedError, StorageError
from grunlock.recipe import SearchSpace
from grunlock.tuning.objective import Evaluate, Outcome
from grunlock.tuning.results import State, TrialRecord
from grunlock.tuning.settings import StudySettings
from grunlock.tuning.space import restored

METRICS, SIZE, LATENCY, FOLDER, ERROR, SECONDS, ORIGIN, ENDED = (
    "metrics",
    "size",
    "latency",
    "folder",
    "error",
    "seconds",
    "origin",
    "ended",
)
OUT_OF_TIME, INFEASIBLE = "out_of_time", "infeasible"
EARLIER = "earlier"  # origin of a trial that another study had made


class _OutOfTimeError(Exception):
    """Ends a trial when the study's time is over."""


class _Report:
    """Hands values to Optuna and ends the trial when its pruner or the time says so."""

    def __init__(self, trial: optuna.Trial, out_of_time: Callable[[], bool], *, prunes: bool) -> None:
        self._trial = trial
        self._out_of_time = out_of_time
        self._prunes = prunes
        self._known = set(trial.storage.get_trial(trial._trial_id).intermediate_values)

    def value(self, step: int, value: float) -> None:
        if self._prunes:
            if step not in self._known:
                self._trial.report(value, step)
            if self._trial.should_prune():
                raise optuna.TrialPruned
        self.tick()

    def tick(self) -> None:
        if self._out_of_time():
            raise _OutOfTimeError


def run_trial(
    trial: optuna.Trial,
    space: SearchSpace,
    settings: StudySettings,
    evaluate: Evaluate,
    out_of_time: Callable[[], bool],
) -> None:
    """Evaluate a trial and tell the study how it ended. An error of ours fails this trial only; a full disk
    and a stop by the user end the study, and the trial goes on when the study does."""
    report = _Report(trial, out_of_time, prunes=len(settings.objectives) == 1)
    started = time.monotonic()
    study = trial.study
    try:
        outcome = evaluate(trial.number, restored(space, trial.params), report)
    except optuna.TrialPruned:
        _end(trial, started)
        study.tell(trial, state=TrialState.PRUNED)
    except _OutOfTimeError:
        trial.set_user_attr(ENDED, OUT_OF_TIME)
        _end(trial, started)
        study.tell(trial, state=TrialState.PRUNED)
    except (RunInterruptedError, StorageError):
        _end(trial, started)
        raise
    except GrunlockError as error:
        trial.set_user_attr(ERROR, str(error))
        _end(trial, started)
        study.tell(trial, state=TrialState.FAIL)
    else:
        _note(trial, outcome)
        _end(trial, started)
        if outcome.metrics:
            study.tell(trial, _objectives(outcome, settings))
        else:
            study.tell(trial, state=TrialState.PRUNED)


def _end(trial: optuna.Trial, started: float) -> None:
    before = float(trial.user_attrs.get(SECONDS, 0.0))
    trial.set_user_attr(SECONDS, before + time.monotonic() - started)


def _note(trial: optuna.Trial, outcome: Outcome) -> None:
    trial.set_user_attr(METRICS, dict(outcome.metrics))
    if outcome.cost is not None:
        trial.set_user_attr(SIZE, outcome.cost.size)
        trial.set_user_attr(LATENCY, outcome.cost.latency)
    if outcome.folder is not None:
        trial.set_user_attr(FOLDER, str(outcome.folder))
    for name, value in outcome.violations.items():
        trial.set_constraint(name, value)
    if not outcome.feasible:
        trial.set_user_attr(ENDED, INFEASIBLE)


def _objectives(outcome: Outcome, settings: StudySettings) -> list[float]:
    known = dict(outcome.metrics)
    if outcome.cost is not None:
        known |= {"size": float(outcome.cost.size), "latency": outcome.cost.latency}
    return [known[name] for name in settings.objectives]


def record_of(trial: FrozenTrial, space: SearchSpace) -> TrialRecord:
    """A trial as it is in the storage now."""
    attrs: dict[str, Any] = trial.user_attrs
    folder = attrs.get(FOLDER)
    return TrialRecord(
        number=trial.number,
        state=_state(trial),
        values=restored(space, trial.params),
        origin=attrs.get(ORIGIN, "search"),
        objectives=tuple(trial.values or ()),
        reported=dict(trial.intermediate_values),
        metrics=attrs.get(METRICS, {}),
        size=attrs.get(SIZE),
        latency=attrs.get(LATENCY),
        seconds=float(attrs.get(SECONDS, 0.0)),
        folder=None if folder is None else Path(folder),
        error=attrs.get(ERROR),
    )


def _state(trial: FrozenTrial) -> State:
    if trial.state == TrialState.FAIL:
        return "failed"
    if trial.state == TrialState.RUNNING:
        return "running"
    ended = trial.user_attrs.get(ENDED)
    if ended == INFEASIBLE:
        return "infeasible"
    if trial.state == TrialState.COMPLETE:
        return "complete"
    return "out_of_time" if ended == OUT_OF_TIME else "pruned"
