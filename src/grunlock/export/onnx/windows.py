"""Linear maps of a step and its neighbours in an ONNX graph: what convolutions are made of."""

from grunlock.export.onnx.graph import Graph, Value
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
