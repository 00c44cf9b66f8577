"""Expected best score of a search, as a function of how many trials were paid for.

The best of 100 trials is no fair rival of the best of 5. What a search of k trials can be expected to
find is the curve to compare (Dodge et al. 2019, Show Your Work). Larger scores are better. The scores are
those on the validation split, by which the best trial is chosen.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from grunlock.comparison.arrays import Doubles, finite_scores
from grunlock.errors import DataError
from grunlock.shapes import check_shape


@dataclass(frozen=True)
class ExpectedBest:
    """Entry k - 1 of each is for a search of k trials, k = 1 to n.

    mean: expected best score
    deviation: standard deviation of the best of k over the choice of the k among these n trials. It shrinks
        to 0 at k = n, where all are chosen; that is no certainty about other trials.
    seconds: expected duration of k trials, one after another; None if durations were not given
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    seconds: tuple[float, ...] | None

    @property
    def num_trials(self) -> int:
        return len(self.mean)


def expected_best(
    scores: ArrayLike,  # [n] validation score of each trial
    *,
    seconds: ArrayLike | None = None,  # [n] duration of each trial
    replacement: bool = False,
) -> ExpectedBest:
    """Mean and spread of the best of k trials chosen from n at random, for all k.

    Of the sorted scores v_(1) <= ... <= v_(n), the i-th is the best of k with chance

        without replacement   p_k(i) = C(i - 1, k - 1) / C(n, k)
        with replacement      p_k(i) = (i / n)^k - ((i - 1) / n)^k

        mean_k = sum_i p_k(i) v_(i)        deviation_k^2 = sum_i p_k(i) (v_(i) - mean_k)^2

    Dodge et al. have the second: the plug-in estimate. It may draw a trial twice, so it is too low on
    average for every k > 1 (Tang et al. 2020, Showing Your Work Doesn't Always Work). The first is unbiased
    and the default: k different trials of n are what a search of k trials is. Neither is a bound. Near k = n
    both rest on the very best trial alone: compare searches at a k well below n.

    Time O(n^2), memory O(n).

    Raises ShapeError for no score or other sizes, DataError for numbers that are not
    finite or negative seconds.
    """
    values = finite_scores("scores", scores, rank=1, letters="[n]")
    ordered = np.sort(values)
    num_trials = len(ordered)
    means, deviations = [], []
    for chances in _with_replacement(num_trials) if replacement else _without_replacement(num_trials):
        mean = float(chances @ ordered)
        means.append(mean)
        deviations.append(math.sqrt(chances @ (ordered - mean) ** 2))
    return ExpectedBest(
        mean=tuple(means),
        deviation=tuple(deviations),
        seconds=None if seconds is None else _durations(seconds, num_trials),
    )


def _without_replacement(num_trials: int) -> Iterator[Doubles]:
    """p_k [n] for k = 1 to n, each from the one before: their ratio has no factorials to overflow."""
    ranks = np.arange(1, num_trials + 1)
    chances = np.full(num_trials, 1.0 / num_trials)
    yield chances
    for k in range(1, num_trials):
        chances = chances * np.maximum(ranks - k, 0) * (k + 1) / (k * (num_trials - k))
        yield chances


def _with_replacement(num_trials: int) -> Iterator[Doubles]:
    """p_k [n] for k = 1 to n."""
    ranks = np.arange(1, num_trials + 1)
    for k in range(1, num_trials + 1):
        yield (ranks / num_trials) ** k - ((ranks - 1) / num_trials) ** k


def _durations(seconds: ArrayLike, num_trials: int) -> tuple[float, ...]:
    """k times the mean duration: what k trials chosen at random take on average."""
    durations: Doubles = finite_scores("seconds", seconds, rank=1, letters="[n]")
    check_shape("seconds", durations.shape, (num_trials,), "[n], as scores")
    if (durations < 0.0).any():
        trial = int((durations < 0.0).argmax())
        raise DataError("A trial has a negative duration.", where=f"trial {trial}", got=durations[trial])
    return tuple((np.arange(1, num_trials + 1) * durations.mean()).tolist())
