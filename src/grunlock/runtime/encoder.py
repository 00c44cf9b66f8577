"""A trained network's encoder on numpy arrays: which one, and those without a file of their own."""

from typing import Protocol

import numpy as np

from grunlock.errors import KernelError
from grunlock.kernels.pool import pool_rows
from grunlock.kernels.stack import InferencePrecision
from grunlock.recipe.model_options import (
    BagOptions,
    ChunkOptions,
    ConvOptions,
    EncoderOptions,
    GruOptions,
    LstmOptions,
    TransformerOptions,
)
from grunlock.runtime.attention import TransformerEncoder
from grunlock.runtime.encoded import Encoded, States
from grunlock.runtime.norms import Weights, under
from grunlock.runtime.recurrent import RecurrentEncoder
from grunlock.runtime.scan import ScanEncoder
from grunlock.runtime.window import WindowLinear
from grunlock.shapes import (
    FloatArray,
    IntArray,
    PackedLayout,
    centred_window,
    chunk_layout,
    last_rows,
    sequence_major_rows,
)


class Encoder(Protocol):
    """What models.encoded.Encoder is there."""

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> Encoded:
        """Distinct vectors [U, D], read through index [N], to states."""
        ...


class ConvEncoder:
    """relu(convolution) for each width, side by side."""

    def __init__(self, weights: Weights, options: ConvOptions) -> None:
        self._windows = [
            WindowLinear(weights[f"windows.{i}.weight"], weights[f"windows.{i}.bias"], centred_window(width))
            for i, width in enumerate(options.widths)
        ]

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> Encoded:
        sizes = layout.batch_sizes
        parts = [window(vectors, index, sizes) for window in self._windows]
        rows = np.maximum(np.concatenate(parts, axis=1), 0)
        return Encoded(rows, rows[last_rows(sizes)], layout)

    def start(self) -> States:
        """See SteppedEncoder; for widths of which no step looks ahead."""
        return tuple(window.start() for window in self._windows)

    def advance(self, rows: FloatArray, states: States) -> tuple[FloatArray, States]:
        """See SteppedEncoder."""
        found = [window.advance(rows, state) for window, state in zip(self._windows, states, strict=True)]
        parts, after = zip(*found, strict=True)
        return np.maximum(np.concatenate(parts, axis=1), 0), after


class BagEncoder:
    """The vectors as they come."""

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> Encoded:
        rows = vectors[index]
        return Encoded(rows, rows[last_rows(layout.batch_sizes)], layout)

    def start(self) -> States:
        """See SteppedEncoder."""
        return ()

    def advance(self, rows: FloatArray, states: States) -> tuple[FloatArray, States]:
        """See SteppedEncoder."""
        return rows, states


class ChunkedEncoder:
    """Any encoder over chunks, then a second one over the chunks' vectors: the twin of models/chunked.py."""

    def __init__(
        self, weights: Weights, inner: EncoderOptions, options: ChunkOptions, precision: InferencePrecision
    ) -> None:
        self._chunk_steps = options.chunk_steps
        self._inner = build_encoder(under(weights, "inner."), inner, precision)
        outer = options.outer_options()
        outer_precision = precision if isinstance(outer, GruOptions) else "float32"
        self._outer = build_encoder(under(weights, "outer."), outer, outer_precision)

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> Encoded:
        cut = chunk_layout(layout.lengths, self._chunk_steps)
        steps = sequence_major_rows(layout.batch_sizes)[cut.inner.rows]
        states, _, _ = self._inner.run(vectors, index[steps], cut.inner)
        chunks = np.concatenate(pool_rows(states, cut.inner, ("max", "mean")), axis=1)
        place = np.empty_like(cut.inner.order)
        place[cut.inner.order] = np.arange(len(place))
        return self._outer.run(chunks, place[cut.outer.rows], cut.outer)


def build_encoder(weights: Weights, options: EncoderOptions, precision: InferencePrecision) -> Encoder:
    """weights: of the encoder, by its own names.

    Raises KernelError for a precision that the layers or this machine cannot have.
    """
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
