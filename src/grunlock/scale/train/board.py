"""What a training on a cluster and the command that waits for it tell each other.

An actor on the command's own machine: workers come and go, the board stays.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grunlock.errors import GrunlockError
from grunlock.training.events import Event, StepDone
from grunlock.training.interruption import StopRequest

TELL_SECONDS = 0.2  # between two messages of a worker about its steps


@dataclass(frozen=True)
class GroupStarted:
    """So many processes train from here on, on so many nodes."""

    workers: int
    nodes: int


@dataclass(frozen=True)
class WorkersLost:
    """The group ended without a result. reason: in our words."""

    reason: GrunlockError


@dataclass(frozen=True)
class Finished:
    """metrics: on the validation split."""

    metrics: dict[str, Any]
    artifact_sha256: str


News = Event | GroupStarted | WorkersLost
Outcome = Finished | GrunlockError


@final
class Board:
    """The state of the actor. The first outcome counts: what other workers end with follows from it."""

    def __init__(self) -> None:
        self._news: list[News] = []
        self._outcome: Outcome | None = None
        self._stop = False

    def tell(self, news: list[News]) -> bool:
        """Returns whether the training is asked to stop."""
        self._news += news
        return self._stop

    def end(self, outcome: Outcome) -> None:
        self._outcome = self._outcome or outcome

    def ended(self) -> bool:
        return self._outcome is not None

    def take(self) -> tuple[list[News], Outcome | None]:
        """What was told since the last time, and how the training ended, if it has."""
        news, self._news = self._news, []
        return news, self._outcome

    def stop(self) -> None:
        self._stop = True


def start_board() -> Any:
    """The handle of a new board on this node. It ends with this process's connection."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(Board).options(scheduling_strategy=here).remote()


@final
class Reporter:
    """A listener that tells the board, and hears from it whether to stop. Never waits for an answer.

    Of steps that follow each other quickly only the last is told.
    """

    def __init__(self, board: Any, stop: StopRequest, now: Callable[[], float] = time.monotonic) -> None:
        self._board, self._stop, self._now = board, stop, now
        self._last = now()
        self._step: StepDone | None = None
        self._answer: Any = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._step = event
            if self._now() - self._last >= TELL_SECONDS:
                self._send([])
        else:
            self._send([event])

    def _send(self, news: list[News]) -> None:
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._stop.requested = self._stop.requested or ray.get(self._answer)
        held: list[News] = [] if self._step is None else [self._step]
        self._answer = self._board.tell.remote(held + news)
        self._step, self._last = None, self._now()
