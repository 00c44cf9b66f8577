"""The one place that chooses a kernel. Callers ask here and never import a kernel themselves.

Training: the compiled kernels for float32 on the CPU, reference.py (torch) for everything else. Inference without torch:
portable.py (numpy). GRUNLOCK_KERNEL (library.py) forces one.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from grunlock.kernels.library import native_library

if TYPE_CHECKING:
    from torch import Tensor


def gru_kernel(rows: Tensor) -> ModuleType:
    """The module whose gru_layer takes torch tensors and carries gradients; `rows` are its input vectors."""
    from grunlock.kernels import autograd, reference

    return autograd if _compiled_for(rows) else reference


def lstm_kernel(rows: Tensor) -> ModuleType:
    """The same for lstm_layer."""
    from grunlock.kernels import reference

    return reference


def _compiled_for(rows: Tensor) -> bool:
    import torch

    return rows.dtype is torch.float32 and rows.device.type == "cpu" and native_library() is not None


def inference_kernel() -> ModuleType:
    """The module whose gru_scan and lstm_scan take numpy arrays."""
    from grunlock.kernels import portable

    return portable
