"""The wide path in an ONNX graph: a weighted sum of rows of a table. Which rows, a front end finds out.

Letters besides those of shapes.py: W most n-grams of a text.
"""

import numpy as np

from grunlock.artifact.int8_storage import class_parts, table_codes
from grunlock.export.onnx.graph import Graph, Value
from grunlock.export.portable import WidePart
from grunlock.shapes import FloatArray


def wide_logits(graph: Graph, wide: WidePart) -> Value:  # [B, K]
    """The sum of a text's n-gram weights, each times its value.

    Inputs: wide_rows [B, W] int64, rows of the table, and wide_values [B, W] float32, 0 where a text has
    fewer. A path without rows has no inputs and says its bias.
    """
    bias = graph.constant("wide.bias", wide.bias)
    if not len(wide.weights):
        return bias
    ids = graph.input("wide_rows", np.int64, ("B", "W"))
    values = graph.input("wide_values", np.float32, ("B", "W"))
    rows = _rows(graph, wide.weights, ids)  # [B, W, K]
    total = graph.node("MatMul", graph.node("Unsqueeze", values, graph.integers(1)), rows)  # [B, 1, K]
    return graph.node("Add", graph.node("Squeeze", total, graph.integers(1)), bias)


def _rows(graph: Graph, table: FloatArray, ids: Value) -> Value:  # [B, W, K]
    """table[ids]. A table of few distinct values, as compression leaves it, is stored as these values and
    the number of the value that each row has, part by part of the classes."""
    coded = table_codes(table) if graph.int8 else None
    if coded is None:
        return graph.rows("wide.weights", table, ids)
    codes, centres = coded  # [rows, parts] uint8, [256, K]
    read = graph.cast(graph.node("Gather", graph.constant("wide.codes", codes), ids, axis=0), np.int32)
    found = []
    for i, part in enumerate(class_parts(table.shape[1], codes.shape[1])):
        known = graph.constant(f"wide.centres.{i}", centres[:, part])
        code = graph.node("Gather", read, graph.integer(i), axis=2)  # [B, W]
        found.append(graph.node("Gather", graph.cast(known, np.float32), code, axis=0))
    return graph.node("Concat", *found, axis=2) if len(found) > 1 else found[0]
