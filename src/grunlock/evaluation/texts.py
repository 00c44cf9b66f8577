"""A trained model against a file of texts, in bounded memory."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact
from grunlock.data.checks import checked_bytes
from grunlock.data.sources import Rows, read_texts
from grunlock.errors import DataError
from grunlock.evaluation.answers import NO_PROMISES, Promises, answer_fields, evaluate_logits
from grunlock.evaluation.reading import reading_options
from grunlock.kernels.stack import InferencePrecision
from grunlock.objectives.metrics import EvaluationResult
from grunlock.recipe.text_options import TextDataOptions
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.shapes import FloatArray

MAX_SHOWN_LABELS = 10
READING_KEYS = ("data.text_column", "data.label_column", "data.encoding", "data.max_text_bytes")


@dataclass(frozen=True)
class Prediction:
    """One text with the model's answer."""

    text: str
    label: str  # "" where the model abstains
    probability: float  # calibrated, of the most probable label
    probs: dict[str, float]  # by label
    label_set: tuple[str, ...] | None = None  # None if no coverage was asked for


def predict_text_file(
    artifact: Artifact,
    source: str | Path,
    overrides: Iterable[str],
    precision: InferencePrecision,
    promises: Promises,
) -> Iterator[Prediction]:
    """See evaluation.files.predict_file; a chunk at a time."""
    classifier = text_classifier(artifact.classifier(precision))
    options = prediction_options(artifact, overrides)
    for chunk in read_texts(source, options, labels="ignored").chunks():
        yield from predict_texts(classifier, usable_texts(chunk, options), promises)


def prediction_options(artifact: Artifact, overrides: Iterable[str]) -> TextDataOptions:
    """How to read a file to predict, of which no row may be dropped. Raises RecipeError for other keys."""
    options = _reading_options(artifact, overrides)
    if options.empty_texts == "drop":
        return options.model_copy(update={"empty_texts": "refuse"})
    return options


def usable_texts(chunk: Rows, options: TextDataOptions) -> list[str]:
    """The texts of a chunk without dropped ones. Raises DataError as training would."""
    return _texts(chunk, _usable_rows(chunk, options))


def predict_texts(
    classifier: TextClassifier | SeriesClassifier, texts: Sequence[str], promises: Promises = NO_PROMISES
) -> list[Prediction]:
    """Predictions of texts in memory, in order.

    Raises DataError if the model is for series, CalibrationError for what it cannot promise.
    """
    classifier = text_classifier(classifier)
    fields = answer_fields(classifier, classifier.logits(texts), promises)
    return [Prediction(text, **found) for text, found in zip(texts, fields, strict=True)]


def evaluate_text_file(
    artifact: Artifact, source: str | Path, overrides: Iterable[str], precision: InferencePrecision
) -> EvaluationResult:
    """See evaluation.files.evaluate_file. Empty texts are refused, dropped or kept as in training."""
    classifier = text_classifier(artifact.classifier(precision))
    logits, targets = [], []
    for texts, classes in _labelled_texts(artifact, source, overrides):
        logits.append(classifier.logits(texts))
        targets += classes
    return evaluate_logits(artifact, np.concatenate(logits), np.array(targets, np.int64))


def text_file_paths(
    artifact: Artifact, source: str | Path, overrides: Iterable[str], precision: InferencePrecision
) -> Iterator[tuple[FloatArray, int]]:
    """See evaluation.files.early_curve_file. Of each text the logits after each of its tokens, its class."""
    classifier = text_classifier(artifact.classifier(precision))
    for texts, classes in _labelled_texts(artifact, source, overrides):
        yield from zip(classifier.prefix_logits(texts), classes, strict=True)


def texts_of_file(
    artifact: Artifact, source: str | Path, overrides: Iterable[str] = ()
) -> Iterator[tuple[list[str], list[int | None]]]:
    """Texts of a file and their classes, None where it has no labels, a chunk at a time. Empty texts are
    refused, dropped or kept as in training."""
    options = _reading_options(artifact, overrides)
    index = {name: k for k, name in enumerate(artifact.labels)}
    for chunk in read_texts(source, options, labels="optional").chunks():
        rows = _usable_rows(chunk, options)
        classes = [None if chunk.labels is None else _target(chunk, i, index) for i in rows]
        yield _texts(chunk, rows), classes


def text_classifier(classifier: TextClassifier | SeriesClassifier) -> TextClassifier:
    """The classifier, if it reads texts. Raises DataError if it does not."""
    if isinstance(classifier, TextClassifier):
        return classifier
    raise DataError(
        "The model reads numeric series, not texts.",
        got="texts",
        expected=f"series of the channels {', '.join(classifier.channels)}",
        cure="grunlock predict RUN FILE, with a file of series",
    )


def _reading_options(artifact: Artifact, overrides: Iterable[str]) -> TextDataOptions:
    """How to read the file at hand: empty and long texts are treated as in training."""
    trained = artifact.recipe.data
    assert isinstance(trained, TextDataOptions)
    plain = TextDataOptions(empty_texts=trained.empty_texts, max_text_bytes=trained.max_text_bytes)
    options = reading_options(artifact.recipe, plain, overrides, READING_KEYS)
    assert isinstance(options, TextDataOptions)
    return options


def _labelled_texts(
    artifact: Artifact, source: str | Path, overrides: Iterable[str]
) -> Iterator[tuple[list[str], list[int]]]:
    """Texts and their classes, a chunk at a time."""
    options = _reading_options(artifact, overrides)
    index = {name: k for k, name in enumerate(artifact.labels)}
    for chunk in read_texts(source, options, labels="required").chunks():
        rows = _usable_rows(chunk, options)
        yield _texts(chunk, rows), [_target(chunk, i, index) for i in rows]


def _usable_rows(chunk: Rows, options: TextDataOptions) -> list[int]:
    """Rows without the dropped empty texts. Raises DataError as training would."""
    rows = []
    for i, text in enumerate(chunk.texts):
        empty = not checked_bytes(text, chunk, i, options)
        if empty and options.empty_texts == "refuse":
            raise DataError(
                "A text is empty: there is nothing to read in it.",
                where=chunk.where(i),
                cure="leave this row out, or train with --set data.empty_texts=keep so that the model knows "
                "empty texts",
            )
        if not empty or options.empty_texts == "keep":
            rows.append(i)
    return rows


def _texts(chunk: Rows, rows: Sequence[int]) -> list[str]:
    """A missing text is an empty one."""
    return [chunk.texts[i] or "" for i in rows]


def _target(chunk: Rows, i: int, index: dict[str, int]) -> int:
    label = None if chunk.labels is None else chunk.labels[i]
    name = "" if label is None else str(label).strip()
    if name in index:
        return index[name]
    near = difflib.get_close_matches(name, index, n=1)
    known = sorted(index)
    raise DataError(
        "A label is unknown to the model.",
        where=chunk.where(i),
        got=repr(name),
        expected=", ".join(known[:MAX_SHOWN_LABELS]) + (", ..." if len(known) > MAX_SHOWN_LABELS else ""),
        cure=f"did you mean {near[0]!r}?" if near else "train a model that has this label",
    )
