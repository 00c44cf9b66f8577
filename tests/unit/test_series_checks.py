"""Series that are unfit to learn from, each problem in its words, and what is only noted."""

import numpy as np
import pytest

from grunlock.data.series import SeriesSet, check_series, concatenate
from grunlock.errors import DataError, ShapeError

NAN = np.nan


def made(series, labels=None, channels=None, name="train.csv"):
    """A set of series given as lists of rows."""
    width = max((len(step) for steps in series for step in steps), default=1)
    labels = labels or [("x", "y")[i % 2] for i in range(len(series))]
    return SeriesSet(
        values=np.array([step for steps in series for step in steps], np.float32).reshape(-1, width),
        offsets=np.cumsum([0, *map(len, series)]),
        labels=tuple(labels),
        ids=tuple(f"s{i + 1}" for i in range(len(series))),
        channels=channels or tuple("abcdef"[:width]),
        name=name,
    )


GOOD = [[[1, 2], [3, 4]], [[5, 6], [7, 8], [9, 9]]]


def refusal(train, **others):
    with pytest.raises(DataError) as raised:
        check_series({"train": train, **others})
    return raised.value


def test_good_series():
    checked = check_series({"train": made(GOOD), "test": made(GOOD[:1])})
    assert (checked.labels, checked.notes) == (("x", "y"), ())
    known = check_series({"train": made(GOOD)}, known_labels=("z", "y"))
    assert known.labels == ("z", "y", "x")


def test_a_set_whose_sizes_disagree():
    good = made(GOOD)
    for fields in (
        {"offsets": np.array([0, 3, 4])},
        {"offsets": np.array([0, 5])},
        {"offsets": np.array([0, 6, 5])},
        {"ids": ("s1",)},
        {"channels": ("a",)},
    ):
        with pytest.raises(ShapeError):
            SeriesSet(**(vars(good) | fields))


def test_series_without_steps_or_values():
    error = refusal(made([*GOOD, [], [], [[NAN, NAN]], [[NAN, 1]]]))
    empty, void = map(str, error.problems)
    assert empty == (
        "2 series have no step.\n  where:    train.csv, series s3, s4\n  got:      0 steps\n"
        "  expected: at least one\n  cure:     remove these series"
    )
    assert "1 series has no value." in void
    assert "train.csv, series s5\n  got:      every value is missing" in void
    assert "2 problems" in str(error)
    assert empty in str(error)
    assert void in str(error)
    many = refusal(made([*GOOD, *[[]] * 7]))
    assert "7 series have no step." in str(many)
    assert "s3, s4, s5, s6, s7 and more" in str(many)


def test_infinite_values():
    message = str(refusal(made([GOOD[0], [[5, 6], [NAN, -np.inf], [np.inf, 1]]])))
    assert "2 values are infinite." in message
    assert "train.csv, series s2, step 2, b and more" in message
    assert "got:      -inf" in message
    assert "a finite number that float32 can hold" in message
    assert "mark them as missing" in message
    first_step = str(refusal(made([GOOD[0], [[np.inf, 1]]])))
    assert "1 value is infinite." in first_step
    assert "where:    train.csv, series s2, step 1, a\n" in first_step


def test_channels_that_differ_between_splits():
    train = made(GOOD, channels=("speed", "height"))
    message = str(refusal(train, test=made(GOOD, channels=("sped", "height"), name="test.csv")))
    assert "The channels are different." in message
    assert "where:    test.csv" in message
    assert "got:      2: sped, height" in message
    assert "expected: 2: speed, height, as in train.csv" in message
    assert "rename sped (did you mean speed?)" in message
    swapped = made(GOOD, channels=("height", "speed"))
    assert "put the channels into the same order" in str(refusal(train, test=swapped))
    assert "the same channels in the same order" in str(refusal(train, test=made(GOOD, channels=("q", "r"))))
    with pytest.raises(DataError, match="The channels are different"):
        concatenate([train, swapped], "both")


def test_labels():
    message = str(refusal(made(GOOD, labels=["x", "x"])))
    assert "All series have the same label." in message
    assert "only 'x'" in message
    assert "at least two labels" in message
    assert "data.label_column" in message
    message = str(refusal(made([*GOOD, *GOOD], labels=["x", None, "y", None])))
    assert "2 series have no label." in message
    assert "train.csv, series s2, s4" in message
    assert "give them a label" in message
    assert "No series has a label." in str(refusal(made(GOOD, labels=[None, None])))
    assert "There are no series." in str(refusal(made([], labels=[])))


def test_a_label_that_train_lacks():
    train = made(GOOD, labels=["walk", "run"])
    test = made([*GOOD, *GOOD], labels=["wolk", "run", "sit", "sit"], name="test.csv")
    message = str(refusal(train, test=test))
    assert "The test split has labels that the training split lacks." in message
    assert "where:    test.csv" in message
    assert "got:      sit, wolk (3 series)" in message
    assert "one of: run, walk" in message
    assert "wolk: did you mean walk?" in message
    assert "--set data.unseen_labels=keep" in message
    kept = check_series({"train": train, "test": test}, keep_unseen_labels=True)
    assert kept.labels == ("run", "sit", "walk", "wolk")


def test_what_is_allowed_is_noted():
    series = [[[1, NAN, 7, NAN]], [[2, 1, 7, NAN], [3, 2, NAN, NAN]], [[1, NAN, 7, NAN], [2, NAN, 7, NAN]]]
    assert check_series({"train": made(series)}).notes == (
        "train: 1 series has a single step",
        "train: channel b is missing in all steps of 2 of 3 series",
        "train: channel c is constant",
        "train: channel d is missing everywhere",
    )
