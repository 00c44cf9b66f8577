"""Small models to serve, some with promises, and how a file is replaced as a training would do it."""

import os
from dataclasses import replace
from pathlib import Path

from grunlock.artifact import Artifact, save
from grunlock.runtime.guarantees import Guarantees
from tests.parity.exported_models import series_artifact, text_artifact

FORWARD = ["encoder.bidirectional=false", "text.max_tokens=off"]
COVERAGE, RATE = 0.9, 0.1
PROMISES = Guarantees(
    num_examples=100,
    temperature=0.7,
    quantiles={"lac": {COVERAGE: 0.8}, "raps": {COVERAGE: 1.0}},
    thresholds={RATE: 0.6, 0.01: None},
    needed={RATE: 30, 0.01: 300},
    certainty=0.95,
    early={RATE: 0.5},
)


def promising(temperature: float = 0.7) -> Artifact:
    """Reads forward, and may promise. Another temperature makes another version with the same labels."""
    return replace(text_artifact(FORWARD, temperature=temperature), guarantees=PROMISES)


def of_series() -> Artifact:
    return series_artifact(["encoder.bidirectional=false"])


def put(artifact: Artifact, path: Path) -> str:
    """Write it in one step, as `save` does; returns its version."""
    return save(artifact, path)


def damage(path: Path) -> None:
    """A file of the same size with wrong bytes, put there in one step."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    aside = path.with_suffix(".aside")
    aside.write_bytes(content)
    os.replace(aside, path)
