"""How good a model is that has read a part only, and how much it reads where it may decide early."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from grunlock.artifact import Artifact
from grunlock.errors import ShapeError
from grunlock.objectives.metrics import evaluate
from grunlock.runtime.early import Temperatures, path_of, stopping_places
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, IntArray

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class ShareScores:
    """When this share of each input's steps has been read, rounded up to whole steps; the scores are those of
    objectives/metrics.py.

    nll, ece:  of the outlook, whose temperature goes by the steps that have been read
    plain_nll: with the temperature of whole inputs instead
    """

    share: float
    accuracy: float
    nll: float
    ece: float
    plain_nll: float


@dataclass(frozen=True)
class DecisionScores:
    """How early decisions of one promised error rate did.

    error:      among those decided; None if there is none
    share_read: of an input's steps, the mean over all inputs; one that is not decided is read to its end
    """

    max_error: float
    can_promise: bool  # False: no threshold keeps this error rate, so nothing is decided
    decided_fraction: float
    error: float | None
    share_read: float


@dataclass(frozen=True)
class EarlyCurve:
    """Scores against how much has been read. decisions: empty for a model without a calibration split."""

    num_examples: int
    mean_steps: float
    shares: tuple[ShareScores, ...]
    decisions: tuple[DecisionScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        result = asdict(self)
        for name in ("shares", "decisions"):
            result[name] = list(result[name])
        return result


def early_curve(
    artifact: Artifact,
    paths: Iterable[tuple[FloatArray, int]],
) -> EarlyCurve:
    """paths: of each example the logits [steps, K] after each of its steps, and its class; in any order, and
    none is kept. Raises ShapeError if there is no example.
    """
    guarantees, begun = artifact.guarantees, artifact.step_temperatures
    early = {} if guarantees is None or guarantees.early is None else guarantees.early
    kept = {rate: threshold for rate, threshold in early.items() if threshold is not None}
    thresholds = np.array(list(kept.values()))
    at_shares, lengths, targets, places, correct = [], [], [], [], []
    for logits, target in paths:
        at_shares.append(logits[_steps_at_shares(len(logits)) - 1])
        lengths.append(len(logits))
        targets.append(target)
        if guarantees is not None:
            confidence, labels = path_of(logits, Temperatures(guarantees.temperature, begun))
            places.append(stopping_places(confidence, thresholds))
            correct.append(labels.take(places[-1], mode="clip") == target)
    if not lengths:
        raise ShapeError("There is nothing to evaluate.", got="0 examples", expected="1 or more")
    steps = np.array(lengths)
    shares = _share_scores(artifact, np.stack(at_shares), steps, np.array(targets))
    decisions = {
        rate: _decision_scores(rate, np.array(places)[:, i], np.array(correct)[:, i], steps)
        for i, rate in enumerate(kept)
    }
    nothing = {rate: DecisionScores(rate, False, 0.0, None, 1.0) for rate in early}
    return EarlyCurve(len(steps), float(steps.mean()), shares, tuple((nothing | decisions).values()))


def _steps_at_shares(num_steps: int) -> IntArray:
    """At least 1. A share of 0.1 times 30 must not become 4."""
    return np.array([math.ceil(round(share * num_steps, 9)) for share in SHARES], np.int64)


def _share_scores(
    artifact: Artifact,
    logits: FloatArray,  # [n, shares, K]
    lengths: IntArray,
    targets: IntArray,
) -> tuple[ShareScores, ...]:
    temperatures = Temperatures(artifact.temperature, artifact.step_temperatures)
    steps = np.stack([_steps_at_shares(length) for length in lengths.tolist()])
    found = []
    for i, share in enumerate(SHARES):
        plain = outlook = probabilities(logits[:, i], temperatures.whole)
        if share < 1.0:
            outlook = probabilities(logits[:, i], temperatures.after(steps[:, i])[:, None])
        scores = evaluate(outlook, targets, artifact.labels, resamples=0)
        without = evaluate(plain, targets, artifact.labels, resamples=0)
        found.append(ShareScores(share, scores.accuracy, scores.nll, scores.ece, without.nll))
    return tuple(found)


def _decision_scores(
    max_error: float, places: IntArray, correct: np.ndarray, lengths: IntArray
) -> DecisionScores:
    """places: [n] of each path, whose last is the end of its input, behind the last step"""
    decided = places <= lengths
    error = float(1.0 - correct[decided].mean()) if decided.any() else None
    read = np.minimum(places + 1, lengths) / lengths
    return DecisionScores(max_error, True, float(decided.mean()), error, float(read.mean()))
