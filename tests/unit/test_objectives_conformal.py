"""Promises kept: quantiles on exchangeable scores, abstention over many calibration splits, edge cases."""

import math

import numpy as np
import pytest
from scipy.stats import beta, binom

from grunlock.errors import ShapeError
from grunlock.objectives.conformal import (
    NUM_STARTS,
    abstention_scores,
    abstention_threshold,
    binomial_tail,
    conformal_quantile,
    examples_needed,
    set_scores,
)

GRID = np.arange(49, -1, -1) / 50


def error_at(confidence):
    """P(wrong | confidence): some errors even where the model is surest."""
    return 0.005 + 0.4 * (1 - confidence) ** 2


def error_above(threshold):
    """P(wrong | confidence >= threshold) for confidence uniform on [0, 1]."""
    return 0.005 + 0.4 * (1 - threshold) ** 2 / 3


def drawn(rng, n):
    confidence = rng.random(n)
    return confidence, rng.random(n) >= error_at(confidence)


# ---- quantiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (50, 0.8), (99, 0.95), (200, 0.9)])
def test_coverage_is_as_promised_and_no_more(n, coverage):
    rng = np.random.default_rng(n)
    scores = rng.exponential(size=(20_000, n + 1))
    covered = np.mean([row[-1] <= conformal_quantile(row[:-1], coverage) for row in scores])
    deviation = math.sqrt(coverage * (1 - coverage) / len(scores))
    assert coverage - 4 * deviation <= covered <= coverage + 1 / (n + 1) + 4 * deviation


def test_ties_only_add_coverage():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, (5000, 31)).astype(float)
    covered = np.mean([row[-1] <= conformal_quantile(row[:-1], 0.9) for row in scores])
    assert covered > 0.9


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95, 0.99])
def test_too_few_examples_promise_nothing(coverage):
    least = round(coverage / (1 - coverage))
    assert conformal_quantile(np.arange(least - 1.0), coverage) == math.inf
    assert conformal_quantile(np.arange(float(least)), coverage) == least - 1
    assert conformal_quantile(np.empty(0), coverage) == math.inf


# ---- abstention ------------------------------------------------------------------------------------


def test_binomial_tail_is_scipy_s_and_clopper_pearson_s():
    for answered, errors, rate in [
        (0, 0, 0.1),
        (59, 0, 0.05),
        (300, 7, 0.05),
        (20_000, 150, 0.01),
        (5, 5, 0.1),
    ]:
        expected = binom.cdf(errors, answered, rate)
        assert binomial_tail(errors, answered, rate) == pytest.approx(expected, rel=1e-9)
    upper = beta.ppf(0.95, 8, 293)  # of 7 errors in 300
    assert binomial_tail(7, 300, upper) == pytest.approx(0.05)


@pytest.mark.parametrize(("n", "max_error"), [(200, 0.05), (1000, 0.05), (1000, 0.1)])
def test_a_promised_error_rate_is_kept_as_often_as_said(n, max_error):
    rng = np.random.default_rng(0)
    found = [abstention_threshold(*drawn(rng, n), GRID, max_error, 0.95) for _ in range(1000)]
    given = [threshold for threshold in found if threshold is not None]
    failures = sum(error_above(threshold) > max_error for threshold in given)
    assert failures <= 0.05 * len(found)
    if n == 1000:
        assert len(given) > 750  # the promise is not kept by never answering


def test_the_worst_case_is_kept_too():
    """Every threshold errs a little more often than allowed, so every promise fails."""
    rng = np.random.default_rng(0)
    samples = ((rng.random(300), rng.random(300) >= 0.0501) for _ in range(1000))
    failures = sum(abstention_threshold(*sample, GRID, 0.05, 0.95) is not None for sample in samples)
    assert 0 < failures <= 50


def test_the_check_would_see_a_rule_that_promises_too_much():
    """The smallest threshold whose error on the calibration split itself is low enough."""
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(1000):
        confidence, correct = drawn(rng, 1000)
        errors = np.array([np.mean(~correct[confidence >= threshold]) for threshold in GRID[1:]])
        failures += error_above(GRID[1:][errors <= 0.05].min()) > 0.05
    assert failures > 250


def test_the_smallest_threshold_is_found_past_errors_at_high_confidence():
    confidence = np.linspace(0, 1, 1000)
    correct = np.ones(1000, np.bool_)
    assert abstention_threshold(confidence, correct, GRID, 0.01, 0.95) == 0.0
    correct[-20:] = False  # the surest answers are wrong: the sequence from the top ends at once
    assert abstention_threshold(confidence, correct, GRID, 0.05, 0.95) == 0.0
    assert abstention_threshold(confidence, ~correct, GRID, 0.05, 0.95) is None
    assert abstention_threshold(confidence, correct, np.empty(0), 0.05, 0.95) is None


@pytest.mark.parametrize("max_error", [0.01, 0.05, 0.1])
def test_the_number_of_examples_needed_is_exact(max_error):
    least = examples_needed(max_error, 0.95)
    assert binomial_tail(0, least, max_error) <= 0.05 / NUM_STARTS < binomial_tail(0, least - 1, max_error)
    for n, expected in ((least, 0.0), (least - 1, None)):
        right = np.ones(n, np.bool_)
        assert abstention_threshold(np.ones(n), right, GRID, max_error, 0.95) == expected


def test_sizes_that_disagree_are_refused():
    with pytest.raises(ShapeError):
        abstention_threshold(np.ones(3), np.ones(2, np.bool_), GRID, 0.05, 0.95)
    with pytest.raises(ShapeError):
        conformal_quantile(np.ones((3, 2)), 0.9)
    with pytest.raises(ShapeError, match="nothing to evaluate"):
        set_scores("lac", 0.9, np.ones((0, 3), np.bool_), np.empty(0, np.int64), 0.5)


def test_scores_of_sets_and_abstention():
    members = np.array([[True, False, False], [True, True, False]])
    found = set_scores("lac", 0.9, members, np.array([1, 1]), 0.5)
    assert (found.coverage, found.mean_size, found.all_labels) == (0.5, 1.5, False)
    answered, correct = np.array([True, True, False]), np.array([True, False, False])
    found = abstention_scores(0.05, answered, correct)
    assert (found.answered_fraction, found.error) == (2 / 3, 0.5)
    assert abstention_scores(0.05, None, correct).can_promise is False
    assert abstention_scores(0.05, np.zeros(3, np.bool_), correct).error is None
