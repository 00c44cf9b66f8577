"""Self-attention layers in numpy: the twins of layers/attention.py and models/transformer.py."""

import math

import numpy as np

from grunlock.kernels import ROTARY_BASE
from grunlock.recipe.model_options import TransformerOptions
from grunlock.runtime.encoded import Encoded
from grunlock.runtime.norms import Weights, read_layer_norm
from grunlock.shapes import FloatArray, IntArray, PackedLayout, last_rows, row_places

MAX_SCORES = 4_000_000  # attention weights in memory at a time: sequences go in groups


class TransformerEncoder:
    """A projection, Transformer layers, a norm."""

    def __init__(self, weights: Weights, options: TransformerOptions) -> None:
        self._weights = weights
        self._options = options

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> Encoded:
        """Distinct vectors [U, D], read through index [N], to the last layer's states."""
        weights, options = self._weights, self._options
        states = linear(weights, "projection.", vectors)[index]
        if options.positions == "learned":
            table = weights["positions.weight"]
            step, _ = row_places(layout.batch_sizes)
            states = states + table[np.minimum(step, len(table) - 1)]
        layers = Layers(weights, "", options.num_layers, options.num_heads, options.positions == "rotary")
        rows = layers.run(states, layout.batch_sizes)
        return Encoded(rows, rows[last_rows(layout.batch_sizes)], layout)


class Layers:
    """Pre-norm Transformer layers under `prefix`, and the norm behind them."""

    def __init__(self, weights: Weights, prefix: str, num_layers: int, num_heads: int, rotary: bool) -> None:
        self._weights = weights
        self._prefix = prefix
        self._num_layers = num_layers
        self._num_heads = num_heads
        self._rotary = rotary

    def run(self, rows: FloatArray, batch_sizes: IntArray) -> FloatArray:  # [N, E] -> [N, E]
        for layer in range(self._num_layers):
            prefix = f"{self._prefix}layers.{layer}."
            normed = read_layer_norm(self._weights, prefix + "attention_norm.")(rows)
            rows = rows + self._attend(prefix + "attention.", normed, batch_sizes)
            normed = read_layer_norm(self._weights, prefix + "feedforward_norm.")(rows)
            inner = gelu(linear(self._weights, prefix + "widen.", normed))
            rows = rows + linear(self._weights, prefix + "narrow.", inner)
        return read_layer_norm(self._weights, self._prefix + "norm.")(rows)

    def _attend(self, prefix: str, rows: FloatArray, batch_sizes: IntArray) -> FloatArray:
        step, sequence = row_places(batch_sizes)
        heads = (len(rows), self._num_heads, rows.shape[1] // self._num_heads)
        query, key, value = (
            linear(self._weights, f"{prefix}{name}.", rows).reshape(heads)
            for name in ("query", "key", "value")
        )
        if self._rotary:
            query, key = rotate(query, step), rotate(key, step)
        first_row = np.cumsum(batch_sizes) - batch_sizes
        lengths = np.bincount(sequence)
        mixed = np.empty_like(value)
        for first, last in _groups(lengths, self._num_heads):
            steps = int(lengths[first])
            # [b, T] packed rows; behind a sequence's end its own first row, masked below.
            place = np.arange(steps)[None] < lengths[first:last, None]
            member = np.where(place, first_row[None, :steps] + np.arange(first, last)[:, None], first)
            # [b, heads, T, T]; matmul, unlike einsum, goes through BLAS.
            scores = query[member].transpose(0, 2, 1, 3) @ key[member].transpose(0, 2, 3, 1)
            scores /= math.sqrt(heads[2])
            scores = np.where(place[:, None, None], scores, -np.inf)
            scores -= scores.max(axis=3, keepdims=True)
            shares = np.exp(scores, out=scores)
            shares /= shares.sum(axis=3, keepdims=True)
            found = (shares @ value[member].transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
            mixed[member[place]] = found[place]
        return linear(self._weights, prefix + "output.", mixed.reshape(rows.shape))


def _groups(lengths: IntArray, num_heads: int) -> list[tuple[int, int]]:
    """Neighbouring sequences, longest first, in groups whose scores fit MAX_SCORES."""
    groups, first = [], 0
    while first < len(lengths):
        size = max(1, MAX_SCORES // (int(lengths[first]) ** 2 * num_heads))
        groups.append((first, min(first + size, len(lengths))))
        first += size
    return groups


def rotate(rows: FloatArray, step: IntArray) -> FloatArray:  # [N, heads, E]
    half = rows.shape[2] // 2
    rates = np.float32(ROTARY_BASE) ** (-np.arange(half, dtype=np.float32) / np.float32(half))
    angles = (step.astype(np.float32)[:, None] * rates)[:, None]  # [N, 1, E / 2]
    cos, sin = np.cos(angles), np.sin(angles)
    left, right = rows[..., :half], rows[..., half:]
    return np.concatenate([left * cos - right * sin, left * sin + right * cos], axis=2)


def gelu(x: FloatArray) -> FloatArray:
    """Hendrycks 2016, the tanh form."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    result: FloatArray = np.float32(0.5) * x * (1 + np.tanh(inner))
    return result


def linear(weights: Weights, prefix: str, rows: FloatArray) -> FloatArray:
    result: FloatArray = rows @ weights[prefix + "weight"].T + weights[prefix + "bias"]
    return result
