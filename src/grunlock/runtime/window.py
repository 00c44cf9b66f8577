"""A linear map of each step and its neighbours in numpy: the twin of layers/window.py."""

from collections.abc import Sequence

import numpy as np

from grunlock.runtime.norms import Weights
from grunlock.shapes import FloatArray, IntArray, shifted_rows


def window_linear(
    weights: Weights,
    prefix: str,
    vectors: FloatArray,  # [U, D]
    index: IntArray,  # [N]
    batch_sizes: IntArray,
    offsets: Sequence[int] = (0,),
) -> FloatArray:  # [N, O]
    weight, bias = weights[prefix + "weight"], weights[prefix + "bias"]
    if tuple(offsets) == (0,):
        result: FloatArray = (vectors @ weight.T + bias)[index]
        return result
    products = np.concatenate([vectors @ weight.T, np.zeros((1, len(weight)), vectors.dtype)])  # [U + 1, KO]
    padded = np.append(index, len(vectors))
    total: FloatArray = np.repeat(bias[None], len(index), axis=0)
    for k, offset in enumerate(offsets):
        columns = slice(k * len(bias), (k + 1) * len(bias))
        total += products[padded[shifted_rows(batch_sizes, offset)], columns]
    return total
