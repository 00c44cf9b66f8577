"""Calls of the compiled LSTM on raw addresses, as native.py for the GRU; see native/include/grunlock_lstm.h.

A LayerCall and DirectionCalls say here what the layer has in common with a GRU's; cells hold the rest.
"""

import ctypes
import struct
from functools import cache
from typing import NamedTuple

from grunlock.kernels.library import NativeLibrary
from grunlock.kernels.native import DirectionCall, LayerCall, check_result, layer_bytes


class CellCall(NamedTuple):
    """grunlock_lstm_cell, field by field."""

    c0: int = 0
    zoneout_mask: int = 0
    zoneout: int = 0  # native.Zoneout
    zoneout_rate: float = 0.0
    zoneout_seed: int = 0
    final: int = 0
    dfinal: int = 0
    dc0: int = 0


_CELL = struct.Struct("3qdQ3q")
_NO_CELL = bytes(_CELL.size)


def lstm_forward(
    library: NativeLibrary,
    layer: LayerCall,
    directions: tuple[DirectionCall, ...],
    cells: tuple[CellCall, ...],
) -> None:
    """Write output, both final states and, if given, saved. Raises KernelError when memory runs out."""
    call = _lstm_bytes(layer, directions, cells)
    check_result(_functions(library)[0](call), layer.num_rows, layer.num_vectors, layer.hidden_size)


def lstm_backward(
    library: NativeLibrary,
    layer: LayerCall,
    directions: tuple[DirectionCall, ...],
    cells: tuple[CellCall, ...],
) -> None:
    """Write the gradients that have an address; overwrites `saved`. Raises KernelError as lstm_forward."""
    call = _lstm_bytes(layer, directions, cells)
    check_result(_functions(library)[1](call), layer.num_rows, layer.num_vectors, layer.hidden_size)


def _lstm_bytes(
    layer: LayerCall, directions: tuple[DirectionCall, ...], cells: tuple[CellCall, ...]
) -> bytes:
    call = layer_bytes(layer, directions) + b"".join([_CELL.pack(*cell) for cell in cells])
    return call if len(cells) > 1 else call + _NO_CELL


@cache
def _functions(library: NativeLibrary) -> "tuple[ctypes._NamedFuncPointer, ctypes._NamedFuncPointer]":
    functions = library.handle.grunlock_lstm_forward, library.handle.grunlock_lstm_backward
    for function in functions:
        function.restype, function.argtypes = ctypes.c_int32, (ctypes.c_char_p,)
    return functions
