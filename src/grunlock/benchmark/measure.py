"""Going round the contenders of a comparison, one turn each, so that what drifts hits all alike.

Only one worker computes at a time. A turn is some samples of some calls each; every round starts with
another contender. What was measured stands in the Measurement at once, so an interruption loses one turn.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from grunlock.benchmark.arrays import disagreement
from grunlock.benchmark.cases import Case, Comparison, Contender, Precision, gflop, to_json
from grunlock.benchmark.processes import PeerMissingError, Worker, WorkerPool, WorkerStoppedError

# Relative error, in the Euclidean norm, above which two contenders do not compute the same thing.
TOLERANCE: Mapping[Precision, float] = {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.2}
SHORTEST_SAMPLE_SECONDS = 2e-3  # below it the clock and the call itself would weigh
MAX_SAMPLES = 20
WARM_SECONDS = 1.0  # a longer call warms itself
BYTES_PER_VALUE = 4
SAVED_VALUES = 16  # per row and hidden unit that a training step may keep, nn.GRU's included

Status = Literal[
    "not reached", "measured", "not installed", "unavailable", "disagrees", "failed", "too large"
]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int
    turn_seconds: float


@dataclass
class Entry:
    """One contender of a comparison: whether it takes part, and what it took."""

    contender: Contender
    gflop: float | None
    status: Status = "not reached"
    reason: str | None = None
    error: float | None = None  # relative to the reference's output and gradients
    idle_cpu_seconds: float = 0.0  # of its process, while others had their turns
    idle_wall_seconds: float = 0.0
    rounds: list[list[float]] = field(default_factory=list)  # seconds per call, or bytes

    def drop_out(self, status: Status, reason: str) -> None:
        self.status, self.reason = status, reason


@dataclass
class Measurement:
    """A comparison, finished or not."""

    comparison: Comparison
    threads: int
    entries: list[Entry]

    @property
    def subject(self) -> Entry:
        return self.entries[0]


@dataclass(frozen=True)
class Turn:
    """How a prepared contender is run."""

    samples: int
    calls: int
    warm: bool


Tell = Callable[[str], None]


def new_measurement(comparison: Comparison, threads: int) -> Measurement:
    entries = [Entry(contender, gflop(comparison.case, contender)) for contender in comparison.contenders]
    return Measurement(comparison, comparison.threads or threads, entries)


def measure(measurement: Measurement, pool: WorkerPool, effort: Effort, tell: Tell) -> None:
    """Fill the measurement. What a contender cannot do ends up in its entry's status, never as an error."""
    if measurement.comparison.quantity == "bytes":
        _measure_bytes(measurement, pool, tell)
    else:
        _measure_seconds(measurement, pool, effort, tell)


def _measure_seconds(measurement: Measurement, pool: WorkerPool, effort: Effort, tell: Tell) -> None:
    needed, available = bytes_needed(measurement.comparison), available_bytes()
    if available is not None and needed > available:
        for entry in measurement.entries:
            entry.drop_out("too large", f"needs about {needed / 1e9:.0f} GB, {available / 1e9:.0f} are free")
        return
    turns: dict[int, Turn] = {}
    samples: dict[int, Mapping[str, list[float]]] = {}
    for index, entry in enumerate(measurement.entries):
        tell(f"preparing {entry.contender.label}")
        reply = _ask(measurement, index, pool, "prepare")
        if reply is not None:
            turns[index] = plan_turn(reply["seconds"], reply["single_calls"], effort.turn_seconds)
            samples[index] = reply["sample"]
    _compare_outputs(measurement.entries, samples)
    for number in range(effort.rounds):
        tell(f"round {number + 1} of {effort.rounds}")
        _run_round(measurement, pool, turns, number)
    for index in turns:
        _ask(measurement, index, pool, "drop")


def _run_round(measurement: Measurement, pool: WorkerPool, turns: Mapping[int, Turn], number: int) -> None:
    count = len(measurement.entries)
    for index in ((number + place) % count for place in range(count)):
        entry = measurement.entries[index]
        if entry.status not in ("not reached", "measured"):
            continue
        turn = turns[index]
        reply = _ask(measurement, index, pool, "run", samples=turn.samples, calls=turn.calls, warm=turn.warm)
        if reply is not None:
            entry.status = "measured"
            entry.rounds.append(reply["seconds"])
            cpu, wall = reply["idle"]
            entry.idle_cpu_seconds += cpu
            entry.idle_wall_seconds += wall


def plan_turn(seconds: float, single_calls: bool, turn_seconds: float) -> Turn:
    """Samples long enough for the clock, as many as fit a turn, at least one."""
    calls = 1 if single_calls else max(1, math.ceil(SHORTEST_SAMPLE_SECONDS / max(seconds, 1e-9)))
    samples = min(MAX_SAMPLES, max(1, round(turn_seconds / max(seconds * calls, 1e-9))))
    return Turn(samples, calls, warm=seconds < WARM_SECONDS)


def _compare_outputs(entries: list[Entry], samples: Mapping[int, Mapping[str, list[float]]]) -> None:
    """Take out who computes something else than the reference: torch.nn.GRU, or else the first in float32."""
    plain = [i for i in samples if entries[i].contender.plain]
    if len(plain) < 2:
        return

    def rank(index: int) -> tuple[bool, bool, int]:
        contender = entries[index].contender
        return contender.precision != "float32", contender.peer != "torch", index

    reference = min(plain, key=rank)
    for index in plain:
        entry = entries[index]
        entry.error = disagreement(samples[index], samples[reference])
        limit = TOLERANCE[entry.contender.precision]
        if not entry.error <= limit:
            label = entries[reference].contender.label
            entry.drop_out("disagrees", f"relative error {entry.error:.2g} to {label}, at most {limit:g}")


def _measure_bytes(measurement: Measurement, pool: WorkerPool, tell: Tell) -> None:
    for index, entry in enumerate(measurement.entries):
        tell(f"memory of {entry.contender.label}")
        pool.discard(entry.contender.peer)  # a process that has done nothing yet
        reply = _ask(measurement, index, pool, "memory")
        if reply is not None:
            entry.status = "measured"
            entry.rounds.append([float(reply["bytes"])])
        pool.discard(entry.contender.peer)


def _ask(
    measurement: Measurement, index: int, pool: WorkerPool, action: str, **fields: Any
) -> dict[str, Any] | None:
    """One request for one entry; None if it has dropped out or does so now."""
    entry = measurement.entries[index]
    if action in ("prepare", "memory"):
        fields |= {"case": to_json(measurement.comparison.case), "contender": to_json(entry.contender)}
    with _dropping_out(entry, pool):
        worker: Worker = pool.get(entry.contender.peer, measurement.threads)
        reply = worker.request(do=action, id=index, **fields)
        if "unavailable" in reply:
            entry.drop_out("unavailable", reply["unavailable"])
        elif "failed" in reply:
            entry.drop_out("failed", reply["failed"])
        else:
            return reply
    return None


@contextmanager
def _dropping_out(entry: Entry, pool: WorkerPool) -> Iterator[None]:
    try:
        yield
    except PeerMissingError as error:
        entry.drop_out("not installed", str(error))
    except WorkerStoppedError as error:
        entry.drop_out("failed", str(error))
        pool.discard(entry.contender.peer)


def bytes_needed(comparison: Comparison) -> int:
    """A rough upper bound for all contenders together, as each keeps its arrays while others run."""
    case: Case = comparison.case
    rows = sum(len(batch) * max(batch) for batch in case.batches)
    kept = 2 * (case.input_size + case.hidden_size)  # inputs, cotangent and their copies
    working = (SAVED_VALUES if case.mode == "training" else 2 * 3) * case.hidden_size * case.num_layers
    return rows * BYTES_PER_VALUE * (kept * len(comparison.contenders) + working)


def available_bytes() -> int | None:
    """Memory the system can give; None where it does not say."""
    path = Path("/proc/meminfo")
    if not path.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if os.name == "posix" else None
    lines = path.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
