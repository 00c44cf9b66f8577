"""Recurrent layers of a trained network, with the norms in front of them, on numpy arrays."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from grunlock.kernels.dispatch import gru_stack, lstm_stack
from grunlock.kernels.stack import DirectionWeights, InferencePrecision, LayerWeights, RecurrentStack
from grunlock.recipe.model_options import GruOptions, LstmOptions
from grunlock.runtime.encoded import Encoded, States
from grunlock.runtime.norms import Affine, Weights, read_norm
from grunlock.shapes import FloatArray, IntArray, PackedLayout


class RecurrentEncoder:
    """All recurrent layers. A batch norm is folded into the weights behind it, unless the cell has norms too.

    Raises KernelError for a precision that the layers or this machine cannot have.
    """

    def __init__(
        self, weights: Weights, options: GruOptions | LstmOptions, precision: InferencePrecision
    ) -> None:
        self._parts: list[tuple[Affine | None, RecurrentStack]] = []
        build = gru_stack if isinstance(options, GruOptions) else lstm_stack
        norm: Affine | None = None
        pending: list[LayerWeights] = []
        for before, layer in recurrent_layers(weights, options):
            if before is not None and pending:
                self._parts.append((norm, build(pending, precision)))
                pending = []
            norm = norm if pending else before
            pending.append(layer)
        self._parts.append((norm, build(pending, precision)))
        self._hidden_size = options.hidden_size

    def run(self, vectors: FloatArray, index: IntArray, layout: PackedLayout) -> Encoded:
        """Distinct vectors [U, D], read through index [N], to the last layer's states."""
        rows, final = vectors, vectors[:0]
        read: IntArray | None = index
        for norm, stack in self._parts:
            rows, final = stack.run(rows if norm is None else norm(rows), read, layout.batch_sizes)
            read = None
        return Encoded(rows, final, layout)

    def start(self) -> States:
        """See SteppedEncoder; for layers in one direction."""
        sizes = [(stack.num_states, 1, self._hidden_size) for _, stack in self._parts]
        return tuple(np.zeros(size, np.float32) for size in sizes)

    def advance(self, rows: FloatArray, states: States) -> tuple[FloatArray, States]:
        """See SteppedEncoder."""
        sizes, after = np.ones(len(rows), np.int64), tuple(state.copy() for state in states)
        for (norm, stack), own in zip(self._parts, after, strict=True):
            rows = stack.advance(rows if norm is None else norm(rows), sizes, own)
        return rows, after


def recurrent_layers(
    weights: Weights, options: GruOptions | LstmOptions
) -> list[tuple[Affine | None, LayerWeights]]:
    """Each layer with the norm in front of it, if that cannot be folded into its weights."""
    found = []
    for i in range(options.num_layers):
        layer, before = _layer(weights, i, options), read_norm(weights, i, options.norm)
        if before is not None and not before.by_row and not options.cell_norm:
            layer, before = _fold(before, layer), None
        found.append((before, layer))
    return found


def _layer(weights: Weights, index: int, options: GruOptions | LstmOptions) -> LayerWeights:
    prefix = f"layers.{index}."
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    names += ["norm_weight_ih", "norm_weight_hh"] if options.cell_norm else []
    directions = tuple(
        DirectionWeights(**{name: weights[prefix + name + suffix] for name in names})
        for suffix in (("_l0", "_l0_reverse") if options.bidirectional else ("_l0",))
    )
    reset_after = options.reset_after if isinstance(options, GruOptions) else True
    return LayerWeights(directions, reset_after, options.zoneout)


def _fold(norm: Affine, layer: LayerWeights) -> LayerWeights:
    """weight_ih @ (x * gain + shift) + bias_ih, as one product with x."""

    def fold(direction: DirectionWeights) -> DirectionWeights:
        bias: FloatArray = direction.bias_ih + direction.weight_ih @ norm.shift
        return replace(direction, weight_ih=direction.weight_ih * norm.gain, bias_ih=bias)

    directions: Sequence[DirectionWeights] = [fold(direction) for direction in layer.directions]
    return replace(layer, directions=tuple(directions))
