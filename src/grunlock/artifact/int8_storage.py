"""Weights in a quarter of the bytes: matrices as int8 with a scale for each row, bucket numbers as gaps.

    weight = scale[row] * int8        scale: the largest absolute value of the row / 127

Rows that are whole multiples of their largest value / 7 (compression/coarse.py) are stored as these
multiples, exactly, which deflate to half.

A wide path's table whose rows have few distinct values in each part of the classes is stored as these values,
in half precision, and the number of the value that each row has (compression/quantization.py).

Read back they are float32 again: what serves a model does not know how it was stored.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.shapes import FloatArray

SCALE, GAPS, CODES, CENTRES = ".scale", ".gaps", ".codes", ".centres"
TABLE = "wide.weights.weight"
NUM_CENTRES = 256  # a code is a byte
RISING = "wide.rows"  # numbers that rise; their gaps are small
LIMIT, COARSE_LIMIT = 127, 7
SCALE_BYTES = 2  # of a row
FEW_ROWS = 4096
FEWEST_VALUES = 256  # of an array that is worth it
MOST_UNPACKED_BYTES = 2 * 2**30  # of all arrays: a code of one byte may stand for many floats

Weights = dict[str, FloatArray]
Stored = dict[str, NDArray[Any]]


def packed(weights: Weights) -> Stored:
    """The arrays to store. Matrices and long vectors of floats become int8, a vector with one scale."""
    stored: Stored = {}
    for name, value in weights.items():
        found = table_codes(value) if name == TABLE else None
        if found is not None:
            stored[name + CODES], stored[name + CENTRES] = found
        elif name == RISING and len(value) and int(np.diff(value, prepend=0).max()) < 2**16:
            stored[name + GAPS] = np.diff(value, prepend=0).astype(np.uint16)
        elif value.dtype == np.float32 and value.size >= FEWEST_VALUES and "bias" not in name:
            rows, stored[name + SCALE] = rounded_rows(value.reshape(-1, value.shape[-1]))
            stored[name] = rows.reshape(value.shape)
        else:
            stored[name] = value
    return stored


def unpacked(stored: Stored) -> Weights:
    """The weights, int32 and float32. Raises LookupError or ValueError for arrays that do not fit together
    and for more than memory should be asked for."""
    weights: Weights = {}
    num_bytes = sum(_unpacked_bytes(name, value, stored) for name, value in stored.items())
    if num_bytes > MOST_UNPACKED_BYTES:
        raise ValueError(f"{num_bytes} bytes of weights, at most {MOST_UNPACKED_BYTES}")
    for name, value in stored.items():
        if name.endswith((SCALE, CENTRES)):
            continue
        if name.endswith(GAPS):
            weights[name.removesuffix(GAPS)] = np.cumsum(value, dtype=np.int32)
        elif name.endswith(CODES):
            name = name.removesuffix(CODES)
            weights[name] = _decoded(value, stored[name + CENTRES])
        elif value.dtype == np.int8:
            rows = value.reshape(-1, value.shape[-1]).astype(np.float32)
            scale = stored[name + SCALE].astype(np.float32)
            weights[name] = (rows * scale[:, None]).reshape(value.shape)
        else:
            weights[name] = value
    return weights


def rounded_rows(rows: FloatArray) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Of rows [n, D] the int8 values, and the scale of each row [n]."""
    largest = np.abs(rows).max(axis=1, initial=0)
    values, scale = _multiples(rows, largest, LIMIT)
    coarse, step = _multiples(rows, largest, COARSE_LIMIT)
    exact = (coarse * step.astype(np.float32)[:, None] == rows).all(axis=1)
    values[exact], scale[exact] = coarse[exact], step[exact]
    return values.astype(np.int8), scale


def _multiples(rows: FloatArray, largest: FloatArray, limit: int) -> tuple[FloatArray, NDArray[np.float16]]:
    scale = np.maximum(largest / np.float32(limit), np.finfo(np.float16).tiny).astype(np.float16)
    return np.clip(np.rint(rows / scale.astype(np.float32)[:, None]), -limit, limit), scale


def class_parts(num_classes: int, num_parts: int) -> list[slice]:
    """The classes in parts of as many, about, each of which has codes of its own."""
    ends = [int(part[-1]) + 1 for part in np.array_split(np.arange(num_classes), num_parts)]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def table_row_bytes(num_classes: int, num_parts: int | None) -> int:
    """Of an n-gram's weights, before the file is deflated. num_parts: None where rows are int8."""
    return num_classes + SCALE_BYTES if num_parts is None else num_parts


def table_codes(table: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.float16]] | None:
    """Of each row the codes of its parts [M, parts], and the values [256, K]; None where no number of parts
    has few enough values, or where codes would save nothing."""
    num_classes = table.shape[1]
    if len(table) <= NUM_CENTRES or len(np.unique(table[:, 0])) > NUM_CENTRES:
        return None
    counts = range(1, num_classes)
    found = (_codes(table, class_parts(num_classes, count)) for count in counts)
    return next((each for each in found if each is not None), None)


def _codes(table: FloatArray, parts: list[slice]) -> tuple[NDArray[np.uint8], NDArray[np.float16]] | None:
    codes = np.empty((len(table), len(parts)), np.uint8)
    centres = np.zeros((NUM_CENTRES, table.shape[1]), np.float16)
    for i, part in enumerate(parts):
        rows = np.ascontiguousarray(table[:, part])
        if len(np.unique(rows[:FEW_ROWS], axis=0)) > NUM_CENTRES:  # quick to see
            return None
        values, place = np.unique(rows, axis=0, return_inverse=True)
        if len(values) > NUM_CENTRES or (values.astype(np.float16) != values).any():
            return None
        codes[:, i], centres[: len(values), part] = place.ravel(), values
    return codes, centres


def _unpacked_bytes(name: str, value: NDArray[Any], stored: Stored) -> int:
    if name.endswith(CODES):
        return 4 * len(value) * int(stored[name.removesuffix(CODES) + CENTRES].shape[1])
    return 4 * int(value.size)


def _decoded(codes: NDArray[np.uint8], centres: NDArray[np.float16]) -> FloatArray:
    if codes.dtype != np.uint8 or len(centres) != NUM_CENTRES or not 0 < codes.shape[1] <= centres.shape[1]:
        raise ValueError(f"codes of shape {codes.shape} for values of shape {centres.shape}")
    parts = class_parts(centres.shape[1], codes.shape[1])
    values = centres.astype(np.float32)
    return np.concatenate([values[codes[:, i], part] for i, part in enumerate(parts)], axis=1)
