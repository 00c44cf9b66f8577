"""A trained model against a file, whichever kind of data it reads. Shows nothing; the CLI prints."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from grunlock.artifact import BEFORE_REFIT_NAME, Artifact
from grunlock.artifact import read as read_artifact
from grunlock.data.batches import ArrayStore
from grunlock.data.prepared import is_prepared, open_prepared
from grunlock.errors import RunError
from grunlock.evaluation.answers import NO_PROMISES, Promises, evaluate_logits
from grunlock.evaluation.early import EarlyCurve, early_curve
from grunlock.evaluation.series import (
    SeriesPrediction,
    evaluate_series_file,
    predict_series_file,
    series_file_paths,
)
from grunlock.evaluation.splits import runtime_forward, split_logits, split_paths
from grunlock.evaluation.texts import Prediction, evaluate_text_file, predict_text_file, text_file_paths
from grunlock.kernels.stack import InferencePrecision
from grunlock.objectives.metrics import EvaluationResult
from grunlock.runtime.hindrances import refuse_hindered
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, IntArray
from grunlock.text.front_end import TextFrontEnd

Answer = Prediction | SeriesPrediction
RUN_SPLITS = ("valid", "test")


def predict_file(
    model: str | Path,
    source: str | Path,
    text_column: str | None = None,
    overrides: Iterable[str] = (),
    precision: InferencePrecision = "float32",
    promises: Promises = NO_PROMISES,
) -> Iterator[Answer]:
    """Predict every text or series of a file, in order, one for one: none is dropped.

    overrides: `data.encoding=gb18030` and the like, see READING_KEYS in texts.py and series.py.
    precision: see grunlock.load.

    Raises DataError for what cannot be read; predictions of the texts before have been given. Raises
    CalibrationError for what the model cannot promise.
    """
    artifact = read_artifact(model)
    overrides = [*_columns(text_column=text_column), *overrides]
    predict = predict_text_file if artifact.recipe.data.kind == "text" else predict_series_file
    yield from predict(artifact, source, overrides, precision, promises)


def evaluate_file(
    model: str | Path,
    source: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    overrides: Iterable[str] = (),
    precision: InferencePrecision = "float32",
) -> EvaluationResult:
    """Evaluate on a labelled file.

    overrides, precision: as for predict_file. Raises DataError for a label the model does not know.
    """
    artifact = read_artifact(model)
    overrides = [*_columns(text_column=text_column, label_column=label_column), *overrides]
    evaluate_on = evaluate_text_file if artifact.recipe.data.kind == "text" else evaluate_series_file
    return evaluate_on(artifact, source, overrides, precision)


def evaluate_run(
    folder: str | Path, split: str, precision: InferencePrecision = "float32"
) -> EvaluationResult:
    """Evaluate a run on one of its own splits, "valid" or "test", as prepared for training."""
    return evaluate_prepared(folder, _data_of(folder), split, precision)


def evaluate_prepared(
    model: str | Path, prepared: str | Path, split: str, precision: InferencePrecision = "float32"
) -> EvaluationResult:
    """As evaluate_run, of a model on data that was prepared as for its training."""
    return evaluate_logits(*_logits(model, prepared, split, precision))


def early_curve_file(
    model: str | Path,
    source: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    overrides: Iterable[str] = (),
    precision: InferencePrecision = "float32",
) -> EarlyCurve:
    """As evaluate_file: scores against how much of each text or series has been read.

    Raises StreamError for a model that needs the whole.
    """
    artifact = read_artifact(model)
    overrides = [*_columns(text_column=text_column, label_column=label_column), *overrides]
    paths_of = text_file_paths if artifact.recipe.data.kind == "text" else series_file_paths
    return early_curve(artifact, paths_of(artifact, source, overrides, precision))


def early_curve_run(folder: str | Path, split: str, precision: InferencePrecision = "float32") -> EarlyCurve:
    """As evaluate_run. Raises StreamError for a model that needs the whole."""
    artifact, store = _split(folder, _data_of(folder), split)
    kind = artifact.front_end.tokens if isinstance(artifact.front_end, TextFrontEnd) else None
    refuse_hindered(artifact.recipe, kind)
    paths = split_paths(artifact.network(precision), store)
    return early_curve(artifact, ((logits, int(store.targets[example])) for example, logits in paths))


def run_answers(
    folder: str | Path, split: str, precision: InferencePrecision = "float32"
) -> tuple[FloatArray, IntArray]:
    """What a run answers to the examples of one of its own splits, in their order: calibrated probabilities
    [n, K] and targets [n]."""
    return model_answers(folder, _data_of(folder), split, precision)


def model_answers(
    model: str | Path, prepared: str | Path, split: str, precision: InferencePrecision = "float32"
) -> tuple[FloatArray, IntArray]:
    """As run_answers, of a model on data that was prepared as for its training."""
    artifact, logits, targets = _logits(model, prepared, split, precision)
    return probabilities(logits, artifact.temperature), targets


def _data_of(folder: str | Path) -> Path:
    if not is_prepared(Path(folder) / "data"):
        raise RunError(
            "This is no run with its data, so what to evaluate on must be named.",
            where=folder,
            cure=f"grunlock evaluate {folder} DATA",
        )
    return Path(folder) / "data"


def _logits(
    model: str | Path, prepared: str | Path, split: str, precision: InferencePrecision
) -> tuple[Artifact, FloatArray, IntArray]:
    artifact, store = _split(model, prepared, split)
    forward = runtime_forward(artifact.network(precision))
    return artifact, *split_logits(forward, store, len(artifact.labels))


def _split(model: str | Path, prepared: str | Path, split: str) -> tuple[Artifact, ArrayStore]:
    """A split, and the model that has not learned it."""
    if split not in RUN_SPLITS:
        raise RunError("There is no such split.", got=split, expected=" or ".join(RUN_SPLITS))
    artifact = validated_model(model) if split == "valid" else read_artifact(model)
    data = open_prepared(prepared)
    store = data.valid if split == "valid" else data.test
    if store is None:
        raise RunError(
            "The run has no test split.",
            where=model,
            cure="name a data file, or evaluate with --split valid",
        )
    return artifact, store


def validated_model(folder: str | Path) -> Artifact:
    """The model of a run that has not learned the run's validation examples."""
    artifact = read_artifact(folder)
    return _before_refit(Path(folder)) if artifact.derived.refit else artifact


def _before_refit(model: Path) -> Artifact:
    """The model as it was before it learned the validation examples."""
    path = (model if model.is_dir() else model.parent) / BEFORE_REFIT_NAME
    if not path.is_file():
        raise RunError(
            "The model has learned its validation examples, so they say nothing about it.",
            where=model,
            cure=f"evaluate on other data, or put {BEFORE_REFIT_NAME} of its run beside it",
        )
    return read_artifact(path)


def _columns(**columns: str | None) -> list[str]:
    """Named columns as overrides; quoted, because a column may be called 7 or true."""
    return [f"data.{role}={json.dumps(name)}" for role, name in columns.items() if name is not None]
