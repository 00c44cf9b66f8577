"""How good predictions are: five scores with bootstrap intervals, and the classes one by one.

Knows arrays only: no model, no torch, no files. K is the number of classes, n of examples.

    accuracy   share of examples whose most probable class is the target (ties: the lowest index)
    macro_f1   mean of F1_k over the classes that occur among targets or predictions;
               F1_k = 2 TP_k / (targets_k + predictions_k)
    nll        mean of -log p[target], in nats; p below the smallest normal float32 counts as that
    ece        sum over 15 bins b of n_b / n * |accuracy_b - mean confidence_b|; confidence is the largest
               probability; bins of equal mass: their edges are the 1/15, 2/15, ... quantiles
               of the confidences, and equal confidences share a bin
    brier      mean of sum_k (p_k - [k is the target])^2, from 0 to 2
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grunlock.errors import DataError, ShapeError
from grunlock.objectives.conformal import AbstentionScores, SetScores
from grunlock.seeding import generator
from grunlock.shapes import IntArray, check_shape

NUM_BINS = 15
CONFIDENCE = 0.95
SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)
ROW_SUM_TOLERANCE = 1e-3
CHUNK_DRAWS = 2**21  # bootstrap draws held at once; bounds memory, does not change results
METRICS = ("accuracy", "macro_f1", "nll", "ece", "brier")

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Ends of a percentile bootstrap interval at CONFIDENCE."""

    low: float
    high: float


@dataclass(frozen=True)
class ClassScores:
    """One class. A ratio whose denominator is 0 is given as 0."""

    label: str
    precision: float  # TP / predictions
    recall: float  # TP / targets
    f1: float
    support: int  # targets


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of one set of predictions. The module docstring defines each.

    intervals: by metric; empty if no resamples were asked for. They describe the sampling of these
        examples, not that of training runs. The one of ece leans upwards: resampling adds
        noise to each bin, and the absolute value counts noise as miscalibration.
    confusion: [target][prediction] counts.
    sets, abstention: how what the model promises was kept; empty for a model without a calibration split.
    """

    num_examples: int
    accuracy: float
    macro_f1: float
    nll: float
    ece: float
    brier: float
    intervals: dict[str, Interval]
    resamples: int
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    sets: tuple[SetScores, ...] = ()
    abstention: tuple[AbstentionScores, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the same for the same predictions."""
        result = asdict(self)
        result["confidence"] = CONFIDENCE
        result["classes"] = [asdict(scores) for scores in self.classes]
        result["confusion"] = [list(row) for row in self.confusion]
        for name in ("sets", "abstention"):
            result[name] = list(result[name])
            if not result[name]:
                del result[name]
        return result


def evaluate(
    probs: ArrayLike,  # [n, K]
    targets: ArrayLike,  # [n] class indices
    labels: Sequence[str],  # K names
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> EvaluationResult:
    """All scores, with bootstrap intervals over the examples unless resamples = 0.

    Raises ShapeError if sizes disagree or there is no example, DataError if probs are no
    probabilities or a target is no class.
    """
    cases = _cases(np.asarray(probs, dtype=np.float64), np.asarray(targets), len(labels))
    num_examples = len(cases.targets)
    point = _scores(cases, np.arange(num_examples)[None])
    scores: dict[str, Any] = {name: float(point[name][0]) for name in METRICS}
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (cases.targets, cases.predictions), 1)
    return EvaluationResult(
        num_examples=num_examples,
        **scores,
        intervals=_intervals(cases, resamples, seed) if resamples else {},
        resamples=resamples,
        classes=_class_scores(confusion, labels),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


@dataclass(frozen=True)
class _Cases:
    """Per example, everything the scores need; each array is [n]."""

    targets: IntArray
    predictions: IntArray
    nll: Doubles
    brier: Doubles
    bins: IntArray  # of the confidence
    gap: Doubles  # 1 if right else 0, minus confidence
    num_classes: int


def _cases(probs: Doubles, targets: NDArray[Any], num_classes: int) -> _Cases:
    _check(probs, targets, num_classes)
    targets = targets.astype(np.int64)
    predictions = probs.argmax(axis=1).astype(np.int64)
    confidence = probs.max(axis=1)
    of_target = probs[np.arange(len(targets)), targets]
    # sum_k (p_k - y_k)^2 = sum_k p_k^2 - 2 p_target + 1
    brier = np.square(probs).sum(axis=1) - 2.0 * of_target + 1.0
    return _Cases(
        targets=targets,
        predictions=predictions,
        nll=-np.log(np.maximum(of_target, SMALLEST_PROBABILITY)),
        brier=brier,
        bins=equal_mass_bins(confidence),
        gap=(predictions == targets) - confidence,
        num_classes=num_classes,
    )


def _check(probs: Doubles, targets: NDArray[Any], num_classes: int) -> None:
    check_shape("probs", probs.shape, (None, num_classes), "[n, K]")
    check_shape("targets", targets.shape, (len(probs),), "[n]")
    if len(targets) == 0:
        raise ShapeError("There is nothing to evaluate.", got="0 examples", expected="1 or more")
    sums = probs.sum(axis=1)
    bad = ~(np.abs(sums - 1.0) <= ROW_SUM_TOLERANCE) | (probs < 0.0).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            "A row of `probs` is no probability distribution.",
            where=f"row {row}",
            got=f"sum {sums[row]:g}, smallest entry {probs[row].min():g}",
            expected="non-negative entries that sum to 1",
        )
    outside = (targets < 0) | (targets >= num_classes)
    if outside.any():
        row = int(outside.argmax())
        raise DataError(
            "A target is no class index.",
            where=f"row {row}",
            got=targets[row],
            expected=f"0 to {num_classes - 1}",
        )


def confident_answers(
    probs: ArrayLike,  # [n, K]
    targets: ArrayLike,  # [n] class indices
) -> tuple[Doubles, NDArray[np.bool_]]:
    """Of each example the largest probability [n] and whether that class is the target [n].

    Raises ShapeError and DataError as `evaluate`.
    """
    values, classes = np.asarray(probs, dtype=np.float64), np.asarray(targets)
    _check(values, classes, values.shape[1] if values.ndim == 2 else 0)
    return values.max(axis=1), values.argmax(axis=1) == classes


def equal_mass_bins(confidence: Doubles) -> IntArray:
    """The bin of each example [n], 0 to NUM_BINS - 1; see ece above. Not every bin need have one."""
    edges = np.quantile(confidence, np.arange(1, NUM_BINS) / NUM_BINS)
    return np.searchsorted(edges, confidence, side="left").astype(np.int64)


def _scores(cases: _Cases, rows: IntArray) -> dict[str, Doubles]:
    """Every metric on each of R samples. rows: [R, n] examples of each sample. Values: [R]."""
    size = rows.shape[1]
    correct = (cases.predictions == cases.targets)[rows]
    gaps = _sums_by_group(cases.bins[rows], NUM_BINS, cases.gap[rows])
    return {
        "accuracy": correct.mean(axis=1),
        "macro_f1": _macro_f1(cases, rows, correct),
        "nll": cases.nll[rows].mean(axis=1),
        # n_b / n * |accuracy_b - confidence_b| = |sum of gaps in b| / n
        "ece": np.abs(gaps).sum(axis=1) / size,
        "brier": cases.brier[rows].mean(axis=1),
    }


def _macro_f1(cases: _Cases, rows: IntArray, correct: NDArray[np.bool_]) -> Doubles:
    targets = cases.targets[rows]
    ones = np.ones(rows.shape)
    hits = _sums_by_group(targets, cases.num_classes, correct.astype(np.float64))  # [R, K]
    wanted = _sums_by_group(targets, cases.num_classes, ones)
    given = _sums_by_group(cases.predictions[rows], cases.num_classes, ones)
    present = wanted + given > 0
    f1 = 2.0 * hits / np.maximum(wanted + given, 1.0)
    result: Doubles = f1.sum(axis=1) / present.sum(axis=1)
    return result


def _sums_by_group(groups: IntArray, num_groups: int, values: Doubles) -> Doubles:
    """Sum of values [R, n] by group [R, n], sample by sample: [R, num_groups]."""
    num_samples = len(groups)
    cells = groups + np.arange(num_samples)[:, None] * num_groups
    sums: Doubles = np.bincount(cells.ravel(), values.ravel(), num_samples * num_groups).astype(np.float64)
    return sums.reshape(num_samples, num_groups)


def _intervals(cases: _Cases, resamples: int, seed: int) -> dict[str, Interval]:
    """Percentile bootstrap: the middle CONFIDENCE of the scores of samples drawn with replacement."""
    size = len(cases.targets)
    random = generator(seed, "bootstrap")
    chunk = max(1, CHUNK_DRAWS // size)
    drawn: dict[str, list[Doubles]] = {name: [] for name in METRICS}
    for start in range(0, resamples, chunk):
        rows = random.integers(0, size, (min(chunk, resamples - start), size))
        for name, values in _scores(cases, rows).items():
            drawn[name].append(values)
    tail = (1.0 - CONFIDENCE) / 2.0
    ends = {name: np.quantile(np.concatenate(drawn[name]), [tail, 1.0 - tail]) for name in METRICS}
    return {name: Interval(float(low), float(high)) for name, (low, high) in ends.items()}


def _class_scores(confusion: IntArray, labels: Sequence[str]) -> tuple[ClassScores, ...]:
    hits, wanted, given = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        ClassScores(
            label=label,
            precision=float(hits[k] / max(given[k], 1)),
            recall=float(hits[k] / max(wanted[k], 1)),
            f1=float(2 * hits[k] / max(wanted[k] + given[k], 1)),
            support=int(wanted[k]),
        )
        for k, label in enumerate(labels)
    )
