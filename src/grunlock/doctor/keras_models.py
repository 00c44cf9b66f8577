"""What the layers of a Keras model compute: the description, with what Keras does to masks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.doctor.foreign import (
    AtPads,
    Dense,
    Dropout,
    Embedding,
    ForeignModel,
    GruLayer,
    Norm,
    Padding,
    Part,
    Place,
    WordList,
)
from grunlock.doctor.keras_files import SAVE_AGAIN, KerasLayer, KerasModel, read_keras
from grunlock.errors import DoctorError
from grunlock.kernels.stack import DirectionWeights
from grunlock.shapes import FloatArray

POOLING: dict[str, Part] = {
    "GlobalMaxPooling1D": "max",
    "GlobalMaxPool1D": "max",
    "GlobalAveragePooling1D": "mean",
    "GlobalAvgPool1D": "mean",
    "Flatten": "flatten",
}
WITHOUT_EFFECT = ("InputLayer", "Activation", "Rescaling")
TEXT_LAYER = "TextVectorization"


@dataclass
class _Walk:
    """What has been met on the way from the input, layer after layer."""

    where: str
    embedding: Embedding | None = None
    masked: bool = False
    layers: list[GruLayer] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    pool_reads_pads: bool = False
    at_pads: AtPads = "states"
    sequences: bool = True
    norms: list[Norm] = field(default_factory=list)
    head: list[Dense] = field(default_factory=list)
    dropouts: list[Dropout] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    options: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    words: WordList | None = None
    softmax: int = 0
    last_dropped: str | None = None  # a dropout behind the last dense layer so far


def describe_keras(path: Path) -> ForeignModel:
    """Raises DoctorError for files that cannot be read and models without a GRU."""
    model = read_keras(path)
    walk = _Walk(model.where)
    for layer in _on_the_way(model):
        try:
            _take(walk, layer)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise _broken(model.where, f"{layer.name}: {type(error).__name__} {error}") from error
    if not walk.layers:
        kinds = ", ".join(dict.fromkeys(layer.kind for layer in model.layers))
        raise DoctorError(
            "There is no GRU in this model.",
            where=path,
            got=f"layers {kinds}",
            expected="a layer GRU, or Bidirectional around one",
        )
    reads_pads = not walk.masked
    return ForeignModel(
        kind="Keras 3 file",
        where=model.where,
        embedding=walk.embedding,
        layers=tuple(walk.layers),
        pooling=tuple(walk.parts) or ("last",),
        padding=Padding(
            reads_pads,
            reads_pads or walk.pool_reads_pads,
            walk.at_pads,
            knowing=("mean",) if walk.masked else (),
        ),
        norms=tuple(walk.norms),
        head=tuple(walk.head),
        dropouts=tuple(
            replace(each, place="logits")
            if (each.name, each.place) == (walk.last_dropped, "hidden")
            else each
            for each in walk.dropouts
        ),
        other=tuple(walk.other),
        words=walk.words,
        facts={"keras": model.version, "options": walk.options, "num_softmax": walk.softmax},
    )


def _on_the_way(model: KerasModel) -> list[KerasLayer]:
    """The layers that the output depends on, in the order of the file."""
    by_name, wanted, waiting = {layer.name: layer for layer in model.layers}, set(), [model.output]
    while waiting:
        name = waiting.pop()
        if name in wanted:
            continue
        if name not in by_name:
            raise _broken(model.where, f"{name} is read and is not there")
        wanted.add(name)
        waiting += by_name[name].inputs
    return [layer for layer in model.layers if layer.name in wanted]


def _take(walk: _Walk, layer: KerasLayer) -> None:
    """One more layer."""
    walk.options[layer.name] = layer.settings
    kind, settings = layer.kind, layer.settings
    if kind == "Embedding":
        table = _arrays(walk, layer, "", ((settings.get("input_dim"), settings.get("output_dim")),))[0]
        walk.masked = walk.masked or bool(settings.get("mask_zero"))
        walk.embedding = Embedding(layer.name, table, padding_id=0)
    elif kind == "Masking" and walk.embedding is None:
        walk.masked = True
    elif kind in ("GRU", "Bidirectional"):
        _take_gru(walk, layer)
    elif kind in POOLING:
        walk.parts.append(POOLING[kind])
        walk.sequences = False
        if walk.masked and POOLING[kind] != "mean":
            walk.pool_reads_pads = True  # these two layers of Keras do not know masks
    elif kind == "Dense":
        _take_dense(walk, layer)
    elif kind in ("Dropout", "SpatialDropout1D"):
        rate = float(settings.get("rate", 0))
        walk.dropouts.append(Dropout(layer.name, rate, _place(walk), rate > 0))
        walk.last_dropped = layer.name
    elif kind == "BatchNormalization":
        _take_norm(walk, layer)
    elif kind == TEXT_LAYER:
        walk.words = _words(layer)
    elif walk.head and (kind == "Softmax" or settings.get("activation") == "softmax"):
        walk.softmax += 1
        if walk.head[-1].activation == "linear":
            walk.head[-1] = replace(walk.head[-1], activation="softmax")
    elif kind == "Concatenate":
        if not walk.parts:
            walk.other.append(f"{layer.name} ({kind})")
    elif kind not in WITHOUT_EFFECT or settings.get("activation") not in (None, "linear"):
        walk.other.append(f"{layer.name} ({kind})")


def _place(walk: _Walk) -> Place:
    if walk.softmax:
        return "probs"
    if not walk.layers:
        return "embedding"
    return "hidden" if walk.head else "pooled"


def _take_gru(walk: _Walk, layer: KerasLayer) -> None:
    both = layer.kind == "Bidirectional"
    inner = layer.settings["layer"]["config"] if both else layer.settings
    if both and layer.settings["layer"].get("class_name") != "GRU":
        walk.other.append(f"{layer.name} (Bidirectional {layer.settings['layer'].get('class_name')})")
        return
    if both and layer.settings.get("merge_mode") != "concat":
        walk.other.append(f"{layer.name} (merge_mode={layer.settings.get('merge_mode')})")
    if walk.parts or not walk.sequences or inner.get("go_backwards"):
        walk.other.append(f"{layer.name} (a GRU that does not read a sequence forward)")
    walk.options[layer.name] = inner
    size = walk.layers[-1].output_size if walk.layers else None
    if size is None and walk.embedding is not None:
        size = walk.embedding.weight.shape[1]
    parts = ("forward_layer", "backward_layer") if both else ("",)
    directions = tuple(_direction(walk, layer, part, inner, size) for part in parts)
    walk.layers.append(
        GruLayer(
            layer.name,
            directions,
            bool(inner.get("reset_after", True)),
            str(inner.get("activation")),
            str(inner.get("recurrent_activation")),
        )
    )
    if inner.get("dropout"):
        walk.dropouts.append(Dropout(f"{layer.name} (dropout)", float(inner["dropout"]), "recurrent"))
    walk.sequences = bool(inner.get("return_sequences"))
    walk.at_pads = ("zero" if inner.get("zero_output_for_mask") else "held") if walk.masked else "states"


def _direction(
    walk: _Walk, layer: KerasLayer, part: str, settings: Mapping[str, Any], size: int | None
) -> DirectionWeights:
    units = settings.get("units")
    gates = 3 * units if isinstance(units, int) else None
    shapes: tuple[tuple[int | None, ...], ...] = ((size, gates), (units, gates))
    has_bias, after = settings.get("use_bias", True), settings.get("reset_after", True)
    if has_bias:
        shapes += ((2, gates),) if after else ((gates,),)
    arrays = _arrays(walk, layer, part, shapes)
    bias_ih = bias_hh = np.zeros(arrays[0].shape[1], np.float32)
    if has_bias:
        bias_ih, bias_hh = (arrays[2][0], arrays[2][1]) if after else (arrays[2], np.zeros_like(arrays[2]))
    return DirectionWeights(
        swap_gates(arrays[0].T), swap_gates(arrays[1].T), swap_gates(bias_ih), swap_gates(bias_hh)
    )


def swap_gates(rows: FloatArray) -> FloatArray:
    """Blocks update, reset, candidate on the first axis to reset, update, candidate, or back."""
    first, second, candidate = np.split(rows, 3)
    return np.ascontiguousarray(np.concatenate([second, first, candidate]))


def _take_dense(walk: _Walk, layer: KerasLayer) -> None:
    if not walk.layers or (walk.sequences and not walk.parts):
        walk.other.append(f"{layer.name} (Dense on every step)")
        return
    units = layer.settings.get("units")
    has_bias = layer.settings.get("use_bias", True)
    arrays = _arrays(walk, layer, "", ((None, units), (units,)) if has_bias else ((None, units),))
    bias = arrays[1] if has_bias else np.zeros(arrays[0].shape[1], np.float32)
    activation = str(layer.settings.get("activation"))
    walk.softmax += activation == "softmax"
    walk.head.append(Dense(layer.name, np.ascontiguousarray(arrays[0].T), bias, activation))
    walk.last_dropped = None


def _take_norm(walk: _Walk, layer: KerasLayer) -> None:
    if walk.head or (walk.layers and walk.sequences and not walk.parts):
        walk.other.append(f"{layer.name} (BatchNormalization here)")
        return
    settings = layer.settings
    scale, center = settings.get("scale", True), settings.get("center", True)
    arrays = list(_arrays(walk, layer, "", ((None,),) * (2 + scale + center)))
    gain = arrays.pop(0) if scale else None
    shift = arrays.pop(0) if center else None
    mean, variance = arrays
    gain = (np.ones_like(mean) if gain is None else gain) / np.sqrt(
        variance + np.float32(settings["epsilon"])
    )
    shift = (np.zeros_like(mean) if shift is None else shift) - mean * gain
    place = "pooled" if walk.layers else "embedding"
    walk.norms.append(Norm(layer.name, gain, shift, place, walk.masked))  # type: ignore[arg-type]


def _arrays(
    walk: _Walk, layer: KerasLayer, part: str, shapes: tuple[tuple[int | None, ...], ...]
) -> tuple[FloatArray, ...]:
    """The layer's arrays. Raises DoctorError unless there are so many, of these shapes."""
    found = layer.weights.get(part, ())
    fits = len(found) == len(shapes) and all(
        a.ndim == len(s) and all(w is None or w == n for w, n in zip(s, a.shape, strict=True))
        for a, s in zip(found, shapes, strict=True)
    )
    if not fits:
        raise DoctorError(
            "The weights of a layer are missing or have other shapes than its settings say.",
            where=f"{walk.where}, {layer.name}{f', {part}' if part else ''}",
            got=", ".join(str(list(a.shape)) for a in found) or "no arrays",
            expected=", ".join(str(["any" if n is None else n for n in s]) for s in shapes),
            cure=SAVE_AGAIN,
        )
    return found


STANDARDS = (None, "lower", "strip_punctuation", "lower_and_strip_punctuation")


def _words(layer: KerasLayer) -> WordList | None:
    """What TextVectorization knows; None where it cuts texts in a way of its own. Id 0 is padding, 1 what is
    unknown."""
    settings = layer.settings
    standardize, split = settings.get("standardize"), settings.get("split")
    plain = standardize in STANDARDS and split in ("whitespace", "character") and not settings.get("ngrams")
    if not plain:
        return None
    stored = settings.get("vocabulary") or layer.stored_words
    words = [str(word) for word in stored if word not in ("", "[UNK]")]
    return WordList(
        ids={word: i + 2 for i, word in enumerate(words)},
        unknown_id=1,
        split="characters" if split == "character" else "whitespace",
        lowercase=standardize in ("lower", "lower_and_strip_punctuation"),
        strip_punctuation=standardize in ("strip_punctuation", "lower_and_strip_punctuation"),
    )


def _broken(where: str, got: str) -> DoctorError:
    return DoctorError("The layers of the model do not fit together.", where=where, got=got, cure=SAVE_AGAIN)
