"""From tokens to vectors: a table of token vectors, hashed n-grams on top, two ways to drop tokens."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from grunlock.models.inputs import TokenInputs
from grunlock.recipe.text_options import EmbeddingOptions
from grunlock.text import UNKNOWN_ID


class TokenEmbedding(nn.Module):
    """[U] distinct tokens to [N, D] packed vectors.

    A token's vector is its row of `tokens` plus the mean of its n-grams' rows of `ngrams`.
    word_dropout turns single tokens into the unknown token; embedding_dropout zeroes a distinct
    token's vector in the whole batch and scales the rest by 1 / (1 - rate) (Gal 2016).
    """

    def __init__(self, vocab_size: int, options: EmbeddingOptions) -> None:
        super().__init__()
        self.word_dropout = options.word_dropout
        self.embedding_dropout = options.embedding_dropout
        self.tokens = nn.Embedding(vocab_size, options.size)
        self.ngrams: nn.EmbeddingBag | None = None
        # Entries of variance 1 / D: a vector's length is about 1, whatever its size.
        nn.init.normal_(self.tokens.weight, std=1.0 / math.sqrt(options.size))
        if options.ngrams is not None:
            self.ngrams = nn.EmbeddingBag(options.ngrams.buckets, options.size, mode="mean")
            nn.init.normal_(self.ngrams.weight, std=1.0 / math.sqrt(options.size))
        self.requires_grad_(options.trainable)

    def forward(self, inputs: TokenInputs) -> Tensor:
        vectors = self.tokens(inputs.vocab_ids)  # [U, D]
        if self.ngrams is not None:
            vectors = vectors + self.ngrams(inputs.ngram_ids, inputs.ngram_offsets)
        if self.training and self.embedding_dropout:
            keep = torch.rand(len(vectors), 1) >= self.embedding_dropout
            vectors = vectors * (keep / (1.0 - self.embedding_dropout))
        rows = functional.embedding(inputs.inverse, vectors)  # [N, D]
        if self.training and self.word_dropout:
            dropped = torch.rand(len(rows), 1) < self.word_dropout
            rows = torch.where(dropped, self.tokens.weight[UNKNOWN_ID], rows)
        return rows
