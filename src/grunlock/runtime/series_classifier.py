"""A trained classifier of numeric series: arrays in, probabilities out. Needs numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grunlock.errors import DataError
from grunlock.runtime.classifier import batches_of
from grunlock.runtime.guarantees import Guarantees, SetMethod, answers_or_none, label_sets, promised
from grunlock.runtime.network import Network
from grunlock.runtime.probabilities import probabilities
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray, IntArray, pack_layout


@dataclass(frozen=True)
class SeriesClassifier:
    """What `grunlock.load` returns for a model of numeric series. Safe to call from many threads.

    labels: class names; column k of every result belongs to labels[k].
    temperature: logits are divided by it before the softmax (Guo 2017).
    guarantees: what predict_set and predict_or_abstain need; None without a calibration split.
    """

    front_end: SeriesFrontEnd
    network: Network
    labels: tuple[str, ...]
    temperature: float
    guarantees: Guarantees | None = None

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

    def logits(self, series: Sequence[FloatArray]) -> FloatArray:
        """[len(series), K] before temperature and softmax."""
        values = self._checked(series)
        result = np.empty((len(values), len(self.labels)), dtype=np.float32)
        lengths = np.array([len(steps) for steps in values], np.int64)
        for members in batches_of(lengths):
            layout = pack_layout(lengths[members])
            joined = np.concatenate([values[i] for i in members.tolist()])
            features = self._features(joined, members, lengths[members])
            result[members[layout.order]] = self.network.logits(features[layout.rows], layout)
        return result

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
        try:
            with np.errstate(over="ignore"):  # becomes infinite, which is refused below
                steps = np.asarray(array, np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(
                "A series is not an array of numbers.", where=where, got=str(array)[:80], expected=expected
            ) from error
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
        if np.isinf(steps).any():
            step, channel = np.argwhere(np.isinf(steps))[0].tolist()
            raise DataError(
                "A value is infinite.",
                where=f"{where}, step {step + 1}, {self.channels[channel]}",
                got=steps[step, channel],
                expected="a finite number, or NaN where it is missing",
            )
        return steps
