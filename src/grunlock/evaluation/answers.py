"""From logits to answers and scores, the promises of a calibration split included. Texts and series alike."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from grunlock.artifact import Artifact
from grunlock.objectives.conformal import abstention_scores, set_scores
from grunlock.objectives.metrics import EvaluationResult, evaluate
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.guarantees import Guarantees, answers_or_none, label_sets, promised
from grunlock.runtime.probabilities import probabilities
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.shapes import FloatArray, IntArray


@dataclass(frozen=True)
class Promises:
    """What answers have to keep, from Python see predict_set and predict_or_abstain.

    coverage:  each answer comes with a set of labels of this coverage.
    max_error: an answer is left empty where the model is not sure enough to keep this error rate.
    """

    coverage: float | None = None
    max_error: float | None = None


NO_PROMISES = Promises()


@dataclass(frozen=True)
class AnswerColumns:
    """Answers to B examples, as columns.

    labels:      [B] "" where the model abstains
    probability: [B] calibrated, of the most probable label
    probs:       [B, K]
    label_sets:  [B] None if no coverage was asked for
    """

    labels: list[str]
    probability: FloatArray
    probs: FloatArray
    label_sets: list[tuple[str, ...]] | None


def answer_columns(
    classifier: TextClassifier | SeriesClassifier, logits: FloatArray, promises: Promises
) -> AnswerColumns:
    """What logits [B, K] answer. Raises CalibrationError for what the model cannot promise."""
    probs = probabilities(logits, classifier.temperature)
    best = probs.argmax(axis=1)
    labels = [classifier.labels[k] for k in best.tolist()]
    if promises.max_error is not None:
        answered = promised(classifier.guarantees).answered(logits, promises.max_error)
        labels = [label or "" for label in answers_or_none(classifier.labels, logits, answered)]
    sets = None
    if promises.coverage is not None:
        members = promised(classifier.guarantees).sets(logits, promises.coverage)
        sets = label_sets(classifier.labels, logits, members)
    return AnswerColumns(labels, probs[np.arange(len(best)), best], probs, sets)


def answer_fields(
    classifier: TextClassifier | SeriesClassifier, logits: FloatArray, promises: Promises
) -> Iterator[dict[str, Any]]:
    """As answer_columns, one by one: label, probability, probs and, if there is a coverage, label_set."""
    found = answer_columns(classifier, logits, promises)
    probs, probability = found.probs.tolist(), found.probability.tolist()
    for i, label in enumerate(found.labels):
        by_label = dict(zip(classifier.labels, probs[i], strict=True))
        fields = {"label": label, "probability": probability[i], "probs": by_label}
        yield fields if found.label_sets is None else {**fields, "label_set": found.label_sets[i]}


def evaluate_logits(artifact: Artifact, logits: FloatArray, targets: IntArray) -> EvaluationResult:
    """All scores of a model's logits [n, K] on examples of classes [n], those of its promises included."""
    result = evaluate(probabilities(logits, artifact.temperature), targets, artifact.labels)
    if artifact.guarantees is None:
        return result
    return _with_promises(result, artifact.guarantees, logits, targets)


def _with_promises(
    result: EvaluationResult, guarantees: Guarantees, logits: FloatArray, targets: IntArray
) -> EvaluationResult:
    correct = logits.argmax(axis=1) == targets
    sets = [
        set_scores(method, coverage, guarantees.sets(logits, coverage, method), targets, quantile)
        for method, quantiles in guarantees.quantiles.items()
        for coverage, quantile in quantiles.items()
    ]
    abstention = [
        abstention_scores(rate, None if threshold is None else guarantees.answered(logits, rate), correct)
        for rate, threshold in guarantees.thresholds.items()
    ]
    return replace(result, sets=tuple(sets), abstention=tuple(abstention))
