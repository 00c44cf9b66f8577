"""The text of one value as a number that fits float32, and what is said of a text that is none."""

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import DataError

MISSING = frozenset({"", "NaN", "nan", "NA"})
FLOAT32_END = (2 - 2.0**-24) * 2.0**127  # the first magnitude that float32 rounds to infinity
SHOWN_CHARACTERS = 40


def number_in(cell: str | None, missing: Collection[str] = MISSING) -> float:
    """The number a cell holds, NaN if it is missing.

    Raises ValueError if the cell holds anything else, or a number that float32 cannot hold; `refused_number`
    says it to the user.
    """
    text = "" if cell is None else cell.strip()
    if text in missing:
        return math.nan
    number = math.nan if "_" in text else float(text)  # float() takes 1_0 for 10
    if -FLOAT32_END < number < FLOAT32_END:
        return number
    raise ValueError(text)


def refused_number(cell: str | None, where: str, cure: str | None = None) -> DataError:
    """What is said about a cell that `number_in` refuses.

    cure: for a cell that holds no number at all.
    """
    shown = repr(cell)[:SHOWN_CHARACTERS]
    try:
        number = math.nan if "_" in str(cell) else float(str(cell))
    except ValueError:
        number = math.nan
    if math.isinf(number) and "inf" in str(cell).lower():
        return DataError(
            "A value is infinite.",
            where=where,
            got=shown,
            expected="a finite number, or an empty cell where it is missing",
        )
    if not math.isnan(number):
        return DataError(
            "A value is too large.",
            where=where,
            got=shown,
            expected=f"at most {np.finfo(np.float32).max:.4g} in magnitude (float32)",
            cure="give the channel another unit",
        )
    return DataError(
        "A value is not a number.",
        where=where,
        got=shown,
        expected="a number with a decimal point, or an empty cell, NaN or NA where it is missing",
        cure=cure,
    )


def too_large(values: NDArray[np.number]) -> NDArray[np.bool_]:
    """Which finite values float32 rounds to infinity."""
    if values.dtype.itemsize <= np.dtype(np.float32).itemsize:
        return np.zeros(values.shape, np.bool_)
    wide = values.astype(np.float64)
    return np.isfinite(wide) & (np.abs(wide) >= FLOAT32_END)
