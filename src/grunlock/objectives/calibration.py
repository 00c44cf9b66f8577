"""Temperature scaling (Guo 2017): one number that makes probabilities honest and moves no decision.

    probs = softmax(logits / temperature)          above 1: less sure, below 1: surer

And the weight of one model's logits beside another's, which is found the same way.

Fitted on data the weights were not trained on. Knows numpy, and scipy while fitting.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grunlock.errors import DataError, MissingDependencyError, ShapeError
from grunlock.shapes import check_shape

LOWEST, HIGHEST = 0.05, 20.0
MOST_WEIGHT = 100.0
Doubles = NDArray[np.float64]


def fit_temperature(
    logits: ArrayLike,  # [B, K]
    targets: ArrayLike,  # [B] class indices
) -> float:
    """The temperature in [0.05, 20] that minimises the mean negative log-likelihood.

    The likelihood has a single optimum in the temperature, searched on log temperature. Where there is
    none inside, the result is a bound: 0.05 if every prediction is right (surer is always better), 20 if
    the logits know less than nothing. It is 1 where no temperature is better than 1, so the
    likelihood on this data never gets worse.

    Raises ShapeError if sizes disagree or there is no example, DataError for logits that are not finite
    or targets that are no class, MissingDependencyError without scipy.
    """
    values, indices = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    _check(values, indices)
    nll = _loss(values, indices)
    found = _minimize(
        lambda log_temperature: nll(math.exp(log_temperature)), math.log(LOWEST), math.log(HIGHEST)
    )
    return min((1.0, LOWEST, HIGHEST, math.exp(found)), key=nll)  # the first of equals


def fit_weight(
    logits: ArrayLike,  # [B, K] of one model
    others: ArrayLike,  # [B, K] of another
    targets: ArrayLike,  # [B] class indices
) -> tuple[float, float]:
    """The weight in [0, 100] with which logits + weight * others have the lowest mean negative log-likelihood
    at its best temperature, and that likelihood. The weight is 0 where none is better.

    Errors as for `fit_temperature`.
    """
    first, second, indices = (np.asarray(each) for each in (logits, others, targets))

    def nll(weight: float) -> float:
        values = np.asarray(first + weight * second, dtype=np.float64)
        return _loss(values, indices)(fit_temperature(values, indices))

    found = _minimize(lambda root: nll(root**2), 0.0, math.sqrt(MOST_WEIGHT), tolerance=1e-3)
    best = min((0.0, found**2), key=nll)
    return best, nll(best)


def _loss(logits: Doubles, targets: NDArray[Any]) -> Callable[[float], float]:
    """The mean negative log-likelihood, as a function of the temperature."""
    margins = logits - logits[np.arange(len(targets)), targets, None]  # [B, K], 0 at the target

    def nll(temperature: float) -> float:
        scaled = margins / temperature
        highest = scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0]).mean())

    return nll


def _minimize(objective: Callable[[float], float], low: float, high: float, tolerance: float = 1e-6) -> float:
    try:
        from scipy.optimize import minimize_scalar
    except ImportError as error:
        raise MissingDependencyError(
            "Fitting a temperature needs scipy.",
            cure='pip install "grunlock[train]", or --set calibration=off',
        ) from error
    result = minimize_scalar(objective, bounds=(low, high), method="bounded", options={"xatol": tolerance})
    return float(result.x)


def _check(logits: Doubles, targets: NDArray[Any]) -> None:
    check_shape("logits", logits.shape, (None, None), "[B, K]")
    check_shape("targets", targets.shape, (len(logits),), "[B]")
    if len(targets) == 0:
        raise ShapeError("There is nothing to calibrate on.", got="0 examples", expected="1 or more")
    if not np.isfinite(logits).all():
        raise DataError("Logits to calibrate on must be finite.", got="inf or nan among them")
    if ((targets < 0) | (targets >= logits.shape[1])).any():
        raise DataError("A target is no class index.", expected=f"0 to {logits.shape[1] - 1}")
