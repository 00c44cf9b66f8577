"""A linear map of each step and its neighbours without torch: the twin of layers/window.py."""

from collections.abc import Sequence

import numpy as np

from grunlock.kernels.window import window_product
from grunlock.runtime.norms import Weights
from grunlock.shapes import FloatArray, IntArray


class WindowLinear:
    """y_t = bias + sum over k of W_k x_{t + offsets[k]}."""

    def __init__(
        self,
        weight: FloatArray,  # [K * O, D]
        bias: FloatArray,  # [O]
        offsets: Sequence[int],  # [K]
    ) -> None:
        self._weight, self._bias, self._offsets = weight, bias, offsets

    @classmethod
    def side_by_side(
        cls, weights: Weights, prefixes: Sequence[str], offsets: Sequence[int]
    ) -> "WindowLinear":
        """Several maps of the same steps as one, whose outputs stand side by side."""
        parts = [weights[prefix + "weight"] for prefix in prefixes]
        by_step = [part.reshape(len(offsets), -1, part.shape[1]) for part in parts]
        weight = np.concatenate(by_step, axis=1).reshape(-1, parts[0].shape[1])
        return cls(weight, np.concatenate([weights[prefix + "bias"] for prefix in prefixes]), offsets)

    def start(self) -> FloatArray:
        """What `advance` needs at the first step of a sequence."""
        return np.empty((0, self._weight.shape[1]), np.float32)

    def advance(self, rows: FloatArray, before: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of the next steps [n, D] of one sequence; before: the steps that they look back to, as the last
        call gave them. Only where no step looks ahead."""
        joined = np.concatenate([before, rows]) if len(before) else rows
        found = self(joined, np.arange(len(joined)), np.ones(len(joined), np.int64))
        return found[len(before) :], joined[max(0, len(joined) + min(self._offsets)) :].copy()

    def __call__(
        self,
        vectors: FloatArray,  # [U, D]
        index: IntArray,  # [N]
        batch_sizes: IntArray,
    ) -> FloatArray:  # [N, O]
        return window_product(vectors, index, batch_sizes, self._offsets, self._weight, self._bias)
