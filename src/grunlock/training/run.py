"""A whole run: data, network, loop, artifact, in a folder that can be resumed at any moment."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grunlock import artifact as artifacts
from grunlock.artifact import Artifact
from grunlock.data.prepare import prepare
from grunlock.data.prepared import Known, PreparedData, is_prepared, open_prepared
from grunlock.data.series.series_set import SeriesSet
from grunlock.data.sources import InMemory
from grunlock.data.teacher import TeacherAnswers
from grunlock.errors import RunError, RunInterruptedError
from grunlock.recipe import Recipe
from grunlock.training.checkpoint import (
    CheckpointClock,
    damaged_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from grunlock.training.events import CheckpointWritten, DataProgress, Event, Listener, RunDone, RunStarted
from grunlock.training.finish import Chosen, finish, finish_refit
from grunlock.training.history import History
from grunlock.training.interruption import StopRequest, stop_request
from grunlock.training.loop import Trainer
from grunlock.training.refit import refit_listener, refit_note, refit_trainer
from grunlock.training.run_folder import RunFolder, RunRequest, new_run, open_run, write_derived
from grunlock.training.start import build_start, check_continuable, check_taught, derive_for
from grunlock.training.tensorboard import TensorBoard

Source = str | Path | InMemory | SeriesSet
MEMORY = "memory"


@dataclass(frozen=True)
class RunResult:
    """What a finished run gives back."""

    folder: Path
    artifact: Artifact
    artifact_sha256: str
    metrics: dict[str, Any]  # on the validation split


@dataclass(frozen=True)
class RunOptions:
    """How to run; nothing here changes the result.

    stop: asked after each step, where no signal reaches this thread; else Ctrl-C and SIGTERM are heard.
    """

    listeners: Sequence[Listener] = ()
    tensorboard: bool = False
    overwrite: bool = False
    stop: StopRequest | None = None


def train(
    source: Source,
    recipe: Recipe,
    folder: str | Path,
    *,
    valid: Source | None = None,
    test: Source | None = None,
    base: str | Path | None = None,
    prepared: str | Path | None = None,
    teacher: TeacherAnswers | None = None,
    options: RunOptions | None = None,
) -> RunResult:
    """Train `recipe` on `source` into a new run folder.

    `base` is an artifact or run folder to continue from: its network, vocabulary and labels are kept,
    labels may be added. `prepared` is a folder that `grunlock.data.prepare` filled from the same sources and
    recipe; the run links to it instead of reading the sources again. `teacher` answers the training texts; a
    recipe with the section distillation needs it.

    Raises DataError, RecipeError, RunError, TrainingError, StorageError, and RunInterruptedError after
    Ctrl-C, when a checkpoint has been written.
    """
    options = options or RunOptions()
    sources = (source, valid, test)
    run, trainer, notes, base_artifact = _begin(sources, recipe, folder, base, prepared, teacher, options)
    return _run(run, trainer, notes, base_artifact, options)


def begin(
    source: Source,
    recipe: Recipe,
    folder: str | Path,
    *,
    valid: Source | None = None,
    test: Source | None = None,
    base: str | Path | None = None,
    prepared: str | Path | None = None,
    options: RunOptions | None = None,
) -> None:
    """Make a run folder with its data prepared and everything checked, for `resume` to train elsewhere.

    Arguments and errors as `train`.
    """
    _begin((source, valid, test), recipe, folder, base, prepared, None, options or RunOptions())


def _begin(
    sources: tuple[Source, Source | None, Source | None],
    recipe: Recipe,
    folder: str | Path,
    base: str | Path | None,
    prepared: str | Path | None,
    teacher: TeacherAnswers | None,
    options: RunOptions,
) -> tuple[RunFolder, Trainer, tuple[str, ...], Artifact | None]:
    """What `train` does before the first step."""
    base_artifact = None if base is None else artifacts.read(base)
    if base_artifact is not None:
        check_continuable(recipe, base_artifact)
    source, valid, test = sources
    request = RunRequest(_path(source) or MEMORY, _path(valid), _path(test))
    with new_run(Path(folder), recipe, request, overwrite=options.overwrite) as run:
        if base_artifact is not None:
            artifacts.save(base_artifact, run.base_artifact)
        if prepared is not None:
            run.data.symlink_to(Path(prepared).resolve(), target_is_directory=True)
            data = open_prepared(run.data)
        else:
            data = _prepare(run, recipe, sources, base_artifact, teacher, options)
        trainer, notes = _build_trainer(run, recipe, data, base_artifact)
    return run, trainer, notes, base_artifact


def resume(folder: str | Path, options: RunOptions | None = None) -> RunResult:
    """Go on with a run that was stopped or killed, to the same weights as if it had not been."""
    options = options or RunOptions()
    run, recipe, request = open_run(Path(folder))
    base = artifacts.read(run.base_artifact) if run.base_artifact.is_file() else None
    if is_prepared(run.data):
        data = open_prepared(run.data)
    elif request.source == MEMORY:
        raise RunError(
            "This run's data was in memory and was not written before it stopped.",
            where=run.path,
            cure="start it again",
        )
    else:
        data = _prepare(run, recipe, (request.source, request.valid, request.test), base, None, options)
    trainer, notes = _build_trainer(run, recipe, data, base)
    _restore(trainer, run.checkpoint)
    return _run(run, trainer, notes, base, options)


def complete(
    source: Source,
    recipe: Recipe,
    folder: str | Path,
    *,
    valid: Source | None = None,
    test: Source | None = None,
    prepared: str | Path | None = None,
    teacher: TeacherAnswers | None = None,
    options: RunOptions | None = None,
) -> RunFolder:
    """Bring a run of a larger undertaking to its end: one that is finished stays as it is, one that was
    stopped or killed goes on, else it is begun. The checkpoint is removed: nobody goes on from an
    ended run.

    Errors as `train`, and RunError for a run of another recipe or other data. A folder that a killed process
    left without a run in it is replaced.
    """
    run = RunFolder(Path(folder))
    if run.about.is_file():
        _check_same(run, recipe, source)
    if not (run.artifact.is_file() and run.metrics.is_file()):
        if run.about.is_file() and is_prepared(run.data):
            resume(folder, options)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            train(
                source,
                recipe,
                folder,
                valid=valid,
                test=test,
                prepared=prepared,
                teacher=teacher,
                options=options,
            )
    for part in (run, run.refit):
        part.checkpoint.unlink(missing_ok=True)
    return run


def _check_same(run: RunFolder, recipe: Recipe, source: Source) -> None:
    _, found, request = open_run(run.path)
    if found != recipe or request.source != (_path(source) or MEMORY):
        raise RunError(
            "A run of another recipe or other data stands here.",
            where=run.path,
            expected="the recipe and data that it was begun with",
            cure="choose another folder with -o, or go on with what was asked for before",
        )


def _path(source: Source | None) -> str | None:
    return str(Path(source).absolute()) if isinstance(source, str | Path) else None


def _to_all(options: RunOptions) -> Listener:
    def tell(event: Event) -> None:
        for listen in options.listeners:
            listen(event)

    return tell


def _prepare(
    run: RunFolder,
    recipe: Recipe,
    sources: tuple[Source, Source | None, Source | None],
    base: Artifact | None,
    teacher: TeacherAnswers | None,
    options: RunOptions,
) -> PreparedData:
    def tell(activity: str, rows: int) -> None:
        _to_all(options)(DataProgress(activity, rows))

    source, valid, test = sources
    shutil.rmtree(run.data, ignore_errors=True)  # a preparation that was cut short
    return prepare(
        source,
        recipe,
        run.data,
        valid=valid,
        test=test,
        progress=tell,
        known=None if base is None else Known(base.front_end, base.labels),
        teacher=teacher,
    )


def _build_trainer(
    run: RunFolder, recipe: Recipe, data: PreparedData, base: Artifact | None
) -> tuple[Trainer, tuple[str, ...]]:
    """A trainer before its first step, and what to tell the user about data and start."""
    check_taught(recipe, data, run.path)
    derived = derive_for(recipe, data)
    write_derived(run, derived)
    start = build_start(recipe, derived, data, base)
    return Trainer(recipe, derived, data, start.model), (*data.notes, *start.notes)


def _run(
    run: RunFolder, trainer: Trainer, notes: tuple[str, ...], base: Artifact | None, options: RunOptions
) -> RunResult:
    tell = _to_all(options)
    _fit(run, run, trainer, notes, options)
    assert trainer.best_weights is not None  # set at the end of the first epoch
    chosen = finish(run, trainer.recipe, trainer.derived, trainer.data, trainer.best_weights, tell)
    artifact = chosen.artifact
    if trainer.derived.refit:
        artifacts.save(artifact, run.before_refit)
        artifact = _refit(run, trainer, chosen, base, options)
    sha256 = artifacts.save(artifact, run.artifact)
    return RunResult(run.path, artifact, sha256, artifact.metrics)


def _refit(
    run: RunFolder, before: Trainer, chosen: Chosen, base: Artifact | None, options: RunOptions
) -> Artifact:
    trainer, folder = refit_trainer(before, base), run.refit
    folder.path.mkdir(exist_ok=True)
    _restore(trainer, folder.checkpoint)
    listener = refit_listener(_to_all(options))
    _fit(run, folder, trainer, (refit_note(trainer),), RunOptions(listeners=[listener], stop=options.stop))
    assert trainer.best_weights is not None
    return finish_refit(chosen, before.derived, trainer.data, trainer.best_weights, _to_all(options))


def _restore(trainer: Trainer, path: Path) -> None:
    """Go on from a checkpoint, if there is one. Raises RunError for one of another network."""
    state = read_checkpoint(path)
    if state is None:
        return
    try:
        trainer.load_state_dict(state)
    except Exception as error:  # optimisers and torch raise whatever a wrong state leads them to
        raise damaged_checkpoint(path, error) from error


def _fit(
    run: RunFolder, folder: RunFolder, trainer: Trainer, notes: tuple[str, ...], options: RunOptions
) -> None:
    """folder: where history and checkpoint of this part of the run are."""
    first_step, first_epoch = trainer.progress.step, trainer.progress.epoch
    training = trainer.recipe.training
    clock = CheckpointClock(training.checkpoint_every_seconds, training.checkpoint_every_steps)
    with ExitStack() as stack:
        history = stack.enter_context(History(folder.history, first_step, first_epoch))
        listeners: list[Listener] = [history, *options.listeners]
        if options.tensorboard:
            listeners.append(TensorBoard(folder.tensorboard, first_step))
        stop = options.stop or stack.enter_context(stop_request())

        def tell(event: Event) -> None:
            for listen in listeners:
                listen(event)

        def after_step() -> None:
            if stop.requested or clock.due(trainer.progress.step):
                _save(folder, trainer, tell)
                clock.written()
            _stop_if_asked(stop, run, trainer)

        tell(_started(trainer, notes))
        trainer.fit(tell, after_step)
        _save(folder, trainer, tell)
        tell(RunDone(trainer.progress.step, trainer.progress.best_epoch, trainer.stopped_early))


def _started(trainer: Trainer, notes: tuple[str, ...]) -> RunStarted:
    return RunStarted(trainer.last_epoch, _num_steps(trainer), trainer.progress.step, notes)


def _num_steps(trainer: Trainer) -> int:
    return trainer.last_epoch * trainer.derived.steps_per_epoch


def _save(run: RunFolder, trainer: Trainer, tell: Listener) -> None:
    write_checkpoint(run.checkpoint, trainer.state_dict())
    tell(CheckpointWritten(trainer.progress.step))


def _stop_if_asked(stop: StopRequest, run: RunFolder, trainer: Trainer) -> None:
    if stop.requested:
        raise RunInterruptedError(
            f"Stopped after step {trainer.progress.step} of {_num_steps(trainer)}.",
            where=run.path,
            cure=f"go on with: grunlock train --resume {run.path}",
        )
