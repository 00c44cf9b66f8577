"""Numeric series that can be learned in a second, and the files they come in."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SLOPES = {"down": -1.0, "flat": 0.0, "up": 1.0}
CHANNELS = ("height", "noise")
SMALL_SERIES = ["encoder.hidden_size=6", "batches.size=8", "training.epochs=1"]

Labelled = list[tuple[str, NDArray[np.float32]]]


def slopes(count: int, offset: int = 0) -> Labelled:
    """(label, [4 to 8 steps, 2]): the label is the slope of the first channel. Balanced, all different."""
    found = []
    for i in range(offset, offset + count):
        rng = np.random.default_rng(i)
        label = list(SLOPES)[i % 3]
        steps = np.arange(4 + i % 5)
        height = SLOPES[label] * steps + rng.normal(0, 3) + rng.normal(0, 0.1, len(steps))
        found.append((label, np.stack([height, rng.normal(0, 1, len(steps))], axis=1).astype(np.float32)))
    return found


def long_table(series: Labelled, channels: Sequence[str] = CHANNELS, first: int = 0) -> str:
    """A row a step: id, t, label, channels; empty cells where a value is missing."""
    lines = [",".join(["id", "t", "label", *channels])]
    for i, (label, values) in enumerate(series, start=first):
        for t, row in enumerate(values.tolist()):
            cells = ("" if np.isnan(value) else f"{value:.4f}" for value in row)
            lines.append(",".join([f"s{i}", str(t), label, *cells]))
    return "\n".join(lines) + "\n"


def write_npz(path: Path, series: Labelled, channels: Sequence[str] = CHANNELS) -> Path:
    """X, y, lengths, with zeros behind each series' end."""
    lengths = np.array([len(values) for _, values in series])
    padded = np.zeros((len(series), lengths.max(), series[0][1].shape[1]), np.float32)
    for i, (_, values) in enumerate(series):
        padded[i, : len(values)] = values
    labels = np.array([label for label, _ in series])
    np.savez(path, X=padded, y=labels, lengths=lengths, channels=np.array(channels))
    return path


def write_ts(path: Path, series: Labelled) -> Path:
    """The archive's text format: a series a line, its channels divided by colons."""

    def line(label: str, values: NDArray[np.float32]) -> str:
        return ":".join([*(_joined(channel) for channel in values.T.tolist()), label])

    head = f"@problemName slopes\n@timeStamps false\n@univariate false\n@classLabel true {' '.join(SLOPES)}\n"
    path.write_text(head + "@data\n" + "".join(f"{line(*one)}\n" for one in series))
    return path


def _joined(numbers: Iterable[float]) -> str:
    return ",".join(f"{number:.4f}" for number in numbers)


def small_series(*settings: str, recipe: bool = True) -> list[str]:
    """Arguments of `grunlock train` for a run of a blink."""
    chosen = ["--recipe", "series"] if recipe else []
    return [*chosen, *(f"--set={setting}" for setting in (*SMALL_SERIES, *settings))]
