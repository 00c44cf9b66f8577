"""What a network reads, in an ONNX graph: vectors of the tokens of texts, or of the steps of series.

Sequences are padded here, as ONNX's recurrent operators want them, and turned time-major at once. Letters as
in shapes.py; M is the number of n-grams of all tokens of a call.
"""

from dataclasses import dataclass

import numpy as np

from grunlock.errors import ExportError
from grunlock.export.onnx.graph import Graph, Value
from grunlock.export.portable import PortableModel
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray


@dataclass(frozen=True)
class Sequences:
    """Values of the graph. Behind a sequence's end vectors hold anything finite.

    vectors: [T, B, D] float32
    lengths: [B] int32
    mask:    [T, B, 1] bool, True where real
    """

    vectors: Value
    lengths: Value
    mask: Value


def read_sequences(graph: Graph, model: PortableModel) -> Sequences:
    """The graph's inputs, and vectors made of them.

    Of texts: tokens [B, T] int64, any id behind an end; lengths [B] int32; where the model has vectors of
    n-grams, ngrams [M] int64, token after token and text after text, and ngram_counts [B, T] int64, how many
    of them each token has, 0 behind an end. Of series: features [B, T, F] float32, 0 behind an end; lengths.
    """
    lengths = graph.input("lengths", np.int32, ("B",))
    vectors = _token_vectors(graph, model) if model.kind == "text" else _step_vectors(graph, model)
    num_steps = graph.node("Gather", graph.node("Shape", vectors), graph.integer(0), axis=0)
    steps = graph.node("Range", graph.integer(0), num_steps, graph.integer(1))
    steps = graph.node("Unsqueeze", steps, graph.integers(1))
    real = graph.node("Less", steps, graph.cast(lengths, np.int64))  # [T, B]
    return Sequences(vectors, lengths, graph.node("Unsqueeze", real, graph.integers(2)))


def last_rows(graph: Graph, rows: Value, sequences: Sequences) -> Value:
    """[B, E] of rows [T, B, E]: those of each sequence's last step."""
    last = graph.node("Sub", graph.cast(sequences.lengths, np.int64), graph.integer(1))
    place = graph.node("Unsqueeze", last, graph.integers(1))
    return graph.node("GatherND", graph.transposed(rows, 1, 0, 2), place, batch_dims=1)


def _step_vectors(graph: Graph, model: PortableModel) -> Value:  # [T, B, D]
    assert isinstance(model.front_end, SeriesFrontEnd)
    features = graph.input("features", np.float32, ("B", "T", model.front_end.num_features))
    rows = graph.transposed(features, 1, 0, 2)
    return rows if model.projection is None else graph.linear("projection", rows, *model.projection)


def _token_vectors(graph: Graph, model: PortableModel) -> Value:  # [T, B, D]
    if model.tokens is None:
        raise ExportError("A model of texts has no vectors.", expected="embedding.tokens.weight")
    tokens = graph.input("tokens", np.int64, ("B", "T"))
    vectors = graph.rows("tokens.vectors", model.tokens, graph.transposed(tokens, 1, 0))
    if model.ngrams is None:
        return vectors
    return graph.node("Add", vectors, _ngram_means(graph, model.ngrams))


def _ngram_means(graph: Graph, table: FloatArray) -> Value:  # [T, B, D]
    """The mean vector of each token's n-grams, zero for a token without any.

    A token's sum is the difference of two running sums over all n-grams, in double precision, whose rounding
    is far below float32's. A padded [B, T, n-grams] would give every token the room of the longest word.
    """
    ngrams = graph.input("ngrams", np.int64, ("M",))
    counts = graph.input("ngram_counts", np.int64, ("B", "T"))
    vectors = graph.cast(graph.rows("ngrams.vectors", table, ngrams), np.float64)
    nothing = graph.constant("ngrams.nothing", np.zeros((1, table.shape[1])))
    vectors = graph.node("Concat", nothing, vectors, axis=0)
    sums = graph.node("CumSum", vectors, graph.integer(0))  # [M + 1, D]
    ends = graph.node("CumSum", graph.shaped(counts, -1), graph.integer(0))  # [B * T]
    ends = graph.node("Reshape", ends, graph.node("Shape", counts))
    ends, counts = graph.transposed(ends, 1, 0), graph.transposed(counts, 1, 0)  # [T, B]
    starts = graph.node("Sub", ends, counts)
    total = graph.node(
        "Sub", graph.node("Gather", sums, ends, axis=0), graph.node("Gather", sums, starts, axis=0)
    )
    divisor = graph.cast(graph.node("Max", counts, graph.integer(1)), np.float32)
    divisor = graph.node("Unsqueeze", divisor, graph.integers(2))
    return graph.node("Div", graph.cast(total, np.float32), divisor)
