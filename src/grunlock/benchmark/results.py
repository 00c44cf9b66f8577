"""Measurements as one JSON document: every raw number, and the figures made of them.

    format, benchmark, date, commit, machine, versions, missing, settings, interrupted
    comparisons[]: group, quantity, threads, case
        contenders[]: label, contender, status, reason, error, gflop,
                      idle_cpu_seconds, idle_wall_seconds, rounds     raw numbers
                      median, gflops, ratio, share_of_mm              figures

The first contender is the subject: `ratio` is another's number over its number. docs/benchmarks.md explains.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from grunlock.benchmark.cases import to_json
from grunlock.benchmark.measure import Entry, Measurement
from grunlock.benchmark.ratios import Summary, rate_share, ratio, round_values
from grunlock.machine import commit, machine

FORMAT = 1


@dataclass(frozen=True)
class Figures:
    """What a contender's raw numbers come to. None where it has none, or no ceiling was measured."""

    median: float | None = None  # seconds per call, or bytes
    gflops: float | None = None
    ratio: Summary | None = None
    share_of_mm: Summary | None = None


def figures(entry: Entry, measurement: Measurement) -> Figures:
    if not entry.rounds:
        return Figures()
    middle = statistics.median(round_values(entry.rounds))
    timed = measurement.comparison.quantity == "seconds" and entry.gflop is not None
    ceiling = _ceiling(entry, measurement)
    return Figures(
        middle,
        entry.gflop / middle if timed and entry.gflop else None,
        ratio(entry.rounds, measurement.subject.rounds) if _same_work(entry, measurement.subject) else None,
        rate_share(entry.rounds, entry.gflop, ceiling.rounds, ceiling.gflop) if ceiling else None,
    )


def _ceiling(entry: Entry, measurement: Measurement) -> Entry | None:
    """torch.mm in the entry's own precision."""
    for other in measurement.entries:
        same = other.contender.precision == entry.contender.precision
        if other.contender.form == "mm" and same and other is not entry:
            return other
    return None


def _same_work(entry: Entry, subject: Entry) -> bool:
    return entry is not subject and entry.gflop == subject.gflop


def document(
    measurements: Sequence[Measurement],
    settings: Mapping[str, Any],
    versions: Mapping[str, Mapping[str, str]],
    missing: Mapping[str, str],
    *,
    interrupted: bool,
) -> dict[str, Any]:
    """Everything; `interrupted` says that comparisons or rounds are lacking."""
    return {
        "format": FORMAT,
        "benchmark": "grunlock bench",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": {peer: dict(names) for peer, names in versions.items()},
        "missing": dict(missing),
        "settings": dict(settings),
        "interrupted": interrupted,
        "comparisons": [_comparison(measurement) for measurement in measurements],
    }


def _comparison(measurement: Measurement) -> dict[str, Any]:
    comparison = measurement.comparison
    return {
        "group": comparison.group,
        "quantity": comparison.quantity,
        "threads": measurement.threads,
        "case": to_json(comparison.case),
        "contenders": [_contender(entry, measurement) for entry in measurement.entries],
    }


def _contender(entry: Entry, measurement: Measurement) -> dict[str, Any]:
    return {
        "label": entry.contender.label,
        "contender": to_json(entry.contender),
        "status": entry.status,
        "reason": entry.reason,
        "error": entry.error,
        "idle_cpu_seconds": entry.idle_cpu_seconds,
        "idle_wall_seconds": entry.idle_wall_seconds,
        "gflop": entry.gflop,
        "rounds": entry.rounds,
        **asdict(figures(entry, measurement)),
    }
