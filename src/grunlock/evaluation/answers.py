"""From logits to answers and scores, the promises of a calibration split included. Texts and series alike."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

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


def answer_fields(
    classifier: TextClassifier | SeriesClassifier, logits: FloatArray, promises: Promises
) -> Iterator[dict[str, Any]]:
    """For each row of logits [B, K]: label, probability, probs and, if there is a coverage, label_set.

    Raises CalibrationError for what the model cannot promise.
    """
    probs = probabilities(logits, classifier.temperature)
    best = probs.argmax(axis=1).tolist()
    labels = [classifier.labels[k] for k in best]
    if promises.max_error is not None:
        answered = promised(classifier.guarantees).answered(logits, promises.max_error)
        labels = [label or "" for label in answers_or_none(classifier.labels, logits, answered)]
    sets = None
    if promises.coverage is not None:
        members = promised(classifier.guarantees).sets(logits, promises.coverage)
        sets = label_sets(classifier.labels, logits, members)
    for i, label in enumerate(labels):
        by_label = {name: float(p) for name, p in zip(classifier.labels, probs[i], strict=True)}
        found = {"label": label, "probability": float(probs[i, best[i]]), "probs": by_label}
        yield found if sets is None else {**found, "label_set": sets[i]}


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
