"""Searching a space within a budget, with whoever runs the trials; the result stands in a folder."""

import time
from dataclasses import dataclass
from pathlib import Path

from grunlock.errors import NoTrialError, StudyError
from grunlock.recipe import SearchSpace
from grunlock.tuning.crew import Workers, crew_of
from grunlock.tuning.results import StudyResult, TrialRecord, pareto_front, values_at_edge
from grunlock.tuning.settings import StudySettings
from grunlock.tuning.study import Study, create_study, locked, open_study
from grunlock.tuning.widen import widened_study
from grunlock.tuning.work import Limits, TrialListener


@dataclass(frozen=True)
class Budget:
    """When a search ends: whichever comes first, and at least one of the two must be given.

    minutes: of the clock, from `started` to the call's return
    trials:  of the study in all, those of earlier calls included
    started: on the clock of time.monotonic; None: the call
    """

    minutes: float | None = None
    trials: int | None = None
    started: float | None = None

    def __post_init__(self) -> None:
        if self.minutes is None and self.trials is None:
            raise StudyError(
                "A search needs a budget.", expected="minutes, trials or both", cure="add --minutes 10"
            )
        for name in ("minutes", "trials"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise StudyError("A budget must be above 0.", where=name, got=value)


def tune(
    settings: StudySettings,
    space: SearchSpace,
    folder: str | Path,
    budget: Budget,
    *,
    workers: Workers = 1,
    listen: TrialListener | None = None,
) -> StudyResult:
    """Search `space` in a new study folder.

    workers: processes of this machine, or another crew, which runs the trials elsewhere.

    With one worker and a budget of trials the same settings give the same study, also if it was killed and
    resumed on the way. Test splits are not looked at.

    Raises StudyError if no trial comes to a usable end, RunInterruptedError after Ctrl-C, and what reading
    the data raises; the study can be resumed in each case.
    """
    deadline = _deadline(budget)
    study = create_study(Path(folder), settings, space, budget.trials)
    return _search(study, budget, deadline, workers, listen)


def resume_study(
    folder: str | Path, budget: Budget, *, workers: Workers = 1, listen: TrialListener | None = None
) -> StudyResult:
    """Go on with a study: trials that were cut short first, each from its last checkpoint."""
    deadline = _deadline(budget)
    return _search(open_study(Path(folder)), budget, deadline, workers, listen)


def widen_study(
    earlier: str | Path,
    folder: str | Path,
    budget: Budget,
    *,
    workers: Workers = 1,
    listen: TrialListener | None = None,
) -> StudyResult:
    """Search beyond the ends of ranges where the best values of a study lie, in a new study folder.

    The earlier trials count as trials of the new study. See `widened_study`.
    """
    deadline = _deadline(budget)
    return _search(widened_study(Path(earlier), Path(folder)), budget, deadline, workers, listen)


def _deadline(budget: Budget) -> float | None:
    if budget.minutes is None:
        return None
    return (time.monotonic() if budget.started is None else budget.started) + 60 * budget.minutes


def _search(
    study: Study, budget: Budget, deadline: float | None, workers: Workers, listen: TrialListener | None
) -> StudyResult:
    started, crew = time.monotonic(), crew_of(workers)
    limits = Limits(budget.trials, deadline)
    with locked(study.folder.path):
        crew.run(study, limits, listen)
        study.keep_best()  # once more: a process may have been killed between a trial's end and its copy
        return result_of(study, time.monotonic() - started)


def result_of(study: Study, seconds: float = 0.0) -> StudyResult:
    """What the study has found so far. Raises StudyError if there is no usable trial, and says why."""
    trials = study.records()
    best = study.best()
    if best is None:
        raise _no_result(study, trials)
    return StudyResult(
        folder=study.folder.path,
        settings=study.settings,
        trials=trials,
        best=best,
        pareto=pareto_front(trials, study.settings),
        at_edge=values_at_edge(study.space, best),
        importance=study.importance(),
        seconds=seconds,
    )


def _no_result(study: Study, trials: tuple[TrialRecord, ...]) -> StudyError:
    where = study.folder.path
    failed = [t for t in trials if t.state == "failed"]
    costly = [t for t in trials if t.state == "infeasible"]
    if failed and len(failed) == len(trials):
        return StudyError(
            "Every trial failed.", where=where, got=f"trial {failed[0].number}: {failed[0].error}"
        )
    if costly:
        return StudyError(
            "No model keeps the limits.",
            where=where,
            got=_cheapest(costly, study.settings),
            expected=_limits(study.settings),
            cure="raise --max-size or --max-latency, or search smaller models, such as "
            "--set embedding.size={low=4, high=16} --set encoder.hidden_size={low=8, high=32}",
        )
    longest = max(trials, key=lambda t: len(t.reported), default=None)
    reached = (
        "nothing began"
        if longest is None
        else (
            f"{len(trials)} trials began; the longest reached step {max(longest.reported, default=0)} "
            f"in {longest.seconds:.0f} s"
        )
    )
    return NoTrialError(
        "The budget was used up before one trial had ended.",
        where=where,
        got=reached,
        expected=f"time for a trial of up to {study.epochs} epochs",
        cure=f"go on with `grunlock tune --resume {where} --minutes ...`, or lower training.epochs",
    )


def _cheapest(trials: list[TrialRecord], settings: StudySettings) -> str:
    parts = []
    if settings.max_size is not None:
        parts.append(f"smallest model {min(t.size for t in trials if t.size is not None):,} bytes")
    if settings.max_latency is not None:
        fastest = min(t.latency for t in trials if t.latency is not None)
        parts.append(f"fastest {1e3 * fastest:.3g} ms a prediction")
    return ", ".join(parts) + f", among {len(trials)}"


def _limits(settings: StudySettings) -> str:
    parts = []
    if settings.max_size is not None:
        parts.append(f"at most {settings.max_size:,} bytes")
    if settings.max_latency is not None:
        parts.append(f"at most {1e3 * settings.max_latency:.3g} ms")
    return " and ".join(parts)
