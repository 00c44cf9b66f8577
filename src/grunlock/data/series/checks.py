"""Are series fit to learn from? Every problem is told at once, and what is odd but allowed becomes a note.

Refuses and counts; it changes nothing.
"""

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.data.series.series_set import SeriesSet, channels_problem
from grunlock.data.splits import SplitName
from grunlock.errors import DataError

SHOWN_SERIES = 5
SHOWN_LABELS = 10


@dataclass(frozen=True)
class CheckedSeries:
    """What `check_series` settled.

    labels: class names, in the order of class indices: sorted, those known beforehand first
    notes:  sentences for the user
    """

    labels: tuple[str, ...]
    notes: tuple[str, ...]


def check_series(
    splits: Mapping[SplitName, SeriesSet],
    known_labels: Sequence[str] = (),
    *,
    keep_unseen_labels: bool = False,
) -> CheckedSeries:
    """Check labelled splits, "train" among them, to learn from.

    known_labels: keep their order, new ones follow.
    keep_unseen_labels: a label that train lacks becomes a class, so that its series count as errors.

    Raises DataError for series without a step or a value, infinite values, other channels than train's,
    missing labels, labels that train lacks, and fewer than two classes; `problems` holds them all if there
    are several.
    """
    train = splits["train"]
    problems: list[DataError] = []
    notes: list[str] = []
    for split, found in splits.items():
        other = channels_problem(found, train.channels, train.name)
        problems += [other] if other is not None else []
        problems += value_problems(found)
        problems += _label_problems(found)
        notes += [f"{split}: {note}" for note in value_notes(found)]
    kept = list(splits.values()) if keep_unseen_labels else [train]
    new = {label for found in kept for label in found.labels if label is not None}
    labels = (*known_labels, *sorted(new - set(known_labels)))
    for split, found in splits.items():
        problems += _unseen_label_problems(found, labels, split)
    if len(labels) < 2:
        problems.append(
            DataError(
                "All series have the same label." if labels else "No series has a label.",
                where=train.name,
                got=f"only {labels[0]!r}" if labels else "no label",
                expected="at least two labels",
                cure="check that data.label_column names the right column",
            )
        )
    raise_problems(problems, train.name)
    return CheckedSeries(labels, tuple(notes))


def raise_problems(problems: Sequence[DataError], where: str) -> None:
    """Raise the problem there is, or one error that holds all of them; nothing if there is none."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise DataError(
            "The series cannot be learned from.",
            where=where,
            got=f"{len(problems)} problems",
            problems=tuple(problems),
        )


def value_problems(found: SeriesSet) -> Iterator[DataError]:
    """What makes values unfit, for training and for prediction: no steps, no value, infinite values."""
    if found.num_series == 0:
        yield DataError("There are no series.", where=found.name)
        return
    empty = np.flatnonzero(found.lengths == 0)
    if len(empty):
        yield DataError(
            _counted(len(empty), "series has no step.", "series have no step."),
            where=_places(found, empty),
            got="0 steps",
            expected="at least one",
            cure="remove these series",
        )
    void = np.flatnonzero((found.lengths > 0) & (present_counts(found).sum(axis=1) == 0))
    if len(void):
        yield DataError(
            _counted(len(void), "series has no value.", "series have no value."),
            where=_places(found, void),
            got="every value is missing",
            expected="at least one value",
            cure="remove these series",
        )
    infinite = np.isinf(found.values)
    if infinite.any():
        row, channel = np.argwhere(infinite)[0].tolist()
        series = int(np.searchsorted(found.offsets, row, side="right")) - 1
        count = int(np.count_nonzero(infinite))
        yield DataError(
            _counted(count, "value is infinite.", "values are infinite."),
            where=f"{found.where(series)}, step {row - found.offsets[series] + 1}, {found.channels[channel]}"
            + (" and more" if count > 1 else ""),
            got=found.values[row, channel],
            expected="a finite number that float32 can hold, or NaN where it is missing",
            cure="mark them as missing, or give the channel another unit",
        )


def value_notes(found: SeriesSet) -> Iterator[str]:
    """What is odd but allowed: series of one step, channels that are constant or missing."""
    single = int(np.count_nonzero(found.lengths == 1))
    if single:
        yield _counted(single, "series has a single step", "series have a single step")
    present = present_counts(found)
    absent = (present == 0) & (found.lengths > 0)[:, None]  # [series, C]
    for place, channel in enumerate(found.channels):
        if not present[:, place].any():
            yield f"channel {channel} is missing everywhere"
            continue
        count = int(np.count_nonzero(absent[:, place]))
        if count:
            yield f"channel {channel} is missing in all steps of {count:,} of {found.num_series:,} series"
        column = found.values[:, place]
        if np.nanmin(column) == np.nanmax(column):
            yield f"channel {channel} is constant"


def present_counts(found: SeriesSet) -> NDArray[np.int64]:
    """[series, C] how many values of each channel each series has"""
    sums = np.zeros((found.num_steps + 1, len(found.channels)), np.int64)
    np.cumsum(~np.isnan(found.values), axis=0, out=sums[1:])
    return np.diff(sums[found.offsets], axis=0)


def _label_problems(found: SeriesSet) -> Iterator[DataError]:
    without = np.array([i for i, label in enumerate(found.labels) if label is None], np.int64)
    if len(without):
        yield DataError(
            _counted(len(without), "series has no label.", "series have no label."),
            where=_places(found, without),
            got="no label",
            expected="a label for each series",
            cure="remove these series, or give them a label",
        )


def unknown_label_problems(found: SeriesSet, labels: Sequence[str]) -> Iterator[DataError]:
    """What makes a set unfit to evaluate a model with these labels: none, or others."""
    yield from _label_problems(found)
    unknown = _Unknown.of(found, labels)
    if unknown is not None:
        yield DataError(
            "A label is unknown to the model.",
            where=found.name,
            got=unknown.shown,
            expected=unknown.expected,
            cure=unknown.meant or "train a model that has this label",
        )


def _unseen_label_problems(found: SeriesSet, labels: Sequence[str], split: str) -> Iterator[DataError]:
    unknown = _Unknown.of(found, labels)
    if unknown is not None:
        yield DataError(
            f"The {split} split has labels that the training split lacks.",
            where=found.name,
            got=unknown.shown,
            expected=unknown.expected if labels else "a label of the training split",
            cure=(f"{unknown.meant} Else " if unknown.meant else "")
            + "add training series of them, remove these series, or count them as errors with "
            "--set data.unseen_labels=keep",
        )


@dataclass(frozen=True)
class _Unknown:
    """Labels of a set that are none of the known ones, in words."""

    shown: str
    expected: str
    meant: str

    @classmethod
    def of(cls, found: SeriesSet, labels: Sequence[str]) -> "_Unknown | None":
        counts = Counter(label for label in found.labels if label is not None and label not in labels)
        if not counts:
            return None
        near = {label: difflib.get_close_matches(label, labels, n=1) for label in sorted(counts)}
        return cls(
            f"{', '.join(sorted(counts)[:SHOWN_LABELS])} ({counts.total():,} series)",
            f"one of: {', '.join(labels[:SHOWN_LABELS])}{' ...' * (len(labels) > SHOWN_LABELS)}",
            ", ".join(f"{label}: did you mean {match[0]}?" for label, match in near.items() if match),
        )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _places(found: SeriesSet, places: NDArray[np.int64]) -> str:
    shown = ", ".join(found.ids[place] for place in places[:SHOWN_SERIES].tolist())
    return f"{found.name}, series {shown}" + (" and more" if len(places) > SHOWN_SERIES else "")
