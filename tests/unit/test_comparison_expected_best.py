"""Expected best scores against counting all choices of trials, and against bias."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock.comparison.expected_best import expected_best
from grunlock.errors import DataError, ShapeError

SCORES = st.lists(st.integers(0, 5), min_size=1, max_size=7)


@settings(deadline=None)
@given(SCORES)
def test_without_replacement_counts_all_choices(scores: list[int]) -> None:
    curve = expected_best(scores)
    for k in range(1, len(scores) + 1):
        best = [max(chosen) for chosen in combinations(scores, k)]
        assert curve.mean[k - 1] == pytest.approx(np.mean(best))
        assert curve.deviation[k - 1] == pytest.approx(np.std(best), abs=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_with_replacement_counts_all_draws(scores: list[int]) -> None:
    curve = expected_best(scores, replacement=True)
    for k in range(1, len(scores) + 1):
        best = [max(drawn) for drawn in product(scores, repeat=k)]
        assert curve.mean[k - 1] == pytest.approx(np.mean(best))
        assert curve.deviation[k - 1] == pytest.approx(np.std(best), abs=1e-7)


def test_many_trials_stay_exact() -> None:
    num_trials = 1500
    scores = np.random.default_rng(0).random(num_trials)
    curve, ordered = expected_best(scores), sorted(scores)
    for k in (2, 40, 700, num_trials):
        exact = sum(comb(i, k - 1) / comb(num_trials, k) * ordered[i] for i in range(k - 1, num_trials))
        assert curve.mean[k - 1] == pytest.approx(exact, rel=1e-11)


def test_the_curve_starts_at_the_mean_and_ends_at_the_best() -> None:
    curve = expected_best([0.2, 0.9, 0.5])
    assert curve.num_trials == 3
    assert (curve.mean[0], curve.mean[-1]) == (pytest.approx(1.6 / 3), pytest.approx(0.9))
    assert curve.deviation[-1] == pytest.approx(0.0, abs=1e-12)
    assert list(curve.mean) == sorted(curve.mean)


def test_only_the_default_is_unbiased() -> None:
    # The best of k uniform numbers is k / (k + 1) on average.
    random = np.random.default_rng(1)
    searches = random.random((4000, 6))
    unbiased = np.mean([expected_best(s).mean for s in searches], axis=0)
    plug_in = np.mean([expected_best(s, replacement=True).mean for s in searches], axis=0)
    truth = np.arange(1, 7) / np.arange(2, 8)
    assert unbiased == pytest.approx(truth, abs=0.01)
    assert (plug_in[2:] < truth[2:] - 0.03).all()


def test_seconds() -> None:
    assert expected_best([1.0, 2.0]).seconds is None
    assert expected_best([1.0, 2.0], seconds=[10.0, 20.0]).seconds == (15.0, 30.0)
    with pytest.raises(ShapeError, match="`seconds`"):
        expected_best([1.0, 2.0], seconds=[10.0])
    with pytest.raises(DataError, match="negative duration") as caught:
        expected_best([1.0, 2.0], seconds=[10.0, -1.0])
    assert caught.value.where == "trial 1"


def test_failed_trials_are_not_left_out_silently() -> None:
    with pytest.raises(DataError, match="not finite") as caught:
        expected_best([0.5, float("nan")])
    assert "leave out failed trials on purpose" in str(caught.value)
    with pytest.raises(ShapeError):
        expected_best([])
