"""Where a stage of the road works, on what, and until when."""

import time
from dataclasses import dataclass
from pathlib import Path

from grunlock.errors import StudyError
from grunlock.recipe import SearchSpace, read_recipe_or_space
from grunlock.recipe.schema import DataOptions
from grunlock.recipe.validation import validate
from grunlock.tuning import Crew, Workers
from grunlock.tuning.work import TrialListener
from grunlock.unlock.results import StageDone
from grunlock.unlock.settings import CALIBRATION_FRACTION, UnlockSettings

USUAL, BEST_TRIAL, BEST = "the usual GRU", "the best trial", "the best recipe"
LINEAR = {"text": "linear SVM", "series": "linear model"}
KEPT = "the kept model"


@dataclass(frozen=True)
class Road:
    """Where a stage works, until when (deadline of time.monotonic), and with how many threads at most.

    crew: who runs the trials of the search; None: as many processes as the settings say
    """

    settings: UnlockSettings
    folder: Path
    deadline: float
    threads: int
    listen: TrialListener | None = None
    crew: Crew | None = None

    @property
    def data(self) -> tuple[Path, str, str | None, str | None]:
        """What prepared_for needs beside a recipe."""
        settings = self.settings
        return self.folder / "data", settings.source, settings.valid, settings.test

    @property
    def workers(self) -> Workers:
        return self.settings.workers if self.crew is None else self.crew

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    @property
    def overrides(self) -> tuple[str, ...]:
        """Those of the user, in front of them the calibration split if the data are enough for one."""
        done = self.folder / "stages" / "audit.json"
        if not done.is_file() or not StageDone.model_validate_json(done.read_bytes()).facts.get("calibrates"):
            return self.settings.overrides
        return f"data.calibration_fraction={CALIBRATION_FRACTION}", *self.settings.overrides

    @property
    def space(self) -> SearchSpace:
        found = read_recipe_or_space(self.settings.recipe, self.overrides)
        if isinstance(found, SearchSpace):
            return found
        raise StudyError(
            "The recipe has no ranges: there is nothing to search.",
            where=self.settings.recipe,
            cure="give a search space, such as the built-in `search`",
        )

    @property
    def reading(self) -> DataOptions:
        """How the data are read."""
        space = self.space
        return validate(space.at(space.example)).data

    @property
    def linear_name(self) -> str:
        return LINEAR[self.reading.kind]
