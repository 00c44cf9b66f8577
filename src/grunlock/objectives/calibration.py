"""Temperature scaling (Guo 2017): one number that makes probabilities honest and moves no decision.

    probs = softmax(logits / temperature)          above 1: less sure, below 1: surer

And the weights of other models' logits beside one's, which are found the same way.

Fitted on data the weights were not trained on. Knows numpy, and scipy while fitting.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grunlock.errors import DataError, MissingDependencyError, ShapeError
from grunlock.shapes import check_shape

LOWEST, HIGHEST = 0.05, 20.0
MOST_COEFFICIENT = 100.0
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


def fit_weights(
    logits: ArrayLike,  # [B, K] of one model
    others: Sequence[ArrayLike],  # each [B, K], of other models
    targets: ArrayLike,  # [B] class indices
) -> tuple[tuple[float, ...], float]:
    """The weights, at least 0, with which logits + sum of weight * other have the lowest mean negative
    log-likelihood at its best temperature, and that likelihood.

    It is a multinomial logistic regression with one coefficient for each model, and as that convex. The
    first's is 1 / temperature, bounded as in `fit_temperature`; the others' are at most 100.

    Errors as for `fit_temperature`.
    """
    first, indices = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    given = [first, *(np.asarray(each, dtype=np.float64) for each in others)]
    _check(first, indices)
    for each in given[1:]:
        check_shape("others", each.shape, first.shape, "[B, K]")
        _check(each, indices)
    margins = np.stack([each - each[np.arange(len(indices)), indices, None] for each in given])

    def nll(coefficients: Doubles) -> tuple[float, Doubles]:
        scaled = np.tensordot(coefficients, margins, 1)  # [B, K]
        highest = scaled.max(axis=1, keepdims=True)
        odds = np.exp(scaled - highest)
        total = odds.sum(axis=1, keepdims=True)
        loss = (np.log(total) + highest).mean()
        return float(loss), np.einsum("mbk,bk->m", margins, odds / total) / len(indices)

    bounds = [(1.0 / HIGHEST, 1.0 / LOWEST), *[(0.0, MOST_COEFFICIENT)] * len(others)]
    found, loss = _minimize_convex(nll, bounds)
    return tuple(float(each) for each in found[1:] / found[0]), loss


def _loss(logits: Doubles, targets: NDArray[Any]) -> Callable[[float], float]:
    """The mean negative log-likelihood, as a function of the temperature."""
    margins = logits - logits[np.arange(len(targets)), targets, None]  # [B, K], 0 at the target

    def nll(temperature: float) -> float:
        scaled = margins / temperature
        highest = scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0]).mean())

    return nll


def _minimize(objective: Callable[[float], float], low: float, high: float) -> float:
    from_scipy = _scipy_optimize()
    result = from_scipy.minimize_scalar(
        objective, bounds=(low, high), method="bounded", options={"xatol": 1e-6}
    )
    return float(result.x)


def _minimize_convex(
    objective: Callable[[Doubles], tuple[float, Doubles]], bounds: list[tuple[float, float]]
) -> tuple[Doubles, float]:
    """Where a convex function of several numbers, which also gives its slope, is lowest, and its value."""
    start = np.array([1.0] + [0.1] * (len(bounds) - 1))
    result = _scipy_optimize().minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return result.x, float(result.fun)


def _scipy_optimize() -> Any:
    try:
        import scipy.optimize
    except ImportError as error:
        raise MissingDependencyError(
            "Fitting a temperature needs scipy.",
            cure='pip install "grunlock[train]", or --set calibration=off',
        ) from error
    return scipy.optimize


def _check(logits: Doubles, targets: NDArray[Any]) -> None:
    check_shape("logits", logits.shape, (None, None), "[B, K]")
    check_shape("targets", targets.shape, (len(logits),), "[B]")
    if len(targets) == 0:
        raise ShapeError("There is nothing to calibrate on.", got="0 examples", expected="1 or more")
    if not np.isfinite(logits).all():
        raise DataError("Logits to calibrate on must be finite.", got="inf or nan among them")
    if ((targets < 0) | (targets >= logits.shape[1])).any():
        raise DataError("A target is no class index.", expected=f"0 to {logits.shape[1] - 1}")
