"""Dropout masks for recurrent layers. Each says what it drops and for how long.

All masks are drawn from torch's global generator, in the order in which layers run.
"""

import torch
from torch import Tensor


def variational_mask(num_sequences: int, size: int, rate: float, like: Tensor) -> Tensor:
    """[B, size] of 0 or 1 / (1 - rate): one mask per sequence for all its steps (Gal 2016)."""
    keep = torch.rand(num_sequences, size, dtype=like.dtype, device=like.device) >= rate
    return keep.to(like.dtype) / (1.0 - rate)


def drop_variational(rows: Tensor, batch_sizes: Tensor, rate: float, training: bool) -> Tensor:
    """Apply one variational mask per sequence to packed rows [N, size]."""
    if not training or rate == 0.0:
        return rows
    mask = variational_mask(int(batch_sizes[0]), rows.shape[1], rate, rows)
    return rows * mask[sequence_of_row(batch_sizes).to(rows.device)]


def sequence_of_row(batch_sizes: Tensor) -> Tensor:
    """[N]: the sequence (0 is the longest) of each packed row."""
    starts = torch.cumsum(batch_sizes, 0) - batch_sizes  # [T]
    return torch.arange(int(batch_sizes.sum())) - starts.repeat_interleave(batch_sizes)


def drop_weight(weight: Tensor, rate: float, training: bool) -> Tensor:
    """DropConnect: entries of a matrix dropped for one whole batch (Merity 2017)."""
    return torch.nn.functional.dropout(weight, rate, training) if rate else weight


def zoneout_mask(
    num_rows: int, size: int, rate: float, like: Tensor, training: bool
) -> Tensor | float | None:
    """Zoneout (Krueger 2016): [N, size] of 0 / 1, drawn per step; at inference its expectation."""
    if rate == 0.0:
        return None
    if not training:
        return rate
    return (torch.rand(num_rows, size, dtype=like.dtype, device=like.device) < rate).to(like.dtype)
