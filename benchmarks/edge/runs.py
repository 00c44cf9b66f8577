"""What the measurements of exports share: a run to export, the examples to ask it, lines of results."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.artifact import Artifact
from grunlock.data.series.npz import read_npz
from grunlock.data.texts import labelled_splits
from grunlock.machine import commit, machine
from grunlock.recipe.text_options import TextDataOptions

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class TestSplit:
    """inputs: texts, or series [steps, C]. targets: [n] class indices; -1: a class that the model lacks."""

    inputs: Sequence[Any]
    targets: NDArray[np.int64]

    def accuracy(self, probabilities: NDArray[np.float32]) -> float:
        return float((probabilities.argmax(axis=1) == self.targets).mean())


def run_of(source: Path, folder: Path, seed: int, options: Sequence[str]) -> Path:
    """A run by the recipe that `grunlock train` takes by itself, with these options of it."""
    train("train", str(source), "-o", str(folder), f"--set=seed={seed}", *known_options(source), *options)
    return folder


def train(*arguments: str) -> None:
    """A grunlock command, in a process of its own."""
    subprocess.run([sys.executable, "-m", "grunlock", *arguments], check=True)


def known_options(source: Path) -> list[str]:
    """atis has a label that only its test split knows; its rows count as errors."""
    return ["--set=data.unseen_labels=keep"] if source.name == "atis" else []


def read_test_split(source: Path, artifact: Artifact) -> TestSplit:
    """Log every look in benchmarks/LOG.md."""
    reading = artifact.recipe.data
    if isinstance(reading, TextDataOptions):
        found = labelled_splits(str(source), None, None, reading)["test"]
        inputs: list[Any] = list(found.texts)
        labels: Sequence[str | None] = found.labels
    else:
        series = read_npz(source)["test"]
        inputs = [series.values[start:end] for start, end in pairwise(series.offsets.tolist())]
        labels = series.labels
    index = {label: i for i, label in enumerate(artifact.labels)}
    return TestSplit(inputs, np.array([index.get(label or "", -1) for label in labels]))


def keep(path: Path, record: dict[str, Any]) -> None:
    """A line more, with what it was measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({**record, "commit": commit(), "processor": machine()["processor"]})
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
