"""What the road from the usual GRU to the best model found, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

StageName = Literal["audit", "linear", "usual", "search", "seeds", "final"]
STAGES: tuple[StageName, ...] = ("audit", "linear", "usual", "search", "seeds", "final")


class Station(BaseModel):
    """A model on the road.

    valid_accuracy: 0-1 on validation, mean over seeds where there are several
    test_accuracy:  once, at the end; None without a test split
    size, latency:  bytes, seconds; None for the linear model, which is no file of ours
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    valid_accuracy: float
    test_accuracy: float | None = None
    size: int | None = None
    latency: float | None = None
    seconds: float
    note: str = ""


class StageDone(BaseModel):
    """A stage as it stands in its file. seconds: that it took. sentence: what it found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: StageName
    sentence: str
    seconds: float
    stations: tuple[Station, ...] = ()
    facts: dict[str, Any] = {}


@dataclass(frozen=True)
class UnlockResult:
    """The whole road.

    stations: the linear model, the usual GRU, the best trial, the best recipe
    verdicts: sentences on the test split, of validation without one
    model:    the artifact that is recommended
    kind:     of data it reads
    """

    folder: Path
    stages: Sequence[StageDone]
    stations: Sequence[Station]
    verdicts: Sequence[str]
    model: Path
    seconds: float
    kind: Literal["text", "series"]
