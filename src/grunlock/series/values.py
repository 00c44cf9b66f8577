"""Numbers that a caller gives as steps of a series, fit to be read."""

from collections.abc import Sequence

import numpy as np

from grunlock.errors import DataError
from grunlock.shapes import FloatArray


def numbers(values: object, where: str, expected: str) -> FloatArray:
    """An array of float32. Raises DataError for what is none."""
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which refuse_infinite sees
            return np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(
            "A series is not an array of numbers.", where=where, got=str(values)[:80], expected=expected
        ) from error


def refuse_infinite(steps: FloatArray, channels: Sequence[str], where: str) -> None:
    """steps: [n, C]. Raises DataError naming the step and the channel."""
    if np.isinf(steps).any():
        step, channel = np.argwhere(np.isinf(steps))[0].tolist()
        raise DataError(
            "A value is infinite.",
            where=f"{where}, step {step + 1}, {channels[channel]}",
            got=steps[step, channel],
            expected="a finite number, or NaN where it is missing",
        )
