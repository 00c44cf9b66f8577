"""The compiled kernels' sigmoid and tanh on chosen bit patterns, and their errors in last places."""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.kernels.library import native_library

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
FUNCTIONS = ("sigmoid", "tanh")
NUM_PATTERNS = 2**32


@dataclass(frozen=True)
class Worst:
    """The largest error found, in units in the last place (ulp), and the argument that has it."""

    ulp: float
    at: float


def computed(function: str, x: Floats) -> Floats:
    """What the instruction set in use gives."""
    library = native_library()
    assert library is not None
    call = library.handle[f"grunlock_{function}"]
    call.restype, call.argtypes = None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    y = np.empty_like(x)
    call(x.ctypes.data, y.ctypes.data, len(x))
    return y


def right(function: str, x: Floats) -> Doubles:
    """In float64, whose own error is some 2^-29 of a float32's last place."""
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        wide = x.astype(np.float64)
    if function == "tanh":
        return np.tanh(wide)
    e = np.exp(-np.abs(wide))  # never overflows, and keeps small results relatively exact
    return np.where(wide < 0, e, 1.0) / (1.0 + e)


def last_place(y: Doubles) -> Doubles:
    """The distance of float32 numbers around y, denormals included."""
    _, exponent = np.frexp(y)
    return np.ldexp(1.0, np.maximum(exponent, -125) - 24)


def patterns(first: int, last: int, step: int = 1) -> Floats:
    """The float32 numbers with these bits."""
    return np.arange(first, last, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


def worst(function: str, x: Floats) -> Worst:
    """Raises AssertionError where a result is NaN and should not be, or should be, or has the wrong sign."""
    y = computed(function, x)
    number = ~np.isnan(x)
    assert np.isnan(y[~number]).all()
    x, y = x[number], y[number]
    expected = right(function, x)
    assert np.array_equal(np.signbit(y), np.signbit(expected))
    errors = np.abs(y - expected) / last_place(expected)
    assert not np.isnan(errors).any()
    if len(errors) == 0:
        return Worst(0.0, 0.0)
    place = int(errors.argmax())
    return Worst(float(errors[place]), float(x[place]))
