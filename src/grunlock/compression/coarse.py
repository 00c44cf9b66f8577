"""Matrices and vectors in numbers of four bits: at most 15 values a row, multiples of its own step.

    weight = step[row] * {-7 ... 7}        step: a half-precision number

A row's step is the one of a few that leaves the smallest sum of squared errors: the largest numbers of a row
are rare, and cutting them off leaves the others finer steps. A file stores such rows exactly
(artifact/int8_storage.py).
"""

from collections.abc import Mapping

import numpy as np

from grunlock.artifact.int8_storage import COARSE_LIMIT
from grunlock.shapes import FloatArray

CUTS = (1.0, 0.9, 0.8, 0.7)  # of a row's largest number, tried as the largest that stays
FINE = ("head.", "wide.", "pooling.")  # what decides between classes stays as it is


def with_coarse_rows(weights: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The weights, those of vectors, stem and encoder in rows of few values."""
    return {
        name: value if value.ndim < 2 or name.startswith(FINE) else coarse(value)
        for name, value in weights.items()
    }


def coarse(values: FloatArray) -> FloatArray:
    """The nearest rows of at most 15 values; rows are along the last axis."""
    rows = values.reshape(-1, values.shape[-1])
    largest = np.abs(rows).max(axis=1, keepdims=True)
    best = np.zeros_like(rows)
    least = np.full(len(rows), np.inf)
    for cut in CUTS:
        step = np.maximum(np.float32(cut / COARSE_LIMIT) * largest, np.finfo(np.float16).tiny)
        step = step.astype(np.float16).astype(np.float32)
        found = step * np.clip(np.rint(rows / step), -COARSE_LIMIT, COARSE_LIMIT)
        error = np.square(found - rows).sum(axis=1)
        better = error < least
        best[better], least[better] = found[better], error[better]
    return best.reshape(values.shape)
