"""Dropout masks for recurrent layers. Each says what it drops and for how long.

All random numbers come from torch's global generator, in the order in which layers run; of a zoneout
mask only its seed does.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from grunlock.kernels.direction import DrawnZoneout
from grunlock.shapes import row_places


def variational_mask(num_sequences: int, size: int, rate: float, like: Tensor) -> Tensor:
    """[B, size] of 0 or 1 / (1 - rate): one mask per sequence for all its steps (Gal 2016)."""
    keep = torch.rand(num_sequences, size, dtype=like.dtype, device=like.device) >= rate
    return keep.to(like.dtype) / (1.0 - rate)


def drop_variational(rows: Tensor, batch_sizes: Sequence[int], rate: float, training: bool) -> Tensor:
    """Apply one variational mask per sequence to packed rows [N, size]."""
    if not training or rate == 0.0:
        return rows
    mask = variational_mask(batch_sizes[0], rows.shape[1], rate, rows)
    if batch_sizes[-1] == batch_sizes[0]:  # nothing ragged: the mask broadcasts over steps
        return (rows.view(len(batch_sizes), *mask.shape) * mask).view(rows.shape)
    return rows * mask.index_select(0, sequence_of_row(batch_sizes).to(rows.device))


def sequence_of_row(batch_sizes: Sequence[int]) -> Tensor:
    """[N]: the sequence (0 is the longest) of each packed row."""
    return torch.from_numpy(row_places(np.asarray(batch_sizes))[1])


def drop_elements(rows: Tensor, rate: float, training: bool) -> Tensor:
    """Ordinary dropout: every element for itself, of rows of any shape.

    16 random bits decide on an element, so that a rate is met to 1 / 65536; torch draws a double for each,
    which takes over four times as long.
    """
    if not training or rate == 0.0:
        return rows
    threshold = min(round(rate * 2**16), 2**16 - 1)
    draws = torch.empty(-(-rows.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    keep = draws[: rows.numel()].view(rows.shape) >= threshold - 2**15
    return rows * (keep.to(rows.dtype) / (1.0 - threshold / 2**16)).to(rows.device)


def drop_weight(weight: Tensor, rate: float, training: bool) -> Tensor:
    """DropConnect: entries of a matrix dropped for one whole batch (Merity 2017)."""
    return drop_elements(weight, rate, training)


def zoneout_of(rate: float, training: bool) -> DrawnZoneout | float | None:
    """Zoneout (Krueger 2016): a mask of 0 / 1 drawn per step and unit; at inference its expectation."""
    if rate == 0.0:
        return None
    return DrawnZoneout(rate, int(torch.randint(2**63 - 1, ()))) if training else rate
