"""A trained model against a file, in bounded memory. Shows nothing; the CLI prints."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact
from grunlock.artifact import read as read_artifact
from grunlock.data.prepare import is_prepared, open_prepared
from grunlock.data.texts import LabelledText, read_texts
from grunlock.errors import DataError, RunError
from grunlock.objectives.metrics import EvaluationResult, evaluate
from grunlock.evaluation.splits import split_logits
from grunlock.runtime.classifier import TextClassifier, softmax

CHUNK_TEXTS = 2048


@dataclass(frozen=True)
class Prediction:
    """One text with the model's answer."""

    text: str
    label: str
    probability: float  # calibrated, of `label`
    probs: dict[str, float]  # by label


def predict_file(model: str | Path, source: str | Path, **columns: str | None) -> Iterator[Prediction]:
    """Predict every text of a file, in order, a chunk at a time.

    Raises DataError for rows that cannot be read; predictions before such a row have been given.
    """
    artifact = read_artifact(model)
    classifier = artifact.classifier()
    for chunk in _chunks(read_texts(source, artifact.recipe.data, labels=False, **columns)):
        yield from predict_texts(classifier, [row.text for row in chunk])


def predict_texts(classifier: TextClassifier, texts: Sequence[str]) -> list[Prediction]:
    """Predictions of texts in memory, in order."""
    predictions = []
    for text, probs in zip(texts, classifier.predict_proba(texts), strict=True):
        best = int(probs.argmax())
        by_label = {name: float(p) for name, p in zip(classifier.labels, probs, strict=True)}
        predictions.append(Prediction(text, classifier.labels[best], float(probs[best]), by_label))
    return predictions


def evaluate_file(model: str | Path, source: str | Path, **columns: str | None) -> EvaluationResult:
    """Evaluate on a labelled file. Raises DataError for a label the model does not know."""
    artifact = read_artifact(model)
    classifier = artifact.classifier()
    index = {name: k for k, name in enumerate(artifact.labels)}
    all_probs, all_targets = [], []
    for chunk in _chunks(read_texts(source, artifact.recipe.data, labels=True, **columns)):
        all_targets.append([_target(row, index, source) for row in chunk])
        all_probs.append(classifier.predict_proba([row.text for row in chunk]))
    if not all_probs:
        raise DataError("There is nothing to evaluate on.", where=source, expected="at least one row")
    return evaluate(np.concatenate(all_probs), np.concatenate(all_targets), artifact.labels)


def evaluate_run(folder: str | Path, split: str) -> EvaluationResult:
    """Evaluate a run on one of its own splits, "valid" or "test", as tokenised in training."""
    folder = Path(folder)
    artifact = read_artifact(folder)
    if not is_prepared(folder / "data"):
        raise RunError("The run's data is gone.", where=folder / "data", cure="name a data file")
    data = open_prepared(folder / "data")
    store = data.valid if split == "valid" else data.test
    if store is None:
        raise RunError(
            "The run has no test split.",
            where=folder,
            cure="name a data file, or evaluate with --split valid",
        )
    logits, targets = split_logits(artifact.network(), store)
    return evaluate(softmax(logits / np.float32(artifact.temperature)), targets, artifact.labels)


def _target(row: LabelledText, index: dict[str, int], source: object) -> int:
    assert row.label is not None  # read_texts(labels=True) gives no row without one
    if row.label not in index:
        near = difflib.get_close_matches(row.label, index, n=1)
        raise DataError(
            "A label is unknown to the model.",
            where=f"{source}, row {row.row}",
            got=repr(row.label),
            expected=f"one of {', '.join(sorted(index)[:10])}{', ...' if len(index) > 10 else ''}",
            cure=f"did you mean {near[0]!r}?" if near else "train a model that has this label",
        )
    return index[row.label]


def _chunks(rows: Iterable[LabelledText]) -> Iterator[list[LabelledText]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK_TEXTS)):
        yield chunk
