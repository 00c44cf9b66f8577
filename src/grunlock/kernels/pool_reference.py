"""The oracle of pool.py in plain torch, for any dtype: gradients are autograd's, but for the maximum's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grunlock.kernels.pool import PooledPart
from grunlock.shapes import sequence_lengths, sequence_major_rows


def pool_rows(
    rows: Tensor,  # [N, E]
    batch_sizes: Sequence[int],  # [T]
    parts: Sequence[PooledPart],
) -> tuple[Tensor, ...]:  # of each part [B, E]
    """pool.py's equations (1) and (2), on sequences one after another."""
    sizes = np.array(batch_sizes)
    lengths = torch.from_numpy(sequence_lengths(sizes))
    states = rows.index_select(0, torch.from_numpy(sequence_major_rows(sizes)))  # [N, E]
    return tuple(_POOLS[part](states, lengths) for part in parts)


class _SegmentMax(torch.autograd.Function):
    """With (3): segment_reduce's own gradient gives each of several states that tie the whole where there is
    more than one column (seen in torch 2.13)."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, lengths: Tensor) -> Tensor:  # [N, E], [B] -> [B, E]
        highest = torch.segment_reduce(states, "max", lengths=lengths, axis=0)
        ctx.save_for_backward(states, lengths, highest)
        return highest

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        states, lengths, highest = ctx.saved_tensors
        taken = (states == highest.repeat_interleave(lengths, dim=0)).to(grad.dtype)
        shares = grad / torch.segment_reduce(taken, "sum", lengths=lengths, axis=0)
        return taken * shares.repeat_interleave(lengths, dim=0), None


def _segment_max(states: Tensor, lengths: Tensor) -> Tensor:
    highest: Tensor = _SegmentMax.apply(states, lengths)  # type: ignore[no-untyped-call]
    return highest


def _segment_mean(states: Tensor, lengths: Tensor) -> Tensor:
    return torch.segment_reduce(states, "mean", lengths=lengths, axis=0)


_POOLS = {"max": _segment_max, "mean": _segment_mean}
