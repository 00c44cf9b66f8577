"""Standardised channels: the numbers against numpy, what missing values become, and what is stored."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grunlock.errors import DataError, ShapeError
from grunlock.series import Standardization, fit_standardization
from grunlock.series import standardization as module

NAN = np.nan
VALUES = np.array([[1, 7, NAN, NAN], [2, 7, 10, NAN], [NAN, 7, 20, NAN], [6, 7, 60, NAN]], np.float32)


def fit(values):
    return fit_standardization(values, [f"c{i}" for i in range(values.shape[1])])


def test_statistics_by_hand():
    fitted, notes = fit(VALUES)
    assert fitted.mean.tolist() == [3, 7, 30, 0]
    expected = [np.std([1, 2, 6]), 1, np.std([10, 20, 60]), 1]
    np.testing.assert_array_equal(fitted.scale, np.array(expected, np.float32))
    assert (fitted.mean.dtype, fitted.scale.dtype) == (np.float32, np.float32)
    assert fitted.indicators == (0, 2, 3)
    assert fitted.channels == ("c0", "c1", "c2", "c3")
    assert notes == ("channel c1 is constant: its scale is 1", "channel c3 has no value: it is 0 throughout")


def test_missing_values_stay_or_become_zero_with_an_indicator():
    fitted, _ = fit(VALUES)
    applied = fitted.apply(VALUES)
    np.testing.assert_array_equal(np.isnan(applied), np.isnan(VALUES))
    np.testing.assert_allclose(
        applied[:, 0], [-2 / 14**0.5 * 3**0.5, -1 / 14**0.5 * 3**0.5, NAN, 3**1.5 / 14**0.5]
    )
    features = fitted.fill(fitted.apply(VALUES))
    assert features.shape == (4, fitted.num_features) == (4, 7)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features[:, :4], np.nan_to_num(applied))
    assert features[:, 4:].T.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert np.isnan(VALUES).sum() == 6  # the values given are left as they are


def test_without_missing_values_nothing_is_added():
    fitted, _ = fit(VALUES[1:2, :3])
    assert fitted.indicators == ()
    late = np.array([[NAN, 8, 10]], np.float32)  # a value missing only after training is the mean
    assert fitted.fill(fitted.apply(late)).tolist() == [[0, 1, 0]]


def test_a_large_mean_keeps_the_spread():
    values = np.array([[1e6], [1e6 + 1]] * 50_000, np.float32)
    fitted, _ = fit(values)
    assert fitted.scale[0] == 0.5
    assert np.unique(fitted.apply(values)).tolist() == [-1, 1]


def test_values_at_the_end_of_float32():
    values = np.array([[3e38], [-3e38], [-3e38], [-3e38]], np.float32)
    fitted, _ = fit(values)
    # the exact results are sqrt(3) and -1/sqrt(3); mean, scale and result are rounded to float32
    expected = [3**0.5, *[-(3**-0.5)] * 3]
    np.testing.assert_allclose(fitted.apply(values)[:, 0], expected, rtol=2**-21)


def test_a_constant_that_is_no_binary_fraction():
    fitted, notes = fit(np.full((1000, 1), 0.1, np.float32))
    assert fitted.scale.tolist() == [1]
    assert notes == ("channel c0 is constant: its scale is 1",)


def test_a_spread_that_float32_loses_is_constant():
    fitted, notes = fit(np.array([[0], [1e-45]], np.float32))
    assert fitted.scale.tolist() == [1]
    assert "constant" in notes[0]


def test_results_too_large_for_float32():
    fitted, _ = fit(np.array([[0], [1e-20]], np.float32))
    with pytest.raises(
        DataError, match=r"too far from those of training(.|\n)*step 2, channel c0(.|\n)*unit"
    ):
        fitted.apply(np.array([[1], [1e30]], np.float32))
    with pytest.raises(ShapeError, match=r"\[steps, C\] = \[any, 1\]"):
        fitted.apply(np.ones((2, 3), np.float32))


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(1, 3)),
        elements=st.one_of(st.just(NAN), st.floats(-1e6, 1e6, width=32)),
    )
)
def test_as_numpy_computes_it_and_in_pieces(values):
    fitted, _ = fit(values)
    old, module.ROWS_AT_ONCE = module.ROWS_AT_ONCE, 3
    try:
        in_pieces, _ = fit(values)
    finally:
        module.ROWS_AT_ONCE = old
    for channel in range(values.shape[1]):
        present = values[:, channel][~np.isnan(values[:, channel])].astype(np.float64)
        if len(present):
            # sums of 40 doubles differ by their order in the last places only; what is stored is float32
            tolerance = 1e-12 * np.abs(present).max() + 1e-44
            np.testing.assert_allclose(fitted.mean[channel], present.mean(), 2**-23, tolerance)
            np.testing.assert_allclose(in_pieces.mean[channel], present.mean(), 2**-23, tolerance)
        if len(present) and present.std() > 1e-12 * np.abs(present).max() + 1e-37:
            np.testing.assert_allclose(fitted.scale[channel], present.std(), 2**-22, tolerance)
            np.testing.assert_allclose(in_pieces.scale[channel], present.std(), 2**-22, tolerance)
    again = Standardization.from_dict(json.loads(json.dumps(fitted.to_dict())))
    np.testing.assert_array_equal(again.fill(again.apply(values)), fitted.fill(fitted.apply(values)))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"mean": [1.0]}, ("run.mean", "[1.0]", "2 finite numbers")),
        ({"mean": [1.0, NAN]}, ("run.mean", "2 finite numbers")),
        ({"mean": [1.0, "2"]}, ("run.mean",)),
        ({"mean": [1.0, True]}, ("run.mean",)),
        ({"mean": [1.0, 1e300]}, ("run.mean",)),
        ({"scale": [1.0, 0.0]}, ("run.scale", "above 0")),
        ({"scale": None}, ("run.scale", "None")),
        ({"indicators": [1, 0]}, ("run.indicators", "[1, 0]", "rising places from 0 to 1")),
        ({"indicators": [2]}, ("run.indicators",)),
        ({"indicators": [0, 0]}, ("run.indicators",)),
        ({"indicators": ["0"]}, ("run.indicators",)),
        ({"channels": []}, ("run.channels", "a list of names")),
        ({"channels": [1, 2]}, ("run.channels",)),
        ({"more": 1}, ("channels, mean, scale, indicators, more", "the keys channels, mean")),
    ],
)
def test_damaged_dictionaries(change, parts):
    good = {"channels": ["a", "b"], "mean": [1.0, 2], "scale": [1.0, 2.0], "indicators": [1]}
    assert Standardization.from_dict(good).to_dict() == good
    with pytest.raises(DataError) as raised:
        Standardization.from_dict(good | change, "run")
    for part in ("The stored standardisation is damaged.", *parts):
        assert part in str(raised.value)
    with pytest.raises(DataError, match=r"got: +list"):
        Standardization.from_dict([])
