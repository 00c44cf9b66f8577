"""minGRU, minLSTM and QRNN in numpy: the twins of layers/scan.py and models/scan.py."""

import numpy as np

from grunlock.kernels.scan import SCAN_GATES, scan_forward
from grunlock.recipe.model_options import MinGruOptions, MinLstmOptions, QrnnOptions
from grunlock.runtime.encoded import Encoded, States
from grunlock.runtime.norms import Weights, read_norm
from grunlock.runtime.window import WindowLinear
from grunlock.shapes import FloatArray, IntArray, PackedLayout, last_rows


class ScanEncoder:
    """num_layers of (norm, scan layer)."""

    def __init__(self, weights: Weights, options: MinGruOptions | MinLstmOptions | QrnnOptions) -> None:
        self._cell, self._hidden_size = options.kind, options.hidden_size
        self._norms = [read_norm(weights, i, options.norm) for i in range(options.num_layers)]
        window_steps = options.window_steps if isinstance(options, QrnnOptions) else 1
        self._gates = [  # of each layer and direction, side by side
            [
                WindowLinear.side_by_side(
                    weights,
                    [f"layers.{layer}.directions.{direction}.{name}." for name in SCAN_GATES[self._cell]],
                    [behind * k for k in range(window_steps)],
                )
                for direction, behind in enumerate((-1, 1)[: 1 + options.bidirectional])
            ]
            for layer in range(options.num_layers)
        ]

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> Encoded:
        """Distinct vectors [U, D], read through index [N], to the last layer's states."""
        final = vectors[:0]
        for layer in range(self.num_layers):
            vectors, final = self.layer(layer, vectors, index, layout.batch_sizes)
            index = np.arange(len(vectors))
        return Encoded(vectors, final, layout)

    @property
    def num_layers(self) -> int:
        return len(self._gates)

    def layer(
        self, layer: int, vectors: FloatArray, index: IntArray, sizes: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """States [N, E] and final [B, E] of one layer, from what it reads."""
        states = np.empty((len(index), len(self._gates[layer]) * self._hidden_size), np.float32)
        finals = []
        for direction, gates in enumerate(self.gates(layer, vectors, index, sizes)):
            output = states[:, direction * self._hidden_size :][:, : self._hidden_size]
            scan_forward(gates, sizes.tolist(), cell=self._cell, reverse=direction == 1, output=output)
            finals.append(output[: sizes[0]] if direction == 1 else output[last_rows(sizes)])
        return states, np.concatenate(finals, axis=1)

    def gates(
        self, layer: int, vectors: FloatArray, index: IntArray, sizes: IntArray
    ) -> list[list[FloatArray]]:
        """Of each direction the gates of SCAN_GATES, each [N, H], before their activation."""
        norm = self._norms[layer]
        rows = vectors if norm is None else norm(vectors)
        return [
            np.split(window(rows, index, sizes), len(SCAN_GATES[self._cell]), axis=1)
            for window in self._gates[layer]
        ]

    def start(self) -> States:
        """See SteppedEncoder; for layers in one direction. Of each the steps it looks back to, its state."""
        before = [directions[0].start() for directions in self._gates]
        return tuple(each for rows in before for each in (rows, np.zeros((1, self._hidden_size), np.float32)))

    def advance(self, rows: FloatArray, states: States) -> tuple[FloatArray, States]:
        """See SteppedEncoder."""
        after: list[FloatArray] = []
        for layer, (norm, (window,)) in enumerate(zip(self._norms, self._gates, strict=True)):
            before, state = states[2 * layer : 2 * layer + 2]
            found, kept = window.advance(rows if norm is None else norm(rows), before)
            gates = np.split(found, len(SCAN_GATES[self._cell]), axis=1)
            rows, state = scan_forward(gates, [1] * len(rows), state, cell=self._cell)
            after += [kept, state]
        return rows, tuple(after)
