"""How far two accuracies may be apart by chance, when seeds and examples are both samples.

The same n examples are answered by several trainings (seeds) of each system. A difference of two mean
accuracies then has two sources of chance: other examples, and other seeds. Radiology has had this problem
for long, with readers for seeds and patients for examples; the method is its analysis of variance
(Dorfman, Berbaum and Metz 1992; Obuchowski and Rockette 1995; degrees of freedom: Hillis 2007), with
readers nested in systems. What is declared from the numbers is in `verdict.py`.
"""

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import stats

from grunlock.comparison.arrays import Doubles, check_fraction, check_same_examples, correctness_by_seed
from grunlock.errors import ShapeError


@dataclass(frozen=True)
class AccuracyDifference:
    """Accuracy of a minus accuracy of b (each 0-1) and its chance. Made by `accuracy_difference`."""

    accuracy_a: float
    accuracy_b: float
    standard_error: float
    degrees_of_freedom: float
    continuity: float  # half a step of the difference, by which intervals are wider and tests more careful
    num_seeds: tuple[int, int]  # of a, of b
    num_examples: int

    @property
    def difference(self) -> float:
        return self.accuracy_a - self.accuracy_b

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference. interval(1 - p) is the one that just touches 0."""
        excess = abs(self.difference) - self.continuity
        if excess <= 0.0:  # holds whenever the standard error is 0: all answers are then the same
            return 1.0
        return float(2.0 * stats.t.sf(excess / self.standard_error, self.degrees_of_freedom))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Low and high end. Raises DataError for a confidence outside (0, 1)."""
        check_fraction("confidence", confidence)
        quantile = float(stats.t.isf((1.0 - confidence) / 2.0, self.degrees_of_freedom))
        reach = quantile * self.standard_error + self.continuity
        return self.difference - reach, self.difference + reach


def accuracy_difference(
    a: ArrayLike,  # [S_a, n] 1 where that seed of a is right, else 0; [n] for one fixed model
    b: ArrayLike,  # [S_b, n] or [n], the same examples
) -> AccuracyDifference:
    """Difference of two accuracies with its standard error and degrees of freedom.

    For each system x [S, n], with bars for means over the missing index:

        (1)  MS_seed = n sum_s (x_s - x)^2 / (S - 1)
        (2)  MS_rest = sum_si (x_si - x_s - x_i + x)^2 / ((S - 1) (n - 1))
        (3)  v_seed  = max(MS_seed, MS_rest) / (S n)

    and for the examples, with d_i = a_i - b_i:

        (4)  v_examples = max(0, sum_i d_i^2 / n - MS_rest_a / S_a - MS_rest_b / S_b) / n
        (5)  standard_error^2 = V = v_seed_a + v_seed_b + v_examples
        (6)  degrees_of_freedom = V^2 / (v_seed_a^2 / (S_a - 1) + v_seed_b^2 / (S_b - 1)
                                         + v_examples^2 / (n - 1))                Satterthwaite 1946

    (3) never takes seeds to differ less than the noise in them: with few seeds they may by luck, and the
    interval would be too short just then. (4) has the variance at no difference, as McNemar's test: d_i that
    are all 1 have no spread, but three of them prove nothing. It leaves out what v_seed holds already.

    Seeds of a and b are taken as independent. Where they are coupled (the same seed orders the same data),
    the difference varies less than assumed, and the interval errs on the wide side.

    [n] for both: v_seed is 0, the interval is about these two trained models only, and the test is McNemar's
    with Edwards' correction, t for its normal distribution.

    Raises ShapeError if the examples disagree, there are less than 2, or only one side has several seeds;
    DataError for values other than 0 and 1.
    """
    right_a, right_b = correctness_by_seed("a", a), correctness_by_seed("b", b)
    check_same_examples(right_a, right_b)
    num_examples = right_a.shape[1]
    num_seeds = (len(right_a), len(right_b))
    _check_sizes(num_seeds, num_examples)
    differences = right_a.mean(axis=0) - right_b.mean(axis=0)
    of_examples = float((differences**2).mean())
    variance, squares = 0.0, 0.0
    if max(num_seeds) > 1:
        for right in (right_a, right_b):
            seeds, rest = _mean_squares(right)
            of_seeds = max(seeds, rest) / right.size
            variance += of_seeds
            squares += of_seeds**2 / (len(right) - 1)
            of_examples -= rest / len(right)
    of_examples = max(0.0, of_examples) / num_examples
    variance += of_examples
    squares += of_examples**2 / (num_examples - 1)
    return AccuracyDifference(
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        standard_error=math.sqrt(variance),
        degrees_of_freedom=variance**2 / squares if squares else math.inf,
        continuity=1.0 / (max(num_seeds) * num_examples),
        num_seeds=num_seeds,
        num_examples=num_examples,
    )


def _mean_squares(right: Doubles) -> tuple[float, float]:
    """Equations (1) and (2) for right [S, n]."""
    num_seeds, num_examples = right.shape
    by_seed, by_example, mean = right.mean(axis=1), right.mean(axis=0), right.mean()
    seeds = num_examples * ((by_seed - mean) ** 2).sum() / (num_seeds - 1)
    residuals = right - by_seed[:, None] - by_example + mean
    return float(seeds), float((residuals**2).sum() / ((num_seeds - 1) * (num_examples - 1)))


def _check_sizes(num_seeds: tuple[int, int], num_examples: int) -> None:
    if num_examples < 2:
        raise ShapeError("One example shows nothing.", got=f"{num_examples} example", expected="2 or more")
    if min(num_seeds) == 1 < max(num_seeds):
        raise ShapeError(
            "Only one of the systems has several seeds.",
            got=f"{num_seeds[0]} and {num_seeds[1]} seeds",
            expected="2 or more seeds for both, or one fixed model each",
            cure="train the other one with more seeds: how much it varies cannot be known from one",
        )
