"""Which system is ahead, as a sentence with its numbers, by one declared rule.

The rule: a is ahead of b if the interval of the accuracy difference (`crossed.py`) lies above 0, at the
confidence that Holm's correction asks for in the family of comparisons. Otherwise no difference is shown.
That two systems are equal is never claimed: the interval says what differences remain possible.

Where there is no difference the rule declares one at most 5 times in a hundred, with 3 seeds as with 10;
benchmarks/verdict_rates.py measures that beside other rules. Tests of seeds alone (Wilcoxon, t) take the
examples for all there are, and err more the more seeds they have; tests of examples alone (McNemar, a
bootstrap of examples) take the seeds for all there are; a two-level percentile bootstrap needs many seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from grunlock.comparison.arrays import Doubles, check_fraction
from grunlock.comparison.crossed import AccuracyDifference, accuracy_difference
from grunlock.comparison.paired import holm
from grunlock.errors import DataError

LEVEL = 0.05  # of false verdicts, over a whole family
MOST_DECIMALS = 4


@dataclass(frozen=True)
class Comparison:
    """Two systems to compare on the same examples.

    a, b: [S, n] 1 where a seed's model is right on an example, else 0; [n] for one fixed model
    """

    name_a: str
    name_b: str
    a: ArrayLike
    b: ArrayLike


@dataclass(frozen=True)
class Verdict:
    """What was found about two systems. Accuracies and their differences are 0-1, differences a minus b."""

    name_a: str
    name_b: str
    accuracy_a: float
    accuracy_b: float
    difference: float
    low: float
    high: float
    confidence: float  # of low to high: 1 - level / (comparisons that Holm had left at this step)
    p_value: float  # two-sided, adjusted by Holm: at most the level exactly where a system is ahead
    num_seeds: tuple[int, int]  # of a, of b
    num_examples: int
    num_comparisons: int  # in the family

    @property
    def ahead(self) -> str | None:
        """The name of the system that is ahead; None if no difference is shown."""
        if self.low > 0.0:
            return self.name_a
        return self.name_b if self.high < 0.0 else None

    @property
    def sentence(self) -> str:
        """The verdict in words, differences in percentage points."""
        low, high, difference = self.low, self.high, self.difference
        if self.ahead == self.name_b:
            low, high, difference = -high, -low, -difference
        decimals = _decimals(low, high)
        points, reach = (
            _points(difference, decimals),
            f"{_points(low, decimals)} to {_points(high, decimals)}",
        )
        interval = f"{100 * self.confidence:.4g} % interval {reach}"
        if self.ahead is None:
            head = (
                f"no difference shown between {self.name_a} and {self.name_b}: "
                f"{self.name_a} minus {self.name_b} is {points} points ({interval}; {self._basis()})"
            )
        else:
            behind = self.name_a if self.ahead == self.name_b else self.name_b
            head = f"{self.ahead} is ahead of {behind} by {points} points ({interval}; {self._basis()})"
        return head + self._scope()

    def _basis(self) -> str:
        seeds_a, seeds_b = self.num_seeds
        seeds = f"{seeds_a} and {seeds_b} seeds" if seeds_a != seeds_b else f"{seeds_a} seeds"
        parts = [
            "one training each" if self.num_seeds == (1, 1) else seeds,
            f"{self.num_examples:,} examples",
            "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}",
        ]
        if self.num_comparisons > 1:
            parts.append(f"corrected for {self.num_comparisons} comparisons")
        return ", ".join(parts)

    def _scope(self) -> str:
        if self.num_seeds != (1, 1):
            return ""
        return "; this is about these two trained models, other seeds may differ"


def verdict(
    a: ArrayLike,  # [S, n] or [n], see Comparison
    b: ArrayLike,
    *,
    names: tuple[str, str],
    level: float = LEVEL,
) -> Verdict:
    """The verdict on a single comparison. Errors as verdicts."""
    return verdicts([Comparison(*names, a, b)], level=level)[0]


def verdicts(comparisons: Sequence[Comparison], *, level: float = LEVEL) -> tuple[Verdict, ...]:
    """Verdicts on a family of comparisons, in its order; in at most `level` of families one is false.

    Each interval has the confidence at which Holm's procedure tested it: in order of p-values 1 - level / m,
    1 - level / (m - 1), ...; from the first that includes 0 on, all have that one's. So an interval excludes
    0 exactly where Holm rejects. They are made for this decision and not a simultaneous region.

    Raises DataError for no comparison, two systems of the same name or a level outside (0, 1), and what
    accuracy_difference raises.
    """
    if not comparisons:
        raise DataError("There is nothing to compare.", got="0 comparisons", expected="1 or more")
    check_fraction("level", level)
    for comparison in comparisons:
        if comparison.name_a == comparison.name_b:
            raise DataError(
                "Two systems have the same name.",
                got=comparison.name_a,
                expected="different names",
                cure="say in the name what differs",
            )
    found = [accuracy_difference(each.a, each.b) for each in comparisons]
    p_values = np.array([each.p_value for each in found])
    confidences = 1.0 - _step_levels(p_values, level)
    adjusted = holm(p_values)
    return tuple(
        _verdict(comparison, difference, float(confidence), float(p), len(comparisons))
        for comparison, difference, confidence, p in zip(
            comparisons, found, confidences, adjusted, strict=True
        )
    )


def _step_levels(p_values: Doubles, level: float) -> Doubles:
    """The level [m] at which Holm's step-down procedure tests each p-value, or stops before it."""
    order = np.argsort(p_values, kind="stable")
    steps = level / np.arange(len(p_values), 0, -1)
    kept = np.flatnonzero(p_values[order] > steps)
    if len(kept):
        steps[kept[0] :] = steps[kept[0]]
    levels = np.empty_like(steps)
    levels[order] = steps
    return levels


def _verdict(
    comparison: Comparison, found: AccuracyDifference, confidence: float, p: float, family: int
) -> Verdict:
    low, high = found.interval(confidence)
    return Verdict(
        name_a=comparison.name_a,
        name_b=comparison.name_b,
        accuracy_a=found.accuracy_a,
        accuracy_b=found.accuracy_b,
        difference=found.difference,
        low=low,
        high=high,
        confidence=confidence,
        p_value=p,
        num_seeds=found.num_seeds,
        num_examples=found.num_examples,
        num_comparisons=family,
    )


def _decimals(*ends: float) -> int:
    """One, or as many more as keep an end that is not 0 from being written as 0."""
    for decimals in range(1, MOST_DECIMALS):
        if all(end == 0.0 or round(100.0 * end, decimals) != 0.0 for end in ends):
            return decimals
    return MOST_DECIMALS


def _points(share: float, decimals: int) -> str:
    text = f"{100.0 * share:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text
