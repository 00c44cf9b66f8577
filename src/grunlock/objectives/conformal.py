"""Promises from examples that nothing else has seen: sets with a coverage, abstention with an error rate.

Knows arrays only: numbers that tell how ill a label fits (scores), confidences, right or wrong. Which scores
these are is the business of runtime/guarantees.py. n is the number of calibration examples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import ShapeError
from grunlock.shapes import IntArray, check_shape

NUM_STARTS = 5
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SetScores:
    """How sets of one promised coverage did on labelled examples."""

    method: str
    promised_coverage: float
    coverage: float  # share of examples whose set holds the target
    mean_size: float
    all_labels: bool  # examples to calibrate on were too few for this coverage: each set is all labels


@dataclass(frozen=True)
class AbstentionScores:
    """How answering only where the error rate is promised did on labelled examples."""

    max_error: float
    can_promise: bool  # False: no threshold keeps this error rate, so nothing is answered
    answered_fraction: float
    error: float | None  # among answered examples; None if there is none


def conformal_quantile(scores: Doubles, coverage: float) -> float:
    """The score that a new example's target exceeds with probability 1 - coverage at most.

    scores: [n] of the calibration examples' targets. The ceil((n + 1) * coverage)-th smallest is taken (Vovk
        2005; Lei 2018, split conformal).

    If calibration examples and the new one are exchangeable, P(score <= quantile) is at least coverage and,
    without ties, at most coverage + 1 / (n + 1); over the drawing of both, not for each example.

    Infinite if n < coverage / (1 - coverage): no quantile can promise this, and a set must hold every label.
    """
    check_shape("scores", scores.shape, (None,), "[n]")
    rank = math.ceil(round((len(scores) + 1) * coverage, 9))  # 0.9 * 10 must not become 10
    return math.inf if rank > len(scores) else float(np.partition(scores, rank - 1)[rank - 1])


def binomial_tail(errors: int, answered: int, rate: float) -> float:
    """P(X <= errors) for X ~ Binomial(answered, rate), 0 < rate < 1.

    At most 1 - c exactly if the one-sided Clopper-Pearson upper bound of confidence c is at most rate.
    """
    i = np.arange(1, errors + 1)
    steps = np.log((answered - i + 1) / i) + math.log(rate) - math.log1p(-rate)
    logs = answered * math.log1p(-rate) + np.concatenate([[0.0], np.cumsum(steps)])
    return min(1.0, float(np.exp(np.logaddexp.reduce(logs))))


def abstention_threshold(
    confidence: Doubles,  # [n]
    correct: Bools,  # [n]
    grid: Doubles,  # thresholds to try, falling
    max_error: float,
    certainty: float,
) -> float | None:
    """The smallest confidence from which on an answer is wrong with probability max_error at most.

    True with probability certainty over the drawing of the calibration examples. None if no threshold of the
    grid keeps it.

    Learn then Test (Angelopoulos 2021, 2110.01052): each threshold's hypothesis "the error is larger" is
    tested by its exact binomial tail, given how many examples it answers. Thresholds are tested from the
    largest down, until the first that fails (fixed-sequence testing); NUM_STARTS such sequences begin at even
    distances and share 1 - certainty among them, because a few errors at high confidence would otherwise end
    the only sequence.

    Holds for independent examples and a grid that does not depend on them.
    """
    check_shape("correct", correct.shape, confidence.shape, "[n]")
    answered, errors = np.zeros(len(grid), np.int64), np.zeros(len(grid), np.int64)
    for i, threshold in enumerate(grid):
        sure = confidence >= threshold
        answered[i], errors[i] = sure.sum(), (sure & ~correct).sum()
    return smallest_kept(answered, errors, grid, max_error, certainty)


def smallest_kept(
    answered: IntArray,  # [G] examples
    errors: IntArray,  # [G] of these
    grid: Doubles,  # [G] thresholds to try, falling
    max_error: float,
    certainty: float,
) -> float | None:
    """As abstention_threshold, for any way in which a threshold decides which examples are answered and how.

    Each example's answer may depend on the threshold, as that of an early decision does: given who is
    answered, the errors at one threshold are binomial all the same.
    """
    level = (1.0 - certainty) / NUM_STARTS
    counts = zip(errors.tolist(), answered.tolist(), strict=True)
    tails = [binomial_tail(wrong, given, max_error) for wrong, given in counts]
    passed = np.array(tails) <= level
    kept = [_end_of_run(passed, start) for start in _starts(len(grid))]
    last = max((place for place in kept if place is not None), default=None)
    return None if last is None else float(grid[last])


def examples_needed(max_error: float, certainty: float) -> int:
    """Answered calibration examples, all of them right, without which no threshold can promise max_error."""
    return math.ceil(math.log((1.0 - certainty) / NUM_STARTS) / math.log1p(-max_error))


def set_scores(
    method: str, promised_coverage: float, members: Bools, targets: IntArray, quantile: float
) -> SetScores:
    """members: [n, K], which labels each set holds. quantile: see conformal_quantile."""
    if not len(targets):
        raise ShapeError("There is nothing to evaluate.", got="0 examples", expected="1 or more")
    covered = members[np.arange(len(targets)), targets]
    size = float(members.sum(axis=1).mean())
    return SetScores(method, promised_coverage, float(covered.mean()), size, math.isinf(quantile))


def abstention_scores(max_error: float, answered: Bools | None, correct: Bools) -> AbstentionScores:
    """answered: [n]; None if no threshold keeps max_error."""
    if answered is None or not answered.any():
        return AbstentionScores(max_error, answered is not None, 0.0, None)
    return AbstentionScores(max_error, True, float(answered.mean()), float((~correct[answered]).mean()))


def _starts(size: int) -> Sequence[int]:
    """Where the sequences begin: NUM_STARTS places, the last one at the end."""
    return sorted({max(0, round(size * (j + 1) / NUM_STARTS) - 1) for j in range(NUM_STARTS)} if size else ())


def _end_of_run(passed: Bools, start: int) -> int | None:
    """The last place from start on up to which all passed."""
    failed = np.flatnonzero(~passed[start:])
    length = int(failed[0]) if len(failed) else len(passed) - start
    return start + length - 1 if length else None
