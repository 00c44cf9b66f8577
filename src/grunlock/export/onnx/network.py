"""A whole model as an ONNX graph, put together here and never traced from torch."""

import onnx

from grunlock.export.onnx.encoder import encode
from grunlock.export.onnx.graph import Graph
from grunlock.export.onnx.pooling import pool
from grunlock.export.onnx.sequences import read_sequences
from grunlock.export.onnx.wide import wide_logits
from grunlock.export.onnx.windows import through_stem
from grunlock.export.portable import PortableModel


def build_network(model: PortableModel, *, int8: bool) -> onnx.ModelProto:
    """From what a front end reads (read_sequences, wide_logits) to logits and probabilities, [B, K] each.

    Raises ExportError for a model that is too large for a file.
    """
    graph = Graph(int8=int8)
    sequences = through_stem(graph, model, read_sequences(graph, model))
    pooled = pool(graph, model, encode(graph, model, sequences), sequences)
    logits = graph.linear("head", pooled, *model.head)
    if model.wide is not None:
        logits = graph.node("Add", logits, wide_logits(graph, model.wide))
    scaled = graph.node("Div", logits, graph.number(model.temperature))
    shape = ("B", len(model.labels))
    graph.output("logits", logits, shape)
    graph.output("probabilities", graph.node("Softmax", scaled, axis=-1), shape)
    return graph.model()
