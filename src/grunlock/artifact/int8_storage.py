"""Weights in a quarter of the bytes: matrices as int8 with a scale for each row, bucket numbers as gaps.

    weight = scale[row] * int8        scale: the largest absolute value of the row / 127

Read back they are float32 again: what serves a model does not know how it was stored.
"""

import numpy as np

from grunlock.shapes import FloatArray

SCALE, GAPS = ".scale", ".gaps"
RISING = "wide.rows"  # numbers that rise; their gaps are small
LIMIT = 127
SCALE_BYTES = 2  # of a row
FEWEST_VALUES = 256  # of an array that is worth it

Weights = dict[str, FloatArray]


def packed(weights: Weights) -> Weights:
    """The arrays to store. Matrices and long vectors of floats become int8, a vector with one scale."""
    stored: Weights = {}
    for name, value in weights.items():
        if name == RISING and len(value) and int(np.diff(value, prepend=0).max()) < 2**16:
            stored[name + GAPS] = np.diff(value, prepend=0).astype(np.uint16)
        elif value.dtype == np.float32 and value.size >= FEWEST_VALUES and "bias" not in name:
            rows = value.reshape(-1, value.shape[-1])
            scale = np.abs(rows).max(axis=1) / np.float32(LIMIT)
            scale = np.maximum(scale, np.finfo(np.float16).tiny).astype(np.float16).astype(np.float32)
            stored[name] = _rounded(rows / scale[:, None]).reshape(value.shape)
            stored[name + SCALE] = scale.astype(np.float16)
        else:
            stored[name] = value
    return stored


def unpacked(stored: Weights) -> Weights:
    """The weights, int32 and float32. Raises KeyError or ValueError for arrays that do not fit together."""
    weights: Weights = {}
    for name, value in stored.items():
        if name.endswith(SCALE):
            continue
        if name.endswith(GAPS):
            weights[name.removesuffix(GAPS)] = np.cumsum(value, dtype=np.int32)
        elif value.dtype == np.int8:
            rows = value.reshape(-1, value.shape[-1]).astype(np.float32)
            scale = stored[name + SCALE].astype(np.float32)
            weights[name] = (rows * scale[:, None]).reshape(value.shape)
        else:
            weights[name] = value
    return weights


def _rounded(values: FloatArray) -> FloatArray:
    result: FloatArray = np.clip(np.rint(values), -LIMIT, LIMIT).astype(np.int8)
    return result
