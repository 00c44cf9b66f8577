"""The largest and the mean state of each sequence of packed rows. Imports no torch.

For each column by itself, t running over a sequence's steps:

    (1)  max = largest x_t, NaN if there is one    ties = number of t with x_t = max
    (2)  mean = sum of x_t / number of t
    (3)  dx_t = dmean / number of t + (dmax / ties where x_t = max)

States that tie for the maximum share its gradient evenly: with zoneout, which keeps a state over several
steps, ties are the rule. A dmax that is not finite, or of a maximum that is NaN, makes dx_t NaN at every step
of the sequence.

pool_reference.py is the oracle in torch, pool_autograd.py the same for torch tensors, with gradients.
"""

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from grunlock.kernels.library import NativeLibrary, native_library
from grunlock.shapes import FloatArray, IntArray, PackedLayout, check_shape, sequence_major_rows

PooledPart = Literal["max", "mean"]


class PoolCall(NamedTuple):
    """grunlock_pool_call; whoever makes one keeps its arrays alive. Addresses are of float32 arrays."""

    sizes: "array[int]"  # batch_sizes [T]
    num_rows: int  # N
    size: int  # E
    rows: int  # address of [N, E]; of a backward without dmax not read
    rows_stride: int  # floats from row to row, as the strides below
    max: int = 0  # address of [B, E], or 0: not wanted
    ties: int = 0  # address of [B, E], wherever max has one
    mean: int = 0  # address of [B, E], or 0: not wanted
    dmax: int = 0  # address of [B, E], or 0 for zeros
    dmax_stride: int = 0
    dmean: int = 0  # likewise
    dmean_stride: int = 0
    drows: int = 0  # address of [N, E]


def pool_rows(
    rows: FloatArray,  # [N, E]
    layout: PackedLayout,
    parts: Sequence[PooledPart],
) -> tuple[FloatArray, ...]:  # of each part [B, E]
    """(1) and (2), compiled or in numpy, whichever is faster. Raises ShapeError."""
    check_shape("rows", rows.shape, (layout.num_rows, None), "[N, E]")
    library = native_library()
    if layout.num_sequences == 1 or library is None or rows.dtype != np.float32:
        return tuple(_in_numpy(rows, layout, part) for part in parts)
    rows = np.ascontiguousarray(rows)
    results = np.empty((3, layout.num_sequences, rows.shape[1]), np.float32)
    highest, ties, mean = (result.ctypes.data for result in results)
    call = PoolCall(
        sizes=array("q", layout.batch_sizes.tolist()),
        num_rows=len(rows),
        size=rows.shape[1],
        rows=rows.ctypes.data,
        rows_stride=rows.shape[1],
        max=highest if "max" in parts else 0,
        ties=ties if "max" in parts else 0,
        mean=mean if "mean" in parts else 0,
    )
    native_forward(library, call)
    return tuple(results[0 if part == "max" else 2] for part in parts)


def _in_numpy(rows: FloatArray, layout: PackedLayout, part: PooledPart) -> FloatArray:
    gather = np.maximum if part == "max" else np.add
    if layout.num_sequences == 1:  # for which reduceat takes several times as long
        pooled: FloatArray = gather.reduce(rows, axis=0, keepdims=True)
    else:
        pooled = gather.reduceat(*sequence_major(rows, layout), axis=0)
    counts: FloatArray = layout.lengths[:, None].astype(rows.dtype)
    return pooled if part == "max" else pooled / counts


def sequence_major(rows: FloatArray, layout: PackedLayout) -> tuple[FloatArray, IntArray]:
    """Packed rows [N, E], sequence after sequence, and the first row [B] of each."""
    if layout.num_sequences == 1:
        return rows, np.zeros(1, np.int64)
    return rows[sequence_major_rows(layout.batch_sizes)], np.cumsum(layout.lengths) - layout.lengths


# ---- the structure of native/include/grunlock_pool.h -------------------------------------------------


class _Call(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            *("num_steps", "num_rows", "size", "batch_sizes", "rows", "rows_stride", "max", "ties", "mean"),
            *("dmax", "dmax_stride", "dmean", "dmean_stride", "drows"),
        )
    )


def native_forward(library: NativeLibrary, call: PoolCall) -> None:
    """Write what has an address of max, ties and mean."""
    _functions(library)[0](_structure(call))


def native_backward(library: NativeLibrary, call: PoolCall) -> None:
    """Write drows."""
    _functions(library)[1](_structure(call))


def _structure(call: PoolCall) -> _Call:
    return _Call(len(call.sizes), call.num_rows, call.size, call.sizes.buffer_info()[0], *call[3:])


@cache
def _functions(library: NativeLibrary) -> "tuple[ctypes._NamedFuncPointer, ctypes._NamedFuncPointer]":
    functions = library.handle.grunlock_pool_forward, library.handle.grunlock_pool_backward
    for function in functions:
        function.restype, function.argtypes = None, (ctypes.POINTER(_Call),)
    return functions
