"""minGRU, minLSTM and QRNN in numpy: the twins of layers/scan.py and models/scan.py."""

import numpy as np

from grunlock.kernels.portable import sigmoid
from grunlock.kernels.scan import SCAN_GATES, scan_forward
from grunlock.recipe.model_options import MinGruOptions, MinLstmOptions, QrnnOptions
from grunlock.runtime.encoded import Encoded
from grunlock.runtime.norms import Weights, read_norm
from grunlock.runtime.window import window_linear
from grunlock.shapes import FloatArray, IntArray, PackedLayout, last_rows


class ScanEncoder:
    """num_layers of (norm, scan layer)."""

    def __init__(self, weights: Weights, options: MinGruOptions | MinLstmOptions | QrnnOptions) -> None:
        self._weights = weights
        self._options = options
        self._norms = [read_norm(weights, i, options.norm) for i in range(options.num_layers)]

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> Encoded:
        """Distinct vectors [U, D], read through index [N], to the last layer's states."""
        sizes, final = layout.batch_sizes, vectors[:0]
        for layer, norm in enumerate(self._norms):
            vectors = vectors if norm is None else norm(vectors)
            outputs, finals = [], []
            for direction in range(1 + self._options.bidirectional):
                prefix = f"layers.{layer}.directions.{direction}."
                output = self._direction(prefix, vectors, index, sizes, reverse=direction == 1)
                outputs.append(output)
                finals.append(output[: sizes[0]] if direction == 1 else output[last_rows(sizes)])
            vectors, final = np.concatenate(outputs, axis=1), np.concatenate(finals, axis=1)
            index = np.arange(len(vectors))
        return Encoded(vectors, final, layout)

    def _direction(
        self, prefix: str, vectors: FloatArray, index: IntArray, sizes: IntArray, *, reverse: bool
    ) -> FloatArray:
        options = self._options
        offsets: tuple[int, ...] = (0,)
        if isinstance(options, QrnnOptions):
            behind = 1 if reverse else -1
            offsets = tuple(behind * k for k in range(options.window_steps))

        def part(name: str) -> FloatArray:
            return window_linear(self._weights, f"{prefix}{name}.", vectors, index, sizes, offsets)

        gates = [part(name) for name in SCAN_GATES[options.kind]]
        output, _ = scan_forward(gates, sizes.tolist(), cell=options.kind, reverse=reverse)
        return output * sigmoid(part("output")) if isinstance(options, QrnnOptions) else output
