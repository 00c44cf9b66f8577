"""The forward pass of a trained network on numpy arrays: no torch, no gradients, no dropout.

Weights come under the names that models/ gives them; every function here has its torch twin there
and must give the same numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.kernels import NORM_EPS
from grunlock.kernels.dispatch import inference_kernel
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import GruOptions, LstmOptions, PoolingPart
from grunlock.shapes import FloatArray, PackedLayout, sequence_major_rows
from grunlock.text.types import DistinctTokens

Weights = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Network:
    """A trained network. Safe to call from many threads: it holds no state."""

    recipe: Recipe
    weights: Weights

    def logits(self, tokens: DistinctTokens, layout: PackedLayout) -> FloatArray:
        """[B, K], longest sequence first; `tokens.inverse` in packed order."""
        rows = embed(self.weights, tokens)
        rows, final = encode(self.weights, self.recipe.encoder, rows, layout)
        pooled = pool(self.weights, self.recipe.pooling.parts, rows, final, layout)
        result: FloatArray = pooled @ self.weights["head.weight"].T + self.weights["head.bias"]
        return result


def embed(weights: Weights, tokens: DistinctTokens) -> FloatArray:  # [N, D]
    vectors: FloatArray = weights["embedding.tokens.weight"][tokens.vocab_ids].astype(np.float32)  # [U, D]
    if tokens.ngram_ids is not None and tokens.ngram_offsets is not None:
        starts, counts = tokens.ngram_offsets[:-1], np.diff(tokens.ngram_offsets)
        some = counts > 0
        rows = weights["embedding.ngrams.weight"][tokens.ngram_ids]  # [M, D]
        if len(rows):
            sums = np.add.reduceat(rows, starts[some], axis=0)
            vectors[some] += sums / counts[some, None].astype(np.float32)
    return vectors[tokens.inverse]


def encode(
    weights: Weights, options: GruOptions | LstmOptions, rows: FloatArray, layout: PackedLayout
) -> tuple[FloatArray, FloatArray]:  # [N, E], [B, E]
    final = rows[:0]
    for index in range(options.num_layers):
        if options.norm is not None:
            rows = _normalize(weights, f"encoder.norms.{index}.", options.norm, rows)
        suffixes = ("_l0", "_l0_reverse") if options.bidirectional else ("_l0",)
        runs = [
            _run_direction(weights, f"encoder.layers.{index}.", suffix, options, rows, layout)
            for suffix in suffixes
        ]
        rows = np.concatenate([output for output, _ in runs], axis=1)
        final = np.concatenate([last for _, last in runs], axis=1)
    return rows, final


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


def _normalize(weights: Weights, prefix: str, norm: str, rows: FloatArray) -> FloatArray:
    mean: FloatArray
    variance: FloatArray
    if norm == "batch":
        mean, variance = weights[prefix + "running_mean"], weights[prefix + "running_var"]
    else:
        mean, variance = rows.mean(axis=1, keepdims=True), rows.var(axis=1, keepdims=True)
    normalized: FloatArray = (rows - mean) / np.sqrt(variance + np.float32(NORM_EPS))
    return normalized * weights[prefix + "weight"] + weights[prefix + "bias"]


def _run_direction(
    weights: Weights,
    prefix: str,
    suffix: str,
    options: GruOptions | LstmOptions,
    rows: FloatArray,
    layout: PackedLayout,
) -> tuple[FloatArray, FloatArray]:
    kernel = inference_kernel()
    gates = rows @ weights[f"{prefix}weight_ih{suffix}"].T
    if options.cell_norm:
        norm_weight = weights[f"{prefix}norm_weight_ih{suffix}"]
        gates = kernel.normalize_gates(gates, norm_weight, options.hidden_size)
    gates = gates + weights[f"{prefix}bias_ih{suffix}"]
    zeros = np.zeros((layout.num_sequences, options.hidden_size), dtype=gates.dtype)
    arguments = (
        gates,
        layout.batch_sizes.tolist(),
        weights[f"{prefix}weight_hh{suffix}"],
        weights[f"{prefix}bias_hh{suffix}"],
    )
    common = {
        "reverse": suffix.endswith("reverse"),
        "zoneout": options.zoneout or None,
        "norm_weight": weights[f"{prefix}norm_weight_hh{suffix}"] if options.cell_norm else None,
    }
    if isinstance(options, GruOptions):
        output, final = kernel.gru_scan(*arguments, zeros, reset_after=options.reset_after, **common)
    else:
        output, final, _ = kernel.lstm_scan(*arguments, zeros, zeros, **common)
    return output, final
