"""Weight matrices and tables of vectors as C arrays, float32 or int8 with a scale for each row."""

import numpy as np
from numpy.typing import NDArray

from grunlock.artifact.int8_storage import LIMIT
from grunlock.export.c.constants import Array, Constants, braced, require_finite
from grunlock.shapes import FloatArray

PAGE_VALUES = 1 << 18  # of a table's page, at most


def quantized(rows: FloatArray) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """[M, D] as int8 and a scale for each row, as artifact/int8_storage.py stores them."""
    scale = np.abs(rows).max(axis=1, initial=0) / np.float32(LIMIT)
    half = np.maximum(scale, np.finfo(np.float16).tiny).astype(np.float16)
    values = np.clip(np.rint(rows / half.astype(np.float32)[:, None]), -LIMIT, LIMIT)
    return values.astype(np.int8), half


def matrix(constants: Constants, name: str, weight: FloatArray, *, by_rows: bool = False) -> str:
    """The initialiser of a grunlock_matrix [rows, columns]. by_rows: also of floats, row after row."""
    require_finite(name, weight)
    rows, columns = weight.shape
    if constants.macros["INT8"]:
        bytes_of, scales = quantized(weight)
        own = constants.array(name, bytes_of.reshape(-1))
        own_scales = constants.array(f"{name}_scales", scales.view(np.uint16))
        return braced([own, own_scales, rows, columns])
    values = weight if by_rows else weight.T
    own = constants.array(name, np.ascontiguousarray(values, np.float32).reshape(-1))
    return braced([own, rows, columns])


def table(constants: Constants, name: str, rows: FloatArray) -> None:
    """A grunlock_table of vectors [M, D], in pages."""
    if not len(rows):
        rows = np.zeros((1, rows.shape[1]), np.float32)
    require_finite(name, rows)
    values: Array = np.asarray(rows, np.float32)
    scales = ""
    if constants.macros["INT8"]:
        bytes_of, halves = quantized(rows)
        values = bytes_of
        scales = f", {constants.array(f'{name}_scales', halves.view(np.uint16))}"
    shift = max(1, PAGE_VALUES // rows.shape[1]).bit_length() - 1
    pages = [
        constants.array(f"{name}_{page}", values[start : start + (1 << shift)].reshape(-1))
        for page, start in enumerate(range(0, len(rows), 1 << shift))
    ]
    constants.define(f"static const grunlock_weight *const {name}_pages[] = {braced(pages)};")
    constants.define(f"const grunlock_table grunlock_{name} = {{{name}_pages, {shift}{scales}}};")
