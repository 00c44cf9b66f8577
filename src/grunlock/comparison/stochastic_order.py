"""Almost stochastic order: is system A better than B at nearly every quantile of its scores?

Means hide what seeds do: a system may be better on average and much worse in its bad runs. A is
stochastically larger than B if each quantile of A's scores is at least that of B's. Hardly ever is this true
of two samples without exception, so the exceptions are measured (del Barrio, Cuesta-Albertos and Matran
2018, An Optimal Transportation Approach for Assessing Almost Stochastic Order; proposed for neural
networks by Dror, Shlomov and Reichart 2019, Deep Dominance). Larger scores are better throughout.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from grunlock.comparison.arrays import Doubles, check_fraction, finite_scores
from grunlock.errors import DataError
from grunlock.seeding import generator

THRESHOLD = 0.2  # tau that Ulmer, Hardmeier and Frellsen 2022 (deep-significance) recommend over Dror's 0.5
CONFIDENCE = 0.95
RESAMPLES = 1_000
CHUNK_DRAWS = 2**21  # scores held at once; bounds memory, does not change results


@dataclass(frozen=True)
class StochasticOrder:
    """How far A is from being stochastically larger than B.

    violation: epsilon_W2 of the samples; 0: A is larger at every quantile, 1: B is, 0.5: neither
    violation_bound: epsilon_min, an upper confidence bound of it, at most 1
    """

    violation: float
    violation_bound: float
    confidence: float
    num_scores: tuple[int, int]  # of A, of B

    @property
    def better(self) -> bool:
        """Whether A counts as better than B: the bound is below THRESHOLD."""
        return self.violation_bound < THRESHOLD


def violation_ratio(
    a: ArrayLike,  # [n] scores of system A, larger is better
    b: ArrayLike,  # [m] scores of system B
) -> float:
    """epsilon_W2: the share of the squared Wasserstein-2 distance where A's quantile is below B's.

        epsilon_W2 = integral over {t: F^-1(t) < G^-1(t)} of (F^-1(t) - G^-1(t))^2 dt
                     / integral over (0, 1) of the same

    F^-1 is A's empirical quantile function: on ((i - 1) / n, i / n] the i-th smallest score; G^-1 is B's.
    Both are constant between the merged steps i / n and j / m, so the integrals are finite sums and exact.
    epsilon(A, B) + epsilon(B, A) = 1. Samples that are equal have no distance to share; they are given 0.5.

    Raises ShapeError for no score, DataError for numbers that are not finite.
    """
    scores_a = finite_scores("a", a, rank=1, letters="[n]")
    scores_b = finite_scores("b", b, rank=1, letters="[m]")
    return float(_violation_ratios(scores_a[None], scores_b[None])[0])


def almost_stochastic_order(
    a: ArrayLike,  # [n] scores of system A, one per seed; larger is better
    b: ArrayLike,  # [m] scores of system B
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> StochasticOrder:
    """The violation ratio and its upper confidence bound (Dror et al. 2019, equation of epsilon^min).

        sigma^2     = variance over bootstrap samples of sqrt(n m / (n + m)) epsilon(F*, G*)
        epsilon_min = epsilon - sqrt((n + m) / (n m)) sigma Phi^-1(1 - confidence)

    The two roots cancel: the bound is the ratio plus 1.64 bootstrap standard deviations at 95 %.

    It is a statement for large samples. With 3 seeds each, equal systems are fully separated by luck once in
    ten times; every resample is then separated as well, and the bound is 0. And it takes the scores as
    independent: those of several seeds on one test set share its examples, so it speaks of that set only, and
    more seeds do not cure that. benchmarks/verdict_rates.py has the rates of both. Use it to describe runs
    on many data sets or many seeds; decide between two systems with `verdict`.

    Raises ShapeError for less than 2 scores, DataError for numbers that are not finite, a confidence outside
    (0, 1) or less than 2 resamples.
    """
    scores_a = finite_scores("a", a, rank=1, letters="[n]", least=2)
    scores_b = finite_scores("b", b, rank=1, letters="[m]", least=2)
    check_fraction("confidence", confidence)
    if resamples < 2:
        raise DataError("A spread needs resamples.", got=resamples, expected="2 or more")
    violation = float(_violation_ratios(scores_a[None], scores_b[None])[0])
    spread = _resampled_ratios(scores_a, scores_b, resamples, seed).std(ddof=1)
    bound = violation - spread * stats.norm.ppf(1.0 - confidence)
    return StochasticOrder(
        violation=violation,
        violation_bound=float(np.clip(bound, 0.0, 1.0)),
        confidence=confidence,
        num_scores=(len(scores_a), len(scores_b)),
    )


def _resampled_ratios(scores_a: Doubles, scores_b: Doubles, resamples: int, seed: int) -> Doubles:
    """Violation ratios [R] of samples drawn from each side with replacement."""
    random_a, random_b = generator(seed, "scores of a"), generator(seed, "scores of b")
    chunk = max(1, CHUNK_DRAWS // (len(scores_a) + len(scores_b)))
    ratios = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn_a = scores_a[random_a.integers(0, len(scores_a), (size, len(scores_a)))]
        drawn_b = scores_b[random_b.integers(0, len(scores_b), (size, len(scores_b)))]
        ratios.append(_violation_ratios(drawn_a, drawn_b))
    return np.concatenate(ratios)


def _violation_ratios(a: Doubles, b: Doubles) -> Doubles:
    """epsilon_W2 of each row of a [R, n] against the same row of b [R, m]: [R]."""
    rank_a, rank_b, widths = _merged_steps(a.shape[1], b.shape[1])
    gaps = np.sort(a, axis=1)[:, rank_a] - np.sort(b, axis=1)[:, rank_b]  # [R, steps]
    squares = gaps**2 * widths
    total = squares.sum(axis=1)
    violated = np.where(gaps < 0.0, squares, 0.0).sum(axis=1)
    ratios = np.full(len(total), 0.5)
    np.divide(violated, total, out=ratios, where=total > 0.0)
    return ratios


def _merged_steps(n: int, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Doubles]:
    """Where two quantile functions of n and m scores are both constant.

    Returns the rank (from 0) of A's and of B's score on each piece, and the widths, which sum to 1. Steps
    are counted in units of 1 / (n m), as integers: i / n and j / m that are equal must be one step.
    """
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    starts = np.concatenate(([0], ends[:-1]))
    return starts // m, starts // n, (ends - starts) / (n * m)
