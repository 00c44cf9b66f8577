"""What a described model computes, on numpy arrays and our kernels: as it is, pads and faults included.

It is what costs are measured with: a mended model is the same description with one field changed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from grunlock.doctor.foreign import Dense, Embedding, ForeignModel, Part, Texts
from grunlock.errors import DoctorError
from grunlock.kernels.dispatch import gru_stack
from grunlock.kernels.stack import dense_layer
from grunlock.shapes import FloatArray, IntArray, pack_layout

BATCH_STEPS = 16_384
ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}
OUTPUTS = ("linear", "softmax", "sigmoid", "log_softmax")  # what may stand behind the last layer
GRU_ACTIVATIONS = ("tanh", "sigmoid")


def hindrances(model: ForeignModel) -> list[str]:
    """Why the model cannot be computed; empty if it can."""
    found = [f"a part that is not understood: {name}" for name in model.other]
    if model.embedding is None:
        found.append("no embedding: what the GRU reads is not in the file")
    if model.pooling is None:
        found.append("it is not known how states become one vector (--pooling)")
    if model.padding.gru is None or model.padding.pooling is None:
        found.append("it is not known whether pads are read (--lengths)")
    if not model.head:
        found.append("no dense layer behind the GRU")
    for layer in model.layers:
        if (layer.activation, layer.gate_activation) != GRU_ACTIVATIONS:
            found.append(
                f"{layer.name} has {layer.activation} and {layer.gate_activation} for tanh and sigmoid"
            )
    for dense in model.head[:-1]:
        if dense.activation not in ACTIVATIONS:
            found.append(f"{dense.name} has the activation {dense.activation}")
    if model.head and model.head[-1].activation not in OUTPUTS:
        found.append(f"{model.head[-1].name} has the activation {model.head[-1].activation}")
    return found


def logits(model: ForeignModel, texts: Texts) -> FloatArray:
    """[n, K] before softmax; a single sigmoid is two classes with logits 0 and x.

    Raises DoctorError for a model with hindrances, or ids that have no vector.
    """
    wrong = hindrances(model)
    if wrong:
        raise DoctorError("This model cannot be computed here.", where=model.where, got="; ".join(wrong))
    assert model.embedding is not None
    _check_ids(model.embedding, texts.ids, model.where)
    size = max(1, BATCH_STEPS // texts.ids.shape[1])
    return np.concatenate([_logits(model, _rows(texts, at, size)) for at in range(0, len(texts), size)])


@dataclass(frozen=True)
class Twin:
    """The twin where an original is wanted; see foreign.Original. It gives logits."""

    model: ForeignModel
    runner: str = "grunlock's own twin, which tests hold against recorded outputs"

    def outputs(self, ids: IntArray, lengths: IntArray) -> FloatArray:
        return logits(self.model, Texts(ids, lengths))


def _rows(texts: Texts, at: int, size: int) -> Texts:
    return replace(texts, ids=texts.ids[at : at + size], lengths=texts.lengths[at : at + size])


def _check_ids(embedding: Embedding, ids: IntArray, where: str) -> None:
    if ids.min() < 0 or ids.max() >= len(embedding.weight):
        raise DoctorError(
            "An id has no vector.",
            where=where,
            got=f"ids from {ids.min()} to {ids.max()}",
            expected=f"0 to {len(embedding.weight) - 1}",
            cure="give the vocabulary that belongs to this model with --vocab",
        )


def _logits(model: ForeignModel, texts: Texts) -> FloatArray:
    states, final = gru_states(model, texts)
    assert model.pooling is not None
    pooled = np.concatenate([_pooled(part, model, texts, states, final) for part in model.pooling], axis=1)
    for norm in model.norms:
        if norm.place == "pooled":
            pooled = pooled * norm.gain + norm.shift
    return head_logits(model.head, pooled.astype(np.float32))


def head_logits(head: tuple[Dense, ...], pooled: FloatArray) -> FloatArray:
    """[n, K] before softmax or sigmoid."""
    values = pooled
    for i, dense in enumerate(head):
        values = values @ dense.weight.T + dense.bias
        if i < len(head) - 1:
            values = ACTIVATIONS[dense.activation](values)
    if values.shape[1] == 1:
        values = np.concatenate([np.zeros_like(values), values], axis=1)
    return values


def gru_states(model: ForeignModel, texts: Texts) -> tuple[FloatArray, FloatArray]:
    """States at all positions [n, T, E], and final states [n, E]."""
    assert model.embedding is not None
    vectors = model.embedding.weight.astype(np.float32)
    for norm in model.norms:
        if norm.place == "embedding":
            vectors = vectors * norm.gain + norm.shift
    read = np.ones_like(texts.ids, bool) if model.padding.gru else texts.real()
    layout = pack_layout(read.sum(axis=1))
    tokens = texts.ids[read][layout.rows]
    stack = gru_stack([dense_layer(layer.weights()) for layer in model.layers])
    rows, last = stack.run(np.ascontiguousarray(vectors, np.float32), tokens, layout.batch_sizes)
    in_order = np.empty_like(rows)  # sequence after sequence, as the caller has them
    in_order[layout.rows] = rows
    states = np.zeros((*texts.ids.shape, rows.shape[1]), np.float32)
    states[read] = in_order
    final = last[np.argsort(layout.order)]
    if not model.padding.gru and model.padding.at_pads == "held" and texts.side == "post":
        states = np.where(read[..., None], states, final[:, None, :])
    return states, final


def _pooled(
    part: Part, model: ForeignModel, texts: Texts, states: FloatArray, final: FloatArray
) -> FloatArray:
    real, reads_pads = texts.real(), model.padding.pooling and part not in model.padding.knowing
    if part == "last":
        return final
    if part == "last_step":
        if reads_pads:
            return states[:, -1]
        last = real.shape[1] - 1 - real[:, ::-1].argmax(axis=1)
        at_last: FloatArray = states[np.arange(len(texts)), last]
        return at_last
    if part == "flatten":
        return states.reshape(len(states), -1)
    counted = np.ones_like(real) if reads_pads else real
    if part == "max":
        highest: FloatArray = np.where(counted[..., None], states, -np.inf).max(axis=1)
        return highest
    sums = np.where(counted[..., None], states, 0).sum(axis=1)
    result: FloatArray = sums / counted.sum(axis=1, keepdims=True)
    return result
