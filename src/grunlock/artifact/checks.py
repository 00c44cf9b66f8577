"""What a model file must keep before anything is computed with it.

A checksum says that a file is as it was written, not that whoever wrote it meant well: sizes that disagree
would have compiled code read what is not there, and a number that is not finite answers nothing.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.artifact.weight_shapes import Shape, expected_shapes
from grunlock.errors import ArtifactError
from grunlock.recipe import Derived, Recipe, TextFacts
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray
from grunlock.text.front_end import TextFrontEnd

ROWS, RARITY, TABLE = "wide.rows", "wide.rarity", "wide.weights.weight"
MOST_TEMPERATURE = 1e6  # and its inverse the least; fitted ones are from 0.05 to 20
VARIANCE = ".running_var"

Weights = dict[str, FloatArray]


def read_labels(content: bytes) -> tuple[str, ...]:
    """Raises ValueError for anything but a list of different names."""
    found = json.loads(content)
    if not isinstance(found, list) or not found or not all(isinstance(label, str) for label in found):
        raise ValueError("labels.json is no list of names")
    if len(set(found)) < len(found):
        raise ValueError("labels.json names a label twice")
    return tuple(found)


def read_temperature(stored: Any) -> float:
    """Raises ValueError or TypeError for what no logits can be divided by."""
    found = float(stored)
    if not 1 / MOST_TEMPERATURE <= found <= MOST_TEMPERATURE:
        raise ValueError(f"a temperature of {found}")
    return found


def check_parts(
    path: Path, derived: Derived, front_end: TextFrontEnd | SeriesFrontEnd, labels: tuple[str, ...]
) -> None:
    """Raises ArtifactError where the manifest says otherwise than the members."""
    inputs = derived.facts.inputs
    if isinstance(front_end, TextFrontEnd):
        own: tuple[object, ...] = ("a vocabulary of", front_end.vocab_size)
        stated: tuple[object, ...] = own[:1] + ((inputs.vocab_size,) if isinstance(inputs, TextFacts) else ())
    else:
        own = (front_end.channels, front_end.num_features)
        stated = () if isinstance(inputs, TextFacts) else (inputs.channels, inputs.num_features)
    for name, got, expected in (
        ("labels.json", f"{len(labels)} labels", f"{derived.facts.num_classes} labels"),
        ("what it reads", own, stated),
    ):
        if got != expected:
            raise ArtifactError(
                "The members of the model file do not fit its manifest.",
                where=f"{path}, {name}",
                got=got,
                expected=expected,
            )


def check_weights(path: Path, recipe: Recipe, derived: Derived, weights: Weights) -> None:
    """Raises ArtifactError for an array that is missing, or of another shape or type than the recipe's
    network reads, and for numbers that are not finite."""
    expected = expected_shapes(recipe, derived)
    if recipe.wide_apart is not None:
        expected |= _apart(path, recipe, weights)
    for name, shape in expected.items():
        found, kind = weights.get(name), np.int32 if name == ROWS else np.float32
        if found is None or found.dtype != kind or not _fits(found.shape, shape):
            raise ArtifactError(
                "The weights do not fit the rest of the model file.",
                where=f"{path}, {name}",
                got=None if found is None else f"{list(found.shape)} of {found.dtype}",
                expected=f"{['any' if size is None else size for size in shape]} of {np.dtype(kind)}",
            )
        if kind == np.float32 and not _is_sound(name, found):
            raise ArtifactError(
                "A weight of the model file is no number that can be computed with.",
                where=f"{path}, {name}",
                expected="finite numbers, variances of at least 0",
                cure="train again, with a smaller optim.lr",
            )


def _fits(found: tuple[int, ...], shape: Shape) -> bool:
    return len(found) == len(shape) and all(
        size == wanted if wanted is not None else size > 0 for size, wanted in zip(found, shape, strict=True)
    )


def _is_sound(name: str, values: FloatArray) -> bool:
    """The extremes tell: NaN is both of them."""
    if values.size == 0:
        return True
    lowest, highest = float(values.min()), float(values.max())
    return math.isfinite(lowest) and math.isfinite(highest) and (lowest >= 0 or not name.endswith(VARIANCE))


def _apart(path: Path, recipe: Recipe, weights: Weights) -> dict[str, Shape]:
    """The arrays of a wide path that learned apart, of which each n-gram has a row."""
    rows, buckets = weights.get(ROWS), 0 if recipe.wide is None else recipe.wide.buckets
    count = 0 if rows is None else len(np.atleast_1d(rows))
    table: Shape = (count, weights["head.bias"].size if "head.bias" in weights else 0)
    if rows is not None and rows.ndim == 1 and rows.dtype == np.int32 and not _rises(rows, buckets):
        raise ArtifactError(
            "The n-grams of the model file are in no order.",
            where=f"{path}, {ROWS}",
            expected=f"rising numbers from 0 to {buckets - 1}",
        )
    return {ROWS: (count,), RARITY: (count,), TABLE: table}


def _rises(rows: NDArray[Any], buckets: int) -> bool:
    inside = len(rows) == 0 or (int(rows[0]) >= 0 and int(rows[-1]) < buckets)
    return inside and bool((rows[1:] > rows[:-1]).all())
