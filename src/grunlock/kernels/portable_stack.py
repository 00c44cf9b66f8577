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
        """See NativeGruStack and NativeLstmStack."""
        return sum(self._states_of(layer) for layer in self._layers)

    def run(
        self, rows: FloatArray, index: IntArray | None, batch_sizes: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """See NativeGruStack.run."""
        sizes, final = batch_sizes.tolist(), rows[:0]
        for layer in self._layers:
            states = np.zeros((self._states_of(layer), sizes[0], layer.hidden_size), rows.dtype)
            rows = self._layer(layer, rows, index, sizes, states)
            index, final = None, np.concatenate(list(states[: len(layer.directions)]), axis=1)
        return rows, final

    def advance(self, rows: FloatArray, batch_sizes: IntArray, states: FloatArray) -> FloatArray:
        """See NativeGruStack.advance."""
        sizes, first = batch_sizes.tolist(), 0
        for layer in self._layers:
            rows = self._layer(layer, rows, None, sizes, states[first : first + self._states_of(layer)])
            first += self._states_of(layer)
        return rows

    def _states_of(self, layer: LayerWeights) -> int:
        return len(layer.directions) * (2 if self._cell == "lstm" else 1)

    def _layer(
        self,
        layer: LayerWeights,
        rows: FloatArray,
        index: IntArray | None,
        sizes: list[int],
        states: FloatArray,  # [directions, B, H], of an LSTM also the cells', replaced by the last ones
    ) -> FloatArray:
        outputs, num_directions = [], len(layer.directions)
        for i, direction in enumerate(layer.directions):
            gates = _input_gates(direction, rows, layer.hidden_size)
            gates = gates if index is None else gates[index]
            before = states[i::num_directions]
            output, *after = self._scan(layer, direction, gates, sizes, before, reverse=i == 1)
            states[i::num_directions] = after
            outputs.append(output)
        return np.concatenate(outputs, axis=1)

    def _scan(
        self,
        layer: LayerWeights,
        direction: DirectionWeights,
        gates: FloatArray,
        sizes: list[int],
        states: FloatArray,  # [1 or 2, B, H]
        *,
        reverse: bool,
    ) -> tuple[FloatArray, ...]:
        zoneout, norm = layer.zoneout or None, direction.norm_weight_hh
        if self._cell == "gru":
            return portable.gru_scan(
                gates,
                sizes,
                direction.weight_hh,
                direction.bias_hh,
                states[0],
                reverse=reverse,
                reset_after=layer.reset_after,
                zoneout=zoneout,
                norm_weight=norm,
            )
        return portable.lstm_scan(
            gates,
            sizes,
            direction.weight_hh,
            direction.bias_hh,
            states[0],
            states[1],
            reverse=reverse,
            zoneout=zoneout,
            norm_weight=norm,
        )


def _input_gates(direction: DirectionWeights, rows: FloatArray, hidden_size: int) -> FloatArray:
    gates: FloatArray = rows @ direction.weight_ih.T
    if direction.norm_weight_ih is not None:
        gates = portable.normalize_gates(gates, direction.norm_weight_ih, hidden_size)
    return gates + direction.bias_ih
