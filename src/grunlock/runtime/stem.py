"""Convolutions over time in front of the encoder, in numpy: the twin of models/convolution.py's stem."""

import numpy as np

from grunlock.recipe.model_options import StemOptions
from grunlock.runtime.encoded import States
from grunlock.runtime.norms import Weights, read_norm
from grunlock.runtime.window import WindowLinear
from grunlock.shapes import FloatArray, IntArray, PackedLayout, centred_window


class Stem:
    """x + relu(norm(window(x))), one after another."""

    def __init__(self, weights: Weights, options: StemOptions) -> None:
        self._windows = [
            WindowLinear(weights[f"windows.{i}.weight"], weights[f"windows.{i}.bias"], centred_window(width))
            for i, width in enumerate(options.widths)
        ]
        self._norms = [read_norm(weights, i, options.norm) for i in range(len(options.widths))]

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> tuple[FloatArray, IntArray]:
        """Distinct vectors [U, D], read through index [N], to vectors of every step, and their index."""
        for window, norm in zip(self._windows, self._norms, strict=True):
            seen = window(vectors, index, layout.batch_sizes)
            vectors = vectors[index] + np.maximum(seen if norm is None else norm(seen), 0)
            index = np.arange(len(vectors))
        return vectors, index

    def start(self) -> States:
        """See SteppedEncoder; for widths of which no step looks ahead."""
        return tuple(window.start() for window in self._windows)

    def advance(self, rows: FloatArray, states: States) -> tuple[FloatArray, States]:
        """See SteppedEncoder."""
        after = []
        for window, norm, before in zip(self._windows, self._norms, states, strict=True):
            seen, kept = window.advance(rows, before)
            rows = rows + np.maximum(seen if norm is None else norm(seen), 0)
            after.append(kept)
        return rows, tuple(after)
