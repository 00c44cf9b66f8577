"""The stages of the road, each from what stands in the folder to what it found."""

import json
import statistics
import time
from pathlib import Path

import numpy as np

from grunlock.audit import AuditOptions, audit
from grunlock.comparison.linear import linear_answers
from grunlock.data.prepared import open_prepared
from grunlock.errors import NoTrialError, StudyError
from grunlock.files import atomic_file, write_atomically
from grunlock.recipe import Recipe, SearchSpace, most_epochs, read_recipe, read_recipe_or_space
from grunlock.recipe.validation import validate
from grunlock.training.events import Event, StepDone
from grunlock.training.run import RunOptions, complete
from grunlock.training.run_folder import RunFolder, copy_result
from grunlock.training.wide_linear import wide_models
from grunlock.tuning import Budget, StudyResult, StudySettings, resume_study, tune
from grunlock.tuning.data_cache import prepared_for
from grunlock.tuning.deployed import cost_of_file, raw_examples
from grunlock.tuning.pace import use_quickest_threads
from grunlock.tuning.study import StudyFolder, open_study
from grunlock.tuning.tune import result_of
from grunlock.unlock.context import BEST, BEST_TRIAL, USUAL, Road
from grunlock.unlock.results import StageDone, Station
from grunlock.unlock.settings import (
    CALIBRATION_FRACTION,
    CROSS_VALIDATION_MINUTES,
    FEWEST_CALIBRATION,
    FEWEST_EPOCHS,
    MOST_SEARCH_SHARE,
    MOST_SEEDS,
    RESERVED_SECONDS,
    SEARCH_SHARE,
    USUAL_SHARE,
    WANTED_TRIALS,
)


class _OutOfTimeError(Exception):
    """Ends a training when its stage's time is over."""


def look_at_data(road: Road) -> StageDone:
    """What is wrong with the data, before anything learns from it. Errors do not stop the road."""
    settings, reading = road.settings, road.reading
    if reading.kind == "series":
        return StageDone(stage="audit", sentence="series are checked when they are read", seconds=0.0)
    started = time.monotonic()
    options = AuditOptions(cross_validation=settings.minutes >= CROSS_VALIDATION_MINUTES, seed=settings.seed)
    report = audit(settings.source, valid=settings.valid, test=settings.test, options=options)
    write_atomically(
        road.folder / "audit.json", json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n"
    )
    num_valid = report.sizes.get("valid", reading.valid_fraction * report.sizes.get("train", 0))
    counts = {
        severity: sum(finding.severity == severity for finding in report.findings)
        for severity in ("error", "warning", "note")
    }
    return StageDone(
        stage="audit",
        sentence=", ".join(f"{n} {severity}{'' if n == 1 else 's'}" for severity, n in counts.items()),
        seconds=time.monotonic() - started,
        facts={
            "findings": [finding.message for finding in report.findings],
            "calibrates": CALIBRATION_FRACTION * num_valid >= FEWEST_CALIBRATION,
        },
    )


def linear_model(road: Road) -> StageDone:
    """The linear model that has to be beaten: on a bag of words, or on random convolutions."""
    started = time.monotonic()
    settings, folder = road.settings, road.folder / "data"
    right = linear_answers(settings.source, settings.valid, settings.test, road.reading, folder)
    with atomic_file(road.folder / "linear.npz") as file:
        np.savez(file, **{str(name): found for name, found in right.items()})  # type: ignore[arg-type]
    seconds = time.monotonic() - started
    station = Station(name=road.linear_name, valid_accuracy=float(right["valid"].mean()), seconds=seconds)
    return StageDone(
        stage="linear",
        sentence=f"{road.linear_name} {100 * station.valid_accuracy:.2f} % on validation",
        seconds=seconds,
        stations=(station,),
    )


def usual_gru(road: Road) -> StageDone:
    """The GRU as most people train it, in the time it may take."""
    started = time.monotonic()
    recipe = _like_the_space(road, "seed" if road.reading.kind == "text" else "seed_series")
    pace = use_quickest_threads(recipe, prepared_for(recipe, *road.data), road.threads)
    most = int(USUAL_SHARE * 60 * road.settings.minutes / pace)
    if most < 1:
        raise StudyError(
            "The budget is too small for a single epoch of the usual GRU in its share of it.",
            got=f"{road.settings.minutes:g} minutes; an epoch takes {pace:.1f} s",
            expected=f"at least {pace / USUAL_SHARE / 60:.1f} minutes",
            cure="raise --minutes",
        )
    begun = RunFolder(road.folder / "usual").recipe  # of a road that was stopped in this stage
    wanted = most_epochs(recipe)
    epochs = most_epochs(read_recipe(begun)) if begun.is_file() else min(wanted, most)
    run = _train(road, _with_epochs(recipe, epochs), road.folder / "usual", None)
    if _keeps_limits(road, run):
        copy_result(run, road.folder)
    station = _station(road, USUAL, recipe, [run], time.monotonic() - started)
    note = "" if epochs == wanted else f"{epochs} of {wanted} epochs: more did not fit"
    return StageDone(
        stage="usual",
        sentence=f"{USUAL} {100 * station.valid_accuracy:.2f} % on validation{'; ' + note if note else ''}",
        seconds=time.monotonic() - started,
        stations=(station.model_copy(update={"note": note}),),
    )


def search(road: Road) -> StageDone:
    """The space within its share of the time."""
    started = time.monotonic()
    folder, settings = road.folder / "search", road.settings
    if road.seconds_left <= RESERVED_SECONDS:
        raise StudyError("No time is left to search.", where=road.folder, cure="raise --minutes")
    if StudyFolder(folder).settings.is_file():
        result = _search_on(road, SEARCH_SHARE * (road.seconds_left - RESERVED_SECONDS))
    else:
        space, seconds = _fitting_space(road)
        wanted = StudySettings(
            name="unlock",
            source=settings.source,
            valid=settings.valid,
            seed=settings.seed,
            max_size=settings.max_size,
            max_latency=settings.max_latency,
        )
        budget = Budget(seconds / 60, settings.trials)
        try:
            result = tune(wanted, space, folder, budget, workers=road.workers, listen=road.listen)
        except NoTrialError:  # epochs took longer than when they were measured
            if road.seconds_left <= RESERVED_SECONDS:
                raise
            result = _search_on(road, road.seconds_left - RESERVED_SECONDS)
    best = result.best
    assert best.folder is not None
    recipe = read_recipe(folder)
    station = _station(road, BEST_TRIAL, recipe, [RunFolder(best.folder)], best.seconds)
    _keep_better(road, RunFolder(best.folder))
    return StageDone(
        stage="search",
        sentence=f"{len(result.trials)} trials, the best {100 * station.valid_accuracy:.2f} % on validation",
        seconds=time.monotonic() - started,
        stations=(station,),
        facts={
            "trials": len(result.trials),
            "values": dict(best.values),
            "at_edge": [found.sentence for found in result.at_edge],
            "importance": dict(result.importance),
        },
    )


def _search_on(road: Road, seconds: float) -> StudyResult:
    budget = Budget(seconds / 60, road.settings.trials)
    return resume_study(road.folder / "search", budget, workers=road.workers, listen=road.listen)


def best_over_seeds(road: Road) -> StageDone:
    """The best recipe again with other seeds, as many as fit: is its trial luck? Of the seeds the model with
    the lowest loss on validation is kept, unless the usual GRU's is lower than their mean."""
    started = time.monotonic()
    best = result_of(open_study(road.folder / "search")).best
    assert best.folder is not None
    recipe = read_recipe(road.folder / "search")
    runs = [RunFolder(best.folder)]
    number = int(0.9 * (road.seconds_left - RESERVED_SECONDS) / max(best.seconds, 0.1))
    for seed in range(recipe.seed + 1, recipe.seed + 1 + min(MOST_SEEDS - 1, number)):
        own, until = recipe.model_copy(update={"seed": seed}), road.deadline - RESERVED_SECONDS
        try:
            runs.append(_train(road, own, road.folder / "seeds" / str(seed), until))
        except _OutOfTimeError:
            break
    station = _station(road, BEST, recipe, runs, best.seconds)
    kept = min((run for run in runs if _keeps_limits(road, run)), key=lambda run: _metric(run, "nll"))
    usual = RunFolder(road.folder / "usual")
    mean_loss = statistics.fmean(_metric(run, "nll") for run in runs)
    stays = _keeps_limits(road, usual) and _metric(usual, "nll") < mean_loss
    copy_result(usual if stays else kept, road.folder)
    accuracies = [_metric(run, "accuracy") for run in runs]
    spread = f", spread {100 * statistics.stdev(accuracies):.2f}" if len(runs) > 1 else ""
    return StageDone(
        stage="seeds",
        sentence=f"{len(runs)} seed{'s' if len(runs) > 1 else ''}: {100 * station.valid_accuracy:.2f} % on "
        f"validation{spread}" + ("; the usual GRU is better and is kept" if stays else ""),
        seconds=time.monotonic() - started,
        stations=(station,),
        facts={"runs": [str(run.path) for run in runs], "kept": str((usual if stays else kept).path)},
    )


def _keep_better(road: Road, run: RunFolder) -> None:
    """Keep a run's model unless the road has one with a lower loss on validation."""
    own = RunFolder(road.folder)
    if not own.metrics.is_file() or _metric(run, "nll") <= _metric(own, "nll"):
        copy_result(run, road.folder)


def _like_the_space(road: Road, name: str) -> Recipe:
    """A built-in recipe that reads the data as the space does; calibrated, so that losses can be compared."""
    space = road.space
    other = validate(space.at(space.example))
    recipe = read_recipe(name)
    own = {"data": other.data, "seed": road.settings.seed, "calibration": "temperature"}
    return recipe.model_copy(update=own)


def _fitting_space(road: Road) -> tuple[SearchSpace, float]:
    """The space with so many of its epochs that WANTED_TRIALS whole trials would fit, and the seconds to
    search."""
    space = road.space
    values = space.example | (dict(space.first[0]) if space.first else {})
    middle = validate(space.at(values))
    data = prepared_for(middle, *road.data)
    pace = use_quickest_threads(middle, data, road.threads)
    if middle.wide_apart is not None:  # fitted now, or else the last trial might do it when its time is over
        wide_models(open_prepared(data), middle.wide_apart)
    left = road.seconds_left - RESERVED_SECONDS
    seconds = SEARCH_SHARE * left
    if "training.epochs" in space.ranges:
        return space, seconds
    most = most_epochs(middle)
    epochs = min(most, max(round(FEWEST_EPOCHS * most), int(seconds / WANTED_TRIALS / pace)))
    seconds = min(max(seconds, 1.2 * epochs * pace), MOST_SEARCH_SHARE * left)
    epochs = max(1, min(epochs, int(seconds / pace / 1.2)))
    found = read_recipe_or_space(road.settings.recipe, [*road.overrides, f"training.epochs={epochs}"])
    assert isinstance(found, SearchSpace)
    return found, seconds


def _with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": epochs})})


def _train(road: Road, recipe: Recipe, folder: Path, deadline: float | None) -> RunFolder:
    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and deadline is not None and time.monotonic() >= deadline:
            raise _OutOfTimeError

    settings = road.settings
    return complete(
        settings.source,
        recipe,
        folder,
        valid=settings.valid,
        test=settings.test,
        prepared=prepared_for(recipe, *road.data),
        options=RunOptions(listeners=(watch,)),
    )


def _station(road: Road, name: str, recipe: Recipe, runs: list[RunFolder], seconds: float) -> Station:
    cost = cost_of_file(runs[0].artifact, raw_examples(road.settings.source, recipe))
    return Station(
        name=name,
        valid_accuracy=statistics.fmean(_metric(run, "accuracy") for run in runs),
        size=cost.size,
        latency=cost.latency,
        seconds=seconds,
    )


def _keeps_limits(road: Road, run: RunFolder) -> bool:
    settings = road.settings
    if settings.max_size is None and settings.max_latency is None:
        return True
    cost = cost_of_file(run.artifact, raw_examples(settings.source, read_recipe(run.recipe)))
    fits = settings.max_size is None or cost.size <= settings.max_size
    return fits and (settings.max_latency is None or cost.latency <= settings.max_latency)


def _metric(run: RunFolder, name: str) -> float:
    return float(json.loads(run.metrics.read_text(encoding="utf-8"))[name])
