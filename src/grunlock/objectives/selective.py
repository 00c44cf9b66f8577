"""Answering only where the model is surest: the error that is left against the share that is answered.

Descriptive, on the examples at hand; what may be promised for others is the business of conformal.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from grunlock.objectives.metrics import confident_answers


@dataclass(frozen=True)
class RiskCoverage:
    """Error among the answered examples, as more and more are answered, the surest first.

    coverage: rising shares of examples that are answered, above 0 to 1; equally sure ones come together
    error:    share of the answered ones that is wrong, at each coverage
    area:     mean error over all n possible numbers of answers (AURC, Geifman and El-Yaniv 2017): 0 is best
    best_area: what the same number of errors would give if every one of them were the least sure
    """

    coverage: tuple[float, ...]
    error: tuple[float, ...]
    area: float
    best_area: float

    def error_at(self, coverage: float) -> float:
        """Error of the smallest answered share that is at least `coverage`, which is at most 1."""
        return self.error[int(np.searchsorted(self.coverage, coverage - 1e-12))]


def risk_coverage(
    probs: ArrayLike,  # [n, K]
    targets: ArrayLike,  # [n] class indices
) -> RiskCoverage:
    """The curve of examples ordered by their largest probability (El-Yaniv and Wiener 2010).

    Among equally sure examples no order is made up: they enter the area with their mean error.
    Raises ShapeError and DataError as `evaluate`.
    """
    confidence, correct = confident_answers(probs, targets)
    order = np.argsort(-confidence, kind="stable")
    sure, wrong = confidence[order], (~correct[order]).astype(np.float64)
    count = len(sure)
    ends = np.append(np.flatnonzero(np.diff(sure)), count - 1)  # the last example of each confidence
    errors = np.cumsum(wrong)[ends]
    answered = ends + 1
    each = np.interp(np.arange(count + 1), np.append(0, answered), np.append(0.0, errors))[1:]
    numbers = np.arange(1, count + 1)
    best = np.maximum(numbers - correct.sum(), 0)
    return RiskCoverage(
        coverage=tuple((answered / count).tolist()),
        error=tuple((errors / answered).tolist()),
        area=float((each / numbers).mean()),
        best_area=float((best / numbers).mean()),
    )
