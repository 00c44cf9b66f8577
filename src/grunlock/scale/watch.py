"""Waiting for a training on a cluster: its progress, its losses, its end, and Ctrl-C."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import ray
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.torch.torch_trainer import TorchTrainer

from grunlock.errors import ClusterError, GrunlockError
from grunlock.scale.board import Finished, GroupStarted, News, Outcome, WorkersLost
from grunlock.scale.failures import told
from grunlock.training.events import CheckpointWritten, Listener, RunStarted
from grunlock.training.interruption import StopRequest

LOSSES_WITHOUT_CHECKPOINT = 5  # in a row, then the training is given up
LOOK_SECONDS = 0.1  # between two looks at the board
END_SECONDS = 15.0  # for the other ranks to end, once there is a result
WAITING_SECONDS = 20.0  # without a group of workers, then the user is told


class Losses(UserCallback):
    """Tells the board why a group ended. Ray Train calls it in a process of its own."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        self._board.tell.remote([WorkersLost(loss_of(worker_exceptions))])


def loss_of(errors: dict[int, Exception]) -> GrunlockError:
    """The error the others follow from: of a process that is gone rather than of one that misses it."""
    for rank, error in sorted(errors.items()):
        if isinstance(error, WorkerHealthCheckFailedError):
            cause = error.health_check_failure
            if isinstance(cause, ray.exceptions.RayError):
                return told(cause, f"rank {rank}")
    rank, error = min(errors.items())
    if isinstance(error, GrunlockError):
        return error
    return ClusterError("A worker failed.", where=f"rank {rank}", got=f"{type(error).__name__}: {error}")


@final
class Fit:
    """Ray Train at work, in a thread: this one hears Ctrl-C and shows progress."""

    def __init__(self, trainer: TorchTrainer) -> None:
        self._trainer = trainer
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:  # handed to the thread that waits
            self._error = error

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def error(self, place: str) -> ClusterError:
        """Why it ended, if no worker has said anything."""
        got = (
            f"{type(self._error).__name__}: {self._error}"
            if self._error
            else "the workers ended without a result"
        )
        return ClusterError("Ray Train cannot go on.", where=place, got=got)


@final
class Watch:
    """Looks at the board until there is an outcome."""

    def __init__(
        self, place: str, fit: Fit, board: Any, listeners: Sequence[Listener], say: Callable[[str], None]
    ) -> None:
        self._place, self._fit, self._board = place, fit, board
        self._listeners, self._say = listeners, say
        self._losses = 0
        self._noted: frozenset[str] = frozenset()
        self._waiting_since: float | None = time.monotonic()

    def outcome(self, stop: StopRequest) -> Outcome:
        asked = False
        while True:
            ended = self._fit.ended()  # asked first, so that the last news are read after it
            taken: tuple[list[News], Outcome | None] = ray.get(self._board.take.remote())
            news, outcome = taken
            for each in news:
                lost = self._hear(each)
                outcome = outcome or lost
            if outcome is not None:
                self._fit.wait(END_SECONDS if isinstance(outcome, Finished) else 0.0)
                return outcome
            if ended:
                return self._fit.error(self._place)
            if stop.requested and not asked:
                asked = True
                ray.get(self._board.stop.remote())
                self._say("stopping after this step")
            self._say_if_waiting()
            time.sleep(LOOK_SECONDS)

    def _hear(self, news: News) -> GrunlockError | None:
        """An error: there is nothing to be hoped for."""
        if isinstance(news, WorkersLost):
            self._losses += 1
            self._waiting_since = time.monotonic()
            if self._losses > LOSSES_WITHOUT_CHECKPOINT:
                return _given_up(news.reason, self._place)
            reason = news.reason
            self._say(f"{reason.what} ({reason.where}: {reason.got}) Going on from the last checkpoint.")
        elif isinstance(news, GroupStarted):
            self._waiting_since = None
            processes = "1 process" if news.workers == 1 else f"{news.workers} processes"
            nodes = "1 node" if news.nodes == 1 else f"{news.nodes} nodes"
            self._say(f"training in {processes} on {nodes}")
        else:
            if isinstance(news, CheckpointWritten):
                self._losses = 0
            if isinstance(news, RunStarted):
                new = tuple(note for note in news.notes if note not in self._noted)
                news, self._noted = replace(news, notes=new), self._noted | {*new}
            for listen in self._listeners:
                listen(news)
        return None

    def _say_if_waiting(self) -> None:
        since = self._waiting_since
        if since is not None and time.monotonic() - since > WAITING_SECONDS:
            self._waiting_since = None
            self._say("waiting for free processors in the cluster")


def _given_up(reason: GrunlockError, place: str) -> ClusterError:
    return ClusterError(
        f"Workers were lost {LOSSES_WITHOUT_CHECKPOINT + 1} times with no checkpoint in between.",
        where=place,
        got=str(reason),
        cure="mend that, then go on with --resume; see training.checkpoint_every_seconds",
    )
