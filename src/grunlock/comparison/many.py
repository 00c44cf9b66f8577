"""Several systems over several data sets: mean ranks, and which of them differ by more than chance.

Follows Demsar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets. N is the number of data
sets, k of systems; larger scores are better; rank 1 is the best. Scores of different sets need not be
comparable, only their order within a set counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from grunlock.comparison.arrays import Doubles, check_fraction, finite_scores
from grunlock.errors import DataError
from grunlock.shapes import check_shape

LEVEL = 0.05
FEWEST_SYSTEMS = 3


@dataclass(frozen=True)
class FriedmanTest:
    """Do k systems have the same mean rank over N data sets?

    chi_squared: Friedman's statistic, corrected for ties, k - 1 degrees of freedom
    f: Iman and Davenport's form of it, k - 1 and (k - 1)(N - 1) degrees of freedom; infinite where all sets
        agree without exception
    p_value: of f, and of the exact count where f is infinite. The chi-squared form is too careful for the
        N and k that one meets.
    """

    chi_squared: float
    chi_squared_p_value: float
    f: float
    p_value: float


@dataclass(frozen=True)
class RankComparison:
    """k systems in the order of their mean ranks, best first.

    critical_difference: mean ranks further apart than this differ at `level`, by Nemenyi's test, which holds
        the error rate over all pairs
    cliques: groups of systems among which no difference is shown; a system may be in several, and one that
        differs from all others is in none
    """

    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    num_data_sets: int
    friedman: FriedmanTest
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]
    level: float

    def is_different(self, name_a: str, name_b: str) -> bool:
        """Whether a difference between these two systems is shown. Raises ValueError for an unknown name."""
        if self.friedman.p_value > self.level:
            return False
        ranks = self.mean_ranks[self.names.index(name_a)], self.mean_ranks[self.names.index(name_b)]
        return abs(ranks[0] - ranks[1]) > self.critical_difference


def compare_ranks(
    scores: ArrayLike,  # [N, k] larger is better
    names: Sequence[str],  # k
    *,
    level: float = LEVEL,
) -> RankComparison:
    """Friedman's test of all systems, then Nemenyi's of all pairs.

    Pairs are told apart only if Friedman's test rejects first: else all systems are one clique. Mean ranks
    of two systems depend on which others take part (Benavoli, Corani and Mangili 2016). For a question about
    two systems use `wilcoxon` on their scores, with `holm` over the questions asked.

    Raises ShapeError if sizes disagree or there are less than 2 data sets, DataError for less than 3 systems,
    numbers that are not finite, names given twice or a level outside (0, 1).
    """
    values = finite_scores("scores", scores, rank=2, letters="[N, k]", least=2)
    check_shape("scores", values.shape, (None, len(names)), "[N, k names]")
    check_fraction("level", level)
    if len(set(names)) != len(names):
        raise DataError("Two systems have the same name.", got=list(names), expected="different names")
    ranks = rank_systems(values)
    friedman = friedman_test(values)
    num_data_sets, num_systems = values.shape
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    mean_ranks = ranks.mean(axis=0)[order]
    ordered_names = tuple(names[i] for i in order)
    difference = nemenyi_critical_difference(num_systems, num_data_sets, level)
    width = difference if friedman.p_value <= level else math.inf
    cliques = [ordered_names[first:end] for first, end in _runs_within(mean_ranks, width)]
    return RankComparison(
        names=ordered_names,
        mean_ranks=tuple(mean_ranks.tolist()),
        num_data_sets=num_data_sets,
        friedman=friedman,
        critical_difference=difference,
        cliques=tuple(cliques),
        level=level,
    )


def rank_systems(scores: ArrayLike) -> Doubles:
    """Ranks [N, k] of scores [N, k] within each data set, 1 the best; equal scores share their mean rank."""
    values = finite_scores("scores", scores, rank=2, letters="[N, k]")
    ranks: Doubles = stats.rankdata(-values, axis=1)
    return ranks


def friedman_test(scores: ArrayLike) -> FriedmanTest:
    """Friedman's test in both forms, for scores [N, k].

        chi^2 = [ 12 N / (k (k + 1)) sum_j R_j^2 - 3 N (k + 1) ] / c       R_j mean rank of system j
        c     = 1 - sum over ties of (t^3 - t) / (N k (k^2 - 1))           t scores that are equal in a set
        F     = (N - 1) chi^2 / (N (k - 1) - chi^2)

    (Friedman 1937; Iman and Davenport 1980.) Demsar's worked example leaves c at 1: 9.28 where this gives
    10.23. Scores that are all equal in every set give p = 1.

    Raises ShapeError for less than 2 data sets, DataError for less than 3 systems or numbers that are not
    finite.
    """
    values = finite_scores("scores", scores, rank=2, letters="[N, k]", least=2)
    num_data_sets, num_systems = values.shape
    if num_systems < FEWEST_SYSTEMS:
        raise DataError(
            "Friedman's test needs more systems.",
            got=f"{num_systems} systems",
            expected=f"{FEWEST_SYSTEMS} or more",
            cure="compare two systems with `wilcoxon`",
        )
    if (values == values[:, :1]).all():
        return FriedmanTest(0.0, 1.0, 0.0, 1.0)
    result = stats.friedmanchisquare(*values.T)
    chi_squared = float(result.statistic)
    freedom = num_systems - 1
    rest = num_data_sets * freedom - chi_squared
    if rest <= 1e-9 * num_data_sets * freedom:  # 0 but for rounding: all sets have the same order
        f, p_value = math.inf, _chance_of_one_order(values)
    else:
        f = (num_data_sets - 1) * chi_squared / rest
        p_value = float(stats.f.sf(f, freedom, freedom * (num_data_sets - 1)))
    return FriedmanTest(chi_squared, float(result.pvalue), f, p_value)


def _chance_of_one_order(values: Doubles) -> float:
    """That N data sets agree by chance, by counting: F's own p is 0, even for 2 sets of 3 systems."""
    num_data_sets, num_systems = values.shape
    ties = np.unique_counts(values[0]).counts
    orders = math.factorial(num_systems) // math.prod(math.factorial(int(t)) for t in ties)
    return math.exp(-(num_data_sets - 1) * math.log(orders))


def nemenyi_critical_difference(num_systems: int, num_data_sets: int, level: float = LEVEL) -> float:
    """How far two mean ranks must be apart: q sqrt(k (k + 1) / (6 N)).

    q is the upper `level` quantile of the studentized range of k means at infinite degrees of freedom,
    divided by sqrt(2) (Nemenyi 1963; Demsar 2006, table 5).
    """
    quantile = float(stats.studentized_range.isf(level, num_systems, np.inf)) / math.sqrt(2.0)
    return quantile * math.sqrt(num_systems * (num_systems + 1) / (6.0 * num_data_sets))


def _runs_within(mean_ranks: Doubles, width: float) -> list[tuple[int, int]]:
    """The longest runs (first, end) of two or more sorted ranks whose extremes are at most `width` apart."""
    runs: list[tuple[int, int]] = []
    for first in range(len(mean_ranks)):
        end = int(np.searchsorted(mean_ranks - mean_ranks[first], width, side="right"))
        inside_another = bool(runs) and end <= runs[-1][1]
        if end - first > 1 and not inside_another:
            runs.append((first, end))
    return runs
