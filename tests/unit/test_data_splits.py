"""Stratified splits: exact sizes, every class in proportion, a pure function of the labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grunlock.data.splits import calibration_members, stratified_splits
from grunlock.errors import DataError


@given(
    st.lists(st.integers(0, 4), min_size=20, max_size=300).map(lambda x: np.array(x, np.int32)),
    st.floats(0.05, 0.45),
    st.floats(0.0, 0.45),
    st.integers(0, 5),
)
def test_splits_are_stratified(targets, valid_fraction, test_fraction, seed):
    splits = stratified_splits(targets, valid_fraction, test_fraction, seed)
    everything = np.concatenate([splits.train, splits.valid, splits.test])
    assert sorted(everything.tolist()) == list(range(len(targets)))
    sizes = np.bincount(targets)
    trained = np.bincount(targets[splits.train], minlength=len(sizes))
    assert (trained[sizes > 0] >= 1).all()
    for part, fraction in ((splits.valid, valid_fraction), (splits.test, test_fraction)):
        counts = np.bincount(targets[part], minlength=len(sizes))
        within = np.abs(counts - fraction * sizes) < 1.0 + 1e-9 * sizes
        kept_for_training = trained <= 1  # a class gives less than its share rather than its last example
        assert (within | kept_for_training).all() or (sizes <= 3).any()
    again = stratified_splits(targets, valid_fraction, test_fraction, seed)
    assert splits.valid.tolist() == again.valid.tolist()


def test_sizes_and_seed():
    targets = np.arange(1000) % 3
    splits = stratified_splits(targets, 0.1, 0.2, 0)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (700, 100, 200)
    other = stratified_splits(targets, 0.1, 0.2, 1)
    assert other.valid.tolist() != splits.valid.tolist()


def test_a_single_example_of_a_class_trains():
    targets = np.array([0] * 20 + [1])
    assert 20 in stratified_splits(targets, 0.4, 0.4, 0).train


def test_too_few_to_split():
    with pytest.raises(DataError, match=r"too few examples(.|\n)*3 examples of 3 classes"):
        stratified_splits(np.arange(3), 0.1, 0.1, 0)


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=300).map(lambda x: np.array(x, np.int32)),
    st.floats(0.01, 0.89),
    st.integers(0, 5),
)
def test_calibration_is_stratified(targets, fraction, seed):
    members = calibration_members(targets, fraction, seed)
    count = int(members.sum())
    assert count == min(max(1, round(fraction * len(targets))), len(targets) - 1)
    for target in np.unique(targets):
        share = count / len(targets) * (targets == target).sum()
        assert abs(members[targets == target].sum() - share) < 1 + 1e-9
    assert members.tolist() == calibration_members(targets, fraction, seed).tolist()


def test_examples_of_rare_classes_are_set_aside_as_often_as_others():
    targets = np.array([0] * 50 + list(range(1, 11)))  # ten classes of a single example
    taken = np.mean([calibration_members(targets, 0.3, seed) for seed in range(3000)], axis=0)
    deviation = np.sqrt(0.3 * 0.7 / 3000)
    assert abs(taken[50:].mean() - 0.3) < 4 * deviation
    assert (abs(taken - 0.3) < 5 * deviation).all()


def test_too_few_to_calibrate():
    with pytest.raises(DataError, match=r"too few validation(.|\n)*1 of them(.|\n)*calibration_fraction=0"):
        calibration_members(np.zeros(1, np.int32), 0.3, 0)
