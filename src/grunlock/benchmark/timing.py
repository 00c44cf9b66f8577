"""The clock in a worker: seconds of calls, quiet threads before an answer, memory of a call."""

import gc
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from grunlock.benchmark.arrays import Array

QUIET_STEP_SECONDS = 0.004
QUIET_CPU_FRACTION = 0.1  # of one CPU, below which the process counts as asleep
QUIET_STEPS = 2
QUIET_LIMIT_SECONDS = 1.0
RESET_PEAK = "5"  # see proc(5), /proc/pid/clear_refs


class UnsupportedError(Exception):
    """This peer cannot do this case; the text says why."""


@dataclass(frozen=True)
class Prepared:
    """A contender ready to run."""

    call: Callable[[], object]  # the timed work
    check: Callable[[], Mapping[str, Array]]  # output rows and gradients in torch's layout, masks off
    before_each: Callable[[], object] | None = None  # untimed


def timed_seconds(prepared: Prepared, samples: int, calls: int, warm: bool) -> list[float]:
    """Seconds per call, one number for each of `samples` runs of `calls` calls."""
    gc.collect()
    gc.disable()
    try:
        if warm:
            prepared.call()
        return [_one_sample(prepared, calls) for _ in range(samples)]
    finally:
        gc.enable()


def _one_sample(prepared: Prepared, calls: int) -> float:
    if prepared.before_each is not None:
        prepared.before_each()
    started = time.perf_counter()
    for _ in range(calls):
        prepared.call()
    return (time.perf_counter() - started) / calls


def wait_until_quiet() -> float:
    """Wait until this process's threads sleep, so that they disturb nobody else's turn.

    Thread pools spin for a while before they sleep. Waiting lets each keep its own policy, which forcing
    all of them to sleep at once would not. Returns the seconds waited.
    """
    started, quiet = time.perf_counter(), 0
    while quiet < QUIET_STEPS and time.perf_counter() - started < QUIET_LIMIT_SECONDS:
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(QUIET_STEP_SECONDS)
        busy = (time.process_time() - cpu) / (time.perf_counter() - wall)
        quiet = quiet + 1 if busy < QUIET_CPU_FRACTION else 0
    return time.perf_counter() - started


def peak_bytes_of(work: Callable[[], object]) -> int:
    """How far the resident size rises above its present value while `work` runs.

    The system's high-water mark, set back before, because getrusage's also counts what the process that
    started this one held. Where there is no /proc it is getrusage's, too low if the process was larger once.
    """
    gc.collect()
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    clear.write_text(RESET_PEAK)
    before = _status_kilobytes(status, "VmRSS")
    work()
    return (_status_kilobytes(status, "VmHWM") - before) * 1024


def _status_kilobytes(status: Path, name: str) -> int:
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
