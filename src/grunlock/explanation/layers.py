"""The layers of a gated encoder one by one: states and what wrote them. No torch."""

from typing import NamedTuple, Protocol

import numpy as np

from grunlock.errors import ExplanationError
from grunlock.explanation.gates import Written, gru_written, scan_written
from grunlock.kernels.dispatch import gru_stack
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import BagOptions, GruOptions, MinGruOptions, MinLstmOptions, QrnnOptions
from grunlock.runtime.network import Network
from grunlock.runtime.norms import under
from grunlock.runtime.recurrent import recurrent_layers
from grunlock.runtime.scan import ScanEncoder
from grunlock.shapes import FloatArray, IntArray

OTHER_METHODS = "--method integrated_gradients or occlusion explains it"
NOT_A_SUM = {
    "lstm": "an LSTM, whose state leaves it through a tanh that cannot be divided among tokens",
    "conv": "convolutions, which mix several tokens in each state through a relu",
    "transformer": "a Transformer, whose states mix all tokens",
}


class LayerRun(NamedTuple):
    """A layer over one sequence."""

    states: FloatArray  # [T, directions * H]
    written: tuple[Written, ...]  # of each direction


class Layers(Protocol):
    """An encoder whose states are sums of what was written."""

    def run(self, vectors: FloatArray, index: IntArray) -> list[LayerRun]:
        """Of each layer. vectors: [U, D], read through index [T]"""
        ...


class GruLayers:
    """Each layer apart, its weights made ready once."""

    def __init__(self, network: Network, options: GruOptions) -> None:
        layers = recurrent_layers(under(network.weights, "encoder."), options)
        self._layers = [(norm, layer, gru_stack([layer])) for norm, layer in layers]

    def run(self, vectors: FloatArray, index: IntArray) -> list[LayerRun]:
        found, rows, sizes = [], vectors[index], np.ones(len(index), np.int64)
        for norm, layer, stack in self._layers:
            read = rows if norm is None else norm(rows)
            rows, _ = stack.run(read, None, sizes)
            written = tuple(
                gru_written(
                    layer,
                    direction,
                    read.astype(np.float64),
                    rows[:, place * layer.hidden_size :][:, : layer.hidden_size].astype(np.float64),
                    reverse=place == 1,
                )
                for place, direction in enumerate(layer.directions)
            )
            found.append(LayerRun(rows, written))
        return found


class ScanLayers:
    """minGRU, minLSTM and QRNN."""

    def __init__(self, encoder: ScanEncoder, cell: str) -> None:
        self._encoder, self._cell = encoder, cell

    def run(self, vectors: FloatArray, index: IntArray) -> list[LayerRun]:
        found, sizes = [], np.ones(len(index), np.int64)
        for layer in range(self._encoder.num_layers):
            gates = self._encoder.gates(layer, vectors, index, sizes)
            written = tuple(
                scan_written(each, self._cell, reverse=place == 1) for place, each in enumerate(gates)
            )
            vectors, _ = self._encoder.layer(layer, vectors, index, sizes)
            index = np.arange(len(vectors))
            found.append(LayerRun(vectors, written))
        return found


class NoLayers:
    """A bag: pooling reads the vectors."""

    def run(self, vectors: FloatArray, index: IntArray) -> list[LayerRun]:
        return []


def exact_layers(network: Network) -> Layers:
    """The network's encoder, layer by layer. Raises ExplanationError where its logits are no such sum."""
    refuse_inexact(network)
    options = network.recipe.encoder
    if isinstance(options, GruOptions):
        return GruLayers(network, options)
    if isinstance(options, BagOptions):
        return NoLayers()
    assert isinstance(network.encoder, ScanEncoder)  # refuse_inexact leaves no other
    return ScanLayers(network.encoder, options.kind)


def refuse_inexact(network: Network) -> None:
    """Raises ExplanationError for a network whose logits are no sum over steps, and says why."""
    reason = _obstacle(network.recipe)
    if reason is not None:
        raise ExplanationError(
            "The logits of this model cannot be divided exactly among its tokens.",
            where="recipe",
            got=reason,
            expected="encoder.kind gru, mingru, minlstm, qrnn or bag, without [attention] and [chunks]",
            cure=OTHER_METHODS,
        )
    if network.precision != "float32":
        raise ExplanationError(
            "Exact shares are those of float32 states.",
            where="precision",
            got=network.precision,
            expected="float32",
            cure="load the model with precision float32",
        )


def _obstacle(recipe: Recipe) -> str | None:
    if recipe.chunks is not None:
        return "[chunks]: a second encoder reads the maximum and mean of chunks, so a share is one of chunks"
    if recipe.attention is not None:
        return "[attention]: self-attention on top mixes the states of all tokens and is not linear in them"
    exact = GruOptions | MinGruOptions | MinLstmOptions | QrnnOptions | BagOptions
    return None if isinstance(recipe.encoder, exact) else NOT_A_SUM[recipe.encoder.kind]
