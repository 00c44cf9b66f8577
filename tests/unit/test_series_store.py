"""Series on disk: what comes back, what the fingerprint sees, and what a failure leaves: nothing."""

import errno
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock.data.series import open_series_store, writing_series_store
from grunlock.errors import DataError, ShapeError, StorageError
from grunlock.recipe.series_options import SeriesOptions
from grunlock.series import SeriesFrontEnd

VALUES = np.array([[1, 2], [3, np.nan], [5, 6]], np.float32)
LENGTHS, TARGETS = np.array([1, 2]), np.array([1, 0], np.int32)
CHANNELS, LABELS = ("a", "b"), ("x", "y")


def front_end(channels=CHANNELS):
    values = np.arange(2.0 * len(channels), dtype=np.float32).reshape(2, -1)
    return SeriesFrontEnd.fit(values, np.array([2]), channels, SeriesOptions())[0]


def reopen(folder, channels=CHANNELS):
    return open_series_store(folder, front_end(channels))


def write(folder, values=VALUES, lengths=LENGTHS, targets=TARGETS, channels=CHANNELS, labels=LABELS):
    with writing_series_store(folder, channels, labels) as writer:
        writer.append(values, lengths, targets)
    return reopen(folder, channels)


def test_round_trip(tmp_path):
    store = write(tmp_path / "s")
    np.testing.assert_array_equal(store.values, VALUES)
    assert store.values.dtype == np.float32
    assert not store.values.flags.writeable  # mapped from the file
    assert store.offsets.tolist() == [0, 1, 3]
    assert store.targets.tolist() == [1, 0]
    assert (store.num_examples, store.lengths.tolist()) == (2, [1, 2])
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_the_fingerprint_sees_labels_values_and_cuts(tmp_path):
    same = write(tmp_path / "s").fingerprint
    with writing_series_store(tmp_path / "t", CHANNELS, LABELS) as writer:
        writer.append(VALUES[:1], LENGTHS[:1], TARGETS[:1])
        writer.append(VALUES[1:], LENGTHS[1:], TARGETS[1:])
    in_pieces = reopen(tmp_path / "t")
    assert in_pieces.fingerprint == same
    assert in_pieces.offsets.tolist() == [0, 1, 3]
    other_nan = VALUES.copy()
    other_nan.view(np.uint32)[1, 1] = 0xFFC00001
    assert np.isnan(other_nan[1, 1])
    assert write(tmp_path / "t", other_nan).fingerprint == same
    assert write(tmp_path / "t", targets=1 - TARGETS, labels=("y", "x")).fingerprint == same
    for change in (
        {"values": VALUES + 1},
        {"lengths": LENGTHS[::-1]},
        {"targets": 1 - TARGETS},
        {"labels": ("x", "z")},
        {"channels": ("a", "c")},
    ):
        assert write(tmp_path / "t", **change).fingerprint != same, change


def test_a_block_that_fails_leaves_the_old_store(tmp_path):
    write(tmp_path / "s")

    def fail():
        with writing_series_store(tmp_path / "s", CHANNELS, LABELS) as writer:
            writer.append(VALUES[:1], LENGTHS[:1], TARGETS[:1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert reopen(tmp_path / "s").num_examples == 2
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_full_disk(tmp_path):
    class FullFile:
        name = str(tmp_path / "s.partial" / "steps")

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        close = flush = lambda self: None

    def fill():
        with writing_series_store(tmp_path / "s", CHANNELS, LABELS) as writer:
            writer._rows._files["steps"].close()
            writer._rows._files["steps"] = FullFile()
            writer.append(VALUES, LENGTHS, TARGETS)

    with pytest.raises(StorageError, match=r"could not be written(.|\n)*steps(.|\n)*No space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_sizes_that_disagree(tmp_path):
    for change in ({"values": VALUES[:, :1]}, {"lengths": LENGTHS + 1}, {"targets": TARGETS[:1]}):
        with pytest.raises(ShapeError):
            write(tmp_path / "s", **change)
    assert list(tmp_path.iterdir()) == []


def test_damaged_stores(tmp_path):
    def refusal():
        with pytest.raises(DataError) as raised:
            reopen(tmp_path / "s")
        assert "The prepared data is missing or damaged." in str(raised.value)
        assert "prepare it again from its source" in str(raised.value)
        return str(raised.value)

    assert "No such file" in refusal()
    write(tmp_path / "s")
    facts_file, steps_file = tmp_path / "s" / "facts.json", tmp_path / "s" / "steps"
    facts, steps = json.loads(facts_file.read_text()), steps_file.read_bytes()
    steps_file.write_bytes(steps[:-4])
    assert "steps has 20 bytes, expected 24" in refusal()
    steps_file.write_bytes(steps)
    facts_file.write_text(json.dumps(facts | {"channels": ["a"]}))
    assert "channels a and 2 values a step, expected a, b" in refusal()
    del facts["fingerprint"]
    facts_file.write_text(json.dumps(facts))
    assert "no fingerprint" in refusal()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.floats(width=32), min_size=1, max_size=5), min_size=1, max_size=6))
def test_any_values_come_back(tmp_path_factory, series):
    values = np.array([[value] for steps in series for value in steps], np.float32)
    lengths = np.array([len(steps) for steps in series])
    store = write(
        tmp_path_factory.mktemp("s") / "s", values, lengths, np.zeros(len(series), np.int32), ("a",)
    )
    np.testing.assert_array_equal(store.values, values)
    np.testing.assert_array_equal(store.lengths, lengths)
