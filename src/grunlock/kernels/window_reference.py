"""The oracle of window.py in plain torch, for any dtype: gradients are autograd's."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from grunlock.shapes import shifted_rows


def window_product(
    vectors: Tensor,  # [U, D]
    index: Tensor,  # [N] int64
    batch_sizes: Sequence[int],  # [T]
    offsets: Sequence[int],  # [K]
    weight: Tensor,  # [K * O, D]
    bias: Tensor,  # [O]
) -> Tensor:  # [N, O]
    """window.py's equation (1), of which each vector's products are computed once."""
    if tuple(offsets) == (0,):
        return functional.linear(vectors, weight, bias).index_select(0, index)
    products = functional.linear(functional.pad(vectors, (0, 0, 0, 1)), weight)  # one row of zeros: nothing
    padded = functional.pad(index, (0, 1), value=len(vectors))
    sizes = np.array(batch_sizes)
    total = bias.expand(len(index), -1)
    for part, offset in zip(torch.split(products, len(bias), dim=1), offsets, strict=True):
        total = total + part.index_select(0, padded[torch.from_numpy(shifted_rows(sizes, offset))])
    return total
