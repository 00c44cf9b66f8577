"""The loop of one worker: choose a trial, run it, keep the best model, until the budget is used up."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import optuna

from grunlock.tuning.objective import Evaluate
from grunlock.tuning.results import TrialRecord
from grunlock.tuning.study import Study
from grunlock.tuning.trials import run_trial

TrialListener = Callable[[TrialRecord, bool], None]  # an ended trial, and whether it is the best so far


@dataclass(frozen=True)
class Limits:
    """A budget as a worker keeps it. deadline: of time.monotonic."""

    trials: int | None
    deadline: float | None

    def out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


def work(
    study: Study,
    evaluate: Evaluate,
    limits: Limits,
    *,
    unfinished: Sequence[int] | None = None,
    claim: AbstractContextManager[object] | None = None,
    listen: TrialListener | None = None,
) -> None:
    """Run trials until the budget is used up.

    unfinished: numbers of the cut trials that are this worker's to go on with; None: all
    claim: held while trials are chosen or the best one kept, where several workers share the study
    """
    claim = nullcontext() if claim is None else claim
    with claim:
        cut = study.unfinished()
    for trial in cut:
        if unfinished is None or trial.number in unfinished:
            _finish_trial(study, trial, evaluate, limits, claim, listen)
    while not limits.out_of_time():
        with claim:
            if limits.trials is not None and study.num_started() >= limits.trials:
                return
            trial = study.ask()
        _finish_trial(study, trial, evaluate, limits, claim, listen)


def _finish_trial(
    study: Study,
    trial: optuna.Trial,
    evaluate: Evaluate,
    limits: Limits,
    claim: AbstractContextManager[object],
    listen: TrialListener | None,
) -> None:
    run_trial(trial, study.space, study.settings, evaluate, limits.out_of_time)
    with claim:
        best = study.best()
        is_best = best is not None and best.number == trial.number
        if is_best:
            study.keep_best()
    if listen is not None:
        listen(study.record(trial.number), is_best)
