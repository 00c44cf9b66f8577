"""What a training may ask of the processes that it runs in. Starts and ends none (join.py)."""

import contextlib
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol, TypeVar, final

import torch
from torch import Tensor
from torch import distributed as dist

from grunlock.errors import ClusterError, GrunlockError

Result = TypeVar("Result")
Kind = Literal["gradients", "rows", "statistics", "answers", "objects"]


@dataclass
class Traffic:
    """What one process has exchanged so far, of one kind."""

    calls: int = 0
    sent_bytes: int = 0  # by a ring: 2 (N - 1) / N of what is summed, N - 1 times what is gathered
    seconds: float = 0.0  # spent in the exchange, waiting for others included


class Group(Protocol):
    """N processes, ranks 0 to N - 1. Every one must make the same calls in the same order.

    Calls raise ClusterError if another process is lost, or does not answer within the group's limit.
    """

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def traffic(self) -> dict[Kind, Traffic]: ...

    def sum_(self, values: Tensor, kind: Kind) -> None:
        """Replace values by their sum over all ranks, the same bits everywhere."""

    def gather(self, values: Tensor, kind: Kind) -> list[Tensor]:
        """The values of all ranks, shaped alike, in the order of ranks."""

    def from_first(self, value: Result) -> Result:
        """Rank 0's value, on every rank. It is pickled: the processes of a group trust each other."""

    def lead(self, work: Callable[[], Result]) -> Result | None:
        """Let rank 0 work while the others wait, however long; None there. Its error is raised by all."""

    def each(self, work: Callable[[], Result]) -> Result:
        """Work on every rank. If one fails, all raise the error of the first that did. No call of the group
        may be inside."""


@final
class Alone:
    """One process: it is every rank."""

    rank = 0
    size = 1

    @property
    def traffic(self) -> dict[Kind, Traffic]:
        return {}

    def sum_(self, values: Tensor, kind: Kind) -> None:
        pass

    def gather(self, values: Tensor, kind: Kind) -> list[Tensor]:
        return [values]

    def from_first(self, value: Result) -> Result:
        return value

    def lead(self, work: Callable[[], Result]) -> Result | None:
        return work()

    def each(self, work: Callable[[], Result]) -> Result:
        return work()


ALONE = Alone()


@final
class Ranks:
    """The processes of torch.distributed's default group, speaking over groups of their own.

    steps:   for exchanges that all reach at about the same time
    patient: for waiting until one has done what it alone does
    """

    def __init__(self, steps: dist.ProcessGroup, patient: dist.ProcessGroup, step_limit: timedelta) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.traffic: dict[Kind, Traffic] = {}
        self._steps, self._patient = steps, patient
        self._step_limit = step_limit

    def sum_(self, values: Tensor, kind: Kind) -> None:
        with self._counted(kind, 2 * (self.size - 1) * _bytes(values) // self.size):
            dist.all_reduce(values, group=self._steps)

    def gather(self, values: Tensor, kind: Kind) -> list[Tensor]:
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        with self._counted(kind, (self.size - 1) * _bytes(values)):
            dist.all_gather(gathered, values, group=self._steps)
        return gathered

    def from_first(self, value: Result) -> Result:
        content = pickle.dumps(value) if self.rank == 0 else b""
        size = torch.tensor([len(content)])
        with self._counted("objects", 8):
            dist.broadcast(size, 0, group=self._patient)
        sent = torch.empty(int(size), dtype=torch.uint8)
        if self.rank == 0:
            sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        with self._counted("objects", len(content)):
            dist.broadcast(sent, 0, group=self._patient)
        if self.rank == 0:
            return value
        result: Result = pickle.loads(sent.numpy().tobytes())
        return result

    def lead(self, work: Callable[[], Result]) -> Result | None:
        if self.rank:
            _raise_shared(self.from_first(None))
            return None
        try:
            result = work()
        except BaseException as error:
            # Others that are gone already must not hide why this one ends.
            with contextlib.suppress(ClusterError):
                self.from_first(_told(error, rank=0))
            raise
        self.from_first(None)
        return result

    def each(self, work: Callable[[], Result]) -> Result:
        own: Exception | None = None
        result: Any = None
        try:
            result = work()
        except Exception as error:
            own = error
        errors: list[Any] = [None] * self.size
        with self._counted("objects", 0):
            told = None if own is None else _told(own, self.rank)
            dist.all_gather_object(errors, told, group=self._patient)
        if own is not None and not isinstance(own, GrunlockError):
            raise own
        _raise_shared(next((error for error in errors if error is not None), None))
        return result  # type: ignore[no-any-return]

    @contextmanager
    def _counted(self, kind: Kind, sent_bytes: int) -> Iterator[None]:
        """Count an exchange, and turn its failure into our error."""
        started = time.perf_counter()
        try:
            yield
        except RuntimeError as error:  # what torch.distributed raises for lost peers and timeouts
            raise self._lost(error) from error
        counted = self.traffic.setdefault(kind, Traffic())
        counted.calls += 1
        counted.sent_bytes += sent_bytes
        counted.seconds += time.perf_counter() - started

    def _lost(self, error: Exception) -> ClusterError:
        limit = self._step_limit.total_seconds()
        lost = ClusterError(
            "Another process of this training was lost, or it is stuck.",
            where=f"rank {self.rank} of {self.size}",
            got=str(error).partition("\n")[0],
            expected=f"an answer within {limit:g} seconds",
            cure="see what ended it, then go on from the last checkpoint with --resume",
        )
        lost.shared = True
        return lost


def _bytes(values: Tensor) -> int:
    return values.numel() * values.element_size()


def _told(error: BaseException, rank: int) -> GrunlockError:
    """An error as the other ranks hear of it: words only, so that it can be sent whatever it holds."""
    if not isinstance(error, GrunlockError):
        return ClusterError(
            "A process of this training ended.",
            where=f"rank {rank}",
            got=f"{type(error).__name__}: {error}".rstrip(": "),
        )
    told = type(error)(str(error))
    for name in ("what", "where", "got", "expected", "cure"):
        value = getattr(error, name)
        setattr(told, name, None if value is None else str(value))
    return told


def _raise_shared(error: GrunlockError | None) -> None:
    if error is not None:
        error.shared = True
        raise error
