"""Augmentations: what they change, how much of it, and that a generator decides all of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock.data.series import jitter, scaling, time_masking, window_slicing
from grunlock.errors import RecipeError, ShapeError

LENGTHS = np.array([1, 2, 5, 10])


def rng(seed=0):
    return np.random.default_rng(seed)


def counting(lengths):
    """[steps, 2] each value unlike all others"""
    return np.arange(2 * sum(lengths), dtype=np.float32).reshape(-1, 2) + 1


@pytest.mark.parametrize(
    "change",
    [
        lambda values, generator: jitter(values, 0.5, generator),
        lambda values, generator: scaling(values, LENGTHS, 0.5, generator),
        lambda values, generator: window_slicing(values, LENGTHS, 0.5, generator)[0],
        lambda values, generator: time_masking(values, LENGTHS, 0.5, generator),
    ],
)
def test_pure_functions_of_values_and_generator(change):
    values = counting(LENGTHS)
    values[4, 1] = np.nan
    before = values.copy()
    first, again, other = change(values, rng()), change(values, rng()), change(values, rng(1))
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)
    assert first.dtype == np.float32
    if len(first) == len(values):
        assert np.isnan(first[4, 1])


def test_jitter_has_the_given_spread():
    noise = jitter(np.full((50_000, 2), 3, np.float32), 0.2, rng()) - 3
    # the mean of n draws lies within 5 std/sqrt(n), their spread within 5 std/sqrt(2n)
    assert abs(noise.mean()) < 5 * 0.2 / 100_000**0.5
    assert abs(noise.std() - 0.2) < 5 * 0.2 / 200_000**0.5
    np.testing.assert_array_equal(jitter(counting([3]), 0, rng()), counting([3]))


def test_scaling_has_one_factor_for_each_series_and_channel():
    values = counting(LENGTHS)
    factors = scaling(values, LENGTHS, 0.1, rng()) / values
    firsts = factors[[0, 1, 3, 8]]
    # a product and a quotient, each rounded to float32
    np.testing.assert_allclose(factors, np.repeat(firsts, LENGTHS, axis=0), rtol=2**-22)
    assert len(np.unique(firsts)) == 8
    many = scaling(np.ones((50_000, 2), np.float32), np.ones(50_000, np.int64), 0.1, rng())
    assert abs(many.mean() - 1) < 5 * 0.1 / 100_000**0.5
    assert abs(many.std() - 0.1) < 5 * 0.1 / 200_000**0.5


lengths_of_batches = st.lists(st.integers(1, 20), min_size=1, max_size=6).map(np.array)


@settings(max_examples=100, deadline=None)
@given(lengths_of_batches, st.floats(0.01, 1), st.integers(0, 99))
def test_windows_are_contiguous_parts(lengths, share, seed):
    values, kept = window_slicing(counting(lengths), lengths, share, rng(seed))
    np.testing.assert_array_equal(kept, np.ceil(share * lengths))
    assert len(values) == kept.sum()
    starts = np.cumsum([0, *lengths])
    for part, start, end in zip(np.split(values, np.cumsum(kept)[:-1]), starts, starts[1:], strict=False):
        first = int((part[0, 0] - 1) / 2)
        assert start <= first <= end - len(part)
        np.testing.assert_array_equal(part, counting(lengths)[first : first + len(part)])


@settings(max_examples=100, deadline=None)
@given(lengths_of_batches, st.floats(0, 0.99), st.integers(0, 99))
def test_masks_are_contiguous_and_leave_a_step(lengths, max_share, seed):
    values = counting(lengths)
    masked = time_masking(values, lengths, max_share, rng(seed))
    hidden = np.isnan(masked)
    np.testing.assert_array_equal(hidden[:, 0], hidden[:, 1])
    np.testing.assert_array_equal(masked[~hidden], values[~hidden])
    for part, length in zip(np.split(hidden[:, 0], np.cumsum(lengths)[:-1]), lengths, strict=True):
        assert part.sum() <= max_share * length
        assert not part.all()
        assert np.count_nonzero(np.diff(part.astype(int)) == 1) + part[0] <= 1
    with_zero = time_masking(values, lengths, max_share, rng(seed), fill=0)
    np.testing.assert_array_equal(with_zero, np.nan_to_num(masked))


def test_every_place_and_width_is_drawn():
    lengths = np.full(4000, 4)
    values = counting(lengths)
    windows, _ = window_slicing(values, lengths, 0.5, rng())
    starts = ((windows[::2, 0] - 1) / 2 % 4).astype(int)
    masks = np.isnan(time_masking(values, lengths, 0.5, rng())[:, 0]).reshape(-1, 4)
    assert set(masks[masks.sum(axis=1) == 2].argmax(axis=1).tolist()) == {0, 1, 2}
    for counts in (np.bincount(starts), np.bincount(masks.sum(axis=1))):
        # three outcomes, each with probability 1/3: within 5 standard deviations
        assert np.abs(counts - 4000 / 3).max() < 5 * (4000 * 2 / 9) ** 0.5
        assert len(counts) == 3


@pytest.mark.parametrize(
    ("run", "where", "expected"),
    [
        (lambda v: jitter(v, -1, rng()), "std", "0 or more"),
        (lambda v: scaling(v, LENGTHS, np.nan, rng()), "std", "finite"),
        (lambda v: window_slicing(v, LENGTHS, 0, rng()), "share", "above 0 and at most 1"),
        (lambda v: window_slicing(v, LENGTHS, 1.1, rng()), "share", "above 0 and at most 1"),
        (lambda v: time_masking(v, LENGTHS, 1, rng()), "max_share", "below 1"),
    ],
)
def test_wrong_options(run, where, expected):
    with pytest.raises(RecipeError) as raised:
        run(counting(LENGTHS))
    assert f"where:    {where}\n" in str(raised.value)
    assert expected in str(raised.value)


def test_lengths_that_do_not_add_up():
    values = counting(LENGTHS)[1:]
    for run in (
        lambda: scaling(values, LENGTHS, 1, rng()),
        lambda: window_slicing(values, LENGTHS, 0.5, rng()),
        lambda: time_masking(values, LENGTHS, 0.5, rng()),
    ):
        with pytest.raises(ShapeError, match="do not add up"):
            run()
