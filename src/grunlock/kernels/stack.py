"""What inference needs of trained recurrent layers: weights as numpy arrays. No arithmetic."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from grunlock.shapes import FloatArray, IntArray

InferencePrecision = Literal["float32", "bfloat16", "int8"]


@dataclass(frozen=True)
class DirectionWeights:
    """One direction of one layer, g gates: 3 for a GRU, 4 for an LSTM."""

    weight_ih: FloatArray  # [gH, D]
    weight_hh: FloatArray  # [gH, H]
    bias_ih: FloatArray  # [gH]
    bias_hh: FloatArray  # [gH]
    norm_weight_ih: FloatArray | None = None  # [gH]; both or neither
    norm_weight_hh: FloatArray | None = None  # [gH]


@dataclass(frozen=True)
class LayerWeights:
    """One layer: one direction, or two (forward, backward in time). zoneout: the rate it was trained with."""

    directions: tuple[DirectionWeights, ...]
    reset_after: bool = True
    zoneout: float = 0.0

    @property
    def hidden_size(self) -> int:
        return int(self.directions[0].weight_hh.shape[1])

    @property
    def input_size(self) -> int:
        return int(self.directions[0].weight_ih.shape[1])


def dense_layer(layer: LayerWeights) -> LayerWeights:
    """The same with float32 arrays that are dense and row-major, as the compiled kernels read them."""

    def dense(array: FloatArray | None) -> FloatArray | None:
        return None if array is None else np.ascontiguousarray(array, np.float32)

    directions = tuple(
        DirectionWeights(**{name: dense(array) for name, array in vars(direction).items()})  # type: ignore[arg-type]
        for direction in layer.directions
    )
    return LayerWeights(directions, layer.reset_after, layer.zoneout)


class RecurrentStack(Protocol):
    """Layers ready to predict: native_stack.NativeGruStack, native_lstm_stack.NativeLstmStack or
    portable_stack.PortableStack."""

    @property
    def num_states(self) -> int: ...

    def run(
        self, rows: FloatArray, index: IntArray | None, batch_sizes: IntArray
    ) -> tuple[FloatArray, FloatArray]: ...

    def advance(self, rows: FloatArray, batch_sizes: IntArray, states: FloatArray) -> FloatArray: ...
