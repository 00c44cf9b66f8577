"""A run on disk: which file is where, and the rules for creating and reopening one."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from grunlock._version import __version__
from grunlock.artifact import ARTIFACT_NAME, BEFORE_REFIT_NAME
from grunlock.errors import RunError
from grunlock.files import storage_error, write_atomically
from grunlock.machine import machine
from grunlock.recipe import Derived, Recipe, read_recipe, to_toml


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def derived(self) -> Path:
        return self.path / "derived.json"

    @property
    def about(self) -> Path:
        return self.path / "run.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def base_artifact(self) -> Path:
        return self.path / "base.grunlock"

    @property
    def artifact(self) -> Path:
        return self.path / ARTIFACT_NAME

    @property
    def before_refit(self) -> Path:
        """The model that validation chose and scored, before it learned these examples too."""
        return self.path / BEFORE_REFIT_NAME

    @property
    def refit(self) -> "RunFolder":
        """History and checkpoint of the learning anew."""
        return RunFolder(self.path / "refit")

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"


def copy_result(run: RunFolder, folder: Path) -> None:
    """Put a finished run's model, metrics and recipe into another folder, the model first."""
    own = RunFolder(folder)
    write_atomically(own.artifact, run.artifact.read_bytes())
    if run.before_refit.is_file():
        write_atomically(own.before_refit, run.before_refit.read_bytes())
    write_atomically(own.metrics, run.metrics.read_bytes())
    write_atomically(own.recipe, run.recipe.read_bytes())


@dataclass(frozen=True)
class RunRequest:
    """What `train` was asked for, written to run.json so that --resume can repeat it."""

    source: str  # absolute path or pattern; "memory" for data that is not on disk
    valid: str | None
    test: str | None


@contextmanager
def new_run(path: Path, recipe: Recipe, request: RunRequest, *, overwrite: bool) -> Iterator[RunFolder]:
    """Make the folder and write what was asked; the block prepares the data.

    If the block fails, the folder is as it was before: absent, empty, or holding the run to be replaced,
    which is removed only when the block ends well. Raises RunError if something is there already,
    StorageError if the folder cannot be made.
    """
    check_free(path, overwrite)
    target = path.resolve()
    was_empty = target.exists() and not any(target.iterdir())
    replaced = _set_aside(target)
    try:
        _make_folder(target)
        run = RunFolder(path)
        write_atomically(run.recipe, to_toml(recipe))
        about = {"library_version": __version__, "request": asdict(request), "made_on": _made_on()}
        write_atomically(run.about, json.dumps(about, indent=2) + "\n")
        yield run
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if replaced is not None:
            replaced.replace(target)
        elif was_empty:
            target.mkdir(exist_ok=True)
        raise
    if replaced is not None:
        shutil.rmtree(replaced)


def _made_on() -> dict[str, object]:
    """Where the run was started, in words for people. Not part of any result."""
    about = machine()
    return {
        "processor": about["processor"],
        "cpus": about["cpus_allowed"],
        "system": about["system"],
        "python": about["python"],
        **{name: version(name) for name in ("torch", "numpy")},
    }


def check_free(path: Path, overwrite: bool) -> None:
    """Raises RunError if something is there that a new run would not replace."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise RunError(
            "The run folder is not empty.",
            where=path,
            expected="a new or empty folder",
            cure=f"choose another with -o, continue with --resume {path}, or pass --overwrite",
        )
    if not RunFolder(path).about.is_file():
        raise RunError(
            "--overwrite only replaces runs, and this is none.",
            where=path,
            expected="a folder with run.json",
            cure="choose another folder with -o",
        )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def _set_aside(target: Path) -> Path | None:
    """Move the run that is to be replaced beside itself, under a hidden name. None if there is none."""
    if not target.exists() or not any(target.iterdir()):
        return None
    try:
        place = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.replaced."))
        try:
            return target.replace(place)
        except OSError:
            place.rmdir()
            raise
    except OSError as error:
        raise storage_error(error, target) from error


def open_run(path: Path) -> tuple[RunFolder, Recipe, RunRequest]:
    """Reopen a run for --resume. Raises RunError if there is none."""
    run = RunFolder(path)
    if not run.about.is_file() or not run.recipe.is_file():
        raise RunError(
            "There is no run to resume here.",
            where=path,
            expected="a folder with run.json and recipe.toml",
            cure="give the folder that -o named when the run was started",
        )
    try:
        request = RunRequest(**json.loads(run.about.read_text(encoding="utf-8"))["request"])
        if not all(part is None or isinstance(part, str) for part in vars(request).values()):
            raise TypeError(f"request {request}")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunError("The run's own description is damaged.", where=run.about, got=error) from error
    return run, read_recipe(run.recipe), request


def write_derived(run: RunFolder, derived: Derived) -> None:
    write_atomically(run.derived, derived.model_dump_json(indent=2) + "\n")
