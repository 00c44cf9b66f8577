"""Labels for numeric series, by the model in this folder.

    python predict.py first.npy second.npy        a file for each series, [steps, channels]
    python predict.py < series.jsonl              one series in each line, a list of steps, null where missing

prints a line {"label": ..., "probabilities": {...}} for each series. From Python:

    Classifier("this folder").predict_proba([array, another])

Needs onnxruntime, and numpy, which comes with it.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

MAX_BATCH_STEPS = 4096  # bounds memory


class Classifier:
    """labels[k] is the class of column k."""

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        self._folder = Path(folder)
        with damage_told(self._folder):
            self.labels: list[str] = json.loads((self._folder / "labels.json").read_text("utf-8"))
            self._front_end = FrontEnd(self._folder)
            self._session = onnxruntime.InferenceSession(
                str(self._folder / "model.onnx"), providers=["CPUExecutionProvider"]
            )

    def predict_proba(self, series: Sequence[Any]) -> FloatArray:
        """[len(series), K] calibrated probabilities.

        series: arrays [steps, channels], or [steps] if there is one channel; NaN where a value is missing.

        Raises ValueError for anything else, for a series without any value, for infinite values, and for
        values too far from those of training.
        """
        with damage_told(self._folder):
            read = [self._front_end.features(values, f"series[{i}]") for i, values in enumerate(series)]
            result = np.empty((len(read), len(self.labels)), np.float32)
            for members in batches([len(features) for features in read]):
                inputs = padded([read[i] for i in members])
                (result[members],) = self._session.run(["probabilities"], inputs)
            return finite(result)


class FrontEnd:
    """From series to what the graph reads."""

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / "front_end.json").read_text("utf-8"))
        self.channels: list[str] = facts["channels"]
        self.mean, self.scale = np.array(facts["mean"]), np.array(facts["scale"])
        self.indicators: list[int] = facts["indicators"]  # channels that tell where they are missing
        self.change_scale: list[float] | None = facts["change_scale"]
        self.each_alone: bool = facts["each_alone"]

    def features(self, series: Any, where: str) -> FloatArray:
        """[steps, F]: standardised values, 0 where missing; where they are missing; changes."""
        values = self._checked(series, where)
        if self.each_alone:
            values = each_alone(values)
        with np.errstate(over="ignore"):
            standard = ((values - self.mean) / self.scale).astype(np.float32)
        if np.isinf(standard).any():
            step, channel = np.argwhere(np.isinf(standard))[0].tolist()
            raise refusal(
                "A value is too far from those of training.",
                where=f"{where}, step {step + 1}, channel {self.channels[channel]}",
                got=np.float32(values[step, channel]),
                expected=f"values around {self.mean[channel]:.4g} ± {self.scale[channel]:.4g}",
                cure="check the channel's unit",
            )
        missing = np.isnan(standard)
        columns = [np.where(missing, np.float32(0), standard), missing[:, self.indicators]]
        if self.change_scale is not None:
            changes = np.zeros_like(standard)
            np.subtract(standard[1:], standard[:-1], out=changes[1:])
            changes[np.isnan(changes)] = 0
            columns.append(changes / np.array(self.change_scale, np.float32))
        return np.concatenate(columns, axis=1, dtype=np.float32)

    def _checked(self, series: Any, where: str) -> NDArray[np.float64]:
        """[steps, channels], rounded to float32 as the values of training were."""
        expected = f"an array of numbers [steps, {len(self.channels)}]: {', '.join(self.channels)}"
        try:
            with np.errstate(over="ignore"):  # becomes infinite, which is refused below
                values = np.asarray(series, np.float32)
        except (TypeError, ValueError) as error:
            raise refusal(
                "A series is not an array of numbers.", where=where, got=str(series)[:80], expected=expected
            ) from error
        if values.ndim == 1 and len(self.channels) == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[1] != len(self.channels):
            raise refusal(
                "A series has the wrong shape.", where=where, got=list(values.shape), expected=expected
            )
        if np.isnan(values).all():
            raise refusal(
                "A series has no value.",
                where=where,
                got="every value is missing" if len(values) else "0 steps",
                expected="at least one value",
            )
        if np.isinf(values).any():
            step, channel = np.argwhere(np.isinf(values))[0].tolist()
            raise refusal(
                "A value is infinite.",
                where=f"{where}, step {step + 1}, {self.channels[channel]}",
                got=values[step, channel],
                expected="a finite number, or NaN where it is missing",
            )
        return values.astype(np.float64)


def padded(features: Sequence[FloatArray]) -> dict[str, NDArray[Any]]:
    """What the graph reads of some series, zero behind a series' end."""
    lengths = np.array([*map(len, features)], np.int32)
    result = np.zeros((len(features), lengths.max(), features[0].shape[1]), np.float32)
    for row, own in zip(result, features, strict=True):
        row[: len(own)] = own
    return {"features": result, "lengths": lengths}


def finite(probabilities: FloatArray) -> FloatArray:
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities that are no numbers")
    return probabilities


class RefusedError(ValueError):
    """What is refused, with where, what was got and expected, and a cure."""


@contextmanager
def damage_told(folder: Path) -> Iterator[None]:
    """Says of any other error inside that the folder is at fault: damaged files lead to anything."""
    try:
        yield
    except (RefusedError, ImportError):
        raise
    except Exception as error:
        raise refusal(
            "The files of this model cannot be read, or do not fit each other.",
            where=folder,
            got=f"{type(error).__name__}: {str(error)[:200]}",
            cure="copy the folder again from where it was made, or export the model again",
        ) from error


def refusal(what: str, **fields: object) -> RefusedError:
    return RefusedError("\n".join([what, *(f"  {name + ':':<10}{value}" for name, value in fields.items())]))


def each_alone(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Less the series' own mean, over its own deviation, 1 where a channel is constant."""
    present = ~np.isnan(values)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, values, 0).sum(axis=0) / counts
    spread = np.sqrt(np.where(present, (values - mean) ** 2, 0).sum(axis=0) / counts)
    # What is left of a constant channel is rounding.
    spread[spread <= np.finfo(np.float32).eps * np.abs(mean)] = 1
    result: NDArray[np.float64] = ((values - mean) / spread).astype(np.float32).astype(np.float64)
    return result


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Members of each batch: similar lengths together, longest first."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    while order:
        size = max(1, MAX_BATCH_STEPS // lengths[order[0]])
        yield order[:size]
        order = order[size:]


def main() -> None:
    model = Classifier()
    try:
        series = [np.load(path) for path in sys.argv[1:]] or [json.loads(line) for line in sys.stdin.buffer]
        rows = model.predict_proba(series)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    for row in rows:
        chances = dict(zip(model.labels, row.tolist(), strict=True))
        answer = {"label": model.labels[row.argmax()], "probabilities": chances}
        sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")


if __name__ == "__main__":
    main()
