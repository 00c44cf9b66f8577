"""How long one prediction takes on this machine, one example at a time."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 5  # an example counts with its quickest prediction, so that a disturbance must hit all of them
WARM_UP = 3


def quickest_seconds(
    predict: Callable[[Sequence[Any]], object], examples: Sequence[Any]
) -> NDArray[np.float64]:
    """[n] of each example, from text or values to what predict gives."""
    for example in examples[:WARM_UP]:
        predict([example])
    quickest = np.full(len(examples), np.inf)
    for _ in range(ROUNDS):
        for i, example in enumerate(examples):
            started = time.perf_counter()
            predict([example])
            quickest[i] = min(quickest[i], time.perf_counter() - started)
    return quickest
