"""Reliability bins and the curve of risk against coverage, on cases that can be counted by hand."""

import numpy as np
import pytest

from grunlock.errors import DataError, ShapeError
from grunlock.evaluation.worst import worst_errors
from grunlock.objectives.metrics import evaluate
from grunlock.objectives.reliability import reliability, wilson_interval
from grunlock.objectives.selective import risk_coverage
from grunlock.shapes import FloatArray, IntArray


def drawn(num_examples: int, num_classes: int = 3, seed: int = 0) -> tuple[FloatArray, IntArray]:
    random = np.random.default_rng(seed)
    probs = random.dirichlet(np.ones(num_classes), num_examples)
    return probs.astype(np.float32), random.integers(0, num_classes, num_examples)


@pytest.mark.parametrize("num_examples", [1, 7, 15, 400])
def test_the_bins_sum_up_to_the_metric(num_examples: int) -> None:
    probs, targets = drawn(num_examples)
    found = reliability(probs, targets)
    assert found.ece == pytest.approx(evaluate(probs, targets, "abc", resamples=0).ece, abs=1e-12)
    assert sum(each.num_examples for each in found.bins) == num_examples
    confidences = [each.confidence for each in found.bins]
    assert confidences == sorted(confidences)


def test_a_bin_says_what_is_in_it() -> None:
    found = reliability([[0.9, 0.1]] * 10, [0] * 7 + [1] * 3)  # equal confidences share a bin
    (only,) = found.bins
    assert (only.num_examples, only.confidence, only.accuracy) == (10, pytest.approx(0.9), pytest.approx(0.7))
    assert found.ece == pytest.approx(0.2)
    assert only.low < 0.7 < only.high


def test_wilsons_interval_as_published() -> None:
    """81 of 263: Newcombe 1998, Statistics in Medicine 17, table I, method 3; 0 of 20 and 1 of 29 as well."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_risk_against_coverage_counted_by_hand() -> None:
    probs = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]]
    found = risk_coverage(probs, [0, 1, 0, 1])  # the second and the least sure one are wrong
    assert found.coverage == (0.25, 0.5, 0.75, 1.0)
    assert found.error == pytest.approx((0.0, 0.5, 1 / 3, 0.5))
    assert found.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found.best_area == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert found.error_at(0.5) == 0.5
    assert found.error_at(0.51) == pytest.approx(1 / 3)


def test_equally_sure_examples_have_no_order() -> None:
    probs = [[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]]
    one, other = (risk_coverage(probs, targets) for targets in ([0, 0, 1], [0, 1, 0]))
    assert one == other
    assert one.coverage == pytest.approx((1 / 3, 1.0))
    assert one.area == pytest.approx((0 + 0.5 / 2 + 1 / 3) / 3)


def test_a_model_that_is_surest_where_it_errs_is_seen() -> None:
    """Order reversed: the area cannot be as good as the best one."""
    right = risk_coverage([[0.9, 0.1], [0.6, 0.4]], [0, 1])
    wrong = risk_coverage([[0.9, 0.1], [0.6, 0.4]], [1, 0])
    assert right.area == right.best_area
    assert wrong.area > wrong.best_area


def test_the_worst_errors_come_first() -> None:
    probs = [[0.6, 0.4], [0.99, 0.01], [0.2, 0.8], [0.7, 0.3]]
    found = worst_errors(probs, [1, 1, 1, 1], ["no", "yes"], 2)
    assert [each.example for each in found] == [1, 3]
    assert (found[0].label, found[0].predicted) == ("yes", "no")
    assert (found[0].probability, found[0].of_label) == pytest.approx((0.99, 0.01))
    assert worst_errors(probs, [0, 0, 1, 0], ["no", "yes"], 2) == ()


def test_what_is_no_answer_is_refused() -> None:
    for function in (reliability, risk_coverage):
        with pytest.raises(ShapeError, match="nothing to evaluate"):
            function(np.empty((0, 2)), [])
        with pytest.raises(ShapeError):
            function([[0.5, 0.5]], [0, 1])
        with pytest.raises(DataError, match="no probability distribution"):
            function([[0.5, 0.7]], [0])
    with pytest.raises(ShapeError, match=r"Every class needs a name(.|\n)*2 labels"):
        worst_errors([[0.2, 0.3, 0.5]], [0], ["a", "b"], 5)
