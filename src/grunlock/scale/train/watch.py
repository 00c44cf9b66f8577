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
from grunlock.scale.failures import told
from grunlock.scale.train.board import GroupStarted, News, Outcome, WorkersLost
from grunlock.training.events import CheckpointWritten, Listener, RunStarted
from grunlock.training.interruption import StopRequest

LOSSES_WITHOUT_CHECKPOINT = 5  # in a row, then the training is given up
LOOK_SECONDS = 0.1  # between two looks at the board
END_SECONDS = 15.0  # for the other ranks to end, once there is an outcome
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
    """Looks at the board until there is an outcome.

    Args:
        place: of the run, for messages.
        fit: Ray Train at work.
        take: what the board has heard since the last time, and the outcome.
        ask_to_stop: tells the workers to end between two steps.
        say: is told in words what happens to the workers.
    """

    def __init__(
        self,
        place: str,
        fit: Fit,
        take: Callable[[], tuple[list[News], Outcome | None]],
        ask_to_stop: Callable[[], None],
        listeners: Sequence[Listener],
        say: Callable[[str], None],
    ) -> None:
        self._place, self._fit = place, fit
        self._take, self._ask_to_stop = take, ask_to_stop
        self._listeners, self._say = listeners, say
        self._losses = 0
        self._noted: frozenset[str] = frozenset()
        self._waiting_since: float | None = time.monotonic()

    def outcome(self, stop: StopRequest) -> Outcome:
        """Wait for the end, or for one loss too many."""
        asked = False
        while True:
            ended = self._fit.ended()  # asked first, so that the last news are read after it
            news, outcome = self._take()
            for each in news:
                hopeless = self._heard(each)
                if hopeless is not None:
                    return hopeless
            if outcome is not None:
                self._fit.wait(END_SECONDS)
                return outcome
            if ended:
                return self._fit.error(self._place)
            if stop.requested and not asked:
                asked = True
                self._ask_to_stop()
                self._say("stopping after this step")
            self._say_if_waiting()
            time.sleep(LOOK_SECONDS)

    def _heard(self, news: News) -> GrunlockError | None:
        """An error if there is nothing more to hope for."""
        if isinstance(news, WorkersLost):
            return self._lost(news.reason)
        if isinstance(news, GroupStarted):
            self._waiting_since = None
            processes = "1 process" if news.workers == 1 else f"{news.workers} processes"
            nodes = "1 node" if news.nodes == 1 else f"{news.nodes} nodes"
            self._say(f"training in {processes} on {nodes}")
            return None
        if isinstance(news, CheckpointWritten):
            self._losses = 0
        elif isinstance(news, RunStarted):  # every start of a group has the same notes
            new = tuple(note for note in news.notes if note not in self._noted)
            news, self._noted = replace(news, notes=new), self._noted | {*new}
        for listen in self._listeners:
            listen(news)
        return None

    def _lost(self, reason: GrunlockError) -> GrunlockError | None:
        self._losses += 1
        self._waiting_since = time.monotonic()
        if self._losses > LOSSES_WITHOUT_CHECKPOINT:
            return ClusterError(
                f"Workers were lost {self._losses} times with no checkpoint in between.",
                where=self._place,
                got=str(reason),
                cure="mend that, then go on with --resume; see training.checkpoint_every_seconds",
            )
        self._say(f"{reason.what} ({reason.where}: {reason.got}) Going on from the last checkpoint.")
        return None

    def _say_if_waiting(self) -> None:
        since = self._waiting_since
        if since is not None and time.monotonic() - since > WAITING_SECONDS:
            self._waiting_since = None
            self._say(
                "still waiting for workers to start; see `ray status` for what else runs on the cluster"
            )
