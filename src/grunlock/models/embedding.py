"""From tokens to vectors: a table of token vectors, hashed n-grams on top, two ways to drop tokens."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.layers.embedding import RowTable
from grunlock.layers.packing import IndexedRows
from grunlock.models.inputs import TokenInputs
from grunlock.recipe.text_options import EmbeddingOptions
from grunlock.text import UNKNOWN_ID


class TokenEmbedding(nn.Module):
    """Distinct tokens to their vectors [U, D] and the packed rows that read them.

    A token's vector is its row of `tokens` plus the mean of its n-grams' rows of `ngrams`.
    word_dropout turns single tokens into the unknown token; embedding_dropout zeroes a distinct
    token's vector in the whole batch and scales the rest by 1 / (1 - rate) (Gal 2016).

    tokens: their kind, never "auto"
    """

    def __init__(self, vocab_size: int, options: EmbeddingOptions, tokens: str) -> None:
        super().__init__()
        self.output_size = options.size
        self.word_dropout = options.word_dropout
        self.embedding_dropout = options.embedding_dropout
        self.tokens = RowTable(vocab_size, options.size)
        self.ngrams: RowTable | None = None
        # Entries of variance 1 / D: a vector's length is about 1, whatever its size.
        nn.init.normal_(self.tokens.weight, std=1.0 / math.sqrt(options.size))
        ngrams = options.ngrams_of(tokens)
        if ngrams is not None:
            self.ngrams = RowTable(ngrams.buckets, options.size)
            nn.init.normal_(self.ngrams.weight, std=1.0 / math.sqrt(options.size))
        self.requires_grad_(options.trainable)

    def forward(self, inputs: TokenInputs) -> IndexedRows:
        dropping = self.training and self.word_dropout > 0.0
        vectors, index = self._look_up(inputs, with_unknown=dropping), inputs.inverse
        if self.training and self.embedding_dropout:
            keep = torch.rand(len(inputs.vocab_ids), 1) >= self.embedding_dropout
            factors = vectors.new_ones(len(vectors), 1)  # the appended unknown token's stays 1
            factors[: len(keep)] = keep / (1.0 - self.embedding_dropout)
            vectors = vectors * factors
        if dropping:
            unknown = len(vectors) - 1
            index = index.masked_fill(torch.rand(len(index)) < self.word_dropout, unknown)
        return IndexedRows(vectors, index, inputs.batch_sizes)

    def _look_up(self, inputs: TokenInputs, with_unknown: bool) -> Tensor:
        """Vectors [U, D] of the distinct tokens; with_unknown, then that of the unknown token alone."""
        ids, offsets = inputs.vocab_ids, inputs.ngram_offsets
        if with_unknown:
            ids = functional.pad(ids, (0, 1), value=UNKNOWN_ID)
        vectors: Tensor = self.tokens(ids)
        if self.ngrams is None or inputs.ngram_ids is None or offsets is None:
            return vectors
        if with_unknown:
            offsets = functional.pad(offsets, (0, 1), value=len(inputs.ngram_ids))  # an empty bag
        ngrams: Tensor = self.ngrams(inputs.ngram_ids % len(self.ngrams.weight), offsets)
        return vectors + ngrams
