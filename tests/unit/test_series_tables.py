"""Long-format tables: which columns, what becomes missing, and what each refusal says."""

import gzip
import json

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock.data.series import open_series, read_long_tables, read_series
from grunlock.errors import DataError
from grunlock.recipe.series_options import SeriesDataOptions

TABLE = "series_id,t,a,b,label\ns1,0,1.5,2,x\ns2,0,3,4,y\ns1,1,5,,x\ns2,0.5,NA,nan,y\n"


def write(folder, text, name="a.csv"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def read(folder, text, name="a.csv", labels="required", **options):
    return read_long_tables([write(folder, text, name)], SeriesDataOptions(**options), labels)


def refusal(folder, text, name="a.csv", labels="required", **options):
    with pytest.raises(DataError) as raised:
        read(folder, text, name, labels, **options)
    return str(raised.value)


def check_table(found):
    expected = np.array([[1.5, 2], [5, np.nan], [3, 4], [np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(found.values, expected)
    assert found.values.dtype == np.float32
    assert found.offsets.tolist() == [0, 2, 4]
    assert (found.ids, found.labels, found.channels) == (("s1", "s2"), ("x", "y"), ("a", "b"))


def test_scattered_rows_and_missing_values(tmp_path):
    found = read(tmp_path, TABLE)
    check_table(found)
    assert found.name.endswith("a.csv")
    assert found.notes == ("series_id → id, t → time, label → label, channels a, b; guessed by name",)


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz", "a.csv.gz"])
def test_delimited_and_compressed(tmp_path, name):
    check_table(read(tmp_path, TABLE.replace(",", "\t") if "tsv" in name else TABLE, name))


def test_jsonl_and_parquet(tmp_path):
    rows = [
        {"id": "s1", "time": 0, "a": 1.5, "b": 2, "class": "x"},
        {"id": "s2", "time": 0, "a": 3, "b": 4, "class": "y"},
        {"id": "s1", "time": 1, "a": 5, "b": None, "class": "x"},
        {"id": "s2", "time": 0.5, "a": float("nan"), "class": "y"},
    ]
    check_table(read(tmp_path, "\n".join(map(json.dumps, rows)), "a.jsonl"))
    write(tmp_path, TABLE)
    query = f"SELECT * FROM read_csv('{tmp_path}/a.csv', nullstr=['NA', ''])"
    duckdb.connect().execute(f"COPY ({query}) TO '{tmp_path}/a.parquet' (FORMAT parquet)")
    check_table(read_long_tables([tmp_path / "a.parquet"], SeriesDataOptions()))


def test_named_columns_are_taken_without_a_note(tmp_path):
    text = "who,when,label,left,right,kind\n1,0,7,1,2,x\n2,0,8,3,4,y\n"
    named = {"id_column": "who", "time_column": "when", "label_column": "kind"}
    found = read(tmp_path, text, channels=("right", "label"), **named)
    assert (found.channels, found.labels, found.notes) == (("right", "label"), ("x", "y"), ())
    np.testing.assert_array_equal(found.values, [[2, 7], [4, 8]])


def test_labels_may_be_absent_or_ignored(tmp_path):
    text = "id,t,a\n1,0,1\n1,1,2\n"
    assert read(tmp_path, text, labels="optional").labels == (None,)
    assert read(tmp_path, text, labels="optional", label_column="label").labels == (None,)
    assert read_series(write(tmp_path, TABLE), labels="ignored").labels == (None, None)
    assert read_series(write(tmp_path, TABLE)).labels == ("x", "y")
    message = refusal(tmp_path, text)
    assert "No column holds the labels." in message
    assert "columns: id, t, a" in message
    assert "a column named label, class, target or y" in message
    assert "--set data.label_column=..." in message


def test_steps_without_time_keep_the_order_of_the_file(tmp_path):
    found = read(tmp_path, "id,a,label\n1,3,x\n1,2,x\n")
    assert found.values.ravel().tolist() == [3, 2]
    assert "no time column: steps in the file's order" in found.notes[0]


@pytest.mark.parametrize(
    "times",
    [
        ("2024-05-01", "2024-05-01T12:30:00", "2024-05-02 00:00:00.5"),
        ("2024-05-01T12:00:00+02:00", "2024-05-01T11:00:00+00:00", "2024-05-01T12:00:00Z"),
        ("1700000000000000000", "1700000000000000001", "1.8e18"),  # the first two are one float
        ("-1e-3", "0", "2"),
    ],
)
def test_time_stamps(tmp_path, times):
    rows = [f"1,{time},{i},x" for i, time in enumerate(times)]
    assert read(tmp_path, "id,t,a,label\n" + "\n".join(rows)).num_steps == 3
    rows[1], rows[2] = rows[2], rows[1]
    message = refusal(tmp_path, "id,t,a,label\n" + "\n".join(rows))
    assert "The time of a series does not rise." in message
    assert "a.csv, series 1, row 3" in message
    assert "in row 2" in message
    assert "sort the file by id and t" in message


def test_two_steps_at_the_same_time(tmp_path):
    message = refusal(tmp_path, TABLE.replace("s1,1,5", "s1,0.0,5"))
    assert "A series has two steps at the same time." in message
    assert "a.csv, series s1, row 3" in message
    assert "t = 0.0, after 0 in row 1" in message
    assert "each step of a series later than the one before it" in message
    assert "give repeated recordings ids of their own" in message


def test_unreadable_and_mixed_time_stamps(tmp_path):
    for bad in ("soon", "", "inf", "1_0", "nan"):
        message = refusal(tmp_path, TABLE.replace("s1,1,5", f"s1,{bad},5"))
        assert "A time stamp cannot be read." in message
        assert f"series s1, row 3, column t\n  got:      {bad!r}" in message
        assert "ISO date-time" in message
    message = refusal(tmp_path, TABLE.replace("s1,1,5", "s1,2024-05-01,5"))
    assert "The time stamps are of different kinds." in message
    assert "date-times: 2024-05-01" in message
    assert "numbers, as in row 1" in message
    message = refusal(tmp_path, "id,t,a,label\n1,2024-05-01,1,x\n1,2024-05-02T00:00Z,1,x\n")
    assert "got:      date-times with a time zone" in message


def test_a_label_that_changes(tmp_path):
    message = refusal(tmp_path, TABLE.replace("5,,x", "5,,z"))
    assert "The label changes inside a series." in message
    assert "a.csv, series s1, row 3, column label" in message
    assert "got:      'z'" in message
    assert "'x', as in row 1" in message
    assert "into each of its rows" in message
    assert "got:      no label" in refusal(tmp_path, TABLE.replace("5,,x", "5,,"))


@pytest.mark.parametrize("value", ["high", "1_0", "true", "NULL", "-nan", "1.5 m", "0x10", "--"])
def test_a_value_that_is_text(tmp_path, value):
    message = refusal(tmp_path, TABLE.replace("5,,x", f"5,{value},x"))
    assert "A value is not a number." in message
    assert "a.csv, series s1, row 3, column b" in message
    assert f"got:      {value!r}" in message
    assert "an empty cell, NaN or NA where it is missing" in message
    assert "leave the column out: --set 'data.channels=[\"a\"]'" in message


@pytest.mark.parametrize(
    ("value", "what"),
    [("inf", "infinite"), ("-Infinity", "infinite"), ("1e39", "too large"), ("-1e400", "too large")],
)
def test_a_value_that_is_infinite_or_too_large(tmp_path, value, what):
    message = refusal(tmp_path, TABLE.replace("5,,x", f"5,{value},x"))
    assert f"A value is {what}." in message
    assert "series s1, row 3, column b" in message
    assert f"got:      {value!r}" in message
    assert ("a finite number" if what == "infinite" else "3.403e+38 in magnitude (float32)") in message


def test_the_largest_float32_as_numpy_writes_it(tmp_path):
    largest = np.finfo(np.float32).max
    assert read(tmp_path, f"id,t,a,label\n1,0,{largest!s},x\n").values[0, 0] == largest


def test_a_row_without_id(tmp_path):
    message = refusal(tmp_path, TABLE + " ,3,1,1,x\n")
    assert "A row belongs to no series." in message
    assert "row 5, column series_id" in message
    assert "give the row the id of its series" in message


def test_unclear_columns(tmp_path):
    message = refusal(tmp_path, "series_id,id,t,a,label\n1,2,3,4,x\n")
    assert "not clear which column holds the series ids" in message
    assert "candidates: series_id, id; all columns: series_id, id, t, a, label" in message
    assert "--set data.id_column=..." in message
    text = "id,t,x,y\n1,0,1,2\n2,0,3,4\n"
    message = refusal(tmp_path, text)
    assert "not clear whether a column is the label or a channel" in message
    assert "y beside x" in message
    assert "--set data.label_column=y" in message
    assert read(tmp_path, text, label_column="y").labels == ("2", "4")
    assert read(tmp_path, text, labels="optional", channels=("x", "y")).labels == (None, None)
    assert read(tmp_path, "id,t,x,y,label\n1,0,1,2,k\n").channels == ("x", "y")
    assert read(tmp_path, "id,t,a,y\n1,0,1,2\n").labels == ("2",)


def test_missing_columns(tmp_path):
    message = refusal(tmp_path, TABLE, channels=("a", "bb"))
    assert "There is no such channel column." in message
    assert "got:      bb" in message
    assert "one of: series_id, t, a, b, label" in message
    assert "cure:     did you mean b?" in message
    assert "--set data.id_column=series_id" in refusal(tmp_path, TABLE, id_column="serie_id")
    assert "One column is named for two roles." in refusal(tmp_path, TABLE, id_column="a", time_column="a")
    message = refusal(tmp_path, "0,1.5,2\n0,3,4\n")
    assert "No column holds the series ids." in message
    assert "columns: column1, column2, column3" in message
    assert "There is no channel column." in refusal(tmp_path, "id,t,label\n1,2,x\n")
    assert "too few columns" in refusal(tmp_path, TABLE + "s1,2\n")


def test_several_files_as_one(tmp_path):
    first = write(tmp_path, TABLE)
    second = write(tmp_path, TABLE.replace("s1", "s3").replace("s2", "s4"), "b.csv")
    found = open_series([first, second]).train
    assert found.ids == ("s1", "s2", "s3", "s4")
    assert found.offsets.tolist() == [0, 2, 4, 6, 8]
    assert "and 1 more" in found.name
    assert "2 files read as one" in open_series(tmp_path).notes
    write(tmp_path, TABLE.replace("s1", "s3"), "b.csv")
    with pytest.raises(DataError, match=r"Two files have the same series(.|\n)*b.csv, series s2(.|\n)*a.csv"):
        open_series([first, second])
    write(tmp_path, TABLE.replace("t,a,b", "t,a,c"), "b.csv")
    with pytest.raises(DataError, match=r"different columns(.|\n)*b.csv(.|\n)*add the column b"):
        open_series([first, second])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False))).filter(
            len
        ),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_any_interleaving_gives_the_same_series(tmp_path_factory, series, random):
    queue = [i for i, steps in enumerate(series) for _ in steps]
    random.shuffle(queue)
    left = [iter(enumerate(steps)) for steps in series]
    rows = []
    for i in queue:
        time, value = next(left[i])
        rows.append(f"s{i},{time},{'' if value is None else repr(value)},x")
    found = read(tmp_path_factory.mktemp("t"), "id,t,a,label\n" + "\n".join(rows) + "\n")
    for place, series_id in enumerate(found.ids):
        expected = np.array(series[int(series_id[1:])], np.float32)
        np.testing.assert_array_equal(found.series(place)[:, 0], expected)
