"""A model as it is served: the classifier, the version that every answer names, what may be told of it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.artifact import ARTIFACT_NAME, Artifact, read
from grunlock.errors import ServingError
from grunlock.kernels.stack import InferencePrecision
from grunlock.recipe import TextFacts
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.hindrances import hindrances
from grunlock.runtime.probabilities import probabilities
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.shapes import FloatArray

READINGS = 3  # of a file that is being replaced while it is read
WARMING_STEPS = 8


@dataclass(frozen=True, eq=False)
class ServedModel:
    """name: by which requests choose it. version: sha256 of its file."""

    name: str
    version: str
    artifact: Artifact
    classifier: TextClassifier | SeriesClassifier

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classifier.labels

    @property
    def kind(self) -> str:
        """text or series"""
        return "text" if isinstance(self.classifier, TextClassifier) else "series"

    @property
    def channels(self) -> tuple[str, ...]:
        """Of a model of series; else none."""
        return self.classifier.channels if isinstance(self.classifier, SeriesClassifier) else ()

    @cached_property
    def streams(self) -> bool:
        """Whether it can answer before its input has ended."""
        tokens = self.classifier.front_end.tokens if isinstance(self.classifier, TextClassifier) else None
        return not hindrances(self.artifact.recipe, tokens)

    def logits(self, examples: Sequence[Any]) -> FloatArray:
        """[len(examples), K]"""
        return self.classifier.logits(examples)

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """[B, K] calibrated"""
        return probabilities(logits, self.classifier.temperature)

    @cached_property
    def _row(self) -> str:
        """An answer with %-marks for label, its probability and all probabilities; its brace is open."""
        each = ", ".join(f"{json.dumps(label).replace('%', '%%')}: %.9g" for label in self.labels)
        return '"label": %s, "probability": %.9g, "probs": {' + each + "}"

    @cached_property
    def signature(self) -> str:
        """Who answers, as fields of a JSON object."""
        return f'"model": {json.dumps(self.name)}, "version": {json.dumps(self.version)}'

    @cached_property
    def _labels_json(self) -> tuple[str, ...]:
        return tuple(json.dumps(label) for label in self.labels)

    def rows(self, logits: FloatArray) -> list[str]:
        """Of each of logits [B, K] the fields of its answer as JSON. %.9g gives back each float32."""
        best, names = logits.argmax(axis=1).tolist(), self._labels_json
        probs = self.probabilities(logits).tolist()
        return [self._row % (names[k], row[k], *row) for k, row in zip(best, probs, strict=True)]

    def about(self) -> dict[str, Any]:
        """What /v1/model tells: JSON-able."""
        artifact, guarantees = self.artifact, self.classifier.guarantees
        facts = artifact.derived.facts
        inputs: dict[str, Any] = (
            {"tokens": facts.inputs.tokens, "script": facts.inputs.script}
            if isinstance(facts.inputs, TextFacts)
            else {"channels": list(self.channels)}
        )
        return {
            "name": self.name,
            "version": self.version,
            "kind": self.kind,
            "labels": list(self.labels),
            "streams": self.streams,
            "recipe": artifact.recipe.name,
            "encoder": artifact.recipe.encoder.kind,
            **inputs,
            "parameters": sum(value.size for value in artifact.weights.values() if value.dtype.kind == "f"),
            "num_train_examples": facts.num_train_examples,
            "num_valid_examples": facts.num_valid_examples,
            "valid": {name: value for name, value in artifact.metrics.items() if isinstance(value, float)},
            "coverages": [] if guarantees is None else sorted(guarantees.quantiles["lac"]),
            "error_rates": [] if guarantees is None else _kept(guarantees.thresholds),
            "early_error_rates": _kept(guarantees.early or {}) if guarantees is not None else [],
            "data_fingerprint": artifact.data_fingerprint,
        }


def _kept(thresholds: Any) -> list[float]:
    return sorted(rate for rate, threshold in thresholds.items() if threshold is not None)


def artifact_path(path: Path) -> Path:
    """The file of a run folder, or the file itself."""
    return path / ARTIFACT_NAME if path.is_dir() else path


def model_name(path: Path) -> str:
    """What a model is called where nobody says: as its run folder, or its file without the ending."""
    return path.resolve().name if path.is_dir() else path.stem


def file_version(path: Path) -> str:
    """sha256 of the file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_served(name: str, path: Path, precision: InferencePrecision = "float32") -> ServedModel:
    """Read, verify and try a model.

    Raises ArtifactError and KernelError as grunlock.load, ServingError for a file that changes all the time,
    OSError where it cannot be read.
    """
    file = artifact_path(path)
    for _ in range(READINGS):
        version = file_version(file) if file.is_file() else ""
        artifact = read(file)
        if file_version(file) == version:
            served = ServedModel(name, version, artifact, artifact.classifier(precision))
            _warm(served)
            return served
    raise ServingError(
        "The model file changes while it is read.",
        where=file,
        cure="write it under another name, then rename it: grunlock does so",
    )


def _warm(served: ServedModel) -> None:
    """A first prediction, which also shows that the model has finite answers. Raises as `logits`."""
    classifier = served.classifier
    if isinstance(classifier, TextClassifier):
        classifier.logits(["a first text 一"])
        return
    middle = np.asarray(classifier.front_end.standardization.mean, np.float32)
    classifier.logits([np.tile(middle, (WARMING_STEPS, 1))])
