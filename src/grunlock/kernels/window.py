"""A linear map of each step and its neighbours over packed rows. Imports no torch.

    (1)  y_n = bias + sum over k of W_k x[index[n + offsets[k]]]

n + offset is the row of the same sequence so many steps later; outside of the sequence there is nothing to
add. With the one offset 0 it is a linear layer of which equal rows are computed once. Backward, with dy the
gradient of y, sums over all k and all n, m with m = index[n + offsets[k]]:

    (2)  dx_m = sum of W_k^T dy_n    dW_k = sum of dy_n x_m^T    dbias = sum of dy_n

window_reference.py is the oracle in torch, window_autograd.py the same for torch tensors, with gradients.
"""

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from grunlock.kernels.library import NativeLibrary, native_library
from grunlock.kernels.native import check_result
from grunlock.shapes import FloatArray, IntArray, check_batch_sizes, check_shape, shifted_rows

FEW_VECTORS = 32  # of one step: below, packing the weight takes longer than numpy needs for all


class WindowCall(NamedTuple):
    """grunlock_window_call; whoever makes one keeps its arrays alive. Addresses are of float32 arrays."""

    sizes: "array[int]"  # batch_sizes [T]
    offsets: "array[int]"  # [K]
    num_rows: int  # N
    num_vectors: int  # U
    input_size: int  # D
    output_size: int  # O
    vectors: int  # address of [U, D]
    row_index: int  # address of int64 [N], or 0: row n is vector n
    weight: int  # address of [K * O, D]
    bias: int  # address of [O]
    output: int = 0  # address of [N, O]
    doutput: int = 0  # address of [N, O]
    doutput_stride: int = 0  # floats from row to row
    dvectors: int = 0  # address of [U, D], or 0: not wanted
    dweight: int = 0  # address of [K * O, D], likewise
    dbias: int = 0  # address of [O], likewise


def window_product(
    vectors: FloatArray,  # [U, D]
    index: IntArray,  # [N]
    batch_sizes: IntArray,  # [T]
    offsets: Sequence[int],  # [K]
    weight: FloatArray,  # [K * O, D], W_k one below the other
    bias: FloatArray,  # [O]
) -> FloatArray:  # [N, O]
    """(1), compiled or in numpy, whichever is faster. Raises ShapeError."""
    check_sizes(vectors.shape, weight.shape, bias.shape, offsets)
    sizes = batch_sizes.tolist()
    check_batch_sizes(sizes, len(index))
    library = native_library()
    few = len(offsets) == 1 and len(vectors) < FEW_VECTORS
    if library is None or few or vectors.dtype != np.float32:
        return _in_numpy(vectors, index, batch_sizes, offsets, weight, bias)
    given = [np.ascontiguousarray(values, np.float32) for values in (vectors, weight, bias)]
    index = np.ascontiguousarray(index, np.int64)
    output = np.empty((len(index), len(bias)), np.float32)
    call = WindowCall(
        sizes=array("q", sizes),
        offsets=array("q", offsets),
        num_rows=len(index),
        num_vectors=len(vectors),
        input_size=vectors.shape[1],
        output_size=len(bias),
        vectors=given[0].ctypes.data,
        row_index=index.ctypes.data,
        weight=given[1].ctypes.data,
        bias=given[2].ctypes.data,
        output=output.ctypes.data,
    )
    native_forward(library, call)
    return output


def check_sizes(
    vectors: Sequence[int], weight: Sequence[int], bias: Sequence[int], offsets: Sequence[int]
) -> None:
    """Raise ShapeError unless these shapes fit together."""
    check_shape("vectors", tuple(vectors), (None, None), "[U, D]")
    check_shape("bias", tuple(bias), (None,), "[O]")
    check_shape("weight", tuple(weight), (len(offsets) * bias[0], vectors[1]), "[K * O, D]")


def _in_numpy(
    vectors: FloatArray,
    index: IntArray,
    batch_sizes: IntArray,
    offsets: Sequence[int],
    weight: FloatArray,
    bias: FloatArray,
) -> FloatArray:
    products = vectors @ weight.T  # [U, K * O]
    if tuple(offsets) == (0,):
        result: FloatArray = (products + bias)[index]
        return result
    products = np.concatenate([products, np.zeros((1, len(weight)), products.dtype)])  # a row for nothing
    padded = np.append(index, len(vectors))
    total: FloatArray = np.repeat(bias[None], len(index), axis=0)
    for k, offset in enumerate(offsets):
        columns = slice(k * len(bias), (k + 1) * len(bias))
        total += products[padded[shifted_rows(batch_sizes, offset)], columns]
    return total


# ---- the structure of native/include/grunlock_window.h -----------------------------------------------


class _Call(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            *("num_steps", "num_rows", "num_vectors", "input_size", "output_size", "window_steps"),
            *("batch_sizes", "offsets", "vectors", "index", "weight", "bias"),
            *("output", "output_stride", "doutput", "doutput_stride", "dvectors", "dweight", "dbias"),
        )
    )


def native_forward(library: NativeLibrary, call: WindowCall) -> None:
    """Write output. Raises ShapeError or KernelError."""
    _run(_functions(library)[0], call)


def native_backward(library: NativeLibrary, call: WindowCall) -> None:
    """Write what has an address of dvectors, dweight and dbias. Raises ShapeError or KernelError."""
    _run(_functions(library)[1], call)


def _run(function: "ctypes._NamedFuncPointer", call: WindowCall) -> None:
    structure = _Call(
        *(len(call.sizes), call.num_rows, call.num_vectors, call.input_size, call.output_size),
        *(len(call.offsets), call.sizes.buffer_info()[0], call.offsets.buffer_info()[0]),
        *(call.vectors, call.row_index, call.weight, call.bias, call.output, call.output_size),
        *(call.doutput, call.doutput_stride, call.dvectors, call.dweight, call.dbias),
    )
    check_result(function(structure), call.num_rows, call.num_vectors, call.output_size)


@cache
def _functions(library: NativeLibrary) -> "tuple[ctypes._NamedFuncPointer, ctypes._NamedFuncPointer]":
    functions = library.handle.grunlock_window_forward, library.handle.grunlock_window_backward
    for function in functions:
        function.restype, function.argtypes = ctypes.c_int32, (ctypes.POINTER(_Call),)
    return functions
