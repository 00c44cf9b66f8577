"""A linear map of each step and its neighbours in numpy: the twin of layers/window.py."""

from collections.abc import Sequence

from grunlock.kernels.window import window_product
from grunlock.runtime.norms import Weights
from grunlock.shapes import FloatArray, IntArray


def window_linear(
    weights: Weights,
    prefix: str,
    vectors: FloatArray,  # [U, D]
    index: IntArray,  # [N]
    batch_sizes: IntArray,
    offsets: Sequence[int] = (0,),
) -> FloatArray:  # [N, O]
    weight, bias = weights[prefix + "weight"], weights[prefix + "bias"]
    return window_product(vectors, index, batch_sizes, offsets, weight, bias)
