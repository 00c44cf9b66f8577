"""A whole benchmark: all comparisons of a plan, the document kept up to date, interruption obeyed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grunlock.benchmark.cases import Comparison
from grunlock.benchmark.measure import Effort, Measurement, Tell, measure, new_measurement
from grunlock.benchmark.processes import WorkerPool
from grunlock.benchmark.ratios import ratio
from grunlock.benchmark.results import document
from grunlock.files import write_atomically

GRID_TURN_SECONDS = 0.05
GRID_ROUNDS = 3
CLOSE_RATIO = (
    1.15  # a cell of the grid that is won by less is measured again, with as much effort as all else
)


@dataclass(frozen=True)
class BenchmarkOptions:
    """How to run; what to run is the plan."""

    effort: Effort
    threads: int
    json_path: Path | None = None
    settings: Mapping[str, Any] | None = None  # written into the document


@dataclass
class BenchmarkResult:
    """What was measured so far."""

    measurements: list[Measurement]
    interrupted: bool = False


def run_benchmark(
    comparisons: Sequence[Comparison],
    pool: WorkerPool,
    options: BenchmarkOptions,
    tell: Tell = lambda activity: None,
    done: Callable[[Measurement], None] = lambda measurement: None,
) -> BenchmarkResult:
    """Measure one comparison after the other. Ctrl-C ends it early and loses nothing but the present turn.

    Raises StorageError if the document cannot be written.
    """
    result = BenchmarkResult([])
    _write(result, pool, options)  # a path that cannot be written is found before anything is measured
    try:
        for comparison in comparisons:
            result.measurements.append(new_measurement(comparison, options.threads))
            measure(result.measurements[-1], pool, _effort(comparison, options.effort), tell)
            if comparison.group == "grid" and _is_close(result.measurements[-1]):
                result.measurements[-1] = new_measurement(comparison, options.threads)
                measure(result.measurements[-1], pool, options.effort, tell)
            done(result.measurements[-1])
            _write(result, pool, options)
    except KeyboardInterrupt:
        result.interrupted = True
        _write(result, pool, options)
    return result


def _effort(comparison: Comparison, effort: Effort) -> Effort:
    """The grid's many cells get less each."""
    if comparison.group != "grid":
        return effort
    return replace(
        effort,
        rounds=min(effort.rounds, GRID_ROUNDS),
        turn_seconds=min(effort.turn_seconds, GRID_TURN_SECONDS),
    )


def _is_close(measurement: Measurement) -> bool:
    subject = measurement.subject
    ratios = [ratio(entry.rounds, subject.rounds) for entry in measurement.entries[1:]]
    return any(found is not None and found.median < CLOSE_RATIO for found in ratios)


def _write(result: BenchmarkResult, pool: WorkerPool, options: BenchmarkOptions) -> None:
    if options.json_path is None:
        return
    settings = {
        **(options.settings or {}),
        "threads": options.threads,
        "rounds": options.effort.rounds,
        "turn_seconds": options.effort.turn_seconds,
    }
    content = document(
        result.measurements, settings, pool.versions, pool.missing, interrupted=result.interrupted
    )
    write_atomically(options.json_path, json.dumps(content, indent=1) + "\n")
