"""Series from .npz files: the shared sets, the plain form, and what each refusal says."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from grunlock.data.series import check_series, open_series, read_npz, read_series
from grunlock.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "series"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared series are not beside the repository"
)

X = np.arange(24, dtype=np.float64).reshape(3, 4, 2) + 1
LENGTHS = np.array([4, 2, 3])
PADDED = np.where((np.arange(4) < LENGTHS[:, None])[:, :, None], X, 0)
Y = np.array(["a", "b", "a"])


@pytest.fixture
def refused(tmp_path):
    def run(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError) as raised:
            read_npz(tmp_path / "a.npz")
        return str(raised.value)

    return run


def test_splits_with_lengths_and_names(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(
        path,
        X_train=PADDED,
        len_train=LENGTHS,
        y_train=[1, 0, 1],
        X_dev=PADDED[:2].astype(np.float16),
        y_dev=[0, 1],
        X_test=X[:1].astype(np.int32),
        labels=["no", "yes"],
        channels=["left", "right"],
        speaker_train=Y,
    )
    splits = open_series(path)
    train = splits.train
    np.testing.assert_array_equal(train.values, np.concatenate([X[0], X[1, :2], X[2, :3]]))
    assert train.values.dtype == np.float32
    assert train.offsets.tolist() == [0, 4, 6, 9]
    assert (train.labels, train.channels) == (("yes", "no", "yes"), ("left", "right"))
    assert train.ids == ("X_train[0]", "X_train[1]", "X_train[2]")
    assert train.notes == ("arrays of a.npz not read: speaker_train",)
    assert splits.valid.lengths.tolist() == [4, 4]  # zeros at the end are values where no length is given
    assert splits.test.labels == (None,)
    assert read_series(path).ids == ("X_test[0]",)


def test_plain_form_and_one_channel(tmp_path):
    np.savez(tmp_path / "a.npz", X=PADDED[:, :, 0], y=Y, lengths=LENGTHS)
    found = read_npz(tmp_path / "a.npz")["train"]
    assert found.values[:, 0].tolist() == [1, 3, 5, 7, 9, 11, 17, 19, 21]
    assert (found.labels, found.channels) == (("a", "b", "a"), ("channel1",))
    assert read_series(tmp_path / "a.npz").num_series == 3


def test_labels_as_names_are_trimmed_or_ignored(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, y=[" a", "", "b "])
    assert open_series(tmp_path / "a.npz").train.labels == ("a", None, "b")
    assert read_series(tmp_path / "a.npz", labels="ignored").labels == (None, None, None)


def test_missing_values_stay_and_missing_padding_is_cut(tmp_path):
    padded = np.where(PADDED == 0, np.nan, PADDED)
    padded[0, 1, 0] = np.nan
    np.savez(tmp_path / "a.npz", X=padded, lengths=LENGTHS)
    values = read_npz(tmp_path / "a.npz")["train"].values
    assert len(values) == 9
    assert np.argwhere(np.isnan(values)).tolist() == [[1, 0]]


def test_objects_and_pickles_are_not_read(tmp_path, refused):
    message = refused(X=np.array([[1.0], [1.0, 2.0]], dtype=object), y=Y[:2])
    assert "An array holds Python objects." in message
    assert "a.npz, array X" in message
    assert "may run code" in message
    assert "pad series to one length with zeros" in message
    (tmp_path / "b.npz").write_bytes(pickle.dumps({"X": X}))
    with pytest.raises(DataError, match=r"is no \.npz file(.|\n)*pickle(.|\n)*savez"):
        read_npz(tmp_path / "b.npz")


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(DataError, match=r"a single array \(\.npy\)"):
        read_npz(path)
    np.savez(path, X=X)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"is no \.npz file"):
        read_npz(path)
    np.savez(path, X=X)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is no \.npz file(.|\n)*CRC"):
        read_npz(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="The file is empty"):
        read_npz(path)
    with pytest.raises(DataError, match="no such file"):
        read_npz(tmp_path / "none.npz")


def test_arrays_that_are_missing_or_unclear(refused, tmp_path):
    message = refused(y=Y)
    assert "There is no array with the series." in message
    assert "got:      y" in message
    assert "expected: X_train, y_train" in message
    assert "The array X_test is missing." in refused(X_train=X, y_train=Y, y_test=Y)
    message = refused(X_dev=X, X_valid=X)
    assert "Two arrays could be X of the valid split." in message
    assert "X_dev and X_valid" in message
    assert "arrays of splits and arrays without a split" in refused(X=X, X_train=X)
    refused(X_test=X, y_train=Y)
    np.savez(tmp_path / "b.npz", X_test=X, y_test=Y)
    with pytest.raises(DataError, match=r"no train split(.|\n)*got: +X_test(.|\n)*an array X_train"):
        open_series(tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", X_train=X, X_valid=X)
    with pytest.raises(DataError, match=r"no test split(.|\n)*got: +train, valid"):
        read_series(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"X": X[0, 0]}, ("wrong shape", "array X", "got:      [2]", "[series, steps, channels]")),
        ({"X": X[None]}, ("wrong shape", "got:      [1, 3, 4, 2]")),
        ({"X": X.astype(str)}, ("not numbers", "array X", "dtype <U", "floats or integers")),
        (
            {"X": X, "y": Y[:2]},
            ("do not fit", "array y", "got:      [2]", "[3], a label for each series of X"),
        ),
        ({"X": X, "y": np.eye(3)}, ("do not fit", "got:      [3, 3]", "expected: [3]")),
        ({"X": X, "y": np.ones(3)}, ("does not hold names", "dtype float64", "class indices")),
        ({"X": X, "y": [0, 2, 1], "labels": Y[:2]}, ("no name", "y[1]", "got:      2", "0 to 1")),
        ({"X": X, "y": [0, 1, 1], "labels": ["a", "a"]}, ("Two classes have the same", "array labels", "a")),
        ({"X": X, "lengths": [4, 2]}, ("do not fit", "array lengths", "[3], a length for each series")),
        ({"X": X, "lengths": [4, 5, 4]}, ("does not fit", "lengths[1]", "got:      5", "0 to 4")),
        ({"X": X, "lengths": [4, 4, -1]}, ("lengths[2]", "got:      -1")),
        ({"X": X, "lengths": LENGTHS / 1}, ("not integers", "array lengths", "float64")),
        (
            {"X": X, "lengths": LENGTHS},
            ("behind the end", "X[1, 2, 0]", "13.0, and lengths[1] = 2", "correct lengths"),
        ),
        (
            {"X": X, "channels": ["a"]},
            ("do not fit", "array channels", "[1]", "[2], a name for each channel"),
        ),
        ({"X": X, "channels": ["a", "a"]}, ("same name", "array channels", "got:      a")),
        ({"X": np.where(X == 12, np.inf, X)}, ("infinite", "X[1, 1, 1]", "got:      inf", "NaN where")),
        ({"X": np.where(X == 9, np.inf, X)}, ("infinite", "X[1, 0, 0]")),
        ({"X": np.where(X == 12, -1e39, X)}, ("too large", "X[1, 1, 1]", "-1e+39", "3.403e+38")),
    ],
)
def test_arrays_that_do_not_fit(refused, arrays, parts):
    message = refused(**arrays)
    assert "a.npz, " in message
    for part in parts:
        assert part in message


@needs_shared
@pytest.mark.parametrize(
    ("name", "sizes", "channels", "classes"),
    [
        ("GunPoint", (50, 150), 1, ("1", "2")),
        ("BasicMotions", (40, 40), 6, ("Badminton", "Running", "Standing", "Walking")),
        ("JapaneseVowels", (270, 370), 12, tuple("123456789")),
        ("PLAID", (537, 537), 1, ("0", "1", "10", *"23456789")),
    ],
)
def test_shared_sets(name, sizes, channels, classes):
    splits = open_series(SHARED / f"{name}.npz")
    assert (splits.train.num_series, splits.test.num_series) == sizes
    assert len(splits.train.channels) == channels
    assert splits.valid is None
    checked = check_series(splits.by_split())
    assert checked.labels == classes
    with np.load(SHARED / f"{name}.npz") as arrays:
        for index in (0, sizes[1] - 1):
            expected = arrays["X_test"][index, : arrays["len_test"][index]]
            np.testing.assert_array_equal(splits.test.series(index), expected)


@needs_shared
def test_shared_speech_names_what_it_leaves():
    splits = open_series(SHARED / "fsdd_logmel.npz")
    assert (splits.train.num_series, len(splits.train.channels)) == (2700, 40)
    assert splits.train.notes == ("arrays of fsdd_logmel.npz not read: speaker_train, speaker_test",)
    assert check_series(splits.by_split()).labels == tuple("0123456789")
