"""Trained LSTM layers on the compiled kernels: a call for each layer. No torch."""

from array import array
from collections.abc import Sequence

import numpy as np

from grunlock.kernels.library import NativeLibrary
from grunlock.kernels.lstm_native import CellCall, lstm_forward
from grunlock.kernels.native import PRECISIONS, DirectionCall, LayerCall, Precision, Zoneout
from grunlock.kernels.stack import LayerWeights, dense_layer
from grunlock.shapes import FloatArray, IntArray, check_shape


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

    @property
    def num_states(self) -> int:
        """Of each layer the hidden state of each direction, then the cell state of each."""
        return sum(2 * len(layer.directions) for layer in self._layers)

    def run(
        self, rows: FloatArray, index: IntArray | None, batch_sizes: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Rows [U, D], read through index [N] if given, to the last layer's output [N, E] and final [B, E].

        Raises ShapeError for rows of another size and for an index that names no row, KernelError when memory
        runs out.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        index = None if index is None else np.ascontiguousarray(index, np.int64)
        sizes = array("q", batch_sizes.tolist())
        final = rows[:0]
        for layer in self._layers:
            states = np.empty((2 * len(layer.directions), sizes[0], layer.hidden_size), np.float32)
            rows = self._run_layer(layer, rows, index, sizes, None, states)
            index, final = None, np.concatenate(list(states[: len(layer.directions)]), axis=1)
        return rows, final

    def advance(self, rows: FloatArray, batch_sizes: IntArray, states: FloatArray) -> FloatArray:
        """See NativeGruStack.advance."""
        rows, sizes = np.ascontiguousarray(rows, np.float32), array("q", batch_sizes.tolist())
        before, first = states.copy(), 0
        for layer in self._layers:
            own = slice(first, first + 2 * len(layer.directions))
            rows = self._run_layer(layer, rows, None, sizes, before[own], states[own])
            first = own.stop
        return rows

    def _run_layer(
        self,
        layer: LayerWeights,
        rows: FloatArray,
        index: IntArray | None,
        sizes: "array[int]",
        before: FloatArray | None,  # [2 * directions, B, H] states to go on from; None: zeros
        after: FloatArray,  # [2 * directions, B, H] where the last states are written
    ) -> FloatArray:
        check_shape("rows", rows.shape, (None, layer.input_size), "[U, D]")
        num_rows, num_directions = len(rows) if index is None else len(index), len(layer.directions)
        output = np.empty((num_rows, num_directions * layer.hidden_size), np.float32)
        start = [0] * len(after) if before is None else [state.ctypes.data for state in before]
        end = [state.ctypes.data for state in after]
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
                h0=start[i],
                final=end[i],
            )
            for i, weights in enumerate(layer.directions)
        )
        cells = tuple(
            CellCall(c0=start[i], zoneout=kind, zoneout_rate=layer.zoneout, final=end[i])
            for i in range(num_directions, 2 * num_directions)
        )
        lstm_forward(self._library, call, directions, cells)
        return output
