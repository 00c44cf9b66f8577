"""Who runs the trials of a study: this process, processes beside it, or whoever a higher row hands in."""

from dataclasses import dataclass
from typing import Protocol

from grunlock.errors import StudyError
from grunlock.tuning.objective import TrainingObjective
from grunlock.tuning.study import Study
from grunlock.tuning.work import Limits, TrialListener, work
from grunlock.tuning.workers import run_workers


class Crew(Protocol):
    """Runs trials of a study that this process holds, until the limits are reached."""

    def run(self, study: Study, limits: Limits, listen: TrialListener | None) -> None:
        """Trials that were cut short come first, each from its last checkpoint; the best one is kept.

        Raises RunInterruptedError after Ctrl-C, and what ends a study rather than one of its trials.
        """


@dataclass(frozen=True)
class ThisProcess:
    """One trial after the other, here."""

    def run(self, study: Study, limits: Limits, listen: TrialListener | None) -> None:
        work(study, TrainingObjective(study.settings, study.space, study.folder.path), limits, listen=listen)


@dataclass(frozen=True)
class Processes:
    """Several processes of this machine side by side."""

    count: int

    def run(self, study: Study, limits: Limits, listen: TrialListener | None) -> None:
        run_workers(study, limits, self.count, listen)


Workers = int | Crew  # so many processes of this machine, or somebody else


def crew_of(workers: Workers) -> Crew:
    """Raises StudyError for less than one process."""
    if not isinstance(workers, int):
        return workers
    if workers < 1:
        raise StudyError("A search needs a worker.", where="workers", got=workers, expected="1 or more")
    return ThisProcess() if workers == 1 else Processes(workers)
