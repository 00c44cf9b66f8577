"""From states to one vector in an ONNX graph. Steps behind a sequence's end never count."""

import numpy as np

from grunlock.export.onnx.encoder import Encoded
from grunlock.export.onnx.graph import Graph, Value
from grunlock.export.onnx.sequences import Sequences
from grunlock.export.portable import PortableModel
from grunlock.recipe.model_options import PoolingPart

NOWHERE = float("-inf")  # what a step behind the end is in a maximum, and in a softmax over steps


def pool(graph: Graph, model: PortableModel, encoded: Encoded, sequences: Sequences) -> Value:
    """The parts side by side, [B, their widths]."""
    parts = [_pooled(graph, model, part, encoded, sequences) for part in model.pooling]
    return graph.node("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _pooled(
    graph: Graph, model: PortableModel, part: PoolingPart, encoded: Encoded, sequences: Sequences
) -> Value:
    if part == "last":
        return encoded.final
    if part == "max":
        real = graph.node("Where", sequences.mask, encoded.states, graph.number(NOWHERE))
        return graph.node("ReduceMax", real, axes=(0,), keepdims=0)
    if part == "mean":
        real = graph.node("Where", sequences.mask, encoded.states, graph.number(0.0))
        total = graph.node("ReduceSum", real, graph.integers(0), keepdims=0)
        lengths = graph.cast(sequences.lengths, np.float32)
        return graph.node("Div", total, graph.node("Unsqueeze", lengths, graph.integers(1)))
    return _attended(graph, model, f"pooling.{part}", encoded.states, sequences.mask)


def _attended(graph: Graph, model: PortableModel, name: str, states: Value, mask: Value) -> Value:
    """Sums of states by shares that R queries give to steps, one after another: [B, R * E]."""
    weights = model.attention
    projection = weights[f"{name}.projection.weight"], weights[f"{name}.projection.bias"]
    seen = graph.node("Tanh", graph.linear(f"{name}.projection", states, *projection))
    queries = np.atleast_2d(weights[f"{name}.query"])  # [R, E]
    scores = graph.node("MatMul", seen, graph.weight(f"{name}.queries", queries.T, axis=0))  # [T, B, R]
    scores = graph.node("Where", mask, scores, graph.number(NOWHERE))
    shares = graph.node("Softmax", graph.transposed(scores, 1, 2, 0), axis=-1)  # [B, R, T]
    return graph.shaped(graph.node("MatMul", shares, graph.transposed(states, 1, 0, 2)), 0, -1)
