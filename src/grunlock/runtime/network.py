"""The forward pass of a trained network on numpy arrays: no torch, no gradients, no dropout.

Weights come under the names that models/ gives them; every function here has its torch twin there
and must give the same numbers.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.kernels.pool import PooledPart, pool_rows, sequence_major
from grunlock.kernels.stack import InferencePrecision
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import PoolingPart, WideOptions
from grunlock.runtime.attention import Layers
from grunlock.runtime.encoded import Encoded
from grunlock.runtime.encoder import ChunkedEncoder, Encoder, build_encoder
from grunlock.runtime.norms import Weights, under
from grunlock.runtime.stem import Stem
from grunlock.shapes import FloatArray, IntArray, PackedLayout, last_rows
from grunlock.text.token_ngrams import NgramBags, count_ngrams, weigh, wide_ngrams
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
        """The encoder, its weights made ready once.

        Raises KernelError for a precision that the layers or this machine cannot have.
        """
        weights, recipe = under(self.weights, "encoder."), self.recipe
        if recipe.chunks is not None:
            return ChunkedEncoder(weights, recipe.encoder, recipe.chunks, self.precision)
        return build_encoder(weights, recipe.encoder, self.precision)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but the encoder, which is made ready anew."""
        return {name: value for name, value in vars(self).items() if name != "encoder"}

    def logits(self, inputs: DistinctTokens | FloatArray, layout: PackedLayout) -> FloatArray:
        """[B, K], longest sequence first.

        inputs: of texts the distinct tokens, of series the features [N, F]; in packed order.
        """
        weights, recipe = self.weights, self.recipe
        pooled = pool(weights, recipe.pooling.parts, self.encode(inputs, layout))
        result: FloatArray = pooled @ weights["head.weight"].T + weights["head.bias"]
        if recipe.wide is not None and isinstance(inputs, DistinctTokens):
            result = result + wide_logits(weights, recipe.wide, inputs, layout.batch_sizes)
        return result

    def encode(self, inputs: DistinctTokens | FloatArray, layout: PackedLayout) -> Encoded:
        """What pooling reads."""
        weights, recipe = self.weights, self.recipe
        vectors, index = embed(weights, inputs)
        if recipe.stem is not None:
            vectors, index = Stem(under(weights, "stem."), recipe.stem).run(vectors, index, layout)
        encoded = self.encoder.run(vectors, index, layout)
        if recipe.attention is not None:
            on_top, sizes = recipe.attention, encoded.layout.batch_sizes
            layers = Layers(weights, "attention.", on_top.num_layers, on_top.num_heads, rotary=True)
            rows = layers.run(encoded.rows, sizes)
            encoded = Encoded(rows, rows[last_rows(sizes)], encoded.layout)
        return _beside(vectors[index], encoded) if recipe.pooling.inputs else encoded


def _beside(inputs: FloatArray, encoded: Encoded) -> Encoded:
    last = inputs[last_rows(encoded.layout.batch_sizes)]
    return Encoded(
        np.concatenate([inputs, encoded.rows], axis=1),
        np.concatenate([last, encoded.final], axis=1),
        encoded.layout,
    )


def wide_logits(
    weights: Weights, options: WideOptions, tokens: DistinctTokens, batch_sizes: IntArray
) -> FloatArray:  # [B, K]
    table, bags = weights["wide.weights.weight"], wide_ngrams(tokens, batch_sizes, options)
    if options.training == "together":
        sums = [_bag_sums(table[found.ids], found.offsets) / _roots(found) for found in bags]
        result: FloatArray = np.sum(sums, axis=0)
        return result
    known = weigh(count_ngrams(bags), weights["wide.rows"], weights["wide.rarity"])
    rows, bias = table.take(known.places, axis=0), weights["wide.bias"]
    if batch_sizes[0] == 1:
        return (known.values @ rows + bias)[None]
    return _bag_sums(known.values[:, None] * rows, known.offsets) + bias


def _roots(found: NgramBags) -> FloatArray:  # [B, 1]
    return np.sqrt(np.maximum(found.counts, 1).astype(np.float32))[:, None]


def _bag_sums(rows: FloatArray, offsets: IntArray) -> FloatArray:
    """The sum of rows [M, D] between each two offsets [B + 1]; of none it is zero."""
    sums = np.zeros((len(offsets) - 1, rows.shape[1]), np.float32)
    some = np.diff(offsets) > 0
    if some.any():
        sums[some] = np.add.reduceat(rows, offsets[:-1][some], axis=0)
    return sums


def embed(weights: Weights, inputs: DistinctTokens | FloatArray) -> tuple[FloatArray, IntArray]:
    """Vectors [U, D], and which of them each packed row [N] reads."""
    if isinstance(inputs, DistinctTokens):
        return _token_vectors(weights, inputs), inputs.inverse
    index = np.arange(len(inputs))
    if "embedding.projection.weight" not in weights:
        return inputs, index
    projected: FloatArray = inputs @ weights["embedding.projection.weight"].T
    return projected + weights["embedding.projection.bias"], index


def _token_vectors(weights: Weights, tokens: DistinctTokens) -> FloatArray:  # [U, D]
    vectors: FloatArray = weights["embedding.tokens.weight"][tokens.vocab_ids].astype(np.float32)  # [U, D]
    table = weights.get("embedding.ngrams.weight")
    if table is not None and tokens.ngram_ids is not None and tokens.ngram_offsets is not None:
        counts = np.maximum(np.diff(tokens.ngram_offsets), 1).astype(np.float32)
        ids = tokens.ngram_ids % len(table)
        vectors += _bag_sums(table[ids], tokens.ngram_offsets) / counts[:, None]
    return vectors


def pool(
    weights: Weights,
    parts: tuple[PoolingPart, ...],
    encoded: Encoded,
) -> FloatArray:  # [B, len(parts) * E]
    rows, final, layout = encoded
    over_columns: list[PooledPart] = [part for part in parts if part == "max" or part == "mean"]
    pooled: dict[PoolingPart, FloatArray] = {"last": final}
    if over_columns:
        pooled.update(zip(over_columns, pool_rows(rows, layout, over_columns), strict=True))
    others = [part for part in parts if part not in pooled]
    if others:
        states, starts = sequence_major(rows, layout)
        for part in others:
            pooled[part] = _attend(weights, f"pooling.{part}.", states, starts, layout.lengths)
    return np.concatenate([pooled[part] for part in parts], axis=1)


def _attend(
    weights: Weights,
    prefix: str,
    states: FloatArray,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> FloatArray:  # [B, R * E]
    scores = attention_scores(weights, prefix, states)
    exponentials = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts, axis=0), lengths, axis=0))
    shares = exponentials / np.repeat(np.add.reduceat(exponentials, starts, axis=0), lengths, axis=0)
    pooled = [np.add.reduceat(share[:, None] * states, starts, axis=0) for share in shares.T]
    result: FloatArray = np.concatenate(pooled, axis=1)
    return result


def attention_scores(weights: Weights, prefix: str, states: FloatArray) -> FloatArray:  # [N, R]
    projected = states @ weights[prefix + "projection.weight"].T
    found: FloatArray = np.tanh(projected + weights[prefix + "projection.bias"])
    return found @ np.atleast_2d(weights[prefix + "query"]).T
