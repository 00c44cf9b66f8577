"""The one place that chooses a kernel. Callers ask here and never import a kernel themselves.

Training: the compiled kernels for float32 on the CPU, reference.py (torch) for everything else. Inference
without torch: the compiled kernels, or portable.py (numpy). GRUNLOCK_KERNEL (library.py) forces one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from grunlock.errors import KernelError
from grunlock.kernels.library import native_library
from grunlock.kernels.stack import InferencePrecision, LayerWeights, RecurrentStack

if TYPE_CHECKING:
    from torch import Tensor


def gru_kernel(rows: Tensor) -> ModuleType:
    """The module whose gru_layer takes torch tensors and carries gradients; `rows` are its input vectors."""
    compiled, reference = _gru_modules()
    return compiled if _compiled_for(rows) else reference


@cache
def _gru_modules() -> tuple[ModuleType, ModuleType]:
    from grunlock.kernels import autograd, reference

    return autograd, reference


def lstm_kernel(rows: Tensor) -> ModuleType:
    """The same for lstm_layer."""
    compiled, reference = _lstm_modules()
    return compiled if _compiled_for(rows) else reference


@cache
def _lstm_modules() -> tuple[ModuleType, ModuleType]:
    from grunlock.kernels import lstm_autograd, reference

    return lstm_autograd, reference


def _compiled_for(rows: Tensor) -> bool:
    return (
        rows.is_cpu and rows.dtype.itemsize == 4 and rows.is_floating_point() and native_library() is not None
    )


def gru_stack(layers: Sequence[LayerWeights], precision: InferencePrecision = "float32") -> RecurrentStack:
    """Trained GRU layers ready to predict, without torch.

    Raises KernelError for a precision that layers or this machine cannot have.
    """
    library = native_library()
    if library is not None:
        from grunlock.kernels.native_stack import NativeGruStack

        return NativeGruStack(library, layers, precision)
    _refuse_without_library(precision)
    from grunlock.kernels.portable_stack import PortableStack

    return PortableStack(layers, "gru")


def lstm_stack(layers: Sequence[LayerWeights], precision: InferencePrecision = "float32") -> RecurrentStack:
    """The same for LSTM layers, which have no int8."""
    if precision == "int8":
        raise KernelError("int8 is for GRU layers.", got=precision, expected="float32 or bfloat16")
    library = native_library()
    if library is not None:
        from grunlock.kernels.native_lstm_stack import NativeLstmStack

        return NativeLstmStack(library, layers, precision)
    _refuse_without_library(precision)
    from grunlock.kernels.portable_stack import PortableStack

    return PortableStack(layers, "lstm")


def _refuse_without_library(precision: InferencePrecision) -> None:
    if precision != "float32":
        raise KernelError(
            "Without the compiled kernels predictions are made in float32 only.",
            got=precision,
            expected="float32",
            cure="grunlock doctor --kernels says why they are not in use",
        )
