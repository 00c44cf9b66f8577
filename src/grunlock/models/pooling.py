"""From a sequence of states to one vector. Works on real steps only; there are no others."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from grunlock.models.encoder import EncodedSequences
from grunlock.models.inputs import TokenInputs
from grunlock.recipe.model_options import PoolingPart


class Attention(nn.Module):
    """Additive attention with a learned query (Yang 2016, hierarchical attention networks).

    u_t = tanh(W h_t + b),   alpha = softmax over the sequence of q . u_t,   result = sum alpha_t h_t
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(size, size)
        self.query = nn.Parameter(torch.empty(size).uniform_(-1.0, 1.0) / math.sqrt(size))

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:  # [N, E] sequence-major, [B] -> [B, E]
        scores = torch.tanh(self.projection(states)) @ self.query  # [N]
        highest = torch.segment_reduce(scores.detach(), "max", lengths=lengths)
        weights = torch.exp(scores - highest.repeat_interleave(lengths))
        total = torch.segment_reduce(weights, "sum", lengths=lengths)
        weights = weights / total.repeat_interleave(lengths)
        return torch.segment_reduce(weights.unsqueeze(1) * states, "sum", lengths=lengths, axis=0)


class SegmentMax(torch.autograd.Function):
    """Largest state of each sequence, per column. States that tie share its gradient evenly.

    Ties are the rule with zoneout, which keeps a state over several steps. segment_reduce's own gradient
    gives each of them the whole where there is more than one column (seen in torch 2.13).
    """

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


class Pooling(nn.Module):
    """Concatenation of the parts in the recipe's order: [B, len(parts) * E]."""

    def __init__(self, size: int, parts: tuple[PoolingPart, ...]) -> None:
        super().__init__()
        self.parts = parts
        self.output_size = size * len(parts)
        self.attention = Attention(size) if "attention" in parts else None

    def forward(self, encoded: EncodedSequences, inputs: TokenInputs) -> Tensor:
        if self.parts == ("last",):
            return encoded.final
        states = encoded.rows.index_select(0, inputs.sequence_rows)  # [N, E] sequence after sequence
        return torch.cat([self._part(part, states, encoded, inputs.lengths) for part in self.parts], dim=1)

    def _part(self, part: PoolingPart, states: Tensor, encoded: EncodedSequences, lengths: Tensor) -> Tensor:
        if part == "last":
            return encoded.final
        if part == "max":
            highest: Tensor = SegmentMax.apply(states, lengths)  # type: ignore[no-untyped-call]
            return highest
        if part == "attention" and self.attention is not None:
            pooled: Tensor = self.attention(states, lengths)
            return pooled
        return torch.segment_reduce(states, "mean", lengths=lengths, axis=0)
