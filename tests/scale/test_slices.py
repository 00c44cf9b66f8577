"""Splits by hashes: about the shares asked for, never more than is held in memory, equal texts together."""

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install grunlock[scale]")

from grunlock.recipe.text_options import TextDataOptions
from grunlock.scale.stream.slices import MOST_HELD_OUT, given_slices, train_slices

COUNT = 200_000
# Hashes of texts spread evenly; runs of small numbers must be spread all the same.
HASHES = np.arange(COUNT, dtype=np.uint64)


def shares_of(slices):
    of = np.bincount(slices.of(HASHES), minlength=len(slices.names)) / COUNT
    return dict(zip(slices.names, of.tolist(), strict=True))


def test_shares_of_a_training_source():
    options = TextDataOptions(valid_fraction=0.2, test_fraction=0.1, calibration_fraction=0.25)
    found = shares_of(train_slices(options, 1000, valid_given=False, test_given=False))
    assert found == pytest.approx({"valid": 0.15, "calibration": 0.05, "test": 0.1, "train": 0.7}, abs=0.005)
    assert shares_of(train_slices(options, 1000, valid_given=True, test_given=False)) == {"train": 1.0}
    found = shares_of(train_slices(options, 1000, valid_given=False, test_given=True))
    assert found == pytest.approx({"valid": 0.15, "calibration": 0.05, "train": 0.8}, abs=0.005)


def test_no_split_is_larger_than_memory_has_room_for():
    options, most = TextDataOptions(), 10 * MOST_HELD_OUT
    found = shares_of(train_slices(options, 2 * most, valid_given=False, test_given=False))
    assert found == pytest.approx({"valid": 0.05, "test": 0.05, "train": 0.9}, abs=0.005)
    found = shares_of(given_slices(options, MOST_HELD_OUT * 4, "valid"))
    assert found == pytest.approx({"valid": 0.25, None: 0.75}, abs=0.005)
    assert shares_of(given_slices(options, MOST_HELD_OUT, "test"))["test"] == 1.0


def test_equal_texts_go_together_and_seeds_cut_differently():
    slices = [
        train_slices(TextDataOptions(split_seed=seed), 1000, valid_given=False, test_given=False)
        for seed in (0, 0, 1)
    ]
    first, again, other = (each.of(HASHES) for each in slices)
    assert np.array_equal(first, again)
    assert np.array_equal(first[::-1], slices[0].of(HASHES[::-1]))
    assert 0.2 < np.mean(first != other) < 0.45
