"""A study on disk: what it is, its storage, and the trials it holds.

    study.json     the settings (settings.StudySettings)
    space.toml     the search space
    journal.log    every trial, in Optuna's journal; optuna-dashboard opens it
    data/          prepared data, shared by trials that read the data alike
    trials/N/S     the run of trial N with seed S
    recipe.toml, model.grunlock   of the best trial so far

A process that works on a study holds a lock on study.lock, so that two do not resume the same trial.
"""

import fcntl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from grunlock.errors import RecipeError, StudyError
from grunlock.files import storage_guard, write_atomically
from grunlock.recipe import Choices, Range, SearchSpace, most_epochs, space_from_toml, space_to_toml
from grunlock.recipe.validation import validate
from grunlock.training.run_folder import RunFolder, copy_result
from grunlock.tuning.results import TrialRecord, best_trial
from grunlock.tuning.search import build_pruner, build_sampler, directions, num_spread_points
from grunlock.tuning.settings import StudySettings
from grunlock.tuning.space import distributions, spread_points, stored, suggest
from grunlock.tuning.trials import EARLIER, ORIGIN, record_of


@dataclass(frozen=True)
class StudyFolder:
    """Paths of one study."""

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "study.json"

    @property
    def space(self) -> Path:
        return self.path / "space.toml"

    @property
    def journal(self) -> Path:
        return self.path / "journal.log"

    @property
    def lock(self) -> Path:
        return self.path / "study.lock"


class Study:
    """An open study. Make one with `create_study` or `open_study`."""

    def __init__(self, folder: StudyFolder, settings: StudySettings, space: SearchSpace) -> None:
        self.folder = folder
        self.settings = settings
        self.space = space
        self._optuna = self._open()

    @property
    def epochs(self) -> int:
        """The most epochs that a trial may have."""
        found = self.space.ranges.get("training.epochs")
        if isinstance(found, Range):
            return int(found.high)
        if isinstance(found, Choices):
            return max(int(choice) for choice in found.choices)
        return most_epochs(validate(self.space.at(self.space.example)))

    def ask(self) -> optuna.Trial:
        """The next trial, its values chosen."""
        self._optuna.sampler = self._sampler(self.num_started())
        trial = self._optuna.ask()
        suggest(trial, self.space)
        return trial

    def unfinished(self) -> list[optuna.Trial]:
        """Trials that a killed process left behind, to be gone on with."""
        found = self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        trials = []
        for frozen in found:
            self._optuna.sampler = self._sampler(frozen.number)
            trial = optuna.Trial(self._optuna, frozen._trial_id)
            suggest(trial, self.space)
            trials.append(trial)
        return trials

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        return build_sampler(self.settings, self.space, self._optuna.pruner, number)

    def num_started(self) -> int:
        """Trials that are running or have ended."""
        return len(self._optuna.get_trials(deepcopy=False, states=_STARTED))

    def records(self) -> tuple[TrialRecord, ...]:
        """Every trial that has begun, by number."""
        trials = self._optuna.get_trials(deepcopy=False, states=_STARTED)
        return tuple(record_of(trial, self.space) for trial in trials)

    def record(self, number: int) -> TrialRecord:
        """One trial, by its number."""
        return record_of(self._optuna.get_trials(deepcopy=False)[number], self.space)

    def best(self) -> TrialRecord | None:
        return best_trial(self.records(), self.settings)

    def keep_best(self) -> None:
        """Copy recipe and model of the best trial so far into the study's folder."""
        best = self.best()
        if best is None or best.folder is None:
            return
        copy_result(RunFolder(best.folder), self.folder.path)

    def importance(self) -> dict[str, float]:
        """See StudyResult.importance."""
        complete = self._optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < MIN_TRIALS_FOR_IMPORTANCE or len({tuple(t.values) for t in complete}) < 2:
            return {}
        # The evaluator asks what brings low values of its target.
        sign = -1.0 if directions(self.settings.objectives)[0] == "maximize" else 1.0
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
            shares = optuna.importance.get_param_importances(
                self._optuna, target=lambda trial: sign * trial.values[0]
            )
        return dict(shares)

    def enqueue(self, num_trials: int | None) -> None:
        """Put the trials in front that need no sampler: what the space wants first, then an even spread."""
        first = [dict(table) for table in self.space.first]
        spread = spread_points(self.space, num_spread_points(num_trials, len(first)), self.settings.seed)
        for origin, points in (("first", first), ("spread", spread)):
            for values in points:
                self._optuna.enqueue_trial(stored(self.space, values), user_attrs={ORIGIN: origin})

    def add_trials_of(self, earlier: "Study") -> None:
        """Take in the ended trials of a study whose ranges lie within this one's, as if they were its own."""
        wanted = distributions(self.space)
        for trial in earlier.ended():
            trial.distributions = {key: wanted[key] for key in trial.params}
            trial.set_user_attr(ORIGIN, EARLIER)
            self._optuna.add_trial(trial)

    def ended(self) -> list[FrozenTrial]:
        """Copies of the trials that have ended, as Optuna has them."""
        return self._optuna.get_trials(states=_ENDED)

    def _open(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        settings = self.settings
        try:
            return optuna.create_study(
                storage=self._storage(),
                study_name=settings.name,
                directions=directions(settings.objectives),
                pruner=build_pruner(settings, self.epochs),
                load_if_exists=True,
            )
        except (ValueError, KeyError, AssertionError, optuna.exceptions.OptunaError) as error:
            raise StudyError(
                "The study's storage cannot be read.",
                where=settings.storage or self.folder.journal,
                got=f"{type(error).__name__}: {error}",
                cure="restore it from a copy, or start the study anew in another folder",
            ) from error

    def _storage(self) -> BaseStorage | str:
        if self.settings.storage is not None:
            return self.settings.storage
        with storage_guard(self.folder.journal):
            return JournalStorage(JournalFileBackend(str(self.folder.journal)))


_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_STARTED = (TrialState.RUNNING, *_ENDED)
MIN_TRIALS_FOR_IMPORTANCE = 8


def create_study(
    folder: Path,
    settings: StudySettings,
    space: SearchSpace,
    num_trials: int | None,
    earlier: Study | None = None,
) -> Study:
    """A new study in a new or empty folder. Raises StudyError if there is something already.

    earlier: a study whose trials it begins with.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(
            "The study folder is not empty.",
            where=folder,
            expected="a new or empty folder",
            cure=f"choose another with -o, or go on with --resume {folder}",
        )
    own = StudyFolder(folder)
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
    study = Study(own, settings, space)
    if earlier is not None:
        study.add_trials_of(earlier)
    study.enqueue(num_trials)
    write_atomically(own.space, space_to_toml(space))
    write_atomically(own.settings, settings.model_dump_json(indent=2) + "\n")
    return study


def open_study(folder: Path) -> Study:
    """An existing study. Raises StudyError if there is none, or if a file of it is damaged."""
    own = StudyFolder(folder)
    if not own.settings.is_file():
        raise StudyError(
            "There is no study here.",
            where=folder,
            expected="a folder with study.json",
            cure="give the folder that -o named when the study was started",
        )
    try:
        settings = StudySettings.model_validate_json(own.settings.read_bytes())
        space = space_from_toml(own.space.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecipeError) as error:
        raise StudyError(
            "A file of the study cannot be read.",
            where=folder,
            got=error,
            expected="study.json and space.toml as `grunlock tune` wrote them",
            cure="restore it from a copy, or start the study anew in another folder",
        ) from error
    return Study(own, settings, space)


def run_of(trial: TrialRecord, study: Path) -> Path | None:
    """The finished run of a trial in a study's folder, which may have moved since the trial was recorded."""
    if trial.folder is None:
        return None
    run = RunFolder(study.joinpath(*trial.folder.parts[-3:]))  # trials/N/S
    return run.path if run.metrics.is_file() and run.artifact.is_file() else None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the study. Raises StudyError if another process does. A killed process holds nothing."""
    path = StudyFolder(folder).lock
    with storage_guard(path), path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyError(
                "Another process works on this study.",
                where=folder,
                cure="wait for it or stop it; more workers at once: --workers",
            ) from error
        yield
