"""A trained network's encoder on numpy arrays: which one, and those without a file of their own."""

from typing import Protocol

import numpy as np

from grunlock.errors import KernelError
from grunlock.kernels.stack import InferencePrecision
from grunlock.recipe.model_options import (
    BagOptions,
    ConvOptions,
    EncoderOptions,
    GruOptions,
    LstmOptions,
    TransformerOptions,
)
from grunlock.runtime.attention import TransformerEncoder
from grunlock.runtime.norms import Weights
from grunlock.runtime.recurrent import RecurrentEncoder
from grunlock.runtime.scan import ScanEncoder
from grunlock.runtime.window import centred, window_linear
from grunlock.shapes import FloatArray, IntArray, PackedLayout, last_rows


class Encoder(Protocol):
    """What models.encoded.Encoder is there."""

    def run(
        self, vectors: FloatArray, index: IntArray, layout: PackedLayout
    ) -> tuple[FloatArray, FloatArray]:
        """Distinct vectors [U, D], read through index [N], to rows [N, E] and final states [B, E]."""
        ...


class ConvEncoder:
    """relu(convolution) for each width, side by side."""

    def __init__(self, weights: Weights, options: ConvOptions) -> None:
        self._weights = weights
        self._widths = options.widths

    def run(
        self, vectors: FloatArray, index: IntArray, layout: PackedLayout
    ) -> tuple[FloatArray, FloatArray]:
        sizes = layout.batch_sizes
        parts = [
            window_linear(self._weights, f"encoder.windows.{i}.", vectors, index, sizes, centred(width))
            for i, width in enumerate(self._widths)
        ]
        rows = np.maximum(np.concatenate(parts, axis=1), 0)
        return rows, rows[last_rows(sizes)]


class BagEncoder:
    """The vectors as they come."""

    def run(
        self, vectors: FloatArray, index: IntArray, layout: PackedLayout
    ) -> tuple[FloatArray, FloatArray]:
        rows = vectors[index]
        return rows, rows[last_rows(layout.batch_sizes)]


def build_encoder(weights: Weights, options: EncoderOptions, precision: InferencePrecision) -> Encoder:
    """Raises KernelError for a precision that the layers or this machine cannot have."""
    if isinstance(options, GruOptions | LstmOptions):
        return RecurrentEncoder(weights, options, precision)
    if precision != "float32":
        raise KernelError(
            "This precision is for GRU and LSTM layers.",
            where=f"an encoder of kind {options.kind}",
            got=precision,
            expected="float32",
        )
    if isinstance(options, BagOptions):
        return BagEncoder()
    if isinstance(options, ConvOptions):
        return ConvEncoder(weights, options)
    if isinstance(options, TransformerOptions):
        return TransformerEncoder(weights, options)
    return ScanEncoder(weights, options)
