"""How sure a model is while it still reads, and when that is enough to stop. Numpy only.

A beginning promises less than a whole text that is as short: most of what decides may be to come. So the
temperature of its logits depends on how many steps have been read; that of a whole input is another.

    p after t steps   softmax(logits / T(t))    log T(t): a straight line in log t between t = 1, 2, 4, 8, ...
    p at the end      softmax(logits / T)

An early decision is the most probable label at the first step whose confidence, the largest p, reaches a
threshold, or that of the whole if only its confidence does. Which thresholds keep an error rate:
training/early.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.runtime.guarantees import confidences
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, IntArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Temperatures:
    """T, and T(t) at t = 1, 2, 4, ..., of which the last holds from there on; if there are none, T does."""

    whole: float
    begun: tuple[float, ...] = ()

    def after(self, steps: IntArray) -> FloatArray:
        """[n] T(t) at t = steps, each at least 1."""
        if not self.begun:
            return np.full(len(steps), self.whole, np.float32)
        knots = np.arange(len(self.begun))
        return np.exp(np.interp(np.log2(steps), knots, np.log(self.begun))).astype(np.float32)

    def outlook(self, logits: FloatArray, first_step: int) -> FloatArray:
        """[n, K] probabilities from the logits after steps first_step, first_step + 1, ..."""
        steps = np.arange(first_step, first_step + len(logits))
        return probabilities(logits, self.after(steps)[:, None])


@dataclass(frozen=True)
class Stopping:
    """The rule of early decisions that keep an error rate."""

    threshold: float
    temperatures: Temperatures


def path_of(logits: FloatArray, temperatures: Temperatures) -> tuple[Doubles, IntArray]:
    """Confidence and most probable label [steps + 1] after each step of an input, and at its end.

    logits: [steps, K] after each step
    """
    begun = confidences(temperatures.outlook(logits, 1))
    whole = confidences(probabilities(logits[-1:], temperatures.whole))
    best = logits.argmax(axis=1)
    return np.concatenate([begun, whole]), np.append(best, best[-1])


def stopping_places(confidence: Doubles, thresholds: Doubles) -> IntArray:
    """[G] the first place of a path that reaches each threshold; the path's length where none does."""
    return np.maximum.accumulate(confidence).searchsorted(thresholds)
