"""Contenders on the same data, splits and seeds, judged by what each of their runs gets right."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.comparison.answers import write_answers
from grunlock.comparison.contenders import Contender
from grunlock.comparison.expected_best import ExpectedBest, expected_best
from grunlock.comparison.linear import linear_answers
from grunlock.comparison.runs import InTurn, SeedPlan, SeedRun, SeedRunner, Source
from grunlock.comparison.stochastic_order import StochasticOrder, almost_stochastic_order
from grunlock.comparison.verdict import Comparison, Verdict, verdicts
from grunlock.errors import GrunlockError, RunInterruptedError, StorageError, StudyError
from grunlock.files import storage_guard, write_atomically
from grunlock.recipe import Recipe, SearchSpace, read_recipe
from grunlock.recipe.schema import DataOptions
from grunlock.recipe.text_options import TextDataOptions
from grunlock.recipe.validation import validate
from grunlock.tuning import Budget, StudySettings, Workers, resume_study, tune
from grunlock.tuning.results import StudyResult
from grunlock.tuning.study import StudyFolder

FEWEST_SEEDS_FOR_ORDER = 3  # of almost stochastic order, which compares distributions over seeds


@dataclass(frozen=True)
class ContenderResult:
    """What one contender did.

    right:     [S, n] bool, seeds by examples that decide; the same row for each seed where nothing is random
    seconds:   of training, mean over seeds; searching is apart
    size:      bytes of the model file and parameters, of the first seed; None for the linear baseline
    expected:  the expected best of k trials of its search; None without one
    error:     why it has no result
    """

    name: str
    right: NDArray[np.bool_] | None
    seconds: float
    search_seconds: float
    size: int | None
    parameters: int | None
    expected: ExpectedBest | None
    error: str | None

    @property
    def accuracies(self) -> tuple[float, ...]:
        """By seed, 0-1."""
        return () if self.right is None else tuple(float(row.mean()) for row in self.right)


@dataclass(frozen=True)
class DuelResult:
    """Contenders in the order given, baselines last; verdicts of the first one against each other that has a
    result, one family; orders: almost stochastic order of the same pairs, where there are enough seeds."""

    folder: Path
    on: str
    seeds: tuple[int, ...]
    contenders: tuple[ContenderResult, ...]
    verdicts: tuple[Verdict, ...]
    orders: tuple[tuple[str, str, StochasticOrder], ...]


DuelListener = Callable[[str, SeedRun], None]


def duel(
    source: Source,
    contenders: Sequence[Contender],
    folder: str | Path,
    seeds: Sequence[int],
    *,
    budget: Budget | None = None,
    workers: Workers = 1,
    runner: SeedRunner | None = None,
    listen: DuelListener | None = None,
) -> DuelResult:
    """Train every contender with every seed, search spaces first within the same `budget` each, and compare.

    workers: of the searches. runner: of the trainings that are compared; None: one after the other here.

    What is finished in the folder is not done again, so a duel that was stopped goes on when called anew. A
    contender that fails is shown with its error, the others go on.

    Raises StudyError for a space without a budget, or if nobody has a result; RunInterruptedError and
    StorageError as they come.
    """
    spaces = [contender.name for contender in contenders if isinstance(contender.recipe, SearchSpace)]
    if spaces and budget is None:
        raise StudyError(
            "A search space needs a budget, the same for each.",
            where=", ".join(spaces),
            cure="add --minutes or --trials, or give a recipe without ranges",
        )
    folder = Path(folder)
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
    runner = InTurn() if runner is None else runner
    entries = [
        _entry(contender, source, folder / "contenders" / contender.name, tuple(seeds), budget, workers)
        for contender in contenders
    ]
    runner.announce([entry.plan for entry in entries if entry.plan is not None])
    reading = _reading(contenders)
    results = [_result(entry, source, reading, runner, len(seeds), listen) for entry in entries]
    result = judge(folder, source.on, tuple(seeds), results)
    write_answers(folder, {each.name: each.right for each in results if each.right is not None})
    write_atomically(folder / "duel.json", json.dumps(to_plain(result), indent=1) + "\n")
    return result


def judge(folder: Path, on: str, seeds: tuple[int, ...], results: Sequence[ContenderResult]) -> DuelResult:
    """Verdicts on results, however they came about.

    Raises StudyError if the first or all others have none.
    """
    first, others = results[0], [other for other in results[1:] if other.right is not None]
    if first.right is None or not others:
        failed = "; ".join(f"{r.name}: {r.error}" for r in results if r.error is not None)
        raise StudyError("There is nobody to compare with.", where=folder, got=failed or "one contender")
    found = verdicts(
        [
            Comparison(first.name, other.name, first.right, other.right)
            for other in others
            if other.right is not None
        ]
    )
    orders = [
        (first.name, other.name, almost_stochastic_order(first.accuracies, other.accuracies))
        for other in others
        if len(seeds) >= FEWEST_SEEDS_FOR_ORDER
    ]
    return DuelResult(folder, on, seeds, tuple(results), found, tuple(orders))


@dataclass(frozen=True)
class _Entry:
    """A contender after its search, if it had one.

    plan:  None for the linear baseline, and where the search failed with `error`
    """

    name: str
    folder: Path
    plan: SeedPlan | None = None
    study: StudyResult | None = None
    error: GrunlockError | None = None


def _entry(
    contender: Contender,
    source: Source,
    folder: Path,
    seeds: tuple[int, ...],
    budget: Budget | None,
    workers: Workers,
) -> _Entry:
    recipe, study = contender.recipe, None
    if recipe is None:
        return _Entry(contender.name, folder)
    if isinstance(recipe, SearchSpace):
        assert budget is not None
        try:
            recipe, study = _search(contender.name, recipe, source, folder / "study", budget, workers)
        except (RunInterruptedError, StorageError):
            raise
        except GrunlockError as error:
            return _Entry(contender.name, folder, error=error)
    return _Entry(contender.name, folder, SeedPlan(recipe, source, folder / "runs", seeds), study)


def _result(
    entry: _Entry,
    source: Source,
    reading: DataOptions,
    runner: SeedRunner,
    num_seeds: int,
    listen: DuelListener | None,
) -> ContenderResult:
    name = entry.name
    try:
        if entry.error is not None:
            raise entry.error
        if entry.plan is None:
            return _linear(name, source, reading, entry.folder, num_seeds)
        runs = runner.run(entry.plan, None if listen is None else lambda run: listen(name, run))
    except (RunInterruptedError, StorageError):
        raise
    except GrunlockError as error:
        return ContenderResult(name, None, 0.0, 0.0, None, None, None, str(error))
    return _of_runs(name, runs, entry.study)


def _of_runs(name: str, runs: Sequence[SeedRun], study: StudyResult | None) -> ContenderResult:
    return ContenderResult(
        name=name,
        right=np.stack([run.right for run in runs]),
        seconds=float(np.mean([run.seconds for run in runs])),
        search_seconds=0.0 if study is None else study.seconds,
        size=runs[0].size,
        parameters=runs[0].parameters,
        expected=None if study is None else _expected(study),
        error=None,
    )


def _search(
    name: str, space: SearchSpace, source: Source, folder: Path, budget: Budget, workers: Workers
) -> tuple[Recipe, StudyResult]:
    settings = StudySettings(name=name, source=source.train, valid=source.valid)
    if StudyFolder(folder).settings.is_file():
        study = resume_study(folder, budget, workers=workers)
    else:
        study = tune(settings, space, folder, budget, workers=workers)
    return read_recipe(folder), study


def _expected(study: StudyResult) -> ExpectedBest | None:
    values = [trial.metrics["accuracy"] for trial in study.trials if trial.state == "complete"]
    return expected_best(values) if len(values) > 1 else None


def _reading(contenders: Sequence[Contender]) -> DataOptions:
    """How the others read the data: the baseline sees the same examples."""
    for contender in contenders:
        recipe = contender.recipe
        if isinstance(recipe, SearchSpace):
            recipe = validate(recipe.at(recipe.example))
        if recipe is not None:
            return recipe.data
    return TextDataOptions()


def _linear(name: str, source: Source, reading: DataOptions, folder: Path, num_seeds: int) -> ContenderResult:
    """Trained on the training split alone, as the others are."""
    started = time.monotonic()
    found = linear_answers(source.train, source.valid, source.test, reading, folder)
    right = found[source.on]
    seconds = time.monotonic() - started
    return ContenderResult(name, np.tile(right, (num_seeds, 1)), seconds, 0.0, None, None, None, None)


def to_plain(result: DuelResult) -> dict[str, Any]:
    """As in duel.json: everything but the single answers."""
    return {
        "on": result.on,
        "seeds": list(result.seeds),
        "contenders": [
            {
                "name": each.name,
                "accuracies": list(each.accuracies),
                "seconds": each.seconds,
                "search_seconds": each.search_seconds,
                "size": each.size,
                "parameters": each.parameters,
                "expected": None if each.expected is None else asdict(each.expected),
                "error": each.error,
            }
            for each in result.contenders
        ],
        "verdicts": [{**asdict(each), "sentence": each.sentence} for each in result.verdicts],
        "orders": [{"a": a, "b": b, **asdict(order)} for a, b, order in result.orders],
    }
