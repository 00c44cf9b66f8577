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
from grunlock.parallel import ALONE, Group, joined_group
from grunlock.recipe import Recipe
from grunlock.training.checkpoint import CheckpointClock, write_checkpoint
from grunlock.training.events import CheckpointWritten, DataProgress, Event, Listener, RunDone, RunStarted
from grunlock.training.finish import Chosen, finish, finish_refit
from grunlock.training.history import History
from grunlock.training.interruption import StopRequest, stop_request
from grunlock.training.loop import Trainer
from grunlock.training.refit import refit_listener, refit_note, refit_trainer
from grunlock.training.run_folder import RunFolder, RunRequest, new_run, open_run, write_derived
from grunlock.training.start import (
    check_continuable,
    check_streamable,
    check_taught,
    derive_for,
    shared_start,
)
from grunlock.training.tensorboard import TensorBoard
from grunlock.training.together import restore, shared_data

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


@dataclass(frozen=True)
class Sources:
    """Where the data of a new run comes from; see train."""

    source: Source
    valid: Source | None
    test: Source | None
    prepared: str | Path | None = None
    teacher: TeacherAnswers | None = None


@dataclass(frozen=True)
class Begun:
    """What the process that writes a run has at hand before the first step."""

    data: PreparedData
    base: Artifact | None


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

    In a group of processes (torchrun, or torch.distributed in use already) all call this alike and train
    together: the first of them reads the sources and writes the run, and all return its result.

    Raises DataError, RecipeError, RunError, TrainingError, StorageError, ClusterError if a process of the
    group is lost, and RunInterruptedError after Ctrl-C, when a checkpoint has been written.
    """
    options = options or RunOptions()
    sources = Sources(source, valid, test, prepared, teacher)
    run = RunFolder(Path(folder))
    with joined_group() as group:
        recipe = group.from_first(recipe)
        with ExitStack() as stack:
            begun = group.lead(lambda: _begin(stack, recipe, run, sources, base, options))
            trainer, notes = _build_trainer(group, run, recipe, begun)
        return _run(run, trainer, notes, None if begun is None else begun.base, options)


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
    sources = Sources(source, valid, test, prepared)
    run = RunFolder(Path(folder))
    with ExitStack() as stack:
        begun = _begin(stack, recipe, run, sources, base, options or RunOptions())
        _build_trainer(ALONE, run, recipe, begun)


def resume(folder: str | Path, options: RunOptions | None = None) -> RunResult:
    """Go on with a run that was stopped or killed, to the same weights as if it had not been. A group of
    processes may go on with what another number of them began, and `folder` may be another one on each of
    their machines if its data is the same."""
    options = options or RunOptions()
    with joined_group() as group:
        opened = group.from_first(group.lead(lambda: open_run(Path(folder))))
        assert opened is not None
        _, recipe, request = opened
        run = RunFolder(Path(folder))
        begun = group.lead(lambda: _reopen(run, recipe, request, options))
        trainer, notes = _build_trainer(group, run, recipe, begun)
        restore(trainer, run.checkpoint)
        return _run(run, trainer, notes, None if begun is None else begun.base, options)


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


def _begin(
    stack: ExitStack,
    recipe: Recipe,
    run: RunFolder,
    sources: Sources,
    base: str | Path | None,
    options: RunOptions,
) -> Begun:
    """Make the folder of a new run and prepare its data. The folder goes again if `stack` ends badly."""
    base_artifact = None if base is None else artifacts.read(base)
    if base_artifact is not None:
        check_continuable(recipe, base_artifact)
    request = RunRequest(_path(sources.source) or MEMORY, _path(sources.valid), _path(sources.test))
    stack.enter_context(new_run(run.path, recipe, request, overwrite=options.overwrite))
    if base_artifact is not None:
        artifacts.save(base_artifact, run.base_artifact)
    if sources.prepared is None:
        return Begun(_prepare(run, recipe, sources, base_artifact, options), base_artifact)
    run.data.symlink_to(Path(sources.prepared).resolve(), target_is_directory=True)
    return Begun(open_prepared(run.data), base_artifact)


def _reopen(run: RunFolder, recipe: Recipe, request: RunRequest, options: RunOptions) -> Begun:
    """The data of a run that goes on; prepared again if it was stopped before that had ended."""
    base = artifacts.read(run.base_artifact) if run.base_artifact.is_file() else None
    if is_prepared(run.data):
        return Begun(open_prepared(run.data), base)
    if request.source == MEMORY:
        raise RunError(
            "This run's data was in memory and was not written before it stopped.",
            where=run.path,
            cure="start it again",
        )
    sources = Sources(request.source, request.valid, request.test)
    return Begun(_prepare(run, recipe, sources, base, options), base)


def _prepare(
    run: RunFolder, recipe: Recipe, sources: Sources, base: Artifact | None, options: RunOptions
) -> PreparedData:
    def tell(activity: str, rows: int) -> None:
        _to_all(options)(DataProgress(activity, rows))

    shutil.rmtree(run.data, ignore_errors=True)  # a preparation that was cut short
    return prepare(
        sources.source,
        recipe,
        run.data,
        valid=sources.valid,
        test=sources.test,
        progress=tell,
        known=None if base is None else Known(base.front_end, base.labels),
        teacher=sources.teacher,
    )


def _build_trainer(
    group: Group, run: RunFolder, recipe: Recipe, begun: Begun | None
) -> tuple[Trainer, tuple[str, ...]]:
    """A trainer before its first step, and what to tell the user about data and start. begun: rank 0's."""
    data = shared_data(group, run, None if begun is None else begun.data)
    group.each(lambda: check_taught(recipe, data, run.path))
    group.each(lambda: check_streamable(recipe, data, run.path))
    derived = derive_for(recipe, data)
    group.lead(lambda: write_derived(run, derived))
    start = shared_start(group, recipe, derived, data, None if begun is None else begun.base)
    trainer = group.each(lambda: Trainer(recipe, derived, data, start.model, group=group))
    return trainer, (*data.notes, *start.notes)


def _run(
    run: RunFolder, trainer: Trainer, notes: tuple[str, ...], base: Artifact | None, options: RunOptions
) -> RunResult:
    group, tell = trainer.sharing.group, _to_all(options)
    _fit(run, run, trainer, notes, options)
    weights = trainer.best_weights
    assert weights is not None  # set at the end of the first epoch
    chosen = group.lead(lambda: finish(run, trainer.recipe, trainer.derived, trainer.data, weights, tell))
    again = _refit(run, trainer, chosen, base, options) if trainer.derived.refit else None

    def saved() -> RunResult:
        assert chosen is not None
        artifact = again or chosen.artifact
        return RunResult(run.path, artifact, artifacts.save(artifact, run.artifact), artifact.metrics)

    result = group.from_first(group.lead(saved))
    assert result is not None
    return result


def _refit(
    run: RunFolder, before: Trainer, chosen: Chosen | None, base: Artifact | None, options: RunOptions
) -> Artifact | None:
    """The artifact of a training from all examples, on rank 0. chosen: rank 0's."""
    group, folder, tell = before.sharing.group, run.refit, _to_all(options)

    def keep_chosen() -> None:
        assert chosen is not None
        artifacts.save(chosen.artifact, run.before_refit)
        folder.path.mkdir(exist_ok=True)

    group.lead(keep_chosen)
    trainer = refit_trainer(before, base)
    restore(trainer, folder.checkpoint)
    _fit(run, folder, trainer, (refit_note(trainer),), RunOptions([refit_listener(tell)], stop=options.stop))
    weights = trainer.best_weights
    assert weights is not None

    def finished() -> Artifact:
        assert chosen is not None
        return finish_refit(chosen, before.derived, trainer.data, weights, tell)

    return group.lead(finished)


def _fit(
    run: RunFolder, folder: RunFolder, trainer: Trainer, notes: tuple[str, ...], options: RunOptions
) -> None:
    """folder: where history and checkpoint of this part of the run are. Rank 0 alone writes and tells."""
    group, training = trainer.sharing.group, trainer.recipe.training
    clock = CheckpointClock(training.checkpoint_every_seconds, training.checkpoint_every_steps)
    with ExitStack() as stack:
        listeners = group.lead(lambda: _listeners(stack, folder, trainer, options)) or []
        stop = options.stop or stack.enter_context(stop_request(passed_on=group.size > 1))
        trainer.wants_to_stop = lambda: stop.requested

        def tell(event: Event) -> None:
            for listen in listeners:
                listen(event)

        def save() -> None:
            if group.rank == 0:
                _save(folder, trainer, tell)

        def after_step() -> None:
            # Alone, a request that came after the step's gradients is obeyed at once.
            stopping = stop.requested if group.size == 1 else trainer.stop_agreed
            if stopping or clock.due(trainer.progress.step):
                save()
                clock.written()
            if stopping:
                raise _interrupted(run, trainer)

        tell(_started(trainer, notes))
        trainer.fit(tell, after_step)
        save()
        tell(RunDone(trainer.progress.step, trainer.progress.best_epoch, trainer.stopped_early))


def _listeners(stack: ExitStack, folder: RunFolder, trainer: Trainer, options: RunOptions) -> list[Listener]:
    first_step, first_epoch = trainer.progress.step, trainer.progress.epoch
    history = stack.enter_context(History(folder.history, first_step, first_epoch))
    board = [TensorBoard(folder.tensorboard, first_step)] if options.tensorboard else []
    return [history, *options.listeners, *board]


def _started(trainer: Trainer, notes: tuple[str, ...]) -> RunStarted:
    return RunStarted(trainer.last_epoch, _num_steps(trainer), trainer.progress.step, notes)


def _num_steps(trainer: Trainer) -> int:
    return trainer.last_epoch * trainer.derived.steps_per_epoch


def _save(run: RunFolder, trainer: Trainer, tell: Listener) -> None:
    write_checkpoint(run.checkpoint, trainer.state_dict())
    tell(CheckpointWritten(trainer.progress.step))


def _interrupted(run: RunFolder, trainer: Trainer) -> RunInterruptedError:
    error = RunInterruptedError(
        f"Stopped after step {trainer.progress.step} of {_num_steps(trainer)}.",
        where=run.path,
        cure=f"go on with: grunlock train --resume {run.path}",
    )
    error.shared = True
    return error
