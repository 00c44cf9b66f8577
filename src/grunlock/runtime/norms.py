"""Norms of a trained network at inference."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from grunlock.kernels import NORM_EPS
from grunlock.shapes import FloatArray

Weights = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Affine:
    """A norm at inference, gain and shift [D] included; by_row: mean and variance are each row's own."""

    gain: FloatArray
    shift: FloatArray
    by_row: bool

    def __call__(self, rows: FloatArray) -> FloatArray:
        if self.by_row:
            centred = rows - rows.mean(axis=1, keepdims=True)
            rows = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(NORM_EPS))
        scaled: FloatArray = rows * self.gain
        return scaled + self.shift


def under(weights: Weights, prefix: str) -> Weights:
    """A module's own weights, by its own names."""
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def read_norm(weights: Weights, index: int, kind: Literal["batch", "layer"] | None) -> Affine | None:
    """The norm in front of an encoder's layer, a batch norm by its running statistics."""
    if kind is None:
        return None
    prefix = f"norms.{index}."
    if kind == "layer":
        return read_layer_norm(weights, prefix)
    mean, variance = weights[prefix + "running_mean"], weights[prefix + "running_var"]
    gain = weights[prefix + "weight"] / np.sqrt(variance + np.float32(NORM_EPS))
    return Affine(gain, weights[prefix + "bias"] - mean * gain, by_row=False)


def read_layer_norm(weights: Weights, prefix: str) -> Affine:
    return Affine(weights[prefix + "weight"], weights[prefix + "bias"], by_row=True)
