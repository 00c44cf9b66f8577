"""Weight matrices and tables of vectors as C arrays: float32, or int8 with a scale for each row, two numbers
in a byte where those of all rows need no more (compression/coarse.py)."""

import numpy as np
from numpy.typing import NDArray

from grunlock.artifact.int8_storage import COARSE_LIMIT, rounded_rows
from grunlock.export.c.constants import Array, Constants, braced, require_finite
from grunlock.shapes import FloatArray

PAGE_VALUES = 1 << 18  # of a table's page, at most


ZERO = 8  # that is added to a number of four bits


def matrix(constants: Constants, name: str, weight: FloatArray, *, by_rows: bool = False) -> str:
    """The initialiser of a grunlock_matrix [rows, columns]. by_rows: of float32 and int8, row after row."""
    require_finite(name, weight)
    rows, columns = weight.shape
    if constants.macros["INT8"]:
        numbers, scales, lows = _numbers(constants, weight, may_halve=not by_rows)
        own = constants.array(name, numbers.reshape(-1))
        own_scales = constants.array(f"{name}_scales", scales.view(np.uint16))
        return braced([own, own_scales, lows, columns])
    values = weight if by_rows else weight.T
    own = constants.array(name, np.ascontiguousarray(values, np.float32).reshape(-1))
    return braced([own, rows, columns])


def table(constants: Constants, name: str, rows: FloatArray, *, may_halve: bool = True) -> None:
    """A grunlock_table of vectors [M, D], in pages. may_halve: whether two numbers may share a byte."""
    if not len(rows):
        rows = np.zeros((1, rows.shape[1]), np.float32)
    require_finite(name, rows)
    values: Array = np.asarray(rows, np.float32)
    scales = ""
    if constants.macros["INT8"]:
        values, halves, lows = _numbers(constants, rows, may_halve=may_halve)
        scales = f"{constants.array(f'{name}_scales', halves.view(np.uint16))}, {lows}, "
    shift = max(1, PAGE_VALUES // rows.shape[1]).bit_length() - 1
    pages = [
        constants.array(f"{name}_{page}", values[start : start + (1 << shift)].reshape(-1))
        for page, start in enumerate(range(0, len(rows), 1 << shift))
    ]
    constants.define(f"static const grunlock_weight *const {name}_pages[] = {braced(pages)};")
    constants.define(f"const grunlock_table grunlock_{name} = {{{name}_pages, {scales}{shift}}};")


def _numbers(
    constants: Constants, rows: FloatArray, *, may_halve: bool
) -> tuple[NDArray[np.int8], NDArray[np.float16], int]:
    """[M, D] as bytes, a scale for each row, and the bytes of a row if two numbers share one, else 0."""
    numbers, scales = rounded_rows(rows)
    if not may_halve or np.abs(numbers).max(initial=0) > COARSE_LIMIT:
        return numbers, scales, 0
    constants.macros["FOUR_BITS"] = 1
    lows = -(-numbers.shape[1] // 2)
    halves = (numbers + ZERO).astype(np.uint8)
    packed = halves[:, :lows].copy()
    packed[:, : halves.shape[1] - lows] |= halves[:, lows:] << 4
    return packed.view(np.int8), scales, lows
