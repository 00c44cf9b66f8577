"""Recurrent layers, pooling and head as C arrays."""

import numpy as np

from grunlock.export.c.constants import Constants, braced
from grunlock.export.c.matrices import matrix
from grunlock.export.c.stem_part import stem_part
from grunlock.export.portable import PortableModel
from grunlock.kernels import NORM_EPS
from grunlock.kernels.stack import DirectionWeights, LayerWeights
from grunlock.recipe.model_options import BagOptions, GruOptions, LstmOptions
from grunlock.runtime.norms import Affine
from grunlock.shapes import FloatArray

SUFFIXES = ("forward", "backward")


def network_part(constants: Constants, model: PortableModel, input_size: int) -> None:
    """Everything behind the vectors of steps. input_size: D."""
    encoder = model.encoder
    recurrent = encoder if isinstance(encoder, GruOptions | LstmOptions) else None
    hidden = 0 if recurrent is None else recurrent.hidden_size
    directions = 2 if recurrent is not None and recurrent.bidirectional else 1
    pools_inputs = model.pools_inputs or isinstance(encoder, BagOptions)
    pooled = directions * hidden + (input_size if pools_inputs else 0)
    num_layers = len(model.layers)
    constants.macros |= {
        "NUM_CLASSES": len(model.labels),
        "INPUT_SIZE": input_size,
        "HIDDEN_SIZE": hidden,
        "NUM_LAYERS": num_layers,
        "BIDIRECTIONAL": int(directions == 2),
        "LSTM": int(isinstance(encoder, LstmOptions)),
        "RESET_AFTER": int(isinstance(encoder, GruOptions) and encoder.reset_after),
        "NORM": int(any(norm is not None for norm, _ in model.layers)),
        "NORM_EPS": float(np.float32(NORM_EPS)),
        "NUM_STATES": 2 if directions == 2 else num_layers,
        "NUM_KEPT": min(2, num_layers - 1) if directions == 2 else 0,
        "POOLS_INPUTS": int(pools_inputs),
        "POOLED_SIZE": pooled,
        "TEMPERATURE": float(np.float32(model.temperature)),
        **{f"POOLS_{part.upper()}": 1 for part in model.pooling},
        **{f"{part.upper()}_AT": pooled * i for i, part in enumerate(model.pooling)},
    }
    stem_part(constants, model.stem)
    _layers(constants, model.layers)
    _head(constants, model)


def _layers(constants: Constants, layers: tuple[tuple[Affine | None, LayerWeights], ...]) -> None:
    rows = []
    for i, (norm, layer) in enumerate(layers):
        name = f"layer_{i}"
        head = ["0", "0"] if constants.macros["NORM"] else []
        if norm is not None:
            head = [
                constants.array(f"{name}_gain", norm.gain.astype(np.float32)),
                constants.array(f"{name}_shift", norm.shift.astype(np.float32)),
            ]
        directions = [
            _direction(constants, f"{name}_{suffix}", layer, weights)
            for suffix, weights in zip(SUFFIXES, layer.directions, strict=False)
        ]
        rows.append(braced([*head, layer.input_size, "\n  " + braced(directions)]))
    if rows:
        body = ",\n ".join(rows)
        constants.define(f"const grunlock_layer grunlock_layers[GRUNLOCK_NUM_LAYERS] = {{\n {body}}};")


def _direction(constants: Constants, name: str, layer: LayerWeights, weights: DirectionWeights) -> str:
    """The gates in the order that grunlock_direction has."""
    if constants.macros["LSTM"]:
        weight_ih, weight_hh = weights.weight_ih, weights.weight_hh
        bias = weights.bias_ih + weights.bias_hh
    else:
        weight_ih, weight_hh = _candidate_first(weights.weight_ih), weights.weight_hh
        r_ih, z_ih, n_ih = weights.bias_ih.reshape(3, -1)
        r_hh, z_hh, n_hh = weights.bias_hh.reshape(3, -1)
        bias = np.concatenate([n_ih, r_ih + r_hh, z_ih + z_hh, n_hh])
    return braced(
        [
            matrix(constants, f"{name}_weight_ih", weight_ih),
            matrix(constants, f"{name}_weight_hh", weight_hh),
            constants.array(f"{name}_bias", bias.astype(np.float32)),
        ]
    )


def _candidate_first(weight: FloatArray) -> FloatArray:
    """[3H, D] from reset, update, candidate to candidate, reset, update."""
    reset, update, candidate = weight.reshape(3, -1, weight.shape[1])
    return np.concatenate([candidate, reset, update])


def _head(constants: Constants, model: PortableModel) -> None:
    weight, bias = model.head
    if model.wide is not None:
        bias = bias + model.wide.bias
    head = matrix(constants, "head", weight, by_rows=True)
    constants.define(f"const grunlock_matrix grunlock_head = {head};")
    constants.array("grunlock_head_bias", bias.astype(np.float32), public=True)
