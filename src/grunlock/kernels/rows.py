"""Arithmetic on some rows of a table, by the compiled library. Imports no torch: a tensor gives its address.

Letters besides those of shapes.py: V rows of the table, U rows concerned or bags, M entries of all bags.
A step changes the rows `ids` of the table and of the optimiser's states in place and reads no other. On
these rows it is torch.optim's step, with g the row's gradient, w its weight, t the number of steps so far:

    SgdRule      b <- momentum * b + g               w <- w - lr * b, nesterov: w - lr * (g + momentum * b)
    RmspropRule  s <- alpha * s + (1 - alpha) * g^2  w <- w - lr * g / (sqrt(s) + eps)
    AdagradRule  s <- s + g^2                        w <- w - lr * g / (sqrt(s) + eps)
    AdamRule     m <- m + (1 - beta1) * (g - m)
                 v <- beta2 * v + (1 - beta2) * g^2
                 w <- w - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

rows_reference.py is the same in plain torch, for any dtype.
"""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol, final

from grunlock.errors import ShapeError
from grunlock.kernels.library import NativeLibrary, native_library

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SgdRule:
    """One state b, or none without momentum."""

    lr: float
    momentum: float = 0.0
    nesterov: bool = False


@dataclass(frozen=True)
class RmspropRule:
    """One state s."""

    lr: float
    alpha: float
    eps: float


@dataclass(frozen=True)
class AdagradRule:
    """One state s."""

    lr: float
    eps: float


@dataclass(frozen=True)
class AdamRule:
    """Two states, m and v. num_steps: t."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    num_steps: int


Rule = SgdRule | RmspropRule | AdagradRule | AdamRule


class RowKernel(Protocol):
    """What rows_reference.py and NativeRows both do."""

    def step(
        self,
        weight: "Tensor",  # [V, D]
        states: "Sequence[Tensor]",  # each [V, D]
        ids: "Tensor",  # [U] int64, distinct
        grads: "Tensor",  # [U, D]
        rule: Rule,
    ) -> None:
        """One optimiser step of some rows, in place."""

    def move_average(
        self,
        average: "Tensor",  # [V, D]
        weight: "Tensor",  # [V, D]
        ids: "Tensor",  # [U] int64, distinct
        take: "Tensor",  # [U] float32, from 0 to 1
    ) -> None:
        """average[ids] moves by the share `take` towards weight[ids]; 0 and 1 are exact."""

    def scatter_bags(
        self,
        grads: "Tensor",  # [U, D] gradients of the means
        slots: "Tensor",  # [M] int64: which row of the result an entry adds to
        offsets: "Tensor",  # [U + 1] int64: the first entry of each bag, then M
        num_slots: int,
    ) -> "Tensor":  # [num_slots, D]
        """From means of bags to their rows: each entry adds its bag's gradient / (entries of the bag)."""


# ---- the structures of native/include/grunlock_rows.h ------------------------------------------------


class _Step(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "first", "second", "ids", "grads")),
        *((name, ctypes.c_int64) for name in ("num_rows", "width")),
    )


class _Sgd(ctypes.Structure):
    _fields_ = (("lr", ctypes.c_float), ("momentum", ctypes.c_float), ("nesterov", ctypes.c_int32))


class _Rmsprop(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in ("lr", "alpha", "take", "eps"))


class _Adagrad(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in ("lr", "eps"))


class _Adam(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_float) for name in ("step_size", "take1", "beta2", "take2", "root", "eps")
    )


_RULES = {"sgd": _Sgd, "rmsprop": _Rmsprop, "adagrad": _Adagrad, "adam": _Adam}
_OTHERS = ("average", "scatter")  # of four addresses and two sizes


@final
class NativeRows:
    """RowKernel for tensors that `suits`. Raises ShapeError where the library would read or write astray."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name, structure in _RULES.items():
            function = getattr(library, f"grunlock_rows_{name}")
            function.argtypes = [ctypes.POINTER(_Step), ctypes.POINTER(structure)]
            function.restype = None
        for name in _OTHERS:
            function = getattr(library, f"grunlock_rows_{name}")
            function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 2
            function.restype = None

    def step(
        self,
        weight: "Tensor",
        states: "Sequence[Tensor]",
        ids: "Tensor",
        grads: "Tensor",
        rule: Rule,
    ) -> None:
        step = _checked_step(weight, states, ids, grads)
        library = self._library
        match rule:
            case SgdRule():
                library.grunlock_rows_sgd(step, _Sgd(rule.lr, rule.momentum, rule.nesterov))
            case RmspropRule():
                library.grunlock_rows_rmsprop(step, _Rmsprop(rule.lr, rule.alpha, 1.0 - rule.alpha, rule.eps))
            case AdagradRule():
                library.grunlock_rows_adagrad(step, _Adagrad(rule.lr, rule.eps))
            case AdamRule():
                library.grunlock_rows_adam(step, _adam(rule))

    def move_average(self, average: "Tensor", weight: "Tensor", ids: "Tensor", take: "Tensor") -> None:
        shape = tuple(weight.shape)
        _check_ids(ids, shape[0])
        _check_floats(weight, shape)
        _check_floats(average, shape)
        _check_floats(take, (len(ids),))
        addresses = (average.data_ptr(), weight.data_ptr(), ids.data_ptr(), take.data_ptr())
        self._library.grunlock_rows_average(*addresses, len(ids), shape[1])

    def scatter_bags(self, grads: "Tensor", slots: "Tensor", offsets: "Tensor", num_slots: int) -> "Tensor":
        shape = (len(offsets) - 1, grads.shape[1])
        _check_floats(grads, shape)
        _check_ids(slots, num_slots)
        _check_offsets(offsets, len(slots))
        sums = grads.new_zeros((num_slots, shape[1]))
        addresses = (grads.data_ptr(), slots.data_ptr(), offsets.data_ptr(), sums.data_ptr())
        self._library.grunlock_rows_scatter(*addresses, *shape)
        return sums


def row_kernel(table: "Tensor") -> RowKernel:
    """What works on this table's rows: the compiled library if there is one and it can, else plain torch."""
    library = native_library() if suits(table) else None
    if library is not None:
        return _native_rows(library)
    from grunlock.kernels import rows_reference

    return rows_reference


@cache
def _native_rows(library: NativeLibrary) -> NativeRows:
    return NativeRows(library.handle)


def suits(tensor: "Tensor") -> bool:
    """Whether the library can work on it: dense float32 in the CPU's memory."""
    single = tensor.is_floating_point() and tensor.element_size() == ctypes.sizeof(ctypes.c_float)
    return single and tensor.device.type == "cpu" and tensor.is_contiguous()


def _adam(rule: AdamRule) -> _Adam:
    """Powers and differences in double precision: 1 - beta2 would lose digits in single."""
    step_size = rule.lr / (1.0 - rule.beta1**rule.num_steps)
    root = math.sqrt(1.0 - rule.beta2**rule.num_steps)
    return _Adam(step_size, 1.0 - rule.beta1, rule.beta2, 1.0 - rule.beta2, root, rule.eps)


def _checked_step(weight: "Tensor", states: "Sequence[Tensor]", ids: "Tensor", grads: "Tensor") -> _Step:
    shape = tuple(weight.shape)
    _check_ids(ids, shape[0])
    for tensor in (weight, *states):
        _check_floats(tensor, shape)
    _check_floats(grads, (len(ids), shape[1]))
    first, second = ([state.data_ptr() for state in states] + [None, None])[:2]
    return _Step(weight.data_ptr(), first, second, ids.data_ptr(), grads.data_ptr(), len(ids), shape[1])


def _check_floats(tensor: "Tensor", shape: tuple[int, ...]) -> None:
    if not suits(tensor) or tuple(tensor.shape) != shape:
        raise ShapeError(
            "The row kernel got an array that it cannot read.",
            got=f"{list(tensor.shape)} {tensor.dtype} on {tensor.device}",
            expected=f"{list(shape)} float32 on the CPU, contiguous",
        )


def _check_integers(tensor: "Tensor") -> None:
    if not tensor.is_contiguous() or tensor.is_floating_point() or tensor.element_size() != 8:
        raise ShapeError("The row kernel needs contiguous int64 indices.", got=tensor.dtype)


def _check_ids(ids: "Tensor", num_rows: int) -> None:
    _check_integers(ids)
    low, high = (int(bound) for bound in ids.aminmax()) if len(ids) else (0, -1)
    if low < 0 or high >= num_rows:
        raise ShapeError(
            "A row lies outside the table.", got=f"rows from {low} to {high}", expected=f"0 to {num_rows - 1}"
        )


def _check_offsets(offsets: "Tensor", num_entries: int) -> None:
    _check_integers(offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    if first != 0 or last != num_entries or not bool((offsets.diff() >= 0).all()):
        raise ShapeError(
            "Bags must begin at the first entry, end at the last and never run backwards.",
            got=f"offsets from {first} to {last}",
            expected=f"offsets rising from 0 to {num_entries}",
        )
