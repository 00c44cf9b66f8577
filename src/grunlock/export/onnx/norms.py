"""Norms at inference in an ONNX graph."""

from grunlock.export.onnx.graph import Graph, Value
from grunlock.kernels import NORM_EPS
from grunlock.runtime.norms import Affine


def normalized(graph: Graph, name: str, norm: Affine, rows: Value) -> Value:
    """The twin of Affine.__call__, of rows [..., D]."""
    gain, shift = graph.constant(f"{name}.gain", norm.gain), graph.constant(f"{name}.shift", norm.shift)
    if norm.by_row:
        return graph.node("LayerNormalization", rows, gain, shift, axis=-1, epsilon=NORM_EPS)
    return graph.node("Add", graph.node("Mul", rows, gain), shift)
