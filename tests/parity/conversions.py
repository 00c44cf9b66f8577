"""Weights between torch's layout and the layouts of Keras and ONNX.

All three let z = 1 keep the old state, so only order and orientation differ:

    torch   weight_ih [3H, D]          weight_hh [3H, H]              bias_ih, bias_hh [3H]      r z n
    Keras   kernel [D, 3H]             recurrent_kernel [H, 3H]       bias [2, 3H] or [3H]       z r n
    ONNX    W [directions, 3H, D]      R [directions, 3H, H]          B [directions, 6H]         z r n
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def swap_reset_update(rows: np.ndarray) -> np.ndarray:
    """Blocks z r n on the first axis to r z n, or back."""
    first, second, candidate = np.split(rows, 3)
    return np.concatenate([second, first, candidate])


def from_keras(layer: Mapping[str, np.ndarray], suffix: str, *, gradients: bool = False) -> dict[str, Tensor]:
    """kernel, recurrent_kernel and bias of one layer and direction, named and laid out as in torch.

    Keras has a single bias [3H] in the reset-before form. As a weight it becomes bias_ih, with bias_hh zero;
    as a gradient it is that of both, because the two are only ever added.
    """
    bias = layer[f"bias{suffix}"]
    bias_ih, bias_hh = bias if bias.ndim == 2 else (bias, bias if gradients else np.zeros_like(bias))
    ours = {
        "weight_ih": layer[f"kernel{suffix}"].T,
        "weight_hh": layer[f"recurrent_kernel{suffix}"].T,
        "bias_ih": bias_ih,
        "bias_hh": bias_hh,
    }
    return {f"{name}{suffix}": torch.from_numpy(swap_reset_update(rows)) for name, rows in ours.items()}


def to_onnx(weights: Mapping[str, Tensor], suffixes: Sequence[str]) -> dict[str, np.ndarray]:
    """W, R and, if the layer has biases, B of one layer; `suffixes` name its directions, forward first."""

    def stacked(name: str) -> np.ndarray:  # [directions, 3H, ...]
        return np.stack([swap_reset_update(weights[name + suffix].numpy()) for suffix in suffixes])

    arrays = {"W": stacked("weight_ih"), "R": stacked("weight_hh")}
    if f"bias_ih{suffixes[0]}" in weights:
        arrays["B"] = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)
    return arrays
