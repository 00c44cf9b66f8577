"""What a search found, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grunlock.recipe import Choices, Range, SearchSpace
from grunlock.tuning.settings import StudySettings
from grunlock.tuning.space import fraction_of

State = Literal["complete", "infeasible", "pruned", "out_of_time", "failed", "running"]
EDGE = 0.02  # of a range, from its ends


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    values:    by dotted key, as recipes have them
    origin:    first: a curated recipe; spread: the even spread at the start; search: the sampler;
               earlier: of the study that was widened
    objectives: in the order of the settings; of a pruned trial empty
    reported:  value of the first objective by step: the best so far
    size, latency: bytes and seconds; None where nobody asked
    """

    number: int
    state: State
    values: Mapping[str, Any]
    origin: str
    objectives: tuple[float, ...]
    reported: Mapping[int, float]
    metrics: Mapping[str, float]
    size: int | None
    latency: float | None
    seconds: float
    folder: Path | None
    error: str | None


@dataclass(frozen=True)
class AtEdge:
    """A best value at the end of its range: perhaps the range is too narrow."""

    key: str
    value: float
    end: Literal["low", "high"]
    range: Range

    @property
    def sentence(self) -> str:
        return (
            f"{self.key} = {self.value:g} is at the {self.end} end of its range "
            f"({self.range.low:g} to {self.range.high:g}): better values may lie beyond"
        )


@dataclass(frozen=True)
class StudyResult:
    """What `tune` gives back.

    best:    the feasible trial with the best first objective; of equals the one with the lower nll
    pareto:  trials that no other one beats in every objective, best first; only best for one objective
    at_edge: of best
    importance: share of each range in the spread of the first objective, by Optuna's PED-ANOVA; empty if
             there are too few trials
    """

    folder: Path
    settings: StudySettings
    trials: tuple[TrialRecord, ...]
    best: TrialRecord
    pareto: tuple[TrialRecord, ...]
    at_edge: tuple[AtEdge, ...]
    importance: Mapping[str, float]
    seconds: float


def best_trial(trials: Sequence[TrialRecord], settings: StudySettings) -> TrialRecord | None:
    """See StudyResult.best; None while no feasible trial is complete."""
    complete = [t for t in trials if t.state == "complete"]
    sign = -1.0 if settings.objectives[0] == "nll" else 1.0
    return max(
        complete, key=lambda t: (sign * t.objectives[0], -t.metrics.get("nll", 0.0), -t.number), default=None
    )


def pareto_front(trials: Sequence[TrialRecord], settings: StudySettings) -> tuple[TrialRecord, ...]:
    """Complete trials that no other one is at least as good as in everything and better in something."""
    signs = [1.0 if name in ("accuracy", "macro_f1") else -1.0 for name in settings.objectives]
    complete = [t for t in trials if t.state == "complete"]
    scores = [tuple(s * v for s, v in zip(signs, t.objectives, strict=True)) for t in complete]
    front = [
        trial
        for trial, own in zip(complete, scores, strict=True)
        if not any(other != own and all(b >= a for a, b in zip(own, other, strict=True)) for other in scores)
    ]
    return tuple(sorted(front, key=lambda t: (-signs[0] * t.objectives[0], t.number)))


def values_at_edge(space: SearchSpace, best: TrialRecord) -> tuple[AtEdge, ...]:
    """Numbers of the best trial within EDGE of an end of their range, on the scale that is searched."""
    found = []
    for key, value in best.values.items():
        searched = space.ranges[key]
        if isinstance(searched, Choices):
            continue
        fraction = fraction_of(searched, value)
        if fraction <= EDGE:
            found.append(AtEdge(key, value, "low", searched))
        elif fraction >= 1 - EDGE:
            found.append(AtEdge(key, value, "high", searched))
    return tuple(found)
