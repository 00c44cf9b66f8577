"""Series from .ts files, alone and in pairs and folders, and what each refusal says with its line."""

import gzip

import numpy as np
import pytest

from grunlock.data.series import open_series, read_series, read_ts
from grunlock.errors import DataError
from grunlock.recipe.series_options import SeriesDataOptions

HEADER = """# a comment
@problemName Toy
@timestamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true walk run
@data
"""
SERIES = "1,2,3:4,5.5,?:walk\n\n7:-1e2:run\n"
FOLDED = HEADER.lower().replace("@classlabel true walk run", "@classLabel TRUE walk run")


def write(folder, text, name="a.ts"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def refusal(folder, text):
    with pytest.raises(DataError) as raised:
        read_ts(write(folder, text))
    return str(raised.value)


@pytest.mark.parametrize("header", [HEADER, FOLDED, HEADER.replace("\n", "\r\n")])
@pytest.mark.parametrize("name", ["a.ts", "a.ts.gz"])
def test_dimensions_lengths_and_missing_values(tmp_path, header, name):
    found = read_ts(write(tmp_path, header + SERIES, name))
    np.testing.assert_array_equal(found.values, np.array([[1, 4], [2, 5.5], [3, np.nan], [7, -100]]))
    assert found.values.dtype == np.float32
    assert found.offsets.tolist() == [0, 3, 4]
    assert (found.labels, found.ids) == (("walk", "run"), ("1", "2"))
    assert (found.channels, found.notes) == (("channel1", "channel2"), ())


def test_univariate_without_labels(tmp_path):
    found = read_ts(write(tmp_path, "@univariate true\n@classLabel false\n@path x\n@data\n1, 2 ,NaN\n3\n"))
    np.testing.assert_array_equal(found.values[:, 0], [1, 2, np.nan, 3])
    assert found.labels == (None, None)
    assert found.notes == ("header lines of a.ts not read: @path",)


def test_time_stamps_and_regression_are_refused(tmp_path):
    message = refusal(tmp_path, HEADER.replace("@timestamps false", "@timestamps true") + "(0,1):walk\n")
    assert "Series with time stamps cannot be read from .ts files." in message
    assert "a.ts, line 3" in message
    assert "@timestamps false" in message
    assert "a table with series_id, t, label and the channels" in message
    assert "for regression" in refusal(tmp_path, "@targetLabel true\n@data\n1:2\n")


@pytest.mark.parametrize(
    ("line", "instead", "parts"),
    [
        ("@missing true", "@missing maybe", ("cannot be read", "line 4", "@missing maybe", "true or")),
        ("@dimensions 2", "@dimensions two", ("cannot be read", "line 6", "@dimensions two", "at least 1")),
        (
            "@univariate false",
            "@univariate true",
            ("contradicts itself", "@univariate true and @dimensions 2"),
        ),
        ("@classLabel true walk run\n", "", ("whether the series have labels", "line 8", "@classLabel true")),
        (" walk run", "", ("names no class", "@classLabel true")),
        ("@data\n", "", ("before @data", "line 9", "1,2,3:4,5.5,?:walk")),
        (
            "@dimensions 2",
            "@dimensions 3",
            ("wrong number of dimensions", "line 10", "got:      2", "3, as in"),
        ),
        (
            "@missing true",
            "@missing false",
            ("says that none is", "dimension 2, step 3", "'?'", "@missing true"),
        ),
        (
            "@equalLength false",
            "@equalLength true",
            ("not as long", "line 12", "1 steps", "3, by @equalLength"),
        ),
        (
            "@equalLength false",
            "@equalLength true\n@seriesLength 4",
            ("not as long", "line 11", "3 steps", "4, by"),
        ),
    ],
)
def test_headers_that_are_wrong(tmp_path, line, instead, parts):
    message = refusal(tmp_path, HEADER.replace(line, instead, 1) + SERIES)
    for part in ("a.ts", *parts):
        assert part in message


@pytest.mark.parametrize(
    ("series", "parts"),
    [
        ("1,2:3:walk", ("different lengths", "line 10", "dimension 2 with 1 steps", "2, as in dimension 1")),
        ("1,2:3,4:wolk", ("label is not in the header", "line 10", "'wolk'", "one of: walk, run")),
        ("1,2:3,4", ("label is not in the header", "'3,4'")),
        ("1:2:3:walk", ("wrong number of dimensions", "line 10", "got:      3", "expected: 2")),
        ("1,2:3,x:run", ("not a number", "line 10, dimension 2, step 2", "'x'", "write ? where")),
        ("1,:3,4:run", ("not a number", "dimension 1, step 2", "''")),
        ("1,2:3,inf:run", ("infinite", "dimension 2, step 2", "'inf'")),
        ("1,-1e60:3,4:run", ("too large", "dimension 1, step 2", "'-1e60'")),
    ],
)
def test_series_that_are_wrong(tmp_path, series, parts):
    message = refusal(tmp_path, HEADER + series + "\n")
    for part in ("a.ts", *parts):
        assert part in message


def test_files_without_series(tmp_path):
    assert "nothing behind @data" in refusal(tmp_path, HEADER)
    assert "no @data line" in refusal(tmp_path, "@problemName x\n")
    assert "not valid UTF-8" in refusal_of_bytes(tmp_path, b"# caf\xe9\n")


def refusal_of_bytes(folder, data):
    (folder / "b.ts").write_bytes(data)
    with pytest.raises(DataError) as raised:
        read_ts(folder / "b.ts")
    return str(raised.value)


def test_a_pair_is_train_and_test(tmp_path):
    train = write(tmp_path, HEADER + SERIES, "Toy_TRAIN.ts")
    write(tmp_path, HEADER + "1:2:run\n", "Toy_TEST.ts")
    write(tmp_path, HEADER + "1:2:run\n", "Other_TEST.ts")
    splits = open_series(train)
    assert (splits.train.num_series, splits.valid, splits.test.num_series) == (2, None, 1)
    assert splits.notes == ("Toy_TRAIN.ts → train, Toy_TEST.ts → test",)
    assert read_series(train).labels == ("walk", "run")
    assert read_series(train, labels="ignored").labels == (None, None)
    assert open_series(tmp_path / "Toy_TEST.ts").train.num_series == 1
    with pytest.raises(DataError, match=r"could be the test split(.|\n)*Other_TEST.ts and Toy_TEST.ts"):
        open_series(tmp_path)


def test_folders_by_name(tmp_path):
    for name in ("train", "dev", "test"):
        write(tmp_path, HEADER + SERIES.replace("7:", f"{len(name)}:"), f"{name}.ts")
    write(tmp_path, HEADER + SERIES, "extra_train.ts")
    write(tmp_path, "words", "README.md")
    splits = open_series(tmp_path)
    assert list(splits.by_split()) == ["train", "valid", "test"]
    assert splits.valid.values[3, 0] == 3
    assert splits.notes == ("train.ts → train, dev.ts → valid, test.ts → test; not read: extra_train.ts",)
    assert read_series(str(tmp_path / "*.ts")).values[3, 0] == 4
    (tmp_path / "test.ts").unlink()
    with pytest.raises(DataError, match="There is no test split"):
        read_series(tmp_path)
    (tmp_path / "train.ts").unlink()
    with pytest.raises(DataError, match="no train file"):
        open_series(tmp_path)


def test_several_files_as_one(tmp_path):
    paths = [write(tmp_path, HEADER + SERIES, name) for name in ("a.ts", "b.ts.gz")]
    assert open_series(paths).train.offsets.tolist() == [0, 3, 4, 7, 8]
    write(tmp_path, "@univariate true\n@classLabel true walk\n@data\n1:walk\n", "b.ts")
    with pytest.raises(DataError, match=r"channels are different(.|\n)*b.ts(.|\n)*channel1, channel2, as in"):
        open_series([tmp_path / "a.ts", tmp_path / "b.ts"])
    np.savez(tmp_path / "c.npz", X_train=np.ones((1, 1, 2)), X_test=np.ones((1, 1, 2)))
    with pytest.raises(
        DataError, match=r"holds several splits(.|\n)*X_train, X_test(.|\n)*give this file alone"
    ):
        open_series([tmp_path / "a.ts", tmp_path / "c.npz"])
    write(tmp_path, "id,t,a,label\n1,0,1,x\n", "d.csv")
    with pytest.raises(DataError, match=r"different kinds(.|\n)*d.csv(.|\n)*files of one kind"):
        open_series([tmp_path / "a.ts", tmp_path / "d.csv"])


def test_what_is_no_series_file(tmp_path):
    with pytest.raises(DataError, match=r"kind is not supported(.|\n)*\.xlsx(.|\n)*\.npz, \.ts"):
        open_series(write(tmp_path, "x", "a.xlsx"))
    with pytest.raises(DataError, match=r"No data file(.|\n)*a\.xlsx(.|\n)*\.npz"):
        open_series(tmp_path)
    with pytest.raises(DataError, match="No file is given"):
        open_series([])
    with pytest.raises(DataError, match=r"Only tables have columns(.|\n)*got: +a(.|\n)*leave data.id_column"):
        open_series(write(tmp_path, HEADER + SERIES), SeriesDataOptions(channels=("a",)))
    with pytest.raises(DataError, match="no such file"):
        open_series(tmp_path / "none_TRAIN.ts")
