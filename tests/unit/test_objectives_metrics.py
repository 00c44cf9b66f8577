"""Scores against scikit-learn, against a slow reference, and the intervals against what they promise."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from grunlock.errors import DataError, ShapeError
from grunlock.objectives.metrics import METRICS, NUM_BINS, EvaluationResult, evaluate

Doubles = NDArray[np.float64]


def predictions(
    num_examples: int, num_classes: int, seed: int = 0, num_targets: int | None = None
) -> tuple[Doubles, NDArray[np.int64]]:
    """Random probs, and targets that agree with them more often than chance."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_examples, num_classes)) * 1.5
    targets = random.integers(0, num_targets or num_classes, num_examples)
    logits[np.arange(num_examples), targets] += 1.0
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True), targets


def result_of(probs: Any, targets: Any, **options: Any) -> EvaluationResult:
    labels = [f"label{k}" for k in range(np.asarray(probs).shape[1])]
    return evaluate(probs, targets, labels, **options)


@settings(max_examples=60, deadline=None)
@given(
    num_examples=st.integers(1, 60),
    num_classes=st.integers(2, 8),
    seed=st.integers(0, 2**32 - 1),
    missing=st.booleans(),
)
def test_scores_agree_with_scikit_learn(
    num_examples: int, num_classes: int, seed: int, missing: bool
) -> None:
    probs, targets = predictions(num_examples, num_classes, seed, num_classes - 1 if missing else None)
    result = result_of(probs, targets, resamples=0)
    guesses, classes = probs.argmax(axis=1), np.arange(num_classes)
    assert result.accuracy == pytest.approx(sklearn_metrics.accuracy_score(targets, guesses))
    expected = sklearn_metrics.f1_score(targets, guesses, average="macro", zero_division=0)
    assert result.macro_f1 == pytest.approx(expected)
    assert result.nll == pytest.approx(sklearn_metrics.log_loss(targets, probs, labels=classes))
    one_hot = np.eye(num_classes)[targets]
    assert result.brier == pytest.approx(np.square(probs - one_hot).sum(axis=1).mean())
    assert np.array_equal(
        result.confusion, sklearn_metrics.confusion_matrix(targets, guesses, labels=classes)
    )
    theirs = sklearn_metrics.precision_recall_fscore_support(
        targets, guesses, labels=classes, zero_division=0
    )
    ours = [(c.precision, c.recall, c.f1, c.support) for c in result.classes]
    assert np.allclose(np.array(ours).T, np.array(theirs))


def slow_ece(probs: Doubles, targets: NDArray[np.int64]) -> float:
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == targets
    edges = [np.quantile(confidence, b / NUM_BINS) for b in range(1, NUM_BINS)]
    total = 0.0
    for b in range(NUM_BINS):
        low = -np.inf if b == 0 else edges[b - 1]
        high = np.inf if b == NUM_BINS - 1 else edges[b]
        members = (confidence > low) & (confidence <= high)
        if members.any():
            total += members.mean() * abs(right[members].mean() - confidence[members].mean())
    return float(total)


@pytest.mark.parametrize("num_examples", [1, 7, 15, 400])
def test_ece_agrees_with_its_definition(num_examples: int) -> None:
    probs, targets = predictions(num_examples, 4)
    assert result_of(probs, targets, resamples=0).ece == pytest.approx(slow_ece(probs, targets))


def test_ece_of_known_cases() -> None:
    sure = np.tile([0.9, 0.1], (10, 1))
    assert result_of(sure, [0] * 9 + [1], resamples=0).ece == pytest.approx(0.0, abs=1e-12)
    assert result_of(sure, [1] * 10, resamples=0).ece == pytest.approx(0.9)


def test_scores_do_not_depend_on_the_order_of_examples() -> None:
    probs, targets = predictions(200, 3)
    probs = np.round(probs, 1)  # many equal confidences
    probs[:, 0] += 1.0 - probs.sum(axis=1)
    probs = np.abs(probs) / np.abs(probs).sum(axis=1, keepdims=True)
    order = np.random.default_rng(1).permutation(200)
    here, there = result_of(probs, targets, resamples=0), result_of(probs[order], targets[order], resamples=0)
    for name in METRICS:
        assert getattr(here, name) == pytest.approx(getattr(there, name))


def test_perfect_and_worst() -> None:
    perfect = result_of(np.eye(3), [0, 1, 2], resamples=0)
    assert (perfect.accuracy, perfect.macro_f1, perfect.nll, perfect.ece, perfect.brier) == (1, 1, 0, 0, 0)
    worst = result_of(np.eye(2), [1, 0], resamples=0)
    assert (worst.accuracy, worst.macro_f1, worst.ece, worst.brier) == (0, 0, 1, 2)
    assert worst.nll == pytest.approx(-np.log(np.finfo(np.float32).tiny))


def test_macro_f1_leaves_out_classes_that_never_occur() -> None:
    probs = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    result = result_of(probs, [0, 1, 1], resamples=0)
    assert result.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert result.classes[2].f1 == 0.0
    assert result.classes[2].support == 0


def test_bootstrap_agrees_with_one_resample_at_a_time() -> None:
    probs, targets = predictions(40, 3)
    whole = result_of(probs, targets, resamples=300, seed=5)
    random = np.random.default_rng(99)
    drawn: dict[str, list[float]] = {name: [] for name in METRICS if name != "ece"}
    for _ in range(300):
        rows = random.integers(0, 40, 40)
        sample = result_of(probs[rows], targets[rows], resamples=0)
        for name, values in drawn.items():
            values.append(getattr(sample, name))
    for name, values in drawn.items():
        spread = float(np.std(values))
        interval = whole.intervals[name]
        assert interval.low == pytest.approx(np.quantile(values, 0.025), abs=0.5 * spread)
        assert interval.high == pytest.approx(np.quantile(values, 0.975), abs=0.5 * spread)


def test_accuracy_interval_covers_the_truth_as_often_as_it_says() -> None:
    truth, covered, trials = 0.7, 0, 300
    for seed in range(trials):
        targets = np.random.default_rng(seed).random(100) > truth  # prediction is always class 0
        probs = np.tile([0.7, 0.3], (100, 1))
        interval = result_of(probs, targets.astype(int), resamples=200, seed=seed).intervals["accuracy"]
        covered += interval.low <= truth <= interval.high
    assert 0.90 <= covered / trials <= 0.98


def test_same_seed_same_result_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, targets = predictions(50, 3)
    whole = result_of(probs, targets, seed=3)
    assert whole.to_dict() == result_of(probs, targets, seed=3).to_dict()
    assert whole.to_dict() != result_of(probs, targets, seed=4).to_dict()
    monkeypatch.setattr("grunlock.objectives.metrics.CHUNK_DRAWS", 50 * 7)
    in_chunks = result_of(probs, targets, seed=3)
    for name in METRICS:
        assert in_chunks.intervals[name].low == pytest.approx(whole.intervals[name].low)
        assert in_chunks.intervals[name].high == pytest.approx(whole.intervals[name].high)


def test_dict_is_json_and_complete() -> None:
    probs, targets = predictions(30, 3)
    result = result_of(probs.astype(np.float32), targets.tolist(), resamples=50)
    again = json.loads(json.dumps(result.to_dict()))
    assert again == result.to_dict()
    assert again["confidence"] == 0.95
    assert set(again["intervals"]) == set(METRICS)
    assert again["classes"][1]["label"] == "label1"
    assert np.sum(again["confusion"]) == 30
    assert result_of(probs, targets, resamples=0).to_dict()["intervals"] == {}


@pytest.mark.parametrize(
    ("probs", "targets", "error", "message"),
    [
        (np.ones((2, 3)) / 3, [0], ShapeError, "`targets`"),
        (np.ones((2, 2, 2)) / 2, [0, 1], ShapeError, "`probs`"),
        (np.ones((0, 3)), [], ShapeError, "nothing to evaluate"),
        ([[0.5, 0.5], [0.5, 0.6]], [0, 1], DataError, r"row 1\n.*sum 1.1"),
        ([[0.5, 0.5], [np.nan, 0.5]], [0, 1], DataError, "row 1"),
        ([[1.5, -0.5]], [0], DataError, "smallest entry -0.5"),
        ([[0.5, 0.5]], [2], DataError, r"got: +2\n.*0 to 1"),
        ([[0.5, 0.5]], [-1], DataError, "no class index"),
    ],
)
def test_wrong_arrays_are_refused(probs: Any, targets: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        result_of(probs, targets)


def test_imports_are_light() -> None:
    code = (
        "import sys\n"
        "import grunlock.objectives.metrics, grunlock.objectives.calibration\n"
        "print(sorted({'torch', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
