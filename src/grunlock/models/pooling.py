"""From a sequence of states to one vector. Works on real steps only; there are no others."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from grunlock.models.encoded import EncodedSequences
from grunlock.recipe.model_options import PoolingOptions, PoolingPart
from grunlock.shapes import sequence_lengths, sequence_major_rows


class Attention(nn.Module):
    """Additive attention with learned queries, R of them.

    u_t = tanh(W h_t + b),   alpha_r = softmax over the sequence of q_r . u_t,   result_r = sum alpha_rt h_t

    One query is Yang 2016 (hierarchical attention networks), several are Lin 2017 (structured self-attentive
    embedding; without its penalty on queries that look at the same steps).

    Attributes:
        query: [E], or [R, E].
    """

    def __init__(self, size: int, num_queries: int | None = None) -> None:
        super().__init__()
        self.projection = nn.Linear(size, size)
        shape = (size,) if num_queries is None else (num_queries, size)
        self.query = nn.Parameter(torch.empty(shape).uniform_(-1.0, 1.0) / math.sqrt(size))

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:  # [N, E] sequence-major, [B] -> [B, R * E]
        queries = self.query if self.query.ndim == 2 else self.query.unsqueeze(0)
        scores = torch.tanh(self.projection(states)) @ queries.T  # [N, R]
        highest = torch.segment_reduce(scores.detach(), "max", lengths=lengths, axis=0)
        weights = torch.exp(scores - highest.repeat_interleave(lengths, dim=0))
        total = torch.segment_reduce(weights, "sum", lengths=lengths, axis=0)
        weights = weights / total.repeat_interleave(lengths, dim=0)
        pooled = [
            torch.segment_reduce(weights[:, r : r + 1] * states, "sum", lengths=lengths, axis=0)
            for r in range(len(queries))
        ]
        return torch.cat(pooled, dim=1)


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
    """Concatenation of the parts in the recipe's order, E wide each; multi_attention num_hops times that."""

    def __init__(self, size: int, options: PoolingOptions) -> None:
        super().__init__()
        self.parts = options.parts
        hops = options.num_hops if "multi_attention" in self.parts else 1
        self.output_size = size * (len(self.parts) - 1 + hops)
        self.attention = Attention(size) if "attention" in self.parts else None
        self.multi_attention = Attention(size, hops) if "multi_attention" in self.parts else None

    def forward(self, encoded: EncodedSequences) -> Tensor:
        if self.parts == ("last",):
            return encoded.final
        sizes = encoded.batch_sizes.numpy()
        lengths = torch.from_numpy(sequence_lengths(sizes))
        states = encoded.rows.index_select(0, torch.from_numpy(sequence_major_rows(sizes)))  # [N, E]
        return torch.cat([self._part(part, states, encoded, lengths) for part in self.parts], dim=1)

    def _part(self, part: PoolingPart, states: Tensor, encoded: EncodedSequences, lengths: Tensor) -> Tensor:
        if part == "last":
            return encoded.final
        if part == "max":
            highest: Tensor = SegmentMax.apply(states, lengths)  # type: ignore[no-untyped-call]
            return highest
        attention = self.attention if part == "attention" else self.multi_attention
        if part in ("attention", "multi_attention") and attention is not None:
            pooled: Tensor = attention(states, lengths)
            return pooled
        return torch.segment_reduce(states, "mean", lengths=lengths, axis=0)
