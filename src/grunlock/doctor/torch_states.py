"""What a state dict says about the network it belongs to: by names and shapes, and no further."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grunlock.doctor.foreign import Dense, Embedding, ForeignModel, GruLayer, Kind, Norm, Padding
from grunlock.doctor.options import Told, still_unknown
from grunlock.errors import DoctorError
from grunlock.kernels.stack import DirectionWeights
from grunlock.shapes import FloatArray

RECURRENT = re.compile(r"^(?P<prefix>.*?)weight_(?P<of>ih|hh)(?:_l(?P<layer>\d+)(?P<reverse>_reverse)?)?$")
GATES = 3
OTHER_CELLS = {1: "a plain RNN", 4: "an LSTM"}
BATCH_NORM_EPS = 1e-5  # torch's default; the file does not say


@dataclass(frozen=True)
class StateDict:
    """where: how it is called in messages. arrays: by name, in the order in which they were defined."""

    kind: Kind
    where: str
    arrays: Mapping[str, FloatArray]
    narrow: str | None = None


def describe(state: StateDict, told: Told) -> ForeignModel:
    """The network that the names and shapes speak of.

    Raises DoctorError if there is no GRU among them, or shapes that do not fit each other.
    """
    layers, used = _gru_layers(state)
    embedding, of_embedding = _embedding(state, layers[0].input_size, used)
    used |= of_embedding
    norms, of_norms = _norms(state, layers, used)
    used |= of_norms
    head, of_head = _head(state, layers[-1].output_size, used)
    used |= of_head
    left = [name for name in state.arrays if name not in used]
    knows = None if told.lengths is None else told.lengths == "ignored"
    model = ForeignModel(
        kind=state.kind,
        where=state.where,
        embedding=embedding,
        layers=layers,
        pooling=told.pooling,
        padding=Padding(gru=knows, pooling=knows),
        norms=norms,
        head=head,
        other=tuple(left),
        facts={"narrow": state.narrow},
    )
    check_pooling(model, told)
    return ForeignModel(**{**vars(model), "unknown": still_unknown(model)})


def check_pooling(model: ForeignModel, told: Told) -> None:
    """Raises DoctorError if what is told does not fit the head."""
    if told.pooling is None or not model.head or "flatten" in told.pooling:
        return
    wanted, there = len(told.pooling) * model.layers[-1].output_size, model.head[0].weight.shape[1]
    if wanted != there:
        raise DoctorError(
            "The pooling does not fit the layer that reads it.",
            where=model.where,
            got=f"--pooling {','.join(told.pooling)}, which gives {wanted} numbers",
            expected=f"the {there} that {model.head[0].name} reads",
        )


def _gru_layers(state: StateDict) -> tuple[tuple[GruLayer, ...], set[str]]:
    """All GRU layers in the order of the file, and the names of their arrays."""
    found: dict[tuple[str, int], list[bool]] = {}
    for name in state.arrays:
        match = RECURRENT.match(name)
        if match is not None and match["of"] == "hh":
            key = match["prefix"], int(match["layer"] or 0)
            found.setdefault(key, []).append(match["reverse"] is not None)
    if not found:
        raise DoctorError(
            "There is no GRU in this file.",
            where=state.where,
            got=f"{len(state.arrays)} arrays: {', '.join(list(state.arrays)[:6])}"
            + (", ..." if len(state.arrays) > 6 else ""),
            expected="weight_ih_l0 and weight_hh_l0, as torch.nn.GRU names its weights",
            cure="give the file of the model that holds the GRU",
        )
    used: set[str] = set()
    layers = []
    for (prefix, index), reverses in sorted(found.items(), key=lambda item: list(found).index(item[0])):
        directions = []
        for reverse in sorted(reverses):
            directions.append(_direction(state, prefix, index, reverse, used))
        layers.append(GruLayer(f"{prefix.rstrip('.') or 'gru'}, layer {index}", tuple(directions), True))
    return tuple(layers), used


def _direction(state: StateDict, prefix: str, index: int, reverse: bool, used: set[str]) -> DirectionWeights:
    plain = f"{prefix}weight_hh" in state.arrays  # a cell, whose names have no layer
    suffix = "" if plain else f"_l{index}{'_reverse' if reverse else ''}"
    names = {part: f"{prefix}{part}{suffix}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    weight_hh = state.arrays[names["weight_hh"]]
    weight_ih = state.arrays.get(names["weight_ih"])
    if weight_ih is None or weight_hh.ndim != 2 or weight_ih.ndim != 2:
        raise _misfit(state, names["weight_ih"], weight_ih, "a matrix [3H, D] beside weight_hh [3H, H]")
    rows, hidden = weight_hh.shape
    if rows != GATES * hidden:
        other = OTHER_CELLS.get(rows // hidden if hidden and rows % hidden == 0 else 0)
        raise DoctorError(
            "This is no GRU." if other else "A recurrent matrix has no shape of a GRU's.",
            where=f"{state.where}, {names['weight_hh']}",
            got=f"[{rows}, {hidden}]" + (f", the shape of {other}" if other else ""),
            expected=f"[3H, H], such as [{GATES * hidden}, {hidden}]",
            cure="`grunlock duel` compares GRU and LSTM on your data" if other == "an LSTM" else None,
        )
    biases = {}
    for part in ("bias_ih", "bias_hh"):
        value = state.arrays.get(names[part])
        biases[part] = np.zeros(rows, np.float32) if value is None else value
        if biases[part].shape != (rows,):
            raise _misfit(state, names[part], biases[part], f"[{rows}]")
    if weight_ih.shape[0] != rows:
        raise _misfit(state, names["weight_ih"], weight_ih, f"[{rows}, D]")
    used |= set(names.values())
    return DirectionWeights(weight_ih, weight_hh, **biases)


def _misfit(state: StateDict, name: str, value: FloatArray | None, expected: str) -> DoctorError:
    return DoctorError(
        "Weights of the GRU do not fit together.",
        where=f"{state.where}, {name}",
        got="nothing" if value is None else list(value.shape),
        expected=expected,
        cure="save the whole state dict again",
    )


def _embedding(state: StateDict, input_size: int, used: set[str]) -> tuple[Embedding | None, set[str]]:
    """The first matrix in front of the GRU whose rows are what the GRU reads and that has no bias."""
    for name, value in state.arrays.items():
        if name in used:
            break  # what comes behind the GRU was not in front of it
        if value.ndim == 2 and value.shape[1] == input_size and not _bias_of(name, state):
            return Embedding(name, value), {name}
    named = [
        name
        for name, value in state.arrays.items()
        if "emb" in name.lower() and value.ndim == 2 and value.shape[1] == input_size
    ]
    return (Embedding(named[0], state.arrays[named[0]]), {named[0]}) if named else (None, set())


def _bias_of(name: str, state: StateDict) -> str | None:
    beside = f"{name.removesuffix('weight')}bias"
    return beside if name.endswith("weight") and beside in state.arrays else None


def _norms(state: StateDict, layers: Sequence[GruLayer], used: set[str]) -> tuple[tuple[Norm, ...], set[str]]:
    """Norms over batches, told by their running means; in front of the GRU where they are as wide as that."""
    found, names = [], set()
    order, first_gru = (
        list(state.arrays),
        min(list(state.arrays).index(name) for name in used if name in state.arrays),
    )
    for name in state.arrays:
        if not name.endswith("running_mean"):
            continue
        prefix = name.removesuffix("running_mean")
        variance = state.arrays[f"{prefix}running_var"]
        ones = np.ones_like(variance)
        gain = state.arrays.get(f"{prefix}weight", ones) / np.sqrt(variance + np.float32(BATCH_NORM_EPS))
        shift = state.arrays.get(f"{prefix}bias", 0 * ones) - state.arrays[name] * gain
        in_front = len(gain) == layers[0].input_size and (
            len(gain) != layers[-1].output_size or order.index(name) < first_gru
        )
        place = "embedding" if in_front else "pooled"
        found.append(Norm(prefix.rstrip("."), gain, shift, place, masked=False))  # type: ignore[arg-type]
        names |= {n for part in ("running_mean", "running_var", "weight", "bias") if (n := prefix + part)}
    return tuple(found), names


def _head(state: StateDict, size: int, used: set[str]) -> tuple[tuple[Dense, ...], set[str]]:
    """Linear layers, the first one of states, size E each, the others of what the one before gives."""
    layers: list[Dense] = []
    names: set[str] = set()
    for name, weight in state.arrays.items():
        if name in used or weight.ndim != 2 or not name.endswith("weight"):
            continue
        width = weight.shape[1]
        if width != len(layers[-1].bias) if layers else width % size:
            continue
        beside = _bias_of(name, state)
        bias = np.zeros(len(weight), np.float32) if beside is None else state.arrays[beside]
        layers.append(Dense(name.removesuffix(".weight"), weight, bias))
        names |= {name, *([beside] if beside else [])}
    if len(layers) > 1:  # what stands between linear layers is not in a state dict
        layers = [
            Dense(each.name, each.weight, each.bias, "linear" if i == len(layers) - 1 else "unknown")
            for i, each in enumerate(layers)
        ]
    return tuple(layers), names
