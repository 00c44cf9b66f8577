"""Temperature scaling (Guo 2017): one number that makes probabilities honest and moves no decision.

    probs = softmax(logits / temperature)          above 1: less sure, below 1: surer

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
    margins = values - values[np.arange(len(indices)), indices, None]  # [B, K], 0 at the target

    def nll(temperature: float) -> float:
        scaled = margins / temperature
        highest = scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0]).mean())

    found = _minimize(lambda log_temperature: nll(math.exp(log_temperature)))
    return min((1.0, LOWEST, HIGHEST, math.exp(found)), key=nll)  # the first of equals


def _minimize(objective: Callable[[float], float]) -> float:
    try:
        from scipy.optimize import minimize_scalar
    except ImportError as error:
        raise MissingDependencyError(
            "Fitting a temperature needs scipy.",
            cure='pip install "grunlock[train]", or --set calibration=off',
        ) from error
    bounds = (math.log(LOWEST), math.log(HIGHEST))
    result = minimize_scalar(objective, bounds=bounds, method="bounded", options={"xatol": 1e-6})
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
