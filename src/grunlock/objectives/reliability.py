"""Whether probabilities are honest: confidence against accuracy, bin by bin.

The bins and the error are those of `ece` in metrics.py (equal mass; Nguyen and O'Connor 2015), so a diagram
drawn from them shows exactly what that number sums up.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from grunlock.objectives.metrics import CONFIDENCE, NUM_BINS, confident_answers, equal_mass_bins


@dataclass(frozen=True)
class ReliabilityBin:
    """Examples of like confidence.

    confidence: mean of the largest probabilities, 0-1
    accuracy:   share that is right, 0-1
    low, high:  Wilson's interval of the accuracy at metrics.CONFIDENCE (Wilson 1927)
    """

    num_examples: int
    confidence: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """bins: by rising confidence, none empty. ece: as in metrics.py."""

    bins: tuple[ReliabilityBin, ...]
    ece: float


def reliability(
    probs: ArrayLike,  # [n, K]
    targets: ArrayLike,  # [n] class indices
) -> Reliability:
    """The bins behind the expected calibration error.

    Raises ShapeError and DataError as `evaluate`.
    """
    confidence, correct = confident_answers(probs, targets)
    places = equal_mass_bins(confidence)
    bins = [
        _bin(confidence[places == k], correct[places == k]) for k in range(NUM_BINS) if (places == k).any()
    ]
    gaps = [each.num_examples * abs(each.accuracy - each.confidence) for each in bins]
    return Reliability(tuple(bins), sum(gaps) / len(confidence))


def _bin(confidence: np.ndarray, correct: np.ndarray) -> ReliabilityBin:
    low, high = wilson_interval(int(correct.sum()), len(correct))
    return ReliabilityBin(len(correct), float(confidence.mean()), float(correct.mean()), low, high)


def wilson_interval(hits: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a share, 0-1, from `hits` of `count` >= 1 independent cases (Wilson 1927).

    The shares p for which |hits / count - p| <= z sqrt(p (1 - p) / count), z the normal quantile.
    """
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2.0) / (1.0 + spread)
    reach = z * math.sqrt(share * (1.0 - share) / count + spread / (4.0 * count)) / (1.0 + spread)
    return max(0.0, middle - reach), min(1.0, middle + reach)
