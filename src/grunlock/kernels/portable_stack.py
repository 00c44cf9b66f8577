"""Trained GRU or LSTM layers in numpy, where no compiled kernel serves: the twin of native_stack.py."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from grunlock.kernels import portable
from grunlock.kernels.stack import DirectionWeights, LayerWeights
from grunlock.shapes import FloatArray, IntArray

Cell = Literal["gru", "lstm"]


class PortableStack:
    """Layers that feed one another, in float32. Safe to call from many threads."""

    def __init__(self, layers: Sequence[LayerWeights], cell: Cell) -> None:
        self._layers = tuple(layers)
        self._cell = cell

    @property
    def num_states(self) -> int:
        """See NativeGruStack."""
        return sum(len(layer.directions) for layer in self._layers)

    def run(
        self, rows: FloatArray, index: IntArray | None, batch_sizes: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """See NativeGruStack.run."""
        sizes, final = batch_sizes.tolist(), rows[:0]
        for layer in self._layers:
            states = np.zeros((len(layer.directions), sizes[0], layer.hidden_size), rows.dtype)
            rows = self._layer(layer, rows, index, sizes, states)
            index, final = None, np.concatenate(list(states), axis=1)
        return rows, final

    def advance(self, rows: FloatArray, batch_sizes: IntArray, states: FloatArray) -> FloatArray:
        """See NativeGruStack.advance. GRU layers only: the other cell has a second state."""
        sizes, first = batch_sizes.tolist(), 0
        for layer in self._layers:
            rows = self._layer(layer, rows, None, sizes, states[first : first + len(layer.directions)])
            first += len(layer.directions)
        return rows

    def _layer(
        self,
        layer: LayerWeights,
        rows: FloatArray,
        index: IntArray | None,
        sizes: list[int],
        states: FloatArray,  # [directions, B, H], replaced by the last ones
    ) -> FloatArray:
        outputs = []
        for i, direction in enumerate(layer.directions):
            gates = _input_gates(direction, rows, layer.hidden_size)
            gates = gates if index is None else gates[index]
            output, states[i] = self._scan(layer, direction, gates, sizes, states[i], reverse=i == 1)
            outputs.append(output)
        return np.concatenate(outputs, axis=1)

    def _scan(
        self,
        layer: LayerWeights,
        direction: DirectionWeights,
        gates: FloatArray,
        sizes: list[int],
        state: FloatArray,
        *,
        reverse: bool,
    ) -> tuple[FloatArray, FloatArray]:
        zoneout, norm = layer.zoneout or None, direction.norm_weight_hh
        if self._cell == "gru":
            return portable.gru_scan(
                gates,
                sizes,
                direction.weight_hh,
                direction.bias_hh,
                state,
                reverse=reverse,
                reset_after=layer.reset_after,
                zoneout=zoneout,
                norm_weight=norm,
            )
        output, final, _ = portable.lstm_scan(
            gates,
            sizes,
            direction.weight_hh,
            direction.bias_hh,
            state,
            np.zeros_like(state),
            reverse=reverse,
            zoneout=zoneout,
            norm_weight=norm,
        )
        return output, final


def _input_gates(direction: DirectionWeights, rows: FloatArray, hidden_size: int) -> FloatArray:
    gates: FloatArray = rows @ direction.weight_ih.T
    if direction.norm_weight_ih is not None:
        gates = portable.normalize_gates(gates, direction.norm_weight_ih, hidden_size)
    return gates + direction.bias_ih
