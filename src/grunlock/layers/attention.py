"""Self-attention over packed rows: each sequence attends to its own steps only."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.kernels import NORM_EPS, ROTARY_BASE
from grunlock.layers.dropout import drop_elements
from grunlock.shapes import row_places


class Positions:
    """Where each packed row stands, found once per batch for all layers."""

    def __init__(self, batch_sizes: Tensor) -> None:
        step, sequence = row_places(batch_sizes.numpy())
        self.step = torch.from_numpy(step)  # [N]
        self.num_sequences, self.num_steps = int(batch_sizes[0]), len(batch_sizes)
        self.slot = torch.from_numpy(sequence) * self.num_steps + self.step  # [N] in [B * T]

    def pad(self, rows: Tensor) -> Tensor:
        """[N, E] to [B, T, E], zero behind the end of a sequence."""
        padded = rows.new_zeros(self.num_sequences * self.num_steps, rows.shape[1])
        return padded.index_copy(0, self.slot, rows).view(self.num_sequences, self.num_steps, -1)

    def mask(self) -> Tensor | None:
        """[B, 1, 1, T] true where a sequence has a step; None if all have all."""
        if len(self.slot) == self.num_sequences * self.num_steps:
            return None
        real = torch.zeros(self.num_sequences * self.num_steps, dtype=torch.bool)
        real[self.slot] = True
        return real.view(self.num_sequences, 1, 1, self.num_steps)


def rotate(rows: Tensor, step: Tensor) -> Tensor:
    """Rotary positions (Su 2021): columns j and j + E/2 of each head turn by step * base^(-2j/E).

    rows [N, heads, E], E even; step [N].
    """
    half = rows.shape[2] // 2
    rates = ROTARY_BASE ** (-torch.arange(half, dtype=rows.dtype) / half)  # [E / 2]
    angles = step.to(rows.dtype)[:, None] * rates  # [N, E / 2]
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    left, right = rows[..., :half], rows[..., half:]
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=2)


class SelfAttention(nn.Module):
    """Multi-head attention (Vaswani 2017): softmax(q k^T / sqrt(E / heads)) v, then a projection.

    dropout: on the weights, the softmax. With 0 torch never writes the T x T weights to memory, so training
    takes half as long on short sequences and a sixth at 400 steps.
    """

    def __init__(self, size: int, num_heads: int, *, rotary: bool, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.rotary = rotary
        self.dropout = dropout
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.output = nn.Linear(size, size)
        for part in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, rows: Tensor, positions: Positions) -> Tensor:  # [N, E] -> [N, E]
        heads = (len(rows), self.num_heads, rows.shape[1] // self.num_heads)
        query, key = self.query(rows).view(heads), self.key(rows).view(heads)
        if self.rotary:
            query, key = rotate(query, positions.step), rotate(key, positions.step)
        mixed = functional.scaled_dot_product_attention(
            self._by_head(query.flatten(1), positions),
            self._by_head(key.flatten(1), positions),
            self._by_head(self.value(rows), positions),
            attn_mask=positions.mask(),
            dropout_p=self.dropout if self.training else 0.0,
        )  # [B, heads, T, E / heads]
        packed = mixed.transpose(1, 2).reshape(-1, rows.shape[1]).index_select(0, positions.slot)
        result: Tensor = self.output(packed)
        return result

    def _by_head(self, rows: Tensor, positions: Positions) -> Tensor:
        padded = positions.pad(rows)  # [B, T, E]
        return padded.view(*padded.shape[:2], self.num_heads, -1).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Pre-norm: x += attention(norm(x)); x += W2 gelu(W1 norm(x)), gelu by its tanh form (Xiong 2020)."""

    def __init__(
        self,
        size: int,
        num_heads: int,
        feedforward_size: int,
        *,
        rotary: bool,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(size, eps=NORM_EPS)
        self.attention = SelfAttention(size, num_heads, rotary=rotary, dropout=attention_dropout)
        self.feedforward_norm = nn.LayerNorm(size, eps=NORM_EPS)
        self.widen = nn.Linear(size, feedforward_size)
        self.narrow = nn.Linear(feedforward_size, size)
        self.dropout = dropout
        for part in (self.widen, self.narrow):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)

    def forward(self, rows: Tensor, positions: Positions) -> Tensor:  # [N, E] -> [N, E]
        rows = rows + self._drop(self.attention(self.attention_norm(rows), positions))
        inner = functional.gelu(self.widen(self.feedforward_norm(rows)), approximate="tanh")
        return rows + self._drop(self.narrow(self._drop(inner)))

    def _drop(self, rows: Tensor) -> Tensor:
        return drop_elements(rows, self.dropout, self.training)


class LearnedPositions(nn.Module):
    """A vector for each step, added to the rows; steps behind the last share its vector."""

    def __init__(self, num_steps: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_steps, size) / math.sqrt(size))

    def forward(self, rows: Tensor, positions: Positions) -> Tensor:  # [N, E] -> [N, E]
        return rows + self.weight[positions.step.clamp(max=len(self.weight) - 1)]
