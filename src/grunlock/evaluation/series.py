"""A trained model against a file of numeric series."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact
from grunlock.data.columns import LabelNeed
from grunlock.data.series import SeriesSet, channels_problem, raise_problems, read_series, value_problems
from grunlock.data.series.checks import unknown_label_problems
from grunlock.data.series.sources import has_tables
from grunlock.evaluation.answers import Promises, answer_fields, evaluate_logits
from grunlock.evaluation.reading import reading_options
from grunlock.kernels.stack import InferencePrecision
from grunlock.objectives.metrics import EvaluationResult
from grunlock.recipe.series_options import SeriesDataOptions
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.shapes import FloatArray, IntArray

# No data.channels: a model reads its own.
READING_KEYS = ("data.id_column", "data.time_column", "data.label_column", "data.encoding")


@dataclass(frozen=True)
class SeriesPrediction:
    """One series, by its id, with the model's answer."""

    series: str
    label: str  # "" where the model abstains
    probability: float  # calibrated, of the most probable label
    probs: dict[str, float]  # by label
    label_set: tuple[str, ...] | None = None  # None if no coverage was asked for


def predict_series_file(
    artifact: Artifact,
    source: str | Path,
    overrides: Iterable[str],
    precision: InferencePrecision,
    promises: Promises,
) -> Iterator[SeriesPrediction]:
    """See evaluation.files.predict_file. The series of the file are in memory."""
    classifier = _classifier(artifact, precision)
    found = _read(classifier, artifact, source, overrides, "ignored")
    logits = classifier.logits([found.series(i) for i in range(found.num_series)])
    for series_id, fields in zip(found.ids, answer_fields(classifier, logits, promises), strict=True):
        yield SeriesPrediction(series_id, **fields)


def evaluate_series_file(
    artifact: Artifact, source: str | Path, overrides: Iterable[str], precision: InferencePrecision
) -> EvaluationResult:
    """See evaluation.files.evaluate_file."""
    classifier = _classifier(artifact, precision)
    series, targets = _labelled_series(classifier, artifact, source, overrides)
    return evaluate_logits(artifact, classifier.logits(series), targets)


def series_file_paths(
    artifact: Artifact, source: str | Path, overrides: Iterable[str], precision: InferencePrecision
) -> Iterator[tuple[FloatArray, int]]:
    """See evaluation.files.early_curve_file. Of each series the logits after each of its steps, its class."""
    classifier = _classifier(artifact, precision)
    series, targets = _labelled_series(classifier, artifact, source, overrides)
    yield from zip(classifier.prefix_logits(series), targets.tolist(), strict=True)


def series_of_file(
    artifact: Artifact, source: str | Path, overrides: Iterable[str] = ()
) -> tuple[list[FloatArray], list[int | None]]:
    """The series of a file and their classes, None where it has no labels."""
    classifier = _classifier(artifact, "float32")
    found = _read(classifier, artifact, source, overrides, "optional")
    series = [found.series(i) for i in range(found.num_series)]
    if all(label is None for label in found.labels):
        return series, [None] * len(series)
    raise_problems(list(unknown_label_problems(found, classifier.labels)), found.name)
    return series, [None if label is None else classifier.labels.index(label) for label in found.labels]


def _labelled_series(
    classifier: SeriesClassifier, artifact: Artifact, source: str | Path, overrides: Iterable[str]
) -> tuple[list[FloatArray], IntArray]:
    found = _read(classifier, artifact, source, overrides, "required")
    raise_problems(list(unknown_label_problems(found, classifier.labels)), found.name)
    index: dict[str | None, int] = {label: i for i, label in enumerate(classifier.labels)}
    targets = np.array([index[label] for label in found.labels], np.int64)
    return [found.series(i) for i in range(found.num_series)], targets


def _classifier(artifact: Artifact, precision: InferencePrecision) -> SeriesClassifier:
    classifier = artifact.classifier(precision)
    assert isinstance(classifier, SeriesClassifier)  # the callers look at the recipe's kind of data
    return classifier


def _read(
    classifier: SeriesClassifier,
    artifact: Artifact,
    source: str | os.PathLike[str],
    overrides: Iterable[str],
    labels: LabelNeed,
) -> SeriesSet:
    """The series to answer for: the model's channels, other columns of tables left."""
    plain = SeriesDataOptions(channels=classifier.channels if has_tables(source) else None)
    options = reading_options(artifact.recipe, plain, overrides, READING_KEYS)
    assert isinstance(options, SeriesDataOptions)
    found = read_series(source, options, labels)
    problem = channels_problem(found, classifier.channels, "the model")
    raise_problems([*([problem] if problem else []), *value_problems(found)], found.name)
    classifier.front_end.check(found.values, found.lengths, found.where)
    return found
