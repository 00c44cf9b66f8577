"""The whole road, stage by stage. What is done stands in the folder, so any moment is good to stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from grunlock.errors import RunInterruptedError, StudyError
from grunlock.files import storage_guard, write_atomically
from grunlock.recipe import read_recipe
from grunlock.tuning import Crew
from grunlock.tuning.study import locked
from grunlock.tuning.work import TrialListener
from grunlock.unlock.context import BEST, KEPT, Road
from grunlock.unlock.last_look import last_look
from grunlock.unlock.report import write_report
from grunlock.unlock.results import STAGES, StageDone, StageName, Station, UnlockResult
from grunlock.unlock.settings import UnlockSettings
from grunlock.unlock.stages import best_over_seeds, linear_model, look_at_data, search, usual_gru

STAGE_OF: dict[StageName, Callable[[Road], StageDone]] = {
    "audit": look_at_data,
    "linear": linear_model,
    "usual": usual_gru,
    "search": search,
    "seeds": best_over_seeds,
    "final": last_look,
}
StageListener = Callable[[StageDone], None]


def unlock(
    settings: UnlockSettings,
    folder: str | Path,
    *,
    listen: StageListener | None = None,
    listen_trial: TrialListener | None = None,
    crew: Crew | None = None,
) -> UnlockResult:
    """Walk the whole road in a new folder: audit, linear model, the usual GRU, search, seeds, a last look.

    After each stage the best model so far stands in the folder; an interrupt loses only the stage that runs,
    and `go_on` finishes the rest. crew: who runs the search instead of processes of this machine.

    Raises StudyError for a folder in use or a budget that is too small, and what the stages raise.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise StudyError(
            "The folder is not empty.",
            where=folder,
            expected="a new or empty folder",
            cure=f"choose another with -o, or go on with --resume {folder}",
        )
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "unlock.json", settings.model_dump_json(indent=2) + "\n")
    return _walk(settings, folder, 60 * settings.minutes, listen, listen_trial, crew)


def go_on(
    folder: str | Path,
    minutes: float | None = None,
    *,
    listen: StageListener | None = None,
    listen_trial: TrialListener | None = None,
    crew: Crew | None = None,
) -> UnlockResult:
    """Finish a road that was stopped, in the time that was left, or in other `minutes`."""
    folder = Path(folder)
    path = folder / "unlock.json"
    if not path.is_file():
        raise StudyError(
            "There is no road to go on here.", where=folder, expected="a folder with unlock.json"
        )
    try:
        settings = UnlockSettings.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise StudyError("The file of settings cannot be read.", where=path, got=error) from error
    used = sum(done.seconds for done in stages_done(folder))
    left = 60 * settings.minutes - used if minutes is None else 60 * minutes
    return _walk(settings, folder, left, listen, listen_trial, crew)


def stages_done(folder: Path) -> list[StageDone]:
    """Those that stand in the folder, in their order."""
    paths = [folder / "stages" / f"{name}.json" for name in STAGES]
    return [StageDone.model_validate_json(path.read_bytes()) for path in paths if path.is_file()]


def _walk(
    settings: UnlockSettings,
    folder: Path,
    seconds: float,
    listen: StageListener | None,
    listen_trial: TrialListener | None,
    crew: Crew | None,
) -> UnlockResult:
    started = time.monotonic()
    threads = torch.get_num_threads()
    road = Road(settings, folder, started + seconds, threads, listen_trial, crew)
    (folder / "stages").mkdir(exist_ok=True)
    with locked(folder), _threads_set_back(threads):
        done = {stage.stage: stage for stage in stages_done(folder)}
        for name in STAGES:
            if name not in done:
                try:
                    done[name] = STAGE_OF[name](road)
                except KeyboardInterrupt as error:
                    raise RunInterruptedError(
                        f"Stopped in the stage {name}.",
                        where=folder,
                        cure=f"go on with: grunlock unlock --resume {folder}",
                    ) from error
                write_atomically(
                    folder / "stages" / f"{name}.json", done[name].model_dump_json(indent=1) + "\n"
                )
                if listen is not None:
                    listen(done[name])
        result = _result(folder, [done[name] for name in STAGES], time.monotonic() - started)
        write_report(result, settings)
    return result


@contextmanager
def _threads_set_back(threads: int) -> Iterator[None]:
    """Stages choose how many threads torch uses; their caller has chosen before."""
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _result(folder: Path, stages: list[StageDone], seconds: float) -> UnlockResult:
    final = stages[-1]
    tested = dict(final.facts["accuracies"]) if final.facts["on"] == "test" else {}
    tested[BEST] = tested.get(KEPT)
    stations: list[Station] = [
        station.model_copy(update={"test_accuracy": tested.get(station.name)})
        for stage in stages
        for station in stage.stations
    ]
    return UnlockResult(
        folder=folder,
        stages=tuple(stages),
        stations=tuple(stations),
        verdicts=tuple(final.facts["verdicts"]),
        model=folder / "model.grunlock",
        seconds=seconds,
        kind=read_recipe(folder).data.kind,
    )
