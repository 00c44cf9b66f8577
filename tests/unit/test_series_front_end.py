"""From values to features: by hand, series by series, for each alone, and what is stored of it."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grunlock.errors import DataError, ShapeError
from grunlock.recipe.series_options import SeriesOptions
from grunlock.series import SeriesFrontEnd

NAN = np.nan
# Two series of two channels: mean 3 and deviation 2 for a, mean 0 and deviation 1 for b.
VALUES = np.array([[1, -1], [5, 1], [1, -1], [5, 1]], np.float32)
LENGTHS = np.array([3, 1])
WITH_GAPS = np.array([[NAN, 5], [3, 5], [NAN, 5], [6, 5], [9, 5]], np.float32)  # b is constant


def fit(values=VALUES, lengths=LENGTHS, channels=("a", "b"), **options):
    return SeriesFrontEnd.fit(values, np.array(lengths), channels, SeriesOptions(**options))


def test_features_are_standardised_values():
    front_end, notes = fit()
    assert front_end.features(VALUES, LENGTHS).tolist() == [[-1, -1], [1, 1], [-1, -1], [1, 1]]
    assert front_end.features(VALUES, LENGTHS).dtype == np.float32
    assert (front_end.num_features, front_end.channels, notes) == (2, ("a", "b"), ())
    new = np.array([[7, NAN]], np.float32)  # missing in no training series: the mean, and nothing said of it
    assert front_end.features(new, np.array([1])).tolist() == [[2, 0]]


def test_changes_are_within_a_series_and_over_their_own_deviation():
    front_end, _ = fit(changes=True)
    # standardised changes of a: 0 (first), 2, -2, 0 (first); their deviation is sqrt(2); b the same
    expected = np.array([0, 2, -2, 0]) / np.sqrt(2)
    features = front_end.features(VALUES, LENGTHS)
    assert features.shape == (4, front_end.num_features) == (4, 4)
    np.testing.assert_array_equal(features[:, :2], [[-1, -1], [1, 1], [-1, -1], [1, 1]])
    np.testing.assert_allclose(features[:, 2], expected, rtol=1e-6)
    np.testing.assert_allclose(features[:, 3], expected, rtol=1e-6)
    np.testing.assert_allclose(front_end.change_scale, np.sqrt([2, 2]), rtol=1e-6)


def test_missing_values_have_an_indicator_and_no_change():
    front_end, notes = fit(WITH_GAPS, [5], changes=True)
    assert notes == ("channel b is constant: its scale is 1",)
    features = front_end.features(WITH_GAPS, np.array([5]))
    value, constant, indicator, change, still = features.T
    scale = np.std([3, 6, 9])
    np.testing.assert_allclose(value, np.array([0, -3, 0, 0, 3]) / scale, rtol=1e-6)
    assert indicator.tolist() == [1, 0, 1, 0, 0]
    assert constant.tolist() == still.tolist() == [0] * 5
    # the first step and the three steps at or behind a gap have no change
    assert change[:4].tolist() == [0, 0, 0, 0]
    changes = np.array([0, 0, 0, 0, 3 / scale])
    np.testing.assert_allclose(change[4], changes[4] / changes.std(), rtol=1e-6)
    assert front_end.change_scale[1] == 1  # of a channel that never changes


def test_each_alone_is_by_the_own_mean_and_deviation():
    values = np.array([[10], [30], [NAN], [7], [7], [-2], [NAN]], np.float32)
    lengths = np.array([3, 2, 2])  # two values; a constant; a single value
    front_end, _ = fit(values, lengths, ["a"], each_alone=True)
    standardised = front_end.standardize(values, lengths)
    scale = np.std([-1, 1, 0, 0, 0])
    np.testing.assert_allclose(
        standardised[:, 0], np.array([-1, 1, NAN, 0, 0, 0, NAN]) / scale, rtol=1e-6, atol=1e-7
    )
    assert front_end.features(values, lengths)[:, 1].tolist() == [0, 0, 1, 0, 0, 0, 1]


def test_each_alone_does_not_blow_up_the_rounding_of_a_constant():
    values = np.full((4, 1), 1234567.0, np.float32)
    values[2] = np.nextafter(values[2], np.float32(2e6))
    front_end, _ = fit(VALUES[:, :1], LENGTHS, ["a"], each_alone=True)
    assert np.abs(front_end.standardize(values, np.array([4]))).max() < 0.2
    void = np.full((2, 1), NAN, np.float32)
    assert front_end.features(void, np.array([2])).tolist() == [[0], [0]]


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.float32, (6, 2), elements=st.floats(-100, 100, width=32)),
    st.sampled_from([0.25, 3.0, 1024.0]),
    st.floats(-50, 50, width=32),
)
def test_each_alone_sees_neither_size_nor_level(values, factor, level):
    assume((np.ptp(values[:4], axis=0) > 1).all())
    assume((np.ptp(values[4:], axis=0) > 1).all())
    lengths = np.array([4, 2])
    front_end, _ = fit(values, lengths, each_alone=True, changes=True)
    changed = values * np.float32(factor) + np.float32(level)
    np.testing.assert_allclose(
        front_end.features(changed, lengths), front_end.features(values, lengths), atol=2e-3
    )
    plain, _ = fit(values, lengths)
    assert not np.allclose(plain.features(changed + 7, lengths), plain.features(values, lengths))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_series_one_by_one_as_all_together(lengths, each_alone, changes, data):
    one = st.one_of(st.just(NAN), st.floats(-1000, 1000, width=32))
    values = data.draw(arrays(np.float32, (sum(lengths), 2), elements=one))
    front_end, _ = fit(values, lengths, each_alone=each_alone, changes=changes)
    together = front_end.features(values, np.array(lengths))
    starts = np.cumsum(lengths) - lengths
    apart = [
        front_end.features(values[start : start + length], np.array([length]))
        for start, length in zip(starts, lengths, strict=True)
    ]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-6, atol=1e-6)
    assert together.shape == (sum(lengths), front_end.num_features)
    assert np.isfinite(together).all()


@pytest.mark.parametrize("options", [{}, {"changes": True}, {"each_alone": True}])
def test_stored_and_read_back(options):
    front_end, _ = fit(WITH_GAPS, [5], channels=("a", "температура"), **options)
    again = SeriesFrontEnd.from_json(front_end.to_json(), front_end.options)
    assert again.channels == ("a", "температура")
    assert "температура" in front_end.to_json()
    assert again.to_json() == front_end.to_json()
    np.testing.assert_array_equal(
        again.features(WITH_GAPS, np.array([5])), front_end.features(WITH_GAPS, np.array([5]))
    )


def damaged(change):
    facts = json.loads(fit(changes=True)[0].to_json())
    change(facts)
    return json.dumps(facts)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("{", "Expecting"),
        ("[]", "list indices"),
        ("{}", "standardization"),
        (damaged(lambda facts: facts.pop("change_scale")), "change_scale"),
        (damaged(lambda facts: facts.update(change_scale=[1.0])), "change_scale"),
        (damaged(lambda facts: facts.update(change_scale=[1.0, 0.0])), "change_scale"),
        (damaged(lambda facts: facts.update(change_scale=[1.0, NAN])), "change_scale"),
        (damaged(lambda facts: facts.update(change_scale=[1.0, float("inf")])), "change_scale"),
        (damaged(lambda facts: facts.update(change_scale=["one", "two"])), "one"),
        (damaged(lambda facts: facts.update(change_scale=None)), "series.changes is True"),
        (damaged(lambda facts: facts["standardization"].pop("mean")), "the keys channels, mean"),
        (damaged(lambda facts: facts["standardization"].update(scale=[1, -1])), "standardization.scale"),
        (damaged(lambda facts: facts["standardization"].update(indicators=[2])), "rising places"),
    ],
)
def test_damaged_json_is_refused(stored, words):
    with pytest.raises(DataError) as refused:
        SeriesFrontEnd.from_json(stored, SeriesOptions(changes=True))
    assert "series front end is damaged" in str(refused.value)
    assert words in str(refused.value)


def test_options_of_another_recipe_are_refused():
    stored = fit()[0].to_json()
    with pytest.raises(DataError, match=r"change_scale None, but series.changes is True"):
        SeriesFrontEnd.from_json(stored, SeriesOptions(changes=True))


def test_values_too_far_are_named_by_series():
    values = np.array([[0, 0.1], [1, 0.2], [NAN, 0.1], [1, 3e38]], np.float32)
    lengths = np.array([1, 3])
    front_end, _ = fit(values[:2], [2])
    with pytest.raises(DataError) as refused:
        front_end.check(values, lengths, ["first", "second"].__getitem__)
    assert "where:    second, step 3, channel b" in str(refused.value)
    assert "got:      3" in str(refused.value)
    front_end.check(values[:3], np.array([1, 2]), str)
    alone, _ = fit(values[:2], [2], each_alone=True)
    alone.check(values, lengths, str)
    assert np.isfinite(alone.features(values, lengths)).all()


def test_other_channels_are_refused():
    with pytest.raises(ShapeError, match=r"\[steps, C\]"):
        fit()[0].features(VALUES[:, :1], LENGTHS)
