"""The elementwise gated recurrence over packed rows, which minGRU, minLSTM and QRNN share. Imports no torch.

One step of one sequence, each unit by itself (k = 1 keeps the old state; h is the state, n the candidate, y
the output):

    (1)  h = n + k * (h_prev - n)                          same as k * h_prev + (1 - k) * n
    (2)  y = h                                             qrnn: y = h * sigmoid(a_o)

k and n are computed from `gates`, a_ with the first letter of each, by `cell`:

    mingru    k = sigmoid(a_k)                             n = a_c          Feng 2024, whose z is 1 - k
    qrnn      k = sigmoid(a_k)                             n = tanh(a_c)    Bradbury 2016: fo-pooling
    minlstm   k = f / (f + i), f = sigmoid(a_k),           n = a_c          Feng 2024, gates normalised
              i = sigmoid(a_i)

Below -80 the arguments of minLSTM count as -80 (not in the oracle): two gates of 0 would leave 0 / 0.

Backward, with dy the gradient of a step's output and dh that of its state, of what follows it as well:

    (3)  dh += dy                                          qrnn: dh += dy * o, da_o = dy * h * o * (1 - o)
    (4)  dn = dh * (1 - k)    dk = dh * (h_prev - n)    dh_prev = dh * k
    (5)  through sigmoid: dk * k * (1 - k)              through tanh: dn * (1 - n^2)
         minlstm: da_k = dk * k * (1 - k) * (1 - f)     da_i = -dk * k * (1 - k) * (1 - i)

Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, "Were RNNs All We Needed?", arXiv:2410.01201. Bradbury,
Merity, Xiong, Socher 2016, "Quasi-Recurrent Neural Networks", arXiv:1611.01576. scan_reference.py is the
oracle in torch, scan_portable.py the forward in numpy; scan_forward uses the compiled library, or numpy where
there is none. Gradients are those of scan_autograd.py.
"""

import ctypes
from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np

from grunlock.errors import ShapeError
from grunlock.kernels import scan_portable
from grunlock.kernels.library import NativeLibrary, native_library
from grunlock.shapes import FloatArray, check_batch_sizes, check_shape

Cell = Literal["mingru", "qrnn", "minlstm"]
CELLS: dict[Cell, int] = {"mingru": 0, "qrnn": 1, "minlstm": 2}  # enum grunlock_scan_cell

# How gates are stacked.
SCAN_GATES: dict[Cell, tuple[str, ...]] = {
    "mingru": ("keep", "candidate"),
    "qrnn": ("keep", "candidate", "output"),
    "minlstm": ("keep", "candidate", "input"),
}


class Rows(NamedTuple):
    """Where packed rows lie: units side by side, rows `stride` floats apart. An address of 0: absent."""

    address: int = 0
    stride: int = 0


class ScanCall(NamedTuple):
    """grunlock_scan_call; whoever makes one keeps its arrays alive. gates and dgates follow SCAN_GATES."""

    cell: Cell
    sizes: "array[int]"  # batch_sizes [T]
    num_rows: int
    hidden_size: int
    reverse: bool
    gates: Sequence[Rows]  # each [N, H]
    h0: int  # address of [B, H]
    state: Rows  # [N, H]
    output: Rows = Rows()  # [N, H], qrnn only: of the others it is the state
    final: int = 0  # address of [B, H]
    doutput: Rows = Rows()
    dfinal: int = 0  # address of [B, H]
    dgates: Sequence[Rows] = ()  # each [N, H]
    dh0: int = 0  # address of [B, H]


def scan_forward(
    gates: Sequence[FloatArray],  # of SCAN_GATES, each [N, H]
    batch_sizes: Sequence[int],  # [T]
    h0: FloatArray | None = None,  # [B, H]
    *,
    cell: Cell,
    reverse: bool = False,
    output: FloatArray | None = None,  # [N, H] to write to, such as half of the columns of [N, 2H]
) -> tuple[FloatArray, FloatArray]:  # output [N, H], state after the last step [B, H]
    """Run the recurrence. Float32; rows may lie apart, their units may not. Raises ShapeError."""
    shape = _checked(gates, batch_sizes, h0, cell)
    output = np.empty(shape, np.float32) if output is None else output
    rows = _rows("output", output, shape)
    library = native_library()
    if library is None:
        output[:], final = scan_portable.forward(gates, batch_sizes, h0, cell, reverse)
        return output, final
    final = np.empty((batch_sizes[0], shape[1]), np.float32)
    state = np.empty(shape, np.float32) if cell == "qrnn" else output
    h0 = None if h0 is None else np.ascontiguousarray(h0)
    call = ScanCall(
        cell=cell,
        sizes=array("q", batch_sizes),
        num_rows=shape[0],
        hidden_size=shape[1],
        reverse=reverse,
        gates=[_rows("gates", gate, shape) for gate in gates],
        h0=0 if h0 is None else h0.ctypes.data,
        state=_rows("state", state, shape),
        output=rows if cell == "qrnn" else Rows(),
        final=final.ctypes.data,
    )
    native_forward(library, call)
    return output, final


# ---- the structure of native/include/grunlock_scan.h -------------------------------------------------


class _Call(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            *("cell", "num_steps", "num_rows", "hidden_size", "reverse", "batch_sizes"),
            *("keep", "keep_stride", "candidate", "candidate_stride", "third", "third_stride"),
            *("h0", "state", "state_stride", "output", "output_stride", "final"),
            *("doutput", "doutput_stride", "dfinal"),
            *("dkeep", "dkeep_stride", "dcandidate", "dcandidate_stride", "dthird", "dthird_stride"),
            "dh0",
        )
    )


def native_forward(library: NativeLibrary, call: ScanCall) -> None:
    """Write state, output and, if it has an address, final."""
    _functions(library)[0](_structure(call))


def native_backward(library: NativeLibrary, call: ScanCall) -> None:
    """Write dgates and, if it has an address, dh0."""
    _functions(library)[1](_structure(call))


def _structure(call: ScanCall) -> _Call:
    return _Call(
        *(CELLS[call.cell], len(call.sizes), call.num_rows, call.hidden_size, int(call.reverse)),
        call.sizes.buffer_info()[0],
        *_three(call.gates),
        *(call.h0, *call.state, *call.output, call.final, *call.doutput, call.dfinal),
        *_three(call.dgates),
        call.dh0,
    )


def _three(gates: Sequence[Rows]) -> Iterator[int]:
    """Address and stride of three gates; those a cell does not have are absent."""
    return chain(*gates, *[Rows()] * (3 - len(gates)))


@cache
def _functions(library: NativeLibrary) -> "tuple[ctypes._NamedFuncPointer, ctypes._NamedFuncPointer]":
    functions = library.handle.grunlock_scan_forward, library.handle.grunlock_scan_backward
    for function in functions:
        function.restype, function.argtypes = None, (ctypes.POINTER(_Call),)
    return functions


# ---- checks ------------------------------------------------------------------------------------------


def _checked(
    gates: Sequence[FloatArray], batch_sizes: Sequence[int], h0: FloatArray | None, cell: Cell
) -> tuple[int, int]:
    """N and H."""
    if len(gates) != len(SCAN_GATES[cell]):
        raise ShapeError(
            f"The cell {cell} takes other gates.",
            got=f"{len(gates)} arrays",
            expected=", ".join(SCAN_GATES[cell]),
        )
    shape = gates[0].shape
    check_shape("keep", shape, (None, None), "[N, H]")
    for gate in gates:
        _rows("gates", gate, (shape[0], shape[1]))
    check_batch_sizes(batch_sizes, shape[0])
    if h0 is not None:
        check_shape("h0", h0.shape, (batch_sizes[0], shape[1]), "[B, H]")
        _check_single("h0", h0)
    return shape[0], shape[1]


def _rows(name: str, values: FloatArray, shape: tuple[int, int]) -> Rows:
    check_shape(name, values.shape, shape, "[N, H]")
    _check_single(name, values)
    row, unit = values.strides
    if (unit != values.itemsize and shape[1] > 1) or row % values.itemsize != 0 or row < 0:
        raise ShapeError(
            f"Units of `{name}` must lie side by side.", got=f"strides of {values.strides} bytes"
        )
    return Rows(values.ctypes.data, row // values.itemsize)


def _check_single(name: str, values: FloatArray) -> None:
    if values.dtype != np.float32:
        raise ShapeError(f"`{name}` has the wrong type.", got=values.dtype, expected="float32")
