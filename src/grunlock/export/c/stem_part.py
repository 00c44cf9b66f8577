"""Convolutions in front of the layers as C arrays."""

import numpy as np

from grunlock.export.c.constants import Constants, braced
from grunlock.export.c.matrices import matrix
from grunlock.export.portable import StemLayer
from grunlock.shapes import centred_window


def stem_part(constants: Constants, stem: tuple[StemLayer, ...]) -> None:
    """Windows, and how many steps they keep and look ahead."""
    constants.macros |= {
        "STEM_LAYERS": len(stem),
        "STEM_NORM": int(any(layer.norm is not None for layer in stem)),
        "STEM_ROWS": sum(layer.width for layer in stem),
        "STEM_DELAY": sum(max(centred_window(layer.width)) for layer in stem),
    }
    rows, first_row = [], 0
    for i, layer in enumerate(stem):
        name, head = f"window_{i}", []
        if layer.norm is not None:
            head = [
                constants.array(f"{name}_gain", layer.norm.gain.astype(np.float32)),
                constants.array(f"{name}_shift", layer.norm.shift.astype(np.float32)),
            ]
        weight = matrix(constants, f"{name}_weight", layer.weight)
        bias = constants.array(f"{name}_bias", layer.bias.astype(np.float32))
        rows.append(braced([*head, layer.width, first_row, weight, bias]))
        first_row += layer.width
    if rows:
        body = ",\n ".join(rows)
        constants.define(f"const grunlock_window grunlock_stem[GRUNLOCK_STEM_LAYERS] = {{\n {body}}};")
