"""The forward pass of a trained network on numpy arrays: no torch, no gradients, no dropout.

Weights come under the names that models/ gives them; every function here has its torch twin there
and must give the same numbers.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.kernels.stack import InferencePrecision
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import PoolingPart
from grunlock.runtime.encoder import Encoder, Weights
from grunlock.shapes import FloatArray, PackedLayout, sequence_major_rows
from grunlock.text.types import DistinctTokens


@dataclass(frozen=True)
class Network:
    """A trained network. Safe to call from many threads: it holds no state.

    precision: of the products in recurrent layers; all else is float32.
    """

    recipe: Recipe
    weights: Weights
    precision: InferencePrecision = "float32"

    @cached_property
    def encoder(self) -> Encoder:
        """The recurrent layers, their weights made ready once.

        Raises KernelError for a precision that the layers or this machine cannot have.
        """
        return Encoder(self.weights, self.recipe.encoder, self.precision)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but the encoder, which is made ready anew."""
        return {name: value for name, value in vars(self).items() if name != "encoder"}

    def logits(self, tokens: DistinctTokens, layout: PackedLayout) -> FloatArray:
        """[B, K], longest sequence first; `tokens.inverse` in packed order."""
        rows, final = self.encoder.run(embed(self.weights, tokens), tokens.inverse, layout)
        pooled = pool(self.weights, self.recipe.pooling.parts, rows, final, layout)
        result: FloatArray = pooled @ self.weights["head.weight"].T + self.weights["head.bias"]
        return result


def embed(weights: Weights, tokens: DistinctTokens) -> FloatArray:  # [U, D]
    vectors: FloatArray = weights["embedding.tokens.weight"][tokens.vocab_ids].astype(np.float32)  # [U, D]
    if tokens.ngram_ids is not None and tokens.ngram_offsets is not None:
        starts, counts = tokens.ngram_offsets[:-1], np.diff(tokens.ngram_offsets)
        some = counts > 0
        rows = weights["embedding.ngrams.weight"][tokens.ngram_ids]  # [M, D]
        if len(rows):
            sums = np.add.reduceat(rows, starts[some], axis=0)
            vectors[some] += sums / counts[some, None].astype(np.float32)
    return vectors


def pool(
    weights: Weights,
    parts: tuple[PoolingPart, ...],
    rows: FloatArray,  # [N, E] packed
    final: FloatArray,  # [B, E]
    layout: PackedLayout,
) -> FloatArray:  # [B, len(parts) * E]
    states = rows[sequence_major_rows(layout)]
    starts = np.cumsum(layout.lengths) - layout.lengths
    counts = layout.lengths[:, None].astype(np.float32)
    pooled: dict[PoolingPart, FloatArray] = {}
    for part in parts:
        if part == "last":
            pooled[part] = final
        elif part == "max":
            pooled[part] = np.maximum.reduceat(states, starts, axis=0)
        elif part == "mean":
            sums: FloatArray = np.add.reduceat(states, starts, axis=0)
            pooled[part] = sums / counts
        else:
            pooled[part] = _attend(weights, states, starts, layout.lengths)
    return np.concatenate([pooled[part] for part in parts], axis=1)


def _attend(
    weights: Weights, states: FloatArray, starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> FloatArray:
    projected = states @ weights["pooling.attention.projection.weight"].T
    scores = np.tanh(projected + weights["pooling.attention.projection.bias"])
    scores = scores @ weights["pooling.attention.query"]  # [N]
    exponentials = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), lengths))
    shares = exponentials / np.repeat(np.add.reduceat(exponentials, starts), lengths)
    result: FloatArray = np.add.reduceat(shares[:, None] * states, starts, axis=0)
    return result
