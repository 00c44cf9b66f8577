"""Requests that wait together are answered by one pass of the classifier.

Whenever the last pass has ended, the next takes what is waiting, up to a batch, so a lone request never waits
and a crowd is answered at the rate of large batches.

What is computed within LOOP_SECONDS is computed in the event loop's own thread: handing the interpreter to
another thread and back costs more than the loop's standing still. What takes longer has a thread of its own.
How much fits is learned from the passes before.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from grunlock.errors import DataError
from grunlock.serving.limits import Limits
from grunlock.serving.refusals import BUSY, CLIENT_GONE, RequestError
from grunlock.serving.served import ServedModel
from grunlock.shapes import FloatArray

TURNS = 3  # of the event loop, after which requests that have come are in the queue
SWEEP_SECONDS = 0.1  # how often waiting requests are looked through
# Characters, or numbers, in a batch of more than one request: bounds how long a pass takes.
BATCH_SIZE = 65_536
LOOP_SECONDS = 0.010  # for which the event loop may stand still

Gone = Callable[[], Awaitable[None]]


@dataclass(eq=False)
class Job:
    """Examples of one request. size: their characters, or numbers. gone: ends when the client has left.

    seen: whether it has been looked at once while it waited; most are answered before.
    """

    served: ServedModel
    examples: Sequence[Any]
    size: int
    answer: "asyncio.Future[Answered]"
    expires: float
    gone: Gone | None
    seen: bool = False
    listener: "asyncio.Task[None] | None" = None


@dataclass(frozen=True)
class Answered:
    """logits: [n, K] of a job's examples. rows: their answers as fields of JSON, see ServedModel.rows."""

    logits: FloatArray
    rows: list[str]


class ExampleError(Exception):
    """What the model raised for one example of several. place: which one."""

    def __init__(self, place: int, error: DataError) -> None:
        super().__init__(place, error)
        self.place, self.error = place, error


class Batcher:
    """queued: examples that wait. on_batch is told the number of examples of each batch."""

    def __init__(self, limits: Limits, on_batch: Callable[[int], None] = lambda size: None) -> None:
        self._limits = limits
        self._on_batch = on_batch
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._arrived = asyncio.Event()
        self._sweep: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, "grunlock-classifier")
        self._open = False
        self._within = 0  # characters, or numbers, that are computed within LOOP_SECONDS
        self.queued = 0

    async def answered(
        self,
        served: ServedModel,
        examples: Sequence[Any],
        size: int,
        expires: float,
        gone: Gone | None = None,
    ) -> Answered:
        """What the model answers to at most `limits.batch` examples.

        expires: on the clock of the event loop

        Raises ExampleError for what the model cannot read and whatever else it raises; RequestError with 503
        where too many wait, 504 once it has expired, 499 when the client has left.
        """
        if not self._open:
            raise RequestError(503, "The server is starting or stopping.", headers=BUSY)
        if self.queued + len(examples) > self._limits.queue:
            raise RequestError(
                503,
                "The server has more requests than it can answer.",
                got=f"{self.queued} examples that wait",
                expected=f"at most {self._limits.queue}",
                cure="try again in a second",
                headers=BUSY,
            )
        loop = asyncio.get_running_loop()
        job = Job(served, examples, size, loop.create_future(), expires, gone)
        self._waiting.append(job)
        self.queued += len(examples)
        self._arrived.set()
        if self._sweep is None:
            self._sweep = loop.call_later(SWEEP_SECONDS, self._look_through)
        return await job.answer

    async def run(self) -> None:
        """Answer what comes, for ever."""
        loop = asyncio.get_running_loop()
        self._open = True
        while True:
            await self._arrived.wait()
            if self._limits.wait_ms and self.queued < self._limits.batch:
                await asyncio.sleep(self._limits.wait_ms / 1000)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            self._running = self._take()
            if not self._running:
                continue
            served, parts = self._running[0].served, [job.examples for job in self._running]
            self._on_batch(sum(map(len, parts)))
            size, begun = sum(job.size for job in self._running), time.perf_counter()
            if size <= self._within:
                found = compute(served, parts)
            else:
                found = await loop.run_in_executor(self._thread, compute, served, parts)
            if not any(isinstance(result, Exception) for result in found):  # a refusal takes no time
                self._learn(size, time.perf_counter() - begun)
            for job, result in zip(self._running, found, strict=True):
                _settle(job, result)
            self._running = []

    def _learn(self, size: int, seconds: float) -> None:
        if seconds > LOOP_SECONDS:
            self._within = min(self._within, size // 2)
        elif seconds < LOOP_SECONDS / 2:
            self._within = max(self._within, size + size // 2)

    def close(self) -> None:
        """What still waits is refused; the thread ends with its batch."""
        self._open = False
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._sweep is not None:
            self._sweep.cancel()
        stopping = RequestError(503, "The server is stopping.", cure="ask another one", headers=BUSY)
        for job in (*self._running, *self._waiting):
            _settle(job, stopping)
        self._waiting.clear()

    def _take(self) -> list[Job]:
        """The next batch: jobs for one model in the order in which they came."""
        batch: list[Job] = []
        others: list[Job] = []
        count = size = 0
        while self._waiting and count < self._limits.batch:
            job = self._waiting.popleft()
            if job.answer.done():
                self.queued -= len(job.examples)
                continue
            if batch and job.served is not batch[0].served:
                others.append(job)
                continue
            most = self._within if size <= self._within else BATCH_SIZE
            if batch and (count + len(job.examples) > self._limits.batch or size + job.size > most):
                self._waiting.appendleft(job)
                break
            batch.append(job)
            count, size = count + len(job.examples), size + job.size
        self._waiting.extendleft(reversed(others))
        self.queued -= count
        if not self._waiting:
            self._arrived.clear()
        return batch

    def _look_through(self) -> None:
        """Refuse what has waited too long, and listen whether the clients of the others are still there."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        jobs = [job for job in (*self._running, *self._waiting) if not job.answer.done()]
        for job in jobs:
            if now >= job.expires:
                _settle(job, self._too_late())
            elif job.seen and job.listener is None and job.gone is not None:
                job.listener = loop.create_task(_listen(job, job.gone))
            job.seen = True
        self._sweep = loop.call_later(SWEEP_SECONDS, self._look_through) if jobs else None

    def _too_late(self) -> RequestError:
        return RequestError(
            504,
            "There was no answer in time.",
            expected=f"one within {self._limits.timeout_seconds:g} seconds",
            cure="try again when the server has less to do, or start it with a longer --timeout",
        )


async def _listen(job: Job, gone: Gone) -> None:
    await gone()
    _settle(job, RequestError(CLIENT_GONE, "The client has left."))


def _settle(job: Job, result: Answered | Exception) -> None:
    if not job.answer.done():
        if isinstance(result, Exception):
            job.answer.set_exception(result)
        else:
            job.answer.set_result(result)
    if job.listener is not None and job.listener is not asyncio.current_task():
        job.listener.cancel()


def compute(served: ServedModel, parts: Sequence[Sequence[Any]]) -> list[Answered | Exception]:
    """Of each part what its examples are answered, or what the model raised for it and not for the others."""
    try:
        logits = served.logits([example for part in parts for example in part])
        rows = served.rows(logits)  # here, because numpy's calls cost as much for one as for many
    except DataError as error:
        if len(parts) > 1:
            return [compute(served, [part])[0] for part in parts]
        return [_first_fault(served, parts[0]) or error]
    except Exception as error:
        return [error] * len(parts)
    found: list[Answered | Exception] = []
    start = 0
    for part in parts:
        end = start + len(part)
        found.append(Answered(logits[start:end], rows[start:end]))
        start = end
    return found


def _first_fault(served: ServedModel, examples: Sequence[Any]) -> ExampleError | None:
    for place, example in enumerate(examples):
        try:
            served.logits([example])
        except DataError as error:
            return ExampleError(place, error)
    return None
