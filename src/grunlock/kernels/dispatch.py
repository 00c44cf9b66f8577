"""The one place that chooses a kernel. Callers ask here and never import a kernel themselves.

So far there is one kernel for training (reference.py, torch) and one for inference without torch
(portable.py, numpy), so there is nothing to measure or to force yet.
"""

from types import ModuleType


def training_kernel() -> ModuleType:
    """The module whose gru_scan and lstm_scan take torch tensors and carry gradients."""
    from grunlock.kernels import reference

    return reference


def inference_kernel() -> ModuleType:
    """The module whose gru_scan and lstm_scan take numpy arrays."""
    from grunlock.kernels import portable

    return portable
