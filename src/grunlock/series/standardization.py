"""Standardised channels, fitted on the training series, and missing values as zeros with indicators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import DataError
from grunlock.shapes import FloatArray, check_shape

ROWS_AT_ONCE = 1 << 16  # in double precision, so that memory-mapped values need not fit twice
KEYS = ("channels", "mean", "scale", "indicators")


@dataclass(frozen=True)
class Standardization:
    """How values become what a network reads.

    channels:   [C] names, in the order of mean and scale
    mean:       [C] float32, in the channel's unit
    scale:      [C] float32 standard deviation, in the channel's unit; 1 for a constant channel
    indicators: rising places of the channels with missing values in training; each gets a 0/1 column
    """

    channels: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    indicators: tuple[int, ...]

    @property
    def num_features(self) -> int:
        """Columns of `fill`."""
        return len(self.channels) + len(self.indicators)

    def apply(self, values: FloatArray) -> FloatArray:
        """(values - mean) / scale of [steps, C], computed in double precision; missing values stay NaN.

        Raises ShapeError for another number of channels, DataError if a result is too large for float32.
        """
        check_shape("values", values.shape, (None, len(self.channels)), "[steps, C]")
        with np.errstate(over="ignore"):
            result = (values.astype(np.float64) - self.mean) / self.scale
            narrow: FloatArray = result.astype(np.float32)
        if np.isinf(narrow).any():
            row, channel = np.argwhere(np.isinf(narrow))[0].tolist()
            raise DataError(
                "A value is too far from those of training.",
                where=f"step {row + 1}, channel {self.channels[channel]}",
                got=values[row, channel],
                expected=f"values around {self.mean[channel]:.4g} ± {self.scale[channel]:.4g}",
                cure="check the channel's unit",
            )
        return narrow

    def fill(self, standardised: FloatArray) -> FloatArray:
        """[steps, C + indicators] of what `apply` gave: 0 (the mean) where missing, then the indicators.

        An indicator is 1 where its channel's value is missing. A channel without one, because training had
        no missing value there, is 0 where missing and says nothing more.
        """
        missing = np.isnan(standardised)
        flags = missing[:, list(self.indicators)].astype(np.float32)
        return np.concatenate([np.where(missing, np.float32(0), standardised), flags], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; `from_dict` gives the same numbers back."""
        return {
            "channels": list(self.channels),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "indicators": list(self.indicators),
        }

    @classmethod
    def from_dict(cls, stored: object, where: object = "standardization") -> "Standardization":
        """Read what `to_dict` made. Raises DataError naming the key that is wrong."""
        if not isinstance(stored, Mapping) or set(stored) != set(KEYS):
            got = ", ".join(map(str, stored)) if isinstance(stored, Mapping) else type(stored).__name__
            raise _wrong(where, got or "no key", f"the keys {', '.join(KEYS)}")
        channels = stored["channels"]
        if not isinstance(channels, list) or not channels or not all(isinstance(c, str) for c in channels):
            raise _wrong(f"{where}.channels", channels, "a list of names")
        mean = _numbers(stored["mean"], len(channels), f"{where}.mean")
        scale = _numbers(stored["scale"], len(channels), f"{where}.scale")
        if not (scale > 0).all():
            raise _wrong(f"{where}.scale", stored["scale"], "numbers above 0")
        places = stored["indicators"]
        whole = isinstance(places, list) and all(type(place) is int for place in places)
        if not whole or places != sorted(set(places)) or any(not 0 <= p < len(channels) for p in places):
            raise _wrong(f"{where}.indicators", places, f"rising places from 0 to {len(channels) - 1}")
        return cls(tuple(channels), mean, scale, tuple(places))


def fit_standardization(
    values: FloatArray, channels: Sequence[str]
) -> tuple[Standardization, tuple[str, ...]]:
    """Mean and standard deviation (of the population) of each channel's present values, in double precision.

    values: [steps, C] of the training series only; nothing of valid or test may enter.

    Returns the standardisation and notes on channels that cannot be standardised: a constant one gets
    scale 1, one without any value mean 0 and scale 1.
    """
    lowest, highest, count, total = _ranges(values)
    mean = total / np.maximum(count, 1)
    squares = np.zeros(len(mean))
    for start in range(0, len(values), ROWS_AT_ONCE):
        squares += np.nansum((values[start : start + ROWS_AT_ONCE].astype(np.float64) - mean) ** 2, axis=0)
    scale = np.sqrt(squares / np.maximum(count, 1)).astype(np.float32)
    void = count == 0
    # A spread that float32 rounds to nothing cannot be divided by either.
    constant = ~void & ((lowest == highest) | (scale < np.finfo(np.float32).tiny))
    scale[void | constant] = 1
    notes = [f"channel {channels[i]} is constant: its scale is 1" for i in np.flatnonzero(constant).tolist()]
    notes += [
        f"channel {channels[i]} has no value: it is 0 throughout" for i in np.flatnonzero(void).tolist()
    ]
    indicators = tuple(np.flatnonzero(count < len(values)).tolist())
    fitted = Standardization(tuple(channels), mean.astype(np.float32), scale, indicators)
    return fitted, tuple(notes)


def _ranges(values: FloatArray) -> tuple[NDArray[np.float64], ...]:
    """[C] each: lowest, highest, number and sum of the present values"""
    num_channels = values.shape[1]
    lowest, highest = np.full(num_channels, np.inf), np.full(num_channels, -np.inf)
    count, total = np.zeros(num_channels), np.zeros(num_channels)
    for start in range(0, len(values), ROWS_AT_ONCE):
        rows = values[start : start + ROWS_AT_ONCE].astype(np.float64)
        lowest = np.fmin(lowest, np.fmin.reduce(rows, axis=0))
        highest = np.fmax(highest, np.fmax.reduce(rows, axis=0))
        count += np.count_nonzero(~np.isnan(rows), axis=0)
        total += np.nansum(rows, axis=0)
    return lowest, highest, count, total


def _numbers(stored: object, count: int, where: str) -> FloatArray:
    """[count] finite float32"""
    expected = f"{count} finite numbers, one for each channel"
    if not isinstance(stored, list) or not all(type(number) in (int, float) for number in stored):
        raise _wrong(where, stored, expected)
    with np.errstate(over="ignore"):
        numbers = np.array(stored, np.float64).astype(np.float32)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise _wrong(where, stored, expected)
    return numbers


def _wrong(where: object, got: object, expected: str) -> DataError:
    return DataError(
        "The stored standardisation is damaged.", where=where, got=str(got)[:80], expected=expected
    )
