"""Trained GRU layers on the compiled kernels: weights packed once, one call for all layers. No torch."""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from grunlock.errors import KernelError, ShapeError
from grunlock.kernels.library import NativeLibrary
from grunlock.kernels.native import PRECISIONS, DirectionCall, LayerCall, Zoneout, layer_bytes
from grunlock.kernels.stack import InferencePrecision, LayerWeights, dense_layer
from grunlock.shapes import FloatArray, IntArray


class NativeGruStack:
    """Layers that feed one another. Safe to call from many threads: it holds weights only.

    precision: of the products; states and gates stay float32. int8 quantises each row of a weight by its
    largest entry and each input row by its own; states lie in [-1, 1] and need no scale. It takes
    reset_after layers without norms.

    Raises KernelError for layers that int8 cannot take, or when memory runs out.
    """

    def __init__(
        self,
        library: NativeLibrary,
        layers: Sequence[LayerWeights],
        precision: InferencePrecision = "float32",
    ) -> None:
        if precision == "int8" and any(_is_general(layer) for layer in layers):
            raise KernelError(
                "int8 is there for GRU layers with reset_after and without norms in the cell only.",
                got="a layer with reset_after = false or cell_norm = true",
                cure='use precision "float32" or "bfloat16"',
            )
        self._layers = [dense_layer(layer) for layer in layers]  # held: norms are read where they lie
        self._run, self._free = _functions(library)
        self._input_size = self._layers[0].input_size
        self._output_size = self._layers[-1].hidden_size * len(self._layers[-1].directions)
        calls = b"".join(_layer_call(layer, precision) for layer in self._layers)
        self._stack = library.handle.grunlock_stack_new(calls, len(layers))
        if not self._stack:
            raise KernelError("Not enough memory for the layers of a model.")

    def __del__(self) -> None:
        if getattr(self, "_stack", None):
            self._free(self._stack)

    @property
    def num_states(self) -> int:
        """Directions of all layers, each of which carries a state."""
        return sum(len(layer.directions) for layer in self._layers)

    def run(
        self, rows: FloatArray, index: IntArray | None, batch_sizes: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Rows [U, D], read through index [N] if given, to the last layer's output [N, E] and final [B, E].

        Raises ShapeError for rows of another size than the first layer reads, and for an index that names no
        row.
        """
        directions = len(self._layers[-1].directions)
        final = np.empty((directions, int(batch_sizes[0]), self._layers[-1].hidden_size), np.float32)
        output = self._call(rows, index, batch_sizes, final, None)
        return output, final.transpose(1, 0, 2).reshape(final.shape[1], -1)

    def advance(self, rows: FloatArray, batch_sizes: IntArray, states: FloatArray) -> FloatArray:
        """As run, from states [num_states, B, H], which are replaced by the last ones; returns output."""
        return self._call(rows, None, batch_sizes, None, states)

    def _call(
        self,
        rows: FloatArray,
        index: IntArray | None,
        batch_sizes: IntArray,
        final: FloatArray | None,
        states: FloatArray | None,
    ) -> FloatArray:
        rows = np.ascontiguousarray(rows, np.float32)
        if rows.shape[1] != self._input_size:
            raise ShapeError("The rows have another size.", got=rows.shape[1], expected=self._input_size)
        batch_sizes = np.ascontiguousarray(batch_sizes, np.int64)
        index = None if index is None else np.ascontiguousarray(index, np.int64)
        num_rows = len(rows) if index is None else len(index)
        output = np.empty((num_rows, self._output_size), np.float32)
        result = self._run(
            self._stack,
            len(batch_sizes),
            _address(batch_sizes),
            num_rows,
            len(rows),
            _address(rows),
            _address(index),
            _address(output),
            _address(final),
            _address(states),
        )
        if result == 2:  # GRUNLOCK_INDEX_OUTSIDE
            raise ShapeError("The index names rows that are not there.", expected=f"0 to {len(rows) - 1}")
        if result != 0:
            raise KernelError(
                "Not enough memory for a prediction.",
                got=f"{num_rows} tokens",
                cure="predict fewer texts at a time",
            )
        return output


def _address(array: FloatArray | IntArray | None) -> int | None:
    """Where a dense array lies. ctypes.data takes longer than all else that a call does in Python."""
    if array is None:
        return None
    if array.size > 0 and array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    return int(array.ctypes.data)


def _is_general(layer: LayerWeights) -> bool:
    return not layer.reset_after or layer.directions[0].norm_weight_hh is not None


def _layer_call(layer: LayerWeights, precision: InferencePrecision) -> bytes:
    call = LayerCall(
        num_steps=0,
        num_rows=0,
        num_vectors=0,
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        num_directions=len(layer.directions),
        reset_after=layer.reset_after,
        precision=PRECISIONS[precision],
        batch_sizes=0,
        rows=0,
        row_index=0,
        input_mask=0,
        output=0,
    )
    directions = [
        DirectionCall(
            **{name: 0 if array is None else array.ctypes.data for name, array in vars(direction).items()},
            zoneout=Zoneout.RATE if layer.zoneout else Zoneout.OFF,
            zoneout_rate=layer.zoneout,
        )
        for direction in layer.directions
    ]
    return layer_bytes(call, tuple(directions))


@cache
def _functions(library: NativeLibrary) -> tuple[Any, Any]:
    handle = library.handle
    handle.grunlock_stack_new.restype = ctypes.c_void_p
    handle.grunlock_stack_new.argtypes = (ctypes.c_char_p, ctypes.c_int64)
    handle.grunlock_stack_free.restype, handle.grunlock_stack_free.argtypes = None, (ctypes.c_void_p,)
    whole, address = ctypes.c_int64, ctypes.c_void_p
    handle.grunlock_stack_run.restype = ctypes.c_int32
    handle.grunlock_stack_run.argtypes = (
        address, whole, address, whole, whole, address, address, address, address, address,
    )  # fmt: skip
    return handle.grunlock_stack_run, handle.grunlock_stack_free
