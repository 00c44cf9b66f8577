"""How sure a mean over examples is."""

import numpy as np
from numpy.typing import NDArray

from grunlock.objectives.metrics import CHUNK_DRAWS, CONFIDENCE, Interval
from grunlock.seeding import generator

RESAMPLES = 2_000


def mean_interval(values: NDArray[np.float64], *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Percentile bootstrap (Efron 1993) of the mean of `values` [n], such as paired differences, n >= 1."""
    random, size = generator(seed, "bootstrap of a mean"), len(values)
    chunk = max(1, CHUNK_DRAWS // size)
    means = [
        values[random.integers(size, size=(min(chunk, resamples - start), size))].mean(axis=1)
        for start in range(0, resamples, chunk)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail]).tolist()
    return Interval(low, high)
