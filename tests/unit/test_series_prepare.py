"""Series prepared for training: splits, labels, notes, the fingerprint, and the batches of a store."""

import json
from dataclasses import replace

import numpy as np
import pytest

from grunlock.data import InMemory, Known, open_prepared, prepare
from grunlock.data.series import series_of_arrays
from grunlock.errors import DataError
from grunlock.recipe import override, read_recipe
from grunlock.shapes import sequence_major_rows
from grunlock.training.run import train

LABELS = [["up", "down", "flat"][i % 3] for i in range(30)]
AUGMENTED = ["series.jitter=0.1", "series.scaling=0.2", "series.slicing=0.5", "series.masking=0.5"]


def arrays(count=30, offset=0):
    """Series of two channels and 4 to 8 steps, all different; the first has a missing value."""
    rng = np.random.default_rng(offset)
    found = [rng.normal(10, 3, (4 + i % 5, 2)).astype(np.float32) for i in range(count)]
    found[0][1, 0] = np.nan
    return found


def memory(values=None, labels=None, name="memory"):
    values = arrays() if values is None else values
    return series_of_arrays(values, labels or LABELS[: len(values)], name)


def recipe(*overrides):
    return read_recipe("series", ["encoder.hidden_size=4", "series.changes=false", "stem=off", *overrides])


def refusal(folder, source, *overrides, **given):
    with pytest.raises(DataError) as refused:
        prepare(source, recipe(*overrides), folder, **given)
    assert not folder.exists() or not list(folder.iterdir())
    return str(refused.value)


def stored(store):
    return [store.values[start:end] for start, end in zip(store.offsets, store.offsets[1:], strict=False)]


def test_splits_are_cut_in_proportion(tmp_path):
    prepared = prepare(memory(), recipe(), tmp_path)
    assert prepared.labels == ("down", "flat", "up")
    assert prepared.label_counts == (8, 8, 8)
    for split in (prepared.valid, prepared.test):
        assert sorted(split.targets.tolist()) == [0, 1, 2]
    assert "examples: train 24, valid 3 (cut from train), test 3 (cut from train)" in prepared.notes
    everything = [s for split in (prepared.train, prepared.valid, prepared.test) for s in stored(split)]
    assert sorted(s.tobytes() for s in everything) == sorted(s.tobytes() for s in arrays())
    other = prepare(memory(), recipe("data.split_seed=1"), tmp_path / "other")
    assert other.fingerprint != prepared.fingerprint
    whole = prepare(memory(), recipe("data.test_fraction=0"), tmp_path / "whole")
    assert whole.test is None


def test_given_splits_stay_as_they_are(tmp_path):
    valid, test = memory(arrays(6, 1), name="v"), memory(arrays(9, 2), name="t")
    prepared = prepare(memory(), recipe(), tmp_path / "both", valid=valid, test=test)
    assert "examples: train 30, valid 6, test 9" in prepared.notes
    for split, given in ((prepared.valid, valid), (prepared.test, test)):
        np.testing.assert_array_equal(split.values, given.values)
        assert [prepared.labels[k] for k in split.targets] == list(given.labels)
    only_test = prepare(memory(), recipe(), tmp_path / "test", test=test)
    assert "examples: train 27, valid 3 (cut from train), test 9" in only_test.notes


def test_the_standardisation_sees_the_training_series_alone(tmp_path):
    far = memory([series + 1000 for series in arrays(6, 1)])
    prepared = prepare(memory(), recipe(), tmp_path, valid=far, test=far)
    expected = memory().values
    fitted = prepared.front_end.standardization
    np.testing.assert_allclose(fitted.mean, np.nanmean(expected, axis=0), rtol=1e-5)
    np.testing.assert_allclose(fitted.scale, np.nanstd(expected, axis=0), rtol=1e-5)
    assert fitted.indicators == (0,)
    assert (prepared.inputs.channels, prepared.inputs.num_features) == (("channel1", "channel2"), 3)


def test_notes_say_what_was_seen(tmp_path):
    values = arrays()
    values[5][:, 1] = np.nan
    values[7] = values[7][:1]
    constant = [np.concatenate([series, np.full((len(series), 1), 2.5)], axis=1) for series in values]
    repeated = memory([constant[0], constant[1], constant[2] + 1])
    notes = prepare(memory(constant), recipe(), tmp_path, valid=repeated).notes
    assert "2 of 3 valid series also stand in train" in notes
    assert "train: 1 series has a single step" in notes
    assert "train: channel channel2 is missing in all steps of 1 of 30 series" in notes
    assert "train: channel channel3 is constant" in notes
    assert "channel channel3 is constant: its scale is 1" in notes
    assert len(notes) == len(set(notes))


def test_the_fingerprint_is_of_values_labels_and_splits(tmp_path):
    def fingerprint(name, values=None, labels=None, *overrides, **given):
        return prepare(memory(values, labels), recipe(*overrides), tmp_path / name, **given).fingerprint

    first = fingerprint("a")
    assert fingerprint("b") == first
    assert fingerprint("options", None, None, "series.changes=true", "encoder.hidden_size=9") == first
    moved = [series + 1 for series in arrays()]
    renamed = ["up" if label == "down" else "flat" if label == "up" else "down" for label in LABELS]
    assert len({first, fingerprint("c", moved), fingerprint("d", None, renamed)}) == 3
    assert fingerprint("e", test=memory(arrays(3, 1))) != first


@pytest.mark.parametrize("overrides", [(), ("series.changes=true", "series.each_alone=true", *AUGMENTED)])
def test_prepared_series_are_opened_as_they_were_left(overrides, tmp_path):
    prepared = prepare(memory(), recipe(*overrides), tmp_path)
    again = open_prepared(tmp_path)
    assert again.front_end.to_json() == prepared.front_end.to_json()
    assert again.front_end.options == prepared.front_end.options == recipe(*overrides).series
    for name in ("inputs", "labels", "label_counts", "notes", "fingerprint"):
        assert getattr(again, name) == getattr(prepared, name)
    members = np.arange(5)
    for batch in ("batch", "training_batch"):
        one, two = (
            getattr(p.train, batch)(members, *([3] if batch == "training_batch" else []))
            for p in (prepared, again)
        )
        np.testing.assert_array_equal(one.inputs, two.inputs)


def test_damaged_folders_are_refused(tmp_path):
    prepare(memory(), recipe(), tmp_path)
    facts = json.loads((tmp_path / "prepared.json").read_text())
    kept = (tmp_path / "series.json").read_text()
    (tmp_path / "series.json").write_text(kept.replace("channel2", "other"))
    with pytest.raises(DataError, match=r"missing or damaged(.|\n)*channels channel1, channel2"):
        open_prepared(tmp_path)
    (tmp_path / "series.json").write_text("{}")
    with pytest.raises(DataError, match=r"series front end is damaged"):
        open_prepared(tmp_path)
    (tmp_path / "series.json").unlink()
    with pytest.raises(DataError, match=r"no finished prepared data(.|\n)*prepare it again"):
        open_prepared(tmp_path)
    (tmp_path / "series.json").write_text(kept)
    (tmp_path / "prepared.json").write_text(json.dumps({**facts, "options": {"jiter": 1}}))
    with pytest.raises(DataError, match=r"no finished prepared data(.|\n)*jiter"):
        open_prepared(tmp_path)


def test_continuing_with_a_front_end_and_labels(tmp_path):
    first = prepare(memory(), recipe(), tmp_path / "a")
    more = memory([series * 5 for series in arrays()], ["zig", "down", "up"] * 10)
    known = Known(first.front_end, first.labels)
    second = prepare(more, recipe("series.jitter=0.1"), tmp_path / "b", known=known)
    assert second.labels == ("down", "flat", "up", "zig")
    assert second.label_counts == (8, 0, 8, 8)
    assert second.front_end.to_json() == first.front_end.to_json()
    assert second.front_end.options.jitter == 0.1
    message = refusal(tmp_path / "c", memory([a[:, :1] for a in arrays()]), known=known)
    assert "The channels are different." in message
    assert "expected: 2: channel1, channel2, as in the model" in message


def test_texts_and_labels_that_do_not_fit(tmp_path):
    message = refusal(tmp_path / "a", InMemory(["a text"] * 4, ["x", "y"] * 2))
    assert "The recipe is for numeric series." in message
    assert 'the recipe "default" is for texts' in message
    message = refusal(tmp_path / "a", memory(None, ["same"] * 30))
    assert "only 'same'" in message
    odd = memory(arrays(2, 1), ["up", "dwn"])
    message = refusal(tmp_path / "a", memory(), test=odd)
    assert "The test split has labels that the training split lacks." in message
    assert "dwn (1 series)" in message
    assert "dwn: did you mean down? Else " in message
    kept = prepare(memory(), recipe("data.unseen_labels=keep"), tmp_path / "b", test=odd)
    assert kept.labels == ("down", "dwn", "flat", "up")
    assert kept.label_counts == (9, 0, 9, 9)


def test_all_problems_are_told_at_once_and_nothing_is_left(tmp_path):
    values = arrays()
    values[3] = values[3][:0]
    values[4][2, 1] = np.inf
    values[9][:] = np.nan
    message = refusal(tmp_path / "a", memory(values))
    assert "got:      3 problems" in message
    assert "1 series has no step." in message
    assert "memory, series 3\n" in message
    assert "1 value is infinite." in message
    assert "memory, series 4, step 3, channel2" in message
    assert "1 series has no value." in message
    assert "memory, series 9\n" in message


def test_channels_in_another_order_are_refused(tmp_path):
    swapped = replace(memory(arrays(3, 1)), channels=("channel2", "channel1"))
    message = refusal(tmp_path / "a", memory(), test=swapped)
    assert "cure:     put the channels into the same order" in message


# ---- batches ---------------------------------------------------------------------------------------


def train_store(folder, *overrides):
    """All series of `arrays` as the training split, in their order."""
    other = memory(arrays(3, 1))
    return prepare(memory(), recipe(*overrides), folder, valid=other, test=other).train


def test_a_batch_gives_the_values_back(tmp_path):
    store = train_store(tmp_path)
    members = np.array([7, 0, 12, 3])
    batch = store.batch(members)
    assert sorted(batch.examples.tolist()) == sorted(members.tolist())
    assert batch.layout.lengths.tolist() == sorted((len(arrays()[i]) for i in members), reverse=True)
    assert [sorted(set(LABELS))[k] for k in batch.targets] == [LABELS[i] for i in batch.examples]
    fitted = store.front_end.standardization
    rows = batch.inputs[sequence_major_rows(batch.layout.batch_sizes)]
    values = rows[:, :2] * fitted.scale + fitted.mean
    values[:, 0][rows[:, 2] == 1] = np.nan
    expected = np.concatenate([arrays()[i] for i in batch.examples])
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert np.isnan(values).sum() == 1


def test_training_batches_without_augmentation_are_plain(tmp_path):
    store = train_store(tmp_path, "series.changes=true")
    members = np.arange(6)
    np.testing.assert_array_equal(store.training_batch(members, 5).inputs, store.batch(members).inputs)


@pytest.mark.parametrize("option", AUGMENTED)
def test_augmentation_is_decided_by_its_seed(option, tmp_path):
    store = train_store(tmp_path, option)
    members = np.arange(8)
    plain, one, same, other = (
        store.batch(members),
        store.training_batch(members, 1),
        store.training_batch(members, 1),
        store.training_batch(members, 2),
    )
    np.testing.assert_array_equal(one.inputs, same.inputs)
    assert one.layout.lengths.tolist() == same.layout.lengths.tolist()
    for different in (plain, other):
        assert one.inputs.shape != different.inputs.shape or not np.array_equal(one.inputs, different.inputs)
    assert sorted(one.examples.tolist()) == members.tolist()


def test_slicing_shortens_and_targets_stay_with_their_series(tmp_path):
    store = train_store(tmp_path, "series.slicing=0.5")
    members = np.arange(10)
    batch = store.training_batch(members, 1)
    kept = np.ceil(0.5 * store.lengths[batch.examples]).astype(int)
    assert batch.layout.lengths.tolist() == kept.tolist() == sorted(kept, reverse=True)
    np.testing.assert_array_equal(batch.targets, store.targets[batch.examples])
    rows = batch.inputs[sequence_major_rows(batch.layout.batch_sizes)]
    for series, part in zip(batch.examples, np.split(rows, np.cumsum(kept)[:-1]), strict=True):
        whole = store.batch(np.array([series])).inputs
        assert any(
            np.array_equal(whole[start : start + len(part)], part)
            for start in range(len(whole) - len(part) + 1)
        )


def test_changes_are_those_of_the_changed_series(tmp_path):
    """After scaling a series by one factor its changes are scaled too: they are made last."""
    store = train_store(tmp_path, "series.changes=true", "series.scaling=0.5")
    batch = store.training_batch(np.array([1]), 3)
    values, changes = batch.inputs[:, 1], batch.inputs[:, 4]  # of the second channel
    scale = store.front_end.change_scale[1]
    np.testing.assert_allclose(changes[1:], np.diff(values) / scale, rtol=1e-4, atol=1e-6)


def test_masked_steps_have_the_indicators_of_missing_values(tmp_path):
    store = train_store(tmp_path, "series.masking=0.9")
    inputs = store.training_batch(np.arange(20), 1).inputs
    masked = inputs[:, 2] == 1
    assert masked.sum() > 5
    assert (inputs[masked][:, 0] == 0).all()
    assert (inputs[masked][:, 1] == 0).sum() >= masked.sum() - 1  # all but the value that was missing before


# ---- training --------------------------------------------------------------------------------------


def test_truncation_trains_on_series(tmp_path):
    rising = [np.arange(20.0)[:, None] * (i % 3 - 1) + i for i in range(30)]
    settings = ["encoder.bidirectional=false", "training.bptt_steps=7", "training.epochs=2"]
    truncated = recipe(*settings, "series.size=3", "series.slicing=0.2", "batches.size=8")
    found = train(memory(rising), truncated, tmp_path / "a")
    assert np.isfinite(found.metrics["nll"])
    whole = train(memory(rising), override(truncated, ["training.bptt_steps=100"]), tmp_path / "b")
    assert whole.artifact_sha256 != found.artifact_sha256
