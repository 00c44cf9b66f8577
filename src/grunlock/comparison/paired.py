"""Two systems on the same examples, seeds or data sets: intervals and tests of their difference.

Knows arrays only. All differences are a minus b, so a positive one speaks for a when larger is better.
S is the number of seeds, n of examples or pairs. What is decided from these numbers is in `verdict.py`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from grunlock.comparison.arrays import (
    Doubles,
    check_fraction,
    check_same_examples,
    correctness_by_seed,
    finite_scores,
    scores_by_seed,
)
from grunlock.errors import DataError, ShapeError
from grunlock.seeding import generator
from grunlock.shapes import check_shape

CONFIDENCE = 0.95
RESAMPLES = 10_000
CHUNK_DRAWS = 2**21  # bootstrap draws held at once; bounds memory, changes results by rounding at most
EXACT_PAIRS = 50  # up to which Wilcoxon's test counts; scipy's own limit
DECIMALS = 12  # of a difference in units of the largest score; what is below is rounding
EXACT_BELOW = 25  # discordant examples; the usual rule for McNemar's normal approximation


@dataclass(frozen=True)
class DifferenceInterval:
    """Mean of a minus b, and a percentile bootstrap interval of it."""

    difference: float
    low: float
    high: float
    confidence: float
    num_seeds: int
    num_examples: int
    resamples: int


@dataclass(frozen=True)
class McNemarTest:
    """Examples that only one of two models got right, and how unlikely so lopsided a split is by chance."""

    only_a: int  # b in the literature
    only_b: int  # c in the literature
    p_value: float  # two-sided
    method: Literal["exact", "chi-squared"]


@dataclass(frozen=True)
class WilcoxonTest:
    """Signed ranks of paired differences.

    num_pairs: pairs that differ; equal ones are left out (Wilcoxon 1945)
    smallest_p: the smallest two-sided p so many pairs can ever give, 2 / 2^num_pairs
    """

    num_pairs: int
    num_equal: int
    median_difference: float  # of all pairs, equal ones included
    p_value: float  # two-sided
    smallest_p: float

    def can_show_at(self, level: float) -> bool:
        """Whether any outcome at all of so many pairs would have p <= level. At 5 %: 6 pairs or more."""
        return self.smallest_p <= level


def paired_bootstrap(
    a: ArrayLike,  # [n] or [S, n] score of each example, 0 or 1 for accuracy
    b: ArrayLike,  # as a
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DifferenceInterval:
    """Interval of mean(a) - mean(b) from resampled examples, and seeds if there are several.

    One seed: examples are drawn with replacement, both systems keeping theirs together (scipy.stats.
    bootstrap). The interval covers the choice of these examples. It is about these two trained models and
    says nothing about another training of either.

    Several seeds: seeds and examples are drawn with replacement, independently of each other; row s of a and
    row s of b stay together. The interval covers new examples and new trainings. But the percentile method
    takes the spread of S seeds for that of all seeds, too small by (S - 1) / S on average and not widened for
    being known badly: with 3 to 5 seeds that differ much, far fewer than `confidence` of such intervals hold
    the true difference. Use it to show a spread; decide with `verdict`.

    Raises ShapeError if the shapes differ, DataError for numbers that are not finite, a confidence outside
    (0, 1) or less than 1 resample.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 8 and 13; for two crossed samples
    Owen 2007, The Pigeonhole Bootstrap.
    """
    scores_a, scores_b = scores_by_seed("a", a), scores_by_seed("b", b)
    check_shape("b", scores_b.shape, scores_a.shape, "[S, n], as a")
    check_fraction("confidence", confidence)
    if resamples < 1:
        raise DataError("There are no resamples.", got=resamples, expected="1 or more")
    differences = scores_a - scores_b
    num_seeds, num_examples = differences.shape
    draw = _plain_means if num_seeds == 1 else _two_level_means
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(draw(differences, resamples, seed), [tail, 1.0 - tail])
    return DifferenceInterval(
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        num_seeds=num_seeds,
        num_examples=num_examples,
        resamples=resamples,
    )


def _plain_means(differences: Doubles, resamples: int, seed: int) -> Doubles:
    """Means [R] of resampled differences [1, n]."""
    num_examples = differences.shape[1]
    if num_examples == 1:
        return np.full(resamples, differences[0, 0])  # scipy refuses a single one
    result = stats.bootstrap(
        (differences[0],),
        np.mean,
        n_resamples=resamples,
        batch=max(1, CHUNK_DRAWS // num_examples),
        vectorized=True,
        method="percentile",
        rng=generator(seed, "paired bootstrap"),
    )
    means: Doubles = result.bootstrap_distribution
    return means


def _two_level_means(differences: Doubles, resamples: int, seed: int) -> Doubles:
    """Means [R] of differences [S, n] with rows and columns resampled.

    A mean over drawn rows and columns is counts_seeds @ differences @ counts_examples / (S n), where the
    counts say how often each was drawn.
    """
    num_seeds, num_examples = differences.shape
    of_seeds, of_examples = generator(seed, "seeds"), generator(seed, "examples")
    chunk = max(1, CHUNK_DRAWS // num_examples)
    means = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        by_seed = _draw_counts(of_examples, size, num_examples) @ differences.T  # [size, S]
        seeds = _draw_counts(of_seeds, size, num_seeds)
        means.append(np.einsum("rs,rs->r", seeds, by_seed) / (num_seeds * num_examples))
    return np.concatenate(means)


def _draw_counts(random: np.random.Generator, resamples: int, size: int) -> Doubles:
    """How often each of `size` things occurs in `size` draws with replacement: [resamples, size]."""
    drawn = random.integers(0, size, (resamples, size)) + np.arange(resamples)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=resamples * size)
    return counts.reshape(resamples, size).astype(np.float64)


def mcnemar(
    a: ArrayLike,  # [n] 1 where model a is right, else 0
    b: ArrayLike,  # [n] as a, the same examples
) -> McNemarTest:
    """Do two models err on equally many of the same examples? Two-sided.

    Of b examples that only a got right and c that only b got right, each falls to either side with chance
    1/2 if the models are equally good. With b + c < 25 the p-value is that of the binomial, exactly; else

        chi^2 = (|b - c| - 1)^2 / (b + c)      one degree of freedom

    (McNemar 1947; the 1 is Edwards' 1948 correction for continuity). No discordant example gives p = 1.
    A test of two trained models: another seed is another model.

    Raises ShapeError if shapes differ or are not [n], DataError for values other than 0 and 1.
    """
    right_a, right_b = correctness_by_seed("a", a), correctness_by_seed("b", b)
    check_same_examples(right_a, right_b)
    if len(right_a) != 1 or len(right_b) != 1:
        raise ShapeError(
            "McNemar's test compares two models.",
            got=f"{len(right_a)} and {len(right_b)} seeds",
            expected="one fixed model each, [n]",
            cure="choose a seed before looking, or use `verdict`, which takes all of them",
        )
    only_a = int((right_a > right_b).sum())
    only_b = int((right_b > right_a).sum())
    discordant = only_a + only_b
    if discordant < EXACT_BELOW:
        p_value = stats.binomtest(only_a, discordant).pvalue if discordant else 1.0
        return McNemarTest(only_a, only_b, float(p_value), "exact")
    # At b = c the correction would pass the middle and count against equality.
    excess = max(abs(only_a - only_b) - 1, 0)
    return McNemarTest(only_a, only_b, float(stats.chi2.sf(excess**2 / discordant, 1)), "chi-squared")


def wilcoxon(
    a: ArrayLike,  # [n] score of system a, one per seed or data set
    b: ArrayLike,  # [n] of system b on the same seed or data set
) -> WilcoxonTest:
    """Signed-rank test of paired scores, two-sided (Wilcoxon 1945; over data sets: Demsar 2006).

    Pairs that are equal are left out (the method that scipy calls "wilcox"), so they cannot help to show a
    difference. The p-value is exact up to 50 unequal pairs, tied or not, and beyond them the normal
    approximation. Differences that are equal but for rounding are ties. `smallest_p` says whether any
    outcome could have been significant: with 5 pairs even 5 wins of 5 give p = 0.0625.

    Raises ShapeError if sizes differ, DataError for numbers that are not finite.
    """
    scores_a = finite_scores("a", a, rank=1, letters="[n]")
    scores_b = finite_scores("b", b, rank=1, letters="[n]")
    check_shape("b", scores_b.shape, scores_a.shape, "[n], as a")
    scale = max(np.abs(scores_a).max(), np.abs(scores_b).max()) or 1.0
    differences = np.round((scores_a - scores_b) / scale, DECIMALS)
    unequal = differences[differences != 0.0]
    num_pairs = len(unequal)
    if num_pairs <= EXACT_PAIRS:
        p_value = _signed_rank_p_value(unequal)
    else:
        p_value = float(stats.wilcoxon(unequal, zero_method="wilcox", method="asymptotic").pvalue)
    return WilcoxonTest(
        num_pairs=num_pairs,
        num_equal=len(differences) - num_pairs,
        median_difference=float(np.median(scores_a - scores_b)),
        p_value=p_value,
        smallest_p=min(1.0, 2.0 * 0.5**num_pairs),
    )


def _signed_rank_p_value(unequal: Doubles) -> float:
    """Exact two-sided p of the sum of positive ranks when each of n ranks has either sign with chance 1/2.

    scipy counts the 2^n signs one by one where ranks are tied, seconds for 13 pairs. Here the distribution
    of the sum grows rank by rank; twice a mean rank is an integer.
    """
    ranks = np.round(2.0 * stats.rankdata(np.abs(unequal))).astype(np.int64)
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        chances[rank:] += chances[:-rank].copy()
        chances /= 2.0
    positive = int(ranks[unequal > 0.0].sum())
    tail = min(chances[: positive + 1].sum(), chances[positive:].sum())
    return min(1.0, 2.0 * float(tail))


def holm(p_values: ArrayLike) -> Doubles:
    """Adjusted p-values [m] in the order given; the family's error rate is held whatever the dependence.

    With p_(1) <= ... <= p_(m):   adjusted_(k) = max over j <= k of min(1, (m - j + 1) p_(j))

    Reject where adjusted <= level (Holm 1979).

    Raises ShapeError unless [m] with m >= 1, DataError if one is no probability.
    """
    p = finite_scores("p_values", p_values, rank=1, letters="[m]")
    outside = (p < 0.0) | (p > 1.0)
    if outside.any():
        place = int(outside.argmax())
        raise DataError(
            "A p-value is no probability.", where=f"index {place}", got=p[place], expected="0 to 1"
        )
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(1.0, np.arange(len(p), 0, -1) * p[order]))
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted
