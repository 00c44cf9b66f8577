"""Which trick bought what: each taken out of the full recipe, and each put alone into the plain one."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.comparison.crossed import accuracy_difference
from grunlock.comparison.paired import holm
from grunlock.comparison.runs import InTurn, SeedPlan, SeedRun, SeedRunner, Source
from grunlock.comparison.tricks import Trick, check_comparable, one_in, one_out, tricks_between
from grunlock.comparison.verdict import LEVEL
from grunlock.errors import GrunlockError, RecipeError, RunInterruptedError, StorageError
from grunlock.files import storage_guard, write_atomically
from grunlock.recipe import Recipe

FULL, PLAIN = "full", "plain"


@dataclass(frozen=True)
class Measured:
    """One recipe of the ablation. Means over seeds; accuracies by seed."""

    accuracies: tuple[float, ...]
    seconds: float
    size: int

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.accuracies))


@dataclass(frozen=True)
class Bought:
    """What a trick brought in one place: accuracy with it minus without (0-1), and what it cost.

    low, high: interval of the difference at 1 - LEVEL, of this trick for itself
    p_value:   adjusted by Holm over the tricks of the same place
    seconds:   of training that it adds; size: bytes that it adds
    error:     why it could not be measured; then all else is 0
    """

    trick: str
    difference: float
    low: float
    high: float
    p_value: float
    seconds: float
    size: int
    error: str | None = None

    @property
    def shown(self) -> bool:
        """Whether it made a difference that chance over all tricks does not explain."""
        return self.error is None and self.p_value <= LEVEL


@dataclass(frozen=True)
class AblationResult:
    """taken_out: full against full without the trick. put_in: plain with the trick against plain."""

    on: str
    seeds: tuple[int, ...]
    tricks: tuple[Trick, ...]
    full: Measured
    plain: Measured
    taken_out: tuple[Bought, ...]
    put_in: tuple[Bought, ...]


def ablate(
    source: Source,
    full: Recipe,
    plain: Recipe,
    folder: str | Path,
    seeds: Sequence[int],
    *,
    put_in: bool = True,
    runner: SeedRunner | None = None,
    listen: Callable[[str, SeedRun], None] | None = None,
) -> AblationResult:
    """Train all recipes with every seed and compare. Both ways are needed: a trick may be worth nothing
    beside the others and much alone.

    runner: of the trainings; None: one after the other here.

    What is finished in the folder is not done again. Raises RecipeError if the recipes cannot be compared,
    and what training the full and the plain one raises; a trick whose recipe fails is shown with its error.
    """
    check_comparable(full, plain)
    folder = Path(folder)
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)

    runner = InTurn() if runner is None else runner

    def plan(name: str, recipe: Recipe) -> SeedPlan:
        return SeedPlan(recipe, source, folder / "recipes" / name, tuple(seeds))

    def run(name: str, recipe: Recipe) -> list[SeedRun]:
        return runner.run(plan(name, recipe), None if listen is None else lambda done: listen(name, done))

    runner.announce([plan(name, recipe) for name, recipe in _recipes(full, plain, put_in=put_in).items()])
    result = measure_tricks(full, plain, run, source.on, put_in=put_in)
    write_atomically(folder / "ablation.json", json.dumps(to_plain(result), indent=1) + "\n")
    return result


def _recipes(full: Recipe, plain: Recipe, *, put_in: bool) -> dict[str, Recipe]:
    """Every recipe that `measure_tricks` will ask for, by name; without those that no recipe may be: it
    shows their errors."""
    found = {FULL: full, PLAIN: plain}
    for trick in tricks_between(full, plain):
        with suppress(RecipeError):
            found[_without(trick)] = one_out(full, trick)
        if put_in:
            with suppress(RecipeError):
                found[_only(trick)] = one_in(plain, trick)
    return found


def _without(trick: Trick) -> str:
    return f"without-{trick.name}"


def _only(trick: Trick) -> str:
    return f"only-{trick.name}"


def measure_tricks(
    full: Recipe, plain: Recipe, run: Callable[[str, Recipe], list[SeedRun]], on: str, *, put_in: bool = True
) -> AblationResult:
    """run: the runs of a recipe, for a name and the recipe; with the same seeds for each. Raises what it does
    for the full and the plain one."""
    tricks = tricks_between(full, plain)
    best, least = run(FULL, full), run(PLAIN, plain)
    out = [_compare(trick, lambda t: (best, run(_without(t), one_out(full, t)))) for trick in tricks]
    alone = [
        _compare(trick, lambda t: (run(_only(t), one_in(plain, t)), least)) for trick in tricks if put_in
    ]
    return AblationResult(
        on=on,
        seeds=tuple(each.seed for each in best),
        tricks=tricks,
        full=_measured(best),
        plain=_measured(least),
        taken_out=_corrected(out),
        put_in=_corrected(alone),
    )


def _compare(trick: Trick, runs: Callable[[Trick], tuple[list[SeedRun], list[SeedRun]]]) -> Bought:
    try:
        return bought(trick.name, *runs(trick))
    except (RunInterruptedError, StorageError):
        raise
    except GrunlockError as error:
        return Bought(trick.name, 0.0, 0.0, 0.0, 1.0, 0.0, 0, str(error))


def bought(trick: str, having: list[SeedRun], lacking: list[SeedRun]) -> Bought:
    """Runs with it against runs without it, of the same examples. p_value is not corrected."""
    found = accuracy_difference(
        np.stack([run.right for run in having]), np.stack([run.right for run in lacking])
    )
    low, high = found.interval(1 - LEVEL)
    with_it, without = _measured(having), _measured(lacking)
    return Bought(
        trick=trick,
        difference=found.difference,
        low=low,
        high=high,
        p_value=found.p_value,
        seconds=with_it.seconds - without.seconds,
        size=with_it.size - without.size,
    )


def _corrected(found: Sequence[Bought]) -> tuple[Bought, ...]:
    if not found:
        return ()
    adjusted = holm([each.p_value for each in found])
    return tuple(
        Bought(**{**asdict(each), "p_value": float(p)}) for each, p in zip(found, adjusted, strict=True)
    )


def _measured(runs: Sequence[SeedRun]) -> Measured:
    return Measured(
        accuracies=tuple(run.accuracy for run in runs),
        seconds=float(np.mean([run.seconds for run in runs])),
        size=runs[0].size,
    )


def to_plain(result: AblationResult) -> dict[str, Any]:
    """As in ablation.json."""
    return {
        "on": result.on,
        "seeds": list(result.seeds),
        "full": asdict(result.full),
        "plain": asdict(result.plain),
        "tricks": [asdict(trick) for trick in result.tricks],
        "taken_out": [asdict(each) for each in result.taken_out],
        "put_in": [asdict(each) for each in result.put_in],
    }
