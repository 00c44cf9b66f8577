"""Calls of the compiled kernels on raw addresses: arrays of any library, no copies, no torch.

Callers guarantee what the C header native/include/grunlock_gru.h asks for: float32 arrays, dense and
row-major, that live until the call returns. An address of 0 stands for an absent array.
"""

import ctypes
import struct
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Literal, NamedTuple

from grunlock.errors import KernelError, ShapeError
from grunlock.kernels.library import NativeLibrary

ROW_PAD = 16  # GRUNLOCK_ROW_PAD: saved rows are padded to a multiple of it
NORM_EXTRA = 16  # floats behind each saved normalised row
Precision = Literal["float32", "bfloat16"]
PRECISIONS: dict[str, int] = {"float32": 0, "bfloat16": 1, "int8": 2}  # enum grunlock_precision


class Zoneout(IntEnum):
    """enum grunlock_zoneout."""

    OFF = 0
    RATE = 1
    MASK = 2
    DRAWN = 3


class DirectionCall(NamedTuple):
    """grunlock_gru_direction, field by field."""

    weight_ih: int
    weight_hh: int
    bias_ih: int = 0
    bias_hh: int = 0
    norm_weight_ih: int = 0
    norm_weight_hh: int = 0
    h0: int = 0
    state_mask: int = 0
    zoneout_mask: int = 0
    zoneout: int = Zoneout.OFF
    zoneout_rate: float = 0.0
    zoneout_seed: int = 0
    packed: int = 0
    final: int = 0
    saved: int = 0
    saved_norm: int = 0
    dfinal: int = 0
    dweight_ih: int = 0
    dweight_hh: int = 0
    dbias_ih: int = 0
    dbias_hh: int = 0
    dnorm_weight_ih: int = 0
    dnorm_weight_hh: int = 0
    dh0: int = 0


class LayerCall(NamedTuple):
    """grunlock_gru_call without its directions."""

    num_steps: int
    num_rows: int
    num_vectors: int
    input_size: int
    hidden_size: int
    num_directions: int
    reset_after: int
    precision: int
    batch_sizes: int
    rows: int
    row_index: int
    input_mask: int
    output: int
    doutput: int = 0
    drows: int = 0


_INDEX_OUTSIDE = 2  # enum grunlock_result
_LAYER = struct.Struct("15q")
_DIRECTION = struct.Struct("10qdQ12q")
_NO_DIRECTION = bytes(_DIRECTION.size)


def padded(hidden_size: int) -> int:
    """P: floats of a saved row of units."""
    return -(-hidden_size // ROW_PAD) * ROW_PAD


def gru_forward(library: NativeLibrary, layer: LayerCall, directions: tuple[DirectionCall, ...]) -> None:
    """Write output, final and, if given, saved. Raises KernelError when memory runs out."""
    _run(_functions(library)[0], layer, directions)


def gru_backward(library: NativeLibrary, layer: LayerCall, directions: tuple[DirectionCall, ...]) -> None:
    """Write the gradients that have an address; overwrites `saved`. Raises KernelError as gru_forward."""
    _run(_functions(library)[1], layer, directions)


def layer_bytes(layer: LayerCall, directions: tuple[DirectionCall, ...]) -> bytes:
    """grunlock_gru_call as it lies in memory."""
    call = _LAYER.pack(*layer) + b"".join(_DIRECTION.pack(*direction) for direction in directions)
    return call if len(directions) > 1 else call + _NO_DIRECTION


def _run(
    function: "ctypes._NamedFuncPointer", layer: LayerCall, directions: tuple[DirectionCall, ...]
) -> None:
    check_result(
        function(layer_bytes(layer, directions)), layer.num_rows, layer.num_vectors, layer.hidden_size
    )


def check_result(result: int, num_rows: int, num_vectors: int, num_units: int) -> None:
    """Raise KernelError or ShapeError for a grunlock_result that is none of a finished call."""
    if result == _INDEX_OUTSIDE:
        raise ShapeError(
            "The index names vectors that are not there.",
            expected=f"0 to {num_vectors - 1} in every row",
        )
    if result != 0:
        raise KernelError(
            "Not enough memory for one layer.",
            got=f"{num_rows} rows of {num_units} units",
            cure="use smaller batches or shorter sequences",
        )


class Buffer:
    """Uninitialised float32 [rows, columns] for numpy and torch to wrap, from the library's store and back.

    Raises KernelError when memory runs out.
    """

    def __init__(self, library: NativeLibrary, rows: int, columns: int) -> None:
        take, self._give = _buffer_functions(library)
        self.address = take(4 * rows * columns)
        if not self.address:
            self._give = None
            raise KernelError(
                "Not enough memory for the states of a batch.",
                got=f"{rows} rows of {columns} numbers",
                cure="use smaller batches or shorter sequences",
            )
        self.__array_interface__ = {
            "version": 3,
            "data": (self.address, False),
            "shape": (rows, columns),
            "typestr": "<f4",
        }

    def __del__(self) -> None:
        if self._give is not None:
            self._give(self.address)


@cache
def _buffer_functions(library: NativeLibrary) -> "tuple[Callable[[int], int], Callable[[int], None] | None]":
    take, give = library.handle.grunlock_buffer_take, library.handle.grunlock_buffer_give
    take.restype, take.argtypes = ctypes.c_void_p, (ctypes.c_int64,)
    give.restype, give.argtypes = None, (ctypes.c_void_p,)
    return take, give


@cache
def _functions(library: NativeLibrary) -> "tuple[ctypes._NamedFuncPointer, ctypes._NamedFuncPointer]":
    functions = library.handle.grunlock_gru_forward, library.handle.grunlock_gru_backward
    for function in functions:
        function.restype, function.argtypes = ctypes.c_int32, (ctypes.c_char_p,)
    return functions
