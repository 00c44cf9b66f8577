"""The series front end: from measured values to the columns a network reads, the same in training and after.

Values are ragged: [steps, C], one series after another, with lengths [B]; NaN where a value is missing.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import DataError
from grunlock.recipe.series_options import SeriesOptions
from grunlock.series.standardization import Standardization, fit_standardization
from grunlock.shapes import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class SeriesFrontEnd:
    """How series become features. Safe to use from many threads.

    standardization: of the channels; with options.each_alone, of what each series' own leaves
    change_scale:    [C] standard deviation of standardised changes in training, None without options.changes
    """

    standardization: Standardization
    change_scale: FloatArray | None
    options: SeriesOptions

    @classmethod
    def fit(
        cls, values: FloatArray, lengths: IntArray, channels: Sequence[str], options: SeriesOptions
    ) -> tuple["SeriesFrontEnd", tuple[str, ...]]:
        """Learn from the training series alone. Also gives notes on channels that say nothing."""
        alone = _each_alone(values, lengths) if options.each_alone else values
        standardization, notes = fit_standardization(alone, channels)
        change_scale = None
        if options.changes:
            changes = _changes(standardization.apply(alone), lengths)
            spread = changes.std(axis=0, dtype=np.float64).astype(np.float32)
            change_scale = np.where(spread > 0, spread, np.float32(1))
        return cls(standardization, change_scale, options), notes

    @property
    def channels(self) -> tuple[str, ...]:
        return self.standardization.channels

    @property
    def num_features(self) -> int:
        """F, the columns of `features`."""
        return self.standardization.num_features + (len(self.channels) if self.options.changes else 0)

    def channel_of_feature(self) -> list[int]:
        """[F] the place of the channel that each column of `features` tells of."""
        every = list(range(len(self.channels)))
        return [*every, *self.standardization.indicators, *(every if self.options.changes else [])]

    def check(self, values: FloatArray, lengths: IntArray, place: Callable[[int], str]) -> None:
        """Raises DataError for a value too large to standardise; place(i) is what series i is called.

        Costs a look for the extremes; the series is looked for only if one of them is too large.
        """
        if self.options.each_alone:
            return  # a value is at most the root of its series' steps
        try:
            self.standardization.apply(np.stack([np.fmin.reduce(values), np.fmax.reduce(values)]))
        except DataError:
            for i, start in enumerate(_starts(lengths).tolist()):
                self._check_series(values[start : start + int(lengths[i])], place(i))

    def _check_series(self, values: FloatArray, place: str) -> None:
        try:
            self.standardization.apply(values)
        except DataError as error:
            raise DataError(
                error.what,
                where=f"{place}, {error.where}",
                got=error.got,
                expected=error.expected,
                cure=error.cure,
            ) from None

    def features(self, values: FloatArray, lengths: IntArray) -> FloatArray:
        """[steps, F]: standardised values, 0 where missing; indicators of missing values; changes.

        Raises ShapeError for another number of channels, and DataError for values too large to standardise
        by their row alone; `check` names the series.
        """
        return self.columns(self.standardize(values, lengths), lengths)

    def standardize(self, values: FloatArray, lengths: IntArray) -> FloatArray:
        """[steps, C] standardised, still NaN where missing. Raises as `features` does."""
        if self.options.each_alone:
            values = _each_alone(values, lengths)
        return self.standardization.apply(values)

    def columns(self, standardised: FloatArray, lengths: IntArray) -> FloatArray:
        """[steps, F] of what `standardize` gave, changed by augmentation perhaps."""
        filled = self.standardization.fill(standardised)
        if self.change_scale is None:
            return filled
        return np.concatenate([filled, _changes(standardised, lengths) / self.change_scale], axis=1)

    def to_json(self) -> str:
        """All but the options, which the recipe keeps."""
        scale = None if self.change_scale is None else self.change_scale.tolist()
        stored = {"standardization": self.standardization.to_dict(), "change_scale": scale}
        return json.dumps(stored, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, stored: str, options: SeriesOptions) -> "SeriesFrontEnd":
        """Raises DataError if it is not what `to_json` made with these options."""
        try:
            facts = json.loads(stored)
            standardization = Standardization.from_dict(facts["standardization"])
            scale = facts["change_scale"]
            if (scale is not None) != options.changes:
                raise ValueError(f"change_scale {scale}, but series.changes is {options.changes}")
            numbers = None if scale is None else np.array(scale, np.float32)
            if numbers is not None and not _are_scales(numbers, len(standardization.channels)):
                raise ValueError(f"change_scale {scale}")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("The stored series front end is damaged.", got=error) from error
        return cls(standardization, numbers, options)


def _are_scales(numbers: FloatArray, count: int) -> bool:
    return numbers.shape == (count,) and bool(((numbers > 0) & np.isfinite(numbers)).all())


def _changes(values: FloatArray, lengths: IntArray) -> FloatArray:
    """[steps, C] value minus the value a step before; 0 at first steps and where either is missing"""
    changes = np.zeros_like(values)
    np.subtract(values[1:], values[:-1], out=changes[1:])
    changes[_starts(lengths)] = 0
    changes[np.isnan(changes)] = 0
    return changes


def _each_alone(values: FloatArray, lengths: IntArray) -> FloatArray:
    """[steps, C] less the series' own mean, over its own deviation (1 where it is constant)"""
    starts = _starts(lengths)
    present = ~np.isnan(values)
    wide = np.where(present, values, 0).astype(np.float64)
    counts = np.maximum(np.add.reduceat(present, starts, axis=0, dtype=np.int64), 1)  # [B, C]
    means = np.add.reduceat(wide, starts, axis=0) / counts
    wide -= np.repeat(means, lengths, axis=0)
    squares = np.where(present, wide**2, 0)
    spread = np.sqrt(np.add.reduceat(squares, starts, axis=0) / counts)
    # What is left of a constant channel is rounding; it must not be blown up to size 1.
    constant = spread <= np.finfo(np.float32).eps * np.abs(means)
    spread[constant] = 1
    result: FloatArray = (wide / np.repeat(spread, lengths, axis=0)).astype(np.float32)
    result[~present] = np.nan
    return result


def _starts(lengths: IntArray) -> NDArray[np.int64]:
    starts: NDArray[np.int64] = np.cumsum(lengths) - lengths
    return starts
