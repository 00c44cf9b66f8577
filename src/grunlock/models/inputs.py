"""A batch as the network sees it: torch tensors, made once per step from a packed numpy batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from grunlock.shapes import FloatArray, PackedLayout
from grunlock.text.types import DistinctTokens


@dataclass(frozen=True)
class TokenInputs:
    """Packed tokens. Each distinct token is looked up once and spread over its rows."""

    vocab_ids: Tensor  # [U] int64
    inverse: Tensor  # [N] int64: which distinct token stands in each packed row
    ngram_ids: Tensor | None  # [M] int64: hashed n-grams of all distinct tokens
    ngram_offsets: Tensor | None  # [U] int64: where each distinct token's n-grams begin
    batch_sizes: Tensor  # [T] int64 on the CPU
    lengths: Tensor  # [B] int64, longest first

    @property
    def num_sequences(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class SeriesInputs:
    """Packed steps of numeric series."""

    features: Tensor  # [N, F]
    batch_sizes: Tensor  # [T] int64 on the CPU
    lengths: Tensor  # [B] int64, longest first


NetworkInputs = TokenInputs | SeriesInputs


def network_inputs(inputs: DistinctTokens | FloatArray, layout: PackedLayout) -> NetworkInputs:
    """A batch's distinct tokens, or its features [N, F], as tensors. Both are in packed order."""
    if isinstance(inputs, DistinctTokens):
        return token_inputs(inputs, layout)
    return SeriesInputs(
        torch.from_numpy(inputs), torch.from_numpy(layout.batch_sizes), torch.from_numpy(layout.lengths)
    )


def token_inputs(tokens: DistinctTokens, layout: PackedLayout) -> TokenInputs:
    """`tokens.inverse` must already be in packed order [N]."""
    ngram_ids = ngram_offsets = None
    if tokens.ngram_ids is not None and tokens.ngram_offsets is not None:
        ngram_ids = torch.from_numpy(tokens.ngram_ids)
        ngram_offsets = torch.from_numpy(tokens.ngram_offsets[:-1])
    return TokenInputs(
        vocab_ids=torch.from_numpy(tokens.vocab_ids),
        inverse=torch.from_numpy(tokens.inverse),
        ngram_ids=ngram_ids,
        ngram_offsets=ngram_offsets,
        batch_sizes=torch.from_numpy(layout.batch_sizes),
        lengths=torch.from_numpy(layout.lengths),
    )
