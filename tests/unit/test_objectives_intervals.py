"""Intervals of means."""

import numpy as np

from grunlock.objectives.intervals import mean_interval


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    found = [mean_interval(random.normal(1.0, 2.0, 60), seed=i, resamples=500) for i in range(300)]
    assert 0.90 < np.mean([interval.low <= 1.0 <= interval.high for interval in found]) < 0.98


def test_the_interval_of_many_values_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(0.0, 1.0, 5000)
    found, error = mean_interval(values, seed=0), 1.96 * values.std() / np.sqrt(5000)
    np.testing.assert_allclose(
        [found.low, found.high], [values.mean() - error, values.mean() + error], atol=3e-3
    )
    assert found == mean_interval(values, seed=0) != mean_interval(values, seed=1)
