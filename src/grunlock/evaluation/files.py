"""A trained model against a file, in bounded memory. Shows nothing; the CLI prints."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact
from grunlock.artifact import read as read_artifact
from grunlock.data.checks import checked_bytes
from grunlock.data.prepared import is_prepared, open_prepared
from grunlock.data.sources import Chunk, FileSource, read_texts
from grunlock.errors import DataError, RecipeError, RunError
from grunlock.evaluation.splits import runtime_forward, split_logits
from grunlock.kernels.stack import InferencePrecision
from grunlock.objectives.metrics import EvaluationResult, evaluate
from grunlock.recipe import override
from grunlock.recipe.text_options import DataOptions
from grunlock.runtime.classifier import TextClassifier, probabilities

MAX_SHOWN_LABELS = 10
RUN_SPLITS = ("valid", "test")
# What of a model's recipe concerns the file at hand, not the model.
READING_KEYS = ("data.text_column", "data.label_column", "data.encoding", "data.max_text_bytes")


@dataclass(frozen=True)
class Prediction:
    """One text with the model's answer."""

    text: str
    label: str
    probability: float  # calibrated, of `label`
    probs: dict[str, float]  # by label


def predict_file(
    model: str | Path,
    source: str | Path,
    text_column: str | None = None,
    overrides: Iterable[str] = (),
    precision: InferencePrecision = "float32",
) -> Iterator[Prediction]:
    """Predict every text of a file, in order, a chunk at a time.

    overrides: `data.encoding=gb18030` and the like, see READING_KEYS. precision: see grunlock.load.

    Raises DataError for rows that cannot be read; predictions of the chunks before have been given. An
    empty text is dropped nowhere: predictions come one for one.
    """
    artifact = read_artifact(model)
    classifier = artifact.classifier(precision)
    options = _reading_options(artifact, overrides, text_column=text_column)
    if options.empty_texts == "drop":
        options = options.model_copy(update={"empty_texts": "refuse"})
    for chunk in read_texts(source, options, labels="ignored").chunks():
        yield from predict_texts(classifier, _texts(chunk, _usable_rows(chunk, options)))


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
    overrides: Iterable[str] = (),
    precision: InferencePrecision = "float32",
) -> EvaluationResult:
    """Evaluate on a labelled file. Empty texts are refused, dropped or kept as in training.

    overrides, precision: as for predict_file. Raises DataError for a label the model does not know.
    """
    artifact = read_artifact(model)
    options = _reading_options(artifact, overrides, text_column=text_column, label_column=label_column)
    classifier = artifact.classifier(precision)
    probs, targets = _answers(artifact, classifier, read_texts(source, options, labels="required"), options)
    return evaluate(probs, targets, artifact.labels)


def evaluate_run(
    folder: str | Path, split: str, precision: InferencePrecision = "float32"
) -> EvaluationResult:
    """Evaluate a run on one of its own splits, "valid" or "test", as tokenised in training."""
    folder = Path(folder)
    if split not in RUN_SPLITS:
        raise RunError("There is no such split.", got=split, expected=" or ".join(RUN_SPLITS))
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
    forward = runtime_forward(artifact.network(precision))
    logits, targets = split_logits(forward, store, data.types, len(artifact.labels))
    return evaluate(probabilities(logits, artifact.temperature), targets, artifact.labels)


def _reading_options(artifact: Artifact, overrides: Iterable[str], **columns: str | None) -> DataOptions:
    """How to read the file at hand: empty and long texts are treated as in training.

    Columns and encoding are the file's own, so they are not taken from training: read with the
    encoding of another file, such as GB18030, UTF-8 would become nonsense without an error.
    """
    overrides = tuple(overrides)
    for key in (text.partition("=")[0].strip() for text in overrides):
        if key not in READING_KEYS:
            raise RecipeError(
                "A trained model's recipe is fixed, except for how a file is read.",
                where=key,
                expected=", ".join(READING_KEYS),
                cure="train anew to change anything else",
            )
    trained = artifact.recipe.data
    plain = DataOptions(empty_texts=trained.empty_texts, max_text_bytes=trained.max_text_bytes)
    options = override(artifact.recipe.model_copy(update={"data": plain}), overrides).data
    return options.model_copy(update={name: value for name, value in columns.items() if value is not None})


def _answers(
    artifact: Artifact, classifier: TextClassifier, source: FileSource, options: DataOptions
) -> tuple[np.ndarray, np.ndarray]:
    index = {name: k for k, name in enumerate(artifact.labels)}
    probs, targets = [], []
    for chunk in source.chunks():
        rows = _usable_rows(chunk, options)
        targets += [_target(chunk, i, index) for i in rows]
        probs.append(classifier.predict_proba(_texts(chunk, rows)))
    return np.concatenate(probs), np.array(targets, np.int64)


def _usable_rows(chunk: Chunk, options: DataOptions) -> list[int]:
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


def _texts(chunk: Chunk, rows: Sequence[int]) -> list[str]:
    """A missing text is an empty one."""
    return [chunk.texts[i] or "" for i in rows]


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
