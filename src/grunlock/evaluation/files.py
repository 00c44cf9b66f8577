"""A trained model against a file, in bounded memory. Shows nothing; the CLI prints."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact
from grunlock.artifact import read as read_artifact
from grunlock.data.prepared import is_prepared, open_prepared
from grunlock.data.sources import Chunk, FileSource, read_texts
from grunlock.errors import DataError, RunError
from grunlock.evaluation.splits import split_logits
from grunlock.objectives.metrics import EvaluationResult, evaluate
from grunlock.runtime.classifier import TextClassifier, softmax

MAX_SHOWN_LABELS = 10


@dataclass(frozen=True)
class Prediction:
    """One text with the model's answer."""

    text: str
    label: str
    probability: float  # calibrated, of `label`
    probs: dict[str, float]  # by label


def predict_file(
    model: str | Path, source: str | Path, text_column: str | None = None
) -> Iterator[Prediction]:
    """Predict every text of a file, in order, a chunk at a time.

    Raises DataError for rows that cannot be read; predictions of the rows before have been given.
    """
    artifact = read_artifact(model)
    classifier = artifact.classifier()
    options = artifact.recipe.data.model_copy(update={"text_column": text_column, "label_column": None})
    for chunk in read_texts(source, options, labels="ignored").chunks():
        yield from predict_texts(classifier, _texts(chunk))


def predict_texts(classifier: TextClassifier, texts: Sequence[str]) -> list[Prediction]:
    """Predictions of texts in memory, in order."""
    predictions = []
    for text, probs in zip(texts, classifier.predict_proba(texts), strict=True):
        best = int(probs.argmax())
        by_label = {name: float(p) for name, p in zip(classifier.labels, probs, strict=True)}
        predictions.append(Prediction(text, classifier.labels[best], float(probs[best]), by_label))
    return predictions


def evaluate_file(
    model: str | Path,
    source: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
) -> EvaluationResult:
    """Evaluate on a labelled file. Raises DataError for a label the model does not know."""
    artifact = read_artifact(model)
    columns = {"text_column": text_column, "label_column": label_column}
    opened = read_texts(source, artifact.recipe.data.model_copy(update=columns), labels="required")
    probs, targets = _answers(artifact, opened)
    return evaluate(probs, targets, artifact.labels)


def evaluate_run(folder: str | Path, split: str) -> EvaluationResult:
    """Evaluate a run on one of its own splits, "valid" or "test", as tokenised in training."""
    folder = Path(folder)
    artifact = read_artifact(folder)
    if not is_prepared(folder / "data"):
        raise RunError(
            "This is no run with its data, so what to evaluate on must be named.",
            where=folder,
            cure=f"grunlock evaluate {folder} DATA",
        )
    data = open_prepared(folder / "data")
    store = data.valid if split == "valid" else data.test
    if store is None:
        raise RunError(
            "The run has no test split.",
            where=folder,
            cure="name a data file, or evaluate with --split valid",
        )
    logits, targets = split_logits(artifact.network(), store, data.types)
    return evaluate(softmax(logits / np.float32(artifact.temperature)), targets, artifact.labels)


def _answers(artifact: Artifact, source: FileSource) -> tuple[np.ndarray, np.ndarray]:
    classifier = artifact.classifier()
    index = {name: k for k, name in enumerate(artifact.labels)}
    probs, targets = [], []
    for chunk in source.chunks():
        targets += [_target(chunk, i, index) for i in range(len(chunk.texts))]
        probs.append(classifier.predict_proba(_texts(chunk)))
    return np.concatenate(probs), np.array(targets)


def _texts(chunk: Chunk) -> list[str]:
    """A missing text is an empty one; whether empty texts are allowed is the classifier's to say."""
    return ["" if text is None else str(text) for text in chunk.texts]


def _target(chunk: Chunk, i: int, index: dict[str, int]) -> int:
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
