"""Between a search space and Optuna: distributions of its ranges, and points spread evenly over it."""

import json
import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.stats import qmc

from grunlock.recipe import Choices, Range, SearchSpace
from grunlock.seeding import derive_seed

PLAIN = (bool, int, float, str, type(None))  # what Optuna stores as it is


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """By dotted key. A choice that is a list or table stands as JSON text."""
    return {key: _distribution(found) for key, found in space.ranges.items()}


def suggest(trial: optuna.Trial, space: SearchSpace) -> None:
    """Have every range decided; what is decided already stays."""
    for key, distribution in distributions(space).items():
        if isinstance(distribution, CategoricalDistribution):
            trial.suggest_categorical(key, distribution.choices)
        elif isinstance(distribution, IntDistribution):
            trial.suggest_int(
                key, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )
        elif isinstance(distribution, FloatDistribution):
            trial.suggest_float(
                key, distribution.low, distribution.high, step=distribution.step, log=distribution.log
            )


def stored(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as Optuna stores them."""
    return {
        key: _text(value) if isinstance(space.ranges[key], Choices) else value
        for key, value in values.items()
    }


def restored(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """The other way: values as recipes have them."""
    result = dict(values)
    for key, value in values.items():
        found = space.ranges[key]
        if isinstance(found, Choices):
            result[key] = next(choice for choice in found.choices if _text(choice) == value)
    return result


def spread_points(space: SearchSpace, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` points of a scrambled Sobol sequence (Owen 1998), which cover each range and most pairs of
    ranges more evenly than random ones. The first points do not depend on `count`."""
    if count == 0:
        return []
    sequence = qmc.Sobol(len(space.ranges), scramble=True, rng=derive_seed(seed, "sobol"))
    points = sequence.random_base2(math.ceil(math.log2(count)) if count > 1 else 0)[:count]
    return [
        {
            key: at_fraction(found, float(u))
            for (key, found), u in zip(space.ranges.items(), point, strict=True)
        }
        for point in points
    ]


def at_fraction(found: Range | Choices, fraction: float) -> Any:
    """The value at a fraction in [0, 1) of the way through a range, or of the list of choices."""
    if isinstance(found, Choices):
        return found.choices[int(fraction * len(found.choices))]
    if found.step is not None or is_whole(found):
        step = found.step or 1
        count = int((found.high - found.low) / step + 1e-9) + 1
        if not found.log:
            return found.low + step * int(fraction * count)
    value = _interpolate(found, fraction)
    return round(value) if is_whole(found) else value


def fraction_of(found: Range, value: float) -> float:
    """Where a value lies between the ends of its range, 0 to 1, on the scale that is searched."""
    if found.log:
        return math.log(value / found.low) / math.log(found.high / found.low)
    return (value - found.low) / (found.high - found.low)


def is_whole(found: Range) -> bool:
    """Whether a range holds whole numbers only: its ends are written as such."""
    return isinstance(found.low, int) and isinstance(found.high, int)


def numeric(space: SearchSpace) -> bool:
    """Whether every range is one of numbers."""
    return all(isinstance(found, Range) for found in space.ranges.values())


def _interpolate(found: Range, fraction: float) -> float:
    if found.log:
        return float(found.low * (found.high / found.low) ** fraction)
    return found.low + (found.high - found.low) * fraction


def _distribution(found: Range | Choices) -> BaseDistribution:
    if isinstance(found, Choices):
        return CategoricalDistribution([_text(choice) for choice in found.choices])
    if is_whole(found):
        return IntDistribution(int(found.low), int(found.high), log=found.log, step=int(found.step or 1))
    return FloatDistribution(found.low, found.high, log=found.log, step=found.step)


def _text(choice: Any) -> Any:
    if isinstance(choice, PLAIN):
        return choice
    return json.dumps(choice, sort_keys=True)
