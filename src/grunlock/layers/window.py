"""A linear map of each step and its neighbours, on packed rows: what a convolution over time is."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from grunlock.kernels import window_autograd as kernel
from grunlock.layers.packing import IndexedRows


class WindowLinear(nn.Module):
    """y_t = bias + sum over k of W_k x_{t + offsets[k]}; steps outside of the sequence are zero.

    Distinct vectors are multiplied once, however many steps read them. Weights start Xavier uniform over the
    whole window, biases at zero.

    Attributes:
        weight: [K * O, D], W_k one below the other.
        bias: [O].
    """

    def __init__(self, input_size: int, output_size: int, offsets: Sequence[int] = (0,)) -> None:
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size
        self.offsets = tuple(offsets)
        self.weight = nn.Parameter(torch.empty(len(self.offsets) * output_size, input_size))
        self.bias = nn.Parameter(torch.zeros(output_size))
        bound = math.sqrt(6.0 / (len(self.offsets) * input_size + output_size))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, rows: IndexedRows) -> Tensor:  # D wide -> [N, O]
        return window_product(rows, [self])

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.output_size}, offsets={self.offsets}"


def window_product(rows: IndexedRows, windows: Sequence[WindowLinear]) -> Tensor:  # [N, sum of O]
    """Several maps of the same steps side by side, as one product."""
    offsets = windows[0].offsets
    bias = torch.cat([window.bias for window in windows])
    parts = [window.weight.view(len(offsets), window.output_size, -1) for window in windows]
    weight = torch.cat(parts, dim=1).flatten(0, 1)  # [K * sum of O, D]
    return kernel.window_product(rows.vectors, rows.index, rows.batch_sizes.tolist(), offsets, weight, bias)
