"""What a study is, apart from how long it runs: written once into its folder, the same for every worker."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from grunlock.errors import StudyError

Sampler = Literal["auto", "tpe", "gp", "random"]
Pruner = Literal["auto", "hyperband", "none"]
Objective = Literal["accuracy", "macro_f1", "nll", "size", "latency"]
QUALITY: tuple[Objective, ...] = ("accuracy", "macro_f1", "nll")


class StudySettings(BaseModel):
    """Plain, as in study.json.

    source, valid: absolute paths or patterns of the data; a test split is never looked at
    objectives:    the first one is of quality and decides which model is kept. nll, the calibrated loss: of
                   recipes it finds the more accurate one more often than accuracy does, which on some hundred
                   examples is mostly luck (benchmarks/LOG.md)
    num_seeds:     runs of each trial; its value is their mean
    new_splits:    each of these runs cuts its validation split anew (repeated hold-out), for small data
    max_size:      bytes of the model file
    max_latency:   seconds of one prediction on this machine
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    name: str
    source: str
    valid: str | None = None
    objectives: tuple[Objective, ...] = ("nll",)
    sampler: Sampler = "auto"
    pruner: Pruner = "auto"
    seed: int = 0
    num_seeds: int = Field(default=1, ge=1)
    new_splits: bool = False
    max_size: int | None = Field(default=None, gt=0)
    max_latency: float | None = Field(default=None, gt=0)
    storage: str | None = None  # an Optuna storage URL; None: journal.log in the folder

    @property
    def measures_cost(self) -> bool:
        """Whether size and latency of each model must be known."""
        return bool(self.max_size or self.max_latency or {"size", "latency"} & set(self.objectives))

    @model_validator(mode="after")
    def _quality_first(self) -> "StudySettings":
        names = self.objectives
        if not names or names[0] not in QUALITY or len(set(names)) < len(names):
            raise ValueError(
                f"first one of {', '.join(QUALITY)}, then others, each once; got {', '.join(names)}"
            )
        if sum(name in QUALITY for name in names) > 1:
            raise ValueError(f"one of {', '.join(QUALITY)}, not several; got {', '.join(names)}")
        if self.new_splits and self.valid is not None:
            raise ValueError("no validation file where each run cuts its own validation split")
        if self.num_seeds > 1 and self.pruner == "hyperband":
            raise ValueError("with several seeds the pruner auto or none: Hyperband compares single runs")
        return self


def read_study_settings(given: Mapping[str, Any]) -> StudySettings:
    """Checked settings. Raises StudyError that names every fault."""
    try:
        return StudySettings.model_validate(dict(given))
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False)
        ]
        raise StudyError("The study cannot be set up like this.", expected="; ".join(faults)) from error
