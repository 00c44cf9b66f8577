"""Encoders in an ONNX graph: recurrent layers with the norms in front of them, convolutions, bags.

ONNX has one operator for all steps of a GRU or LSTM layer in both directions. Its update gate keeps the old
state where it is 1, as ours does; its gates stand in another order. ONNX Runtime has no int8 kernel for these
operators: int8 weights make the file small, not the layer fast.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from grunlock.export.onnx.graph import Graph, Value
from grunlock.export.onnx.norms import normalized
from grunlock.export.onnx.sequences import Sequences, last_rows
from grunlock.export.onnx.windows import window_product
from grunlock.export.portable import PortableModel
from grunlock.kernels import GATE_ORDER, LSTM_GATE_ORDER
from grunlock.kernels.stack import LayerWeights
from grunlock.recipe.model_options import BagOptions, ConvOptions, LstmOptions
from grunlock.runtime.norms import Affine
from grunlock.shapes import FloatArray

# How ONNX stacks gates: its z is update, h candidate, c the candidate of an LSTM.
ONNX_GATES = {
    "GRU": [GATE_ORDER.index(gate) for gate in ("update", "reset", "candidate")],
    "LSTM": [LSTM_GATE_ORDER.index(gate) for gate in ("input", "output", "forget", "candidate")],
}


class Encoded(NamedTuple):
    """Values of the graph. Behind a sequence's end states hold anything finite."""

    states: Value  # [T, B, E]
    final: Value  # [B, E] after the last step, of each direction


def encode(graph: Graph, model: PortableModel, sequences: Sequences) -> Encoded:
    """The encoder's states; where a model pools its inputs as well, these stand in front."""
    if isinstance(model.encoder, BagOptions):
        encoded = Encoded(sequences.vectors, last_rows(graph, sequences.vectors, sequences))
    elif isinstance(model.encoder, ConvOptions):
        encoded = _convolutions(graph, model, sequences)
    else:
        operator = "LSTM" if isinstance(model.encoder, LstmOptions) else "GRU"
        encoded = _recurrent_layers(graph, operator, model.layers, sequences)
    if not model.pools_inputs:
        return encoded
    last = last_rows(graph, sequences.vectors, sequences)
    return Encoded(
        graph.node("Concat", sequences.vectors, encoded.states, axis=2),
        graph.node("Concat", last, encoded.final, axis=1),
    )


def _recurrent_layers(
    graph: Graph,
    operator: str,
    layers: Sequence[tuple[Affine | None, LayerWeights]],
    sequences: Sequences,
) -> Encoded:
    rows, final = sequences.vectors, ""
    for i, (norm, layer) in enumerate(layers):
        if norm is not None:
            rows = normalized(graph, f"norms.{i}", norm, rows)
        states, final = graph.nodes(
            operator,
            2,
            rows,
            graph.weight(f"layers.{i}.W", _stacked(layer, operator, "weight_ih")),  # [directions, gH, D]
            graph.weight(f"layers.{i}.R", _stacked(layer, operator, "weight_hh")),  # [directions, gH, H]
            graph.constant(f"layers.{i}.B", _biases(layer, operator)),  # [directions, 2gH]
            sequences.lengths,
            hidden_size=layer.hidden_size,
            direction="bidirectional" if len(layer.directions) == 2 else "forward",
            **({"linear_before_reset": int(layer.reset_after)} if operator == "GRU" else {}),
        )
        rows = graph.shaped(graph.transposed(states, 0, 2, 1, 3), 0, 0, -1)  # from [T, directions, B, H]
    return Encoded(rows, graph.shaped(graph.transposed(final, 1, 0, 2), 0, -1))


def _stacked(layer: LayerWeights, operator: str, name: str) -> FloatArray:
    """A weight of all directions [directions, gH, *], gates as ONNX stacks them."""
    return np.stack([_reordered(getattr(direction, name), operator) for direction in layer.directions])


def _biases(layer: LayerWeights, operator: str) -> FloatArray:
    both = [_stacked(layer, operator, name) for name in ("bias_ih", "bias_hh")]
    return np.concatenate(both, axis=1)


def _reordered(array: FloatArray, operator: str) -> FloatArray:
    order = ONNX_GATES[operator]
    gates = np.split(array, len(order))
    return np.concatenate([gates[place] for place in order])


def _convolutions(graph: Graph, model: PortableModel, sequences: Sequences) -> Encoded:
    """relu of each width's convolution, side by side."""
    assert isinstance(model.encoder, ConvOptions)
    rows, mask = sequences.vectors, sequences.mask
    parts = [
        window_product(graph, f"windows.{i}", rows, mask, width, *model.windows[i])
        for i, width in enumerate(model.encoder.widths)
    ]
    joined = graph.node("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]
    states = graph.node("Relu", joined)
    return Encoded(states, last_rows(graph, states, sequences))
