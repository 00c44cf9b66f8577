"""A trained model as an exporter reads it: arrays and a few facts, whatever recipe they came from.

Norms over batches are folded away. What no target can compute is refused here, what a single target cannot by
that target.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grunlock.artifact import Artifact
from grunlock.errors import ExportError
from grunlock.kernels.stack import LayerWeights
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import (
    BagOptions,
    ConvOptions,
    GruOptions,
    LstmOptions,
    PoolingPart,
    WideOptions,
)
from grunlock.recipe.text_options import TextDataOptions
from grunlock.runtime.norms import Affine, read_norm, under
from grunlock.runtime.recurrent import recurrent_layers
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray
from grunlock.text import TextFrontEnd

PORTABLE_ENCODERS = (GruOptions, LstmOptions, ConvOptions, BagOptions)


@dataclass(frozen=True)
class WidePart:
    """A wide path. Of a text's n-grams those in `rows` count, by the weights beside them.

    options: which n-grams there are
    rows:    [M] buckets, rising; None where every bucket has a row (a path that learned with the network)
    rarity:  [M] of each; None with rows
    weights: [M or buckets, K]
    bias:    [K]
    """

    options: WideOptions
    rows: NDArray[np.int32] | None
    rarity: FloatArray | None
    weights: FloatArray
    bias: FloatArray


@dataclass(frozen=True)
class StemLayer:
    """relu(norm(a linear map of a centred window)), added to its input.

    width:  steps of the window
    weight: [width * D, D], a block [D, D] for each step
    bias:   [D]
    norm:   of each row of what the window gives; None without
    """

    width: int
    weight: FloatArray
    bias: FloatArray
    norm: Affine | None


@dataclass(frozen=True)
class PortableModel:
    """Everything that a prediction needs.

    front_end:     text to tokens, or values to features
    keeps_empty:   whether a text without a token is answered; otherwise it is refused
    tokens:        [V, D] vectors; None for series
    ngrams:        [buckets, D] vectors of character n-grams, whose mean is added; None without
    projection:    weight [D, F] and bias [D] of series; None for texts, and where features go in as they are
    encoder:       its options: the kind, and what is no weight
    layers:        of a recurrent encoder: what normalises each layer's input, if anything, and its weights
    windows:       of a convolution: each width's weight [width * O, D] and bias [O]
    pooling:       parts, in the order in which they stand side by side
    pools_inputs:  whether the encoder's inputs stand beside its states, in front of them
    attention:     of pooling parts that attend: arrays as the runtime names them (pooling.PART.*)
    head:          weight [K, E] and bias [K]
    temperature:   logits are divided by it before the softmax
    stem:          what vectors go through in front of the encoder; empty where the target has no stem
    """

    front_end: TextFrontEnd | SeriesFrontEnd
    keeps_empty: bool
    labels: tuple[str, ...]
    tokens: FloatArray | None
    ngrams: FloatArray | None
    projection: tuple[FloatArray, FloatArray] | None
    encoder: GruOptions | LstmOptions | ConvOptions | BagOptions
    layers: tuple[tuple[Affine | None, LayerWeights], ...]
    windows: tuple[tuple[FloatArray, FloatArray], ...]
    pooling: tuple[PoolingPart, ...]
    pools_inputs: bool
    attention: dict[str, FloatArray]
    head: tuple[FloatArray, FloatArray]
    wide: WidePart | None
    temperature: float
    stem: tuple[StemLayer, ...] = ()

    @property
    def kind(self) -> Literal["text", "series"]:
        return "text" if isinstance(self.front_end, TextFrontEnd) else "series"


def portable(artifact: Artifact, where: object) -> PortableModel:
    """The model of an artifact.

    where: what the artifact is called in messages

    Raises ExportError for parts that no target has.
    """
    recipe, weights = artifact.recipe, artifact.weights
    encoder = recipe.encoder
    refuse_unless_portable(recipe, where)
    assert isinstance(encoder, PORTABLE_ENCODERS)
    own = under(weights, "encoder.")
    layers = recurrent_layers(own, encoder) if isinstance(encoder, GruOptions | LstmOptions) else []
    widths = encoder.widths if isinstance(encoder, ConvOptions) else ()
    projection = weights.get("embedding.projection.weight")
    data = recipe.data
    return PortableModel(
        front_end=artifact.front_end,
        keeps_empty=isinstance(data, TextDataOptions) and data.empty_texts == "keep",
        labels=artifact.labels,
        tokens=weights.get("embedding.tokens.weight"),
        ngrams=weights.get("embedding.ngrams.weight"),
        projection=None if projection is None else (projection, weights["embedding.projection.bias"]),
        encoder=encoder,
        layers=tuple(layers),
        windows=tuple((own[f"windows.{i}.weight"], own[f"windows.{i}.bias"]) for i in range(len(widths))),
        pooling=recipe.pooling.parts,
        pools_inputs=recipe.pooling.inputs,
        attention={name: value for name, value in weights.items() if name.startswith("pooling.")},
        head=(weights["head.weight"], weights["head.bias"]),
        wide=_wide(artifact),
        temperature=artifact.temperature,
        stem=_stem(artifact),
    )


def _stem(artifact: Artifact) -> tuple[StemLayer, ...]:
    options, own = artifact.recipe.stem, under(artifact.weights, "stem.")
    layers = []
    for i, width in enumerate(() if options is None else options.widths):
        weight, bias = own[f"windows.{i}.weight"], own[f"windows.{i}.bias"]
        norm = None if options is None else read_norm(own, i, options.norm)
        if norm is not None and not norm.by_row:
            weight = weight * np.tile(norm.gain, width)[:, None]
            bias, norm = bias * norm.gain + norm.shift, None
        layers.append(StemLayer(width, weight, bias, norm))
    return tuple(layers)


def _wide(artifact: Artifact) -> WidePart | None:
    options, weights = artifact.recipe.wide, artifact.weights
    if options is None:
        return None
    table = weights["wide.weights.weight"]
    if options.training == "together":
        return WidePart(options, None, None, table, np.zeros(table.shape[1], np.float32))
    rows: NDArray[np.int32] = weights["wide.rows"].astype(np.int32)
    return WidePart(options, rows, weights["wide.rarity"], table, weights["wide.bias"])


def refuse_unless_portable(recipe: Recipe, where: object) -> None:
    """Raises ExportError for what no target has: chunks, layers of attention, a norm inside the cell,
    zoneout, a scan or a Transformer."""
    encoder = recipe.encoder
    cell = encoder if isinstance(encoder, GruOptions | LstmOptions) else None
    faults = {  # whether it is there, and what a training without it needs
        f'encoder.kind = "{encoder.kind}"': (not isinstance(encoder, PORTABLE_ENCODERS), "encoder.kind=gru"),
        "chunks": (recipe.chunks is not None, "chunks=off"),
        "layers of attention": (recipe.attention is not None, "attention=off"),
        "encoder.cell_norm": (cell is not None and cell.cell_norm, "encoder.cell_norm=false"),
        "encoder.zoneout": (cell is not None and cell.zoneout > 0, "encoder.zoneout=0"),
    }
    found = {name: setting for name, (there, setting) in faults.items() if there}
    if found:
        raise ExportError(
            "No target has a part of this model.",
            where=where,
            got=", ".join(found),
            expected='an encoder "gru", "lstm", "conv" or "bag" without '
            "chunks, attention layers, cell_norm and zoneout",
            cure="train with " + " ".join(f"--set {setting}" for setting in found.values()),
        )
