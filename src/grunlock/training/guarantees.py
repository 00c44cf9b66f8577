"""What a trained model may promise, found on its calibration split."""

import numpy as np

from grunlock.objectives.conformal import abstention_threshold, conformal_quantile, examples_needed
from grunlock.runtime.guarantees import SET_METHODS, Guarantees, SetMethod, confidences, label_scores
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, IntArray

COVERAGES = (0.8, 0.9, 0.95, 0.99)
MAX_ERRORS = (0.01, 0.02, 0.05, 0.1)
CERTAINTY = 0.95
GRID_SIZE = 50


def find_guarantees(
    valid_logits: FloatArray,  # [validation examples, K]
    logits: FloatArray,  # [n, K] of the calibration examples
    targets: IntArray,  # [n]
    temperature: float,  # fitted on validation
) -> Guarantees:
    """Quantiles for each coverage, thresholds for each error rate.

    The validation examples say which thresholds are worth a test, those that answer 2%, 4%, ... 100% of them;
    so the calibration examples judge each threshold and choose none of the candidates.
    """
    probs = probabilities(logits, temperature)
    scores = {method: _of_targets(label_scores(probs, method), targets) for method in SET_METHODS}
    quantiles: dict[SetMethod, dict[float, float]] = {
        method: {coverage: conformal_quantile(found, coverage) for coverage in COVERAGES}
        for method, found in scores.items()
    }
    confidence, correct = confidences(probs), logits.argmax(axis=1) == targets
    grid = _thresholds(confidences(probabilities(valid_logits, temperature)))
    thresholds = {
        rate: abstention_threshold(confidence, correct, grid, rate, CERTAINTY) for rate in MAX_ERRORS
    }
    needed = {rate: examples_needed(rate, CERTAINTY) for rate in MAX_ERRORS}
    return Guarantees(len(targets), temperature, quantiles, thresholds, needed, CERTAINTY)


def _of_targets(scores: np.ndarray, targets: IntArray) -> np.ndarray:
    found: np.ndarray = scores[np.arange(len(targets)), targets]
    return found


def _thresholds(confidence: np.ndarray) -> np.ndarray:
    """Falling; the last one, 0, answers everything."""
    shares = np.arange(1, GRID_SIZE) / GRID_SIZE
    return np.unique(np.append(np.quantile(confidence, 1.0 - shares), 0.0))[::-1]
