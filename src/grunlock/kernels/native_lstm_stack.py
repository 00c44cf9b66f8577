"""Trained LSTM layers on the compiled kernels: a call for each layer. No torch."""

from array import array
from collections.abc import Sequence

import numpy as np

from grunlock.kernels.library import NativeLibrary
from grunlock.kernels.lstm_native import CellCall, lstm_forward
from grunlock.kernels.native import PRECISIONS, DirectionCall, LayerCall, Precision, Zoneout
from grunlock.kernels.stack import LayerWeights, dense_layer
from grunlock.shapes import FloatArray, IntArray


class NativeLstmStack:
    """Layers that feed one another. Safe to call from many threads: it holds weights only.

    precision: of the products; states and gates stay float32.
    """

    def __init__(
        self, library: NativeLibrary, layers: Sequence[LayerWeights], precision: Precision = "float32"
    ) -> None:
        self._library = library
        self._layers = [dense_layer(layer) for layer in layers]  # held: a call reads them where they lie
        self._precision = PRECISIONS[precision]

    def run(
        self, rows: FloatArray, index: IntArray | None, batch_sizes: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Rows [U, D], read through index [N] if given, to the last layer's output [N, E] and final [B, E].

        Raises ShapeError for an index that names no row, KernelError when memory runs out.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        index = None if index is None else np.ascontiguousarray(index, np.int64)
        sizes = array("q", batch_sizes.tolist())
        final = rows[:0]
        for layer in self._layers:
            rows, final = self._run_layer(layer, rows, index, sizes)
            index = None
        return rows, final

    def _run_layer(
        self, layer: LayerWeights, rows: FloatArray, index: IntArray | None, sizes: "array[int]"
    ) -> tuple[FloatArray, FloatArray]:
        num_rows, num_directions = len(rows) if index is None else len(index), len(layer.directions)
        output = np.empty((num_rows, num_directions * layer.hidden_size), np.float32)
        states = np.empty((2, num_directions, sizes[0], layer.hidden_size), np.float32)  # h, c
        call = LayerCall(
            num_steps=len(sizes),
            num_rows=num_rows,
            num_vectors=len(rows),
            input_size=layer.input_size,
            hidden_size=layer.hidden_size,
            num_directions=num_directions,
            reset_after=True,
            precision=self._precision,
            batch_sizes=sizes.buffer_info()[0],
            rows=rows.ctypes.data,
            row_index=0 if index is None else index.ctypes.data,
            input_mask=0,
            output=output.ctypes.data,
        )
        kind = Zoneout.RATE if layer.zoneout else Zoneout.OFF
        directions = tuple(
            DirectionCall(
                **{name: 0 if array is None else array.ctypes.data for name, array in vars(weights).items()},
                zoneout=kind,
                zoneout_rate=layer.zoneout,
                final=states[0, i].ctypes.data,
            )
            for i, weights in enumerate(layer.directions)
        )
        cells = tuple(
            CellCall(zoneout=kind, zoneout_rate=layer.zoneout, final=states[1, i].ctypes.data)
            for i in range(num_directions)
        )
        lstm_forward(self._library, call, directions, cells)
        return output, np.concatenate(list(states[0]), axis=1)
