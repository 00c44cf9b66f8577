"""Linear maps of a step and its neighbours in an ONNX graph, and the stem that is made of them."""

from dataclasses import replace

from grunlock.export.onnx.graph import Graph, Value
from grunlock.export.onnx.norms import normalized
from grunlock.export.onnx.sequences import Sequences
from grunlock.export.portable import PortableModel
from grunlock.shapes import FloatArray, centred_window


def window_product(
    graph: Graph,
    name: str,
    rows: Value,  # [T, B, D]
    mask: Value,  # [T, B, 1]
    width: int,
    weight: FloatArray,  # [width * O, D]
    bias: FloatArray,  # [O]
) -> Value:  # [T, B, O]
    """The twin of runtime/window.py with a centred window. Beyond its ends a sequence is zero."""
    inside = graph.node("Where", mask, rows, graph.number(0.0))
    offsets = centred_window(width)
    kernel = weight.reshape(width, len(bias), -1).transpose(1, 2, 0)  # [O, D, width]
    seen = graph.node(
        "Conv",
        graph.transposed(inside, 1, 2, 0),
        graph.weight(f"{name}.weight", kernel, axis=1),
        graph.constant(f"{name}.bias", bias),
        pads=(-offsets[0], offsets[-1]),
    )
    return graph.transposed(seen, 2, 0, 1)


def through_stem(graph: Graph, model: PortableModel, sequences: Sequences) -> Sequences:
    """Sequences whose vectors went through the stem's layers: relu of a window, added to its input."""
    rows = sequences.vectors
    for i, layer in enumerate(model.stem):
        seen = window_product(graph, f"stem.{i}", rows, sequences.mask, layer.width, layer.weight, layer.bias)
        if layer.norm is not None:
            seen = normalized(graph, f"stem.{i}.norm", layer.norm, seen)
        rows = graph.node("Add", rows, graph.node("Relu", seen))
    return replace(sequences, vectors=rows)
