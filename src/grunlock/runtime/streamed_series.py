"""A series whose steps come some at a time: their features, as the whole series would have them."""

import numpy as np

from grunlock.errors import DataError
from grunlock.runtime.stepped import BLOCK_STEPS
from grunlock.series import SeriesFrontEnd
from grunlock.series.values import numbers, refuse_infinite
from grunlock.shapes import FloatArray


class StreamedSeries:
    """One series; the step before is all that it keeps. Not for two threads at once."""

    def __init__(self, front_end: SeriesFrontEnd) -> None:
        self._front_end = front_end
        self._before = np.empty((0, len(front_end.channels)), np.float32)  # the last step, standardised

    def feed(self, piece: FloatArray) -> list[FloatArray]:
        """Features [n, F] of the next steps, in blocks. Raises DataError for what are no steps."""
        values = self._steps(piece)
        standardised = self._front_end.standardize(values, np.array([len(values)]))
        joined = np.concatenate([self._before, standardised])
        features = self._front_end.columns(joined, np.array([len(joined)]))[len(self._before) :]
        self._before = joined[-1:].copy()
        return [features[i : i + BLOCK_STEPS] for i in range(0, len(features), BLOCK_STEPS)]

    def rest(self) -> list[FloatArray]:
        """A step is complete when it comes."""
        return []

    def _steps(self, piece: FloatArray) -> FloatArray:
        """[n, C], n at least 1."""
        channels = self._front_end.channels
        expected = f"numbers [{len(channels)}] of a step or [steps, {len(channels)}]: {', '.join(channels)}"
        values = numbers(piece, "the piece", expected)
        if values.ndim < 2:
            values = values.reshape(-1, 1) if len(channels) == 1 else values.reshape(1, -1)
        if values.ndim != 2 or values.shape[1] != len(channels) or not len(values):
            shape = list(np.shape(piece))
            raise DataError(
                "Steps of a series have the wrong shape.", where="the piece", got=shape, expected=expected
            )
        refuse_infinite(values, channels, "the piece")
        return values
