"""From a sequence of states to one vector. Works on real steps only; there are no others."""

import math

import torch
from torch import Tensor, nn

from grunlock.kernels.pool import PooledPart
from grunlock.kernels.pool_autograd import pool_rows
from grunlock.models.encoded import EncodedSequences
from grunlock.recipe.model_options import PoolingOptions
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
        pooled = {"last": encoded.final, **self._over_columns(encoded), **self._attended(encoded)}
        return torch.cat([pooled[part] for part in self.parts], dim=1)

    def _over_columns(self, encoded: EncodedSequences) -> dict[str, Tensor]:
        parts: list[PooledPart] = [part for part in self.parts if part == "max" or part == "mean"]
        if not parts:
            return {}
        return dict(zip(parts, pool_rows(encoded.rows, encoded.batch_sizes.tolist(), parts), strict=True))

    def _attended(self, encoded: EncodedSequences) -> dict[str, Tensor]:
        parts = {"attention": self.attention, "multi_attention": self.multi_attention}
        used = {part: attention for part, attention in parts.items() if attention is not None}
        if not used:
            return {}
        sizes = encoded.batch_sizes.numpy()
        lengths = torch.from_numpy(sequence_lengths(sizes))
        states = encoded.rows.index_select(0, torch.from_numpy(sequence_major_rows(sizes)))  # [N, E]
        return {part: attention(states, lengths) for part, attention in used.items()}
