"""A trained classifier of numeric series: arrays in, probabilities out. Needs numpy only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from grunlock.errors import DataError
from grunlock.runtime.classifier import batches_of
from grunlock.runtime.early import Temperatures
from grunlock.runtime.guarantees import Guarantees, SetMethod, answers_or_none, label_sets, promised
from grunlock.runtime.hindrances import refuse_hindered
from grunlock.runtime.network import Network
from grunlock.runtime.probabilities import probabilities, sound
from grunlock.runtime.stepped import prefix_logits
from grunlock.runtime.streamed_series import StreamedSeries
from grunlock.runtime.streaming import Stream, stopping_rule
from grunlock.series import SeriesFrontEnd
from grunlock.series.values import numbers, refuse_infinite
from grunlock.shapes import FloatArray, IntArray, PackedLayout, pack_layout


@dataclass(frozen=True)
class SeriesClassifier:
    """What `grunlock.load` returns for a model of numeric series. Safe to call from many threads.

    labels: class names; column k of every result belongs to labels[k].
    temperature: logits are divided by it before the softmax (Guo 2017).
    guarantees: what predict_set and predict_or_abstain need; None without a calibration split.
    step_temperatures: of beginnings, see runtime/early.py; empty for a model that needs the whole.
    """

    front_end: SeriesFrontEnd
    network: Network
    labels: tuple[str, ...]
    temperature: float
    guarantees: Guarantees | None = None
    step_temperatures: tuple[float, ...] = ()

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of a series' columns, in their order."""
        return self.front_end.channels

    def predict_proba(self, series: Sequence[FloatArray]) -> FloatArray:
        """[len(series), K] calibrated probabilities, each row summing to 1.

        series: arrays [steps, C], or [steps] if there is one channel; NaN where a value is missing. Lengths
            may differ.

        Raises DataError for anything else, for a series without a step or without any value, for infinite
        values, and for values too far from those of training.
        """
        return probabilities(self.logits(series), self.temperature)

    def predict(self, series: Sequence[FloatArray]) -> list[str]:
        """The most probable label of each series."""
        return [self.labels[k] for k in self.logits(series).argmax(axis=1)]

    def predict_set(
        self, series: Sequence[FloatArray], coverage: float = 0.9, method: SetMethod = "lac"
    ) -> list[tuple[str, ...]]:
        """For each one, labels that hold the true one with probability `coverage`; the most probable first.

        The promise is over all series that come as the calibration examples came, not for each one. No set is
        empty. A set is all labels where there were too few calibration examples for the coverage.

        method: "lac", the smallest sets on average, or "raps", larger ones for hard examples.

        Raises CalibrationError if the model has no calibration split, or was not calibrated for this.
        """
        guarantees, logits = promised(self.guarantees), self.logits(series)
        return label_sets(self.labels, logits, guarantees.sets(logits, coverage, method))

    def predict_or_abstain(self, series: Sequence[FloatArray], max_error: float) -> list[str | None]:
        """The most probable label of each one, or None where the model is not sure enough.

        At most the share max_error of the answered series is wrong, with 95% certainty over the drawing of
        the calibration examples, for series that come as these came.

        Raises CalibrationError if the model has no calibration split, was not calibrated for this error rate,
        or cannot keep it.
        """
        guarantees, logits = promised(self.guarantees), self.logits(series)
        return answers_or_none(self.labels, logits, guarantees.answered(logits, max_error))

    def stream(self, max_error: float | None = None) -> Stream[FloatArray]:
        """Read one series as it comes: its `feed` takes values [C] of a step or [steps, C] of some, NaN where
        one is missing; if there is one channel, a number or [steps].

        Until a value has come it answers to missing ones. max_error: decide as early as the promise of
        predict_or_abstain can be kept.

        Raises StreamError for a model that needs the whole series, and CalibrationError as
        predict_or_abstain.
        """
        refuse_hindered(self.network.recipe, None)
        stopping = stopping_rule(self.guarantees, self.step_temperatures, max_error)
        temperatures = Temperatures(self.temperature, self.step_temperatures)
        return Stream(self.network, StreamedSeries(self.front_end), self.labels, temperatures, stopping)

    def logits(self, series: Sequence[FloatArray]) -> FloatArray:
        """[len(series), K] before temperature and softmax."""
        result = np.empty((len(series), len(self.labels)), dtype=np.float32)
        for members, features, layout in self.batches(series):
            result[members] = self.network.logits(features, layout)
        return sound(result, of_series=True)

    def prefix_logits(self, series: Sequence[FloatArray]) -> list[FloatArray]:
        """Of each series the logits [steps, K] after each of its steps.

        Raises as `predict_proba`, and StreamError for a model that needs the whole series.
        """
        refuse_hindered(self.network.recipe, None)
        found = [np.empty((0, len(self.labels)), np.float32)] * len(series)
        for members, features, layout in self.batches(series):
            of_each = prefix_logits(self.network, features, layout)
            for member, logits in zip(members.tolist(), of_each, strict=True):
                found[member] = sound(logits, of_series=True)
        return found

    def batches(self, series: Sequence[FloatArray]) -> Iterator[tuple[IntArray, FloatArray, PackedLayout]]:
        """Of each batch the members, longest first, and their features in packed order."""
        values = self._checked(series)
        lengths = np.array([len(steps) for steps in values], np.int64)
        for members in batches_of(lengths):
            layout = pack_layout(lengths[members])
            joined = np.concatenate([values[i] for i in members.tolist()])
            features = self._features(joined, members, lengths[members])
            yield members[layout.order], features[layout.rows], layout

    def _features(self, values: FloatArray, members: IntArray, lengths: IntArray) -> FloatArray:
        """[steps, F]. The series with a value that is too far off is looked for only if there is one."""
        try:
            return self.front_end.features(values, lengths)
        except DataError:
            self.front_end.check(values, lengths, lambda i: f"series[{members[i]}]")
            raise

    def _checked(self, series: Sequence[FloatArray]) -> list[FloatArray]:
        return [self._steps(array, f"series[{i}]") for i, array in enumerate(series)]

    def _steps(self, array: FloatArray, where: str) -> FloatArray:
        """[steps, C] float32, fit to be read."""
        expected = f"an array of numbers [steps, {len(self.channels)}]: {', '.join(self.channels)}"
        steps = numbers(array, where, expected)
        if steps.ndim == 1 and len(self.channels) == 1:
            steps = steps[:, None]
        if steps.ndim != 2 or steps.shape[1] != len(self.channels):
            alone = steps.shape == (len(self.channels),)  # a step, where a series is looked for
            raise DataError(
                "A series has the wrong shape.",
                where=where,
                got=list(steps.shape),
                expected=expected,
                cure="pass [series] if this is a step of a single series" if alone else None,
            )
        if len(steps) == 0 or np.isnan(steps).all():
            raise DataError(
                "A series has no value.",
                where=where,
                got="every value is missing" if len(steps) else "0 steps",
                expected="at least one value",
            )
        refuse_infinite(steps, self.channels, where)
        return steps
