"""Numeric series in memory: ragged rows with labels, ids and channel names. Reads and judges nothing.

In this package C is the number of channels, "steps" counts the rows of all series together.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.data.splits import SPLITS, SplitName
from grunlock.errors import DataError, ShapeError
from grunlock.shapes import FloatArray, IntArray, check_shape

SHOWN_CHANNELS = 10


@dataclass(frozen=True)
class SeriesSet:
    """Series of one source, in its order.

    values:   [steps, C] float32, one series after another; NaN where a value is missing
    offsets:  [series + 1] int64, where each series starts in values
    labels:   [series] None where a series has none
    ids:      [series] what the source calls them
    channels: [C] names
    name:     of the source, for messages
    notes:    what the reader decided and the user should see
    """

    values: FloatArray
    offsets: IntArray
    labels: tuple[str | None, ...]
    ids: tuple[str, ...]
    channels: tuple[str, ...]
    name: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_shape("values", self.values.shape, (None, len(self.channels)), "[steps, C]")
        check_shape("offsets", self.offsets.shape, (len(self.labels) + 1,), "[series + 1]")
        if len(self.ids) != len(self.labels):
            raise ShapeError(
                "There are not as many ids as labels.", got=f"{len(self.ids)} ids, {len(self.labels)} labels"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.values) or (np.diff(self.offsets) < 0).any():
            raise ShapeError(
                "`offsets` do not cut the values into series.",
                got=f"from {self.offsets[0]} to {self.offsets[-1]}",
                expected=f"from 0, never falling, to {len(self.values)}",
            )

    @property
    def num_series(self) -> int:
        return len(self.labels)

    @property
    def num_steps(self) -> int:
        """Of all series together."""
        return len(self.values)

    @property
    def lengths(self) -> IntArray:
        """[series]"""
        return np.diff(self.offsets)

    def series(self, index: int) -> FloatArray:
        """[its steps, C] a view of one series"""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def where(self, index: int) -> str:
        return f"{self.name}, series {self.ids[index]}"


@dataclass(frozen=True)
class SeriesSplits:
    """Series by split; `notes` says what was taken and what was left."""

    train: SeriesSet
    valid: SeriesSet | None = None
    test: SeriesSet | None = None
    notes: tuple[str, ...] = ()

    def by_split(self) -> dict[SplitName, SeriesSet]:
        """The sets there are, in order train, valid, test."""
        found: dict[SplitName, SeriesSet | None]
        found = {"train": self.train, "valid": self.valid, "test": self.test}
        return {split: series for split in SPLITS if (series := found.get(split)) is not None}


def channel_names(count: int) -> tuple[str, ...]:
    """Names for the channels of a source that gives none."""
    return tuple(f"channel{i + 1}" for i in range(count))


def channels_problem(found: SeriesSet, expected: Sequence[str], like: str) -> DataError | None:
    """What is wrong if a set's channels are not the expected ones in their order; None if they are.

    like: where the expected ones come from, for the message.
    """
    if found.channels == tuple(expected):
        return None
    missing = [name for name in expected if name not in found.channels]
    extra = [name for name in found.channels if name not in expected]
    near = {name: difflib.get_close_matches(name, missing, n=1) for name in extra}
    pairs = [f"{name} (did you mean {match[0]}?)" for name, match in near.items() if match]
    cure = "give every file the same channels in the same order"
    if pairs:
        cure = f"rename {', '.join(pairs)}"
    elif not missing and not extra:
        cure = "put the channels into the same order"
    return DataError(
        "The channels are different.",
        where=found.name,
        got=f"{len(found.channels)}: {_shown(found.channels)}",
        expected=f"{len(expected)}: {_shown(expected)}, as in {like}",
        cure=cure,
    )


def concatenate(sets: Sequence[SeriesSet], name: str) -> SeriesSet:
    """One set of all series, in order. Raises DataError if the channels of two sets differ."""
    first = sets[0]
    for other in sets[1:]:
        problem = channels_problem(other, first.channels, first.name)
        if problem is not None:
            raise problem
    lengths: NDArray[np.int64] = np.concatenate([found.lengths for found in sets])
    return SeriesSet(
        values=np.concatenate([found.values for found in sets]),
        offsets=offsets_of(lengths),
        labels=tuple(label for found in sets for label in found.labels),
        ids=tuple(series_id for found in sets for series_id in found.ids),
        channels=first.channels,
        name=name,
        notes=tuple(dict.fromkeys(note for found in sets for note in found.notes)),
    )


def take(found: SeriesSet, places: IntArray) -> SeriesSet:
    """The series at these places, in this order."""
    parts = [found.series(place) for place in places.tolist()]
    return SeriesSet(
        values=np.concatenate(parts) if parts else found.values[:0],
        offsets=offsets_of(found.lengths[places]),
        labels=tuple(found.labels[place] for place in places.tolist()),
        ids=tuple(found.ids[place] for place in places.tolist()),
        channels=found.channels,
        name=found.name,
        notes=found.notes,
    )


def series_of_arrays(
    arrays: Sequence[NDArray[np.floating]], labels: Sequence[str | None] | None = None, name: str = "memory"
) -> SeriesSet:
    """Series in memory, each [its steps, C], or [its steps] for a single channel; NaN where missing.

    Raises DataError for anything that is no array of numbers and for series of unlike channels.
    """
    if len(arrays) == 0:
        raise DataError("There are no series.", where=name)
    if labels is not None and len(labels) != len(arrays):
        raise DataError(
            "There are not as many labels as series.",
            where=name,
            got=f"{len(arrays)} series, {len(labels)} labels",
        )
    rows = [_as_steps(array, f"{name}[{i}]") for i, array in enumerate(arrays)]
    for i, steps in enumerate(rows):
        if steps.shape[1] != rows[0].shape[1]:
            raise DataError(
                "The series have different channels.",
                where=f"{name}[{i}]",
                got=f"{steps.shape[1]} channels",
                expected=f"{rows[0].shape[1]}, as {name}[0] has",
            )
    return SeriesSet(
        values=np.concatenate(rows),
        offsets=offsets_of([len(steps) for steps in rows]),
        labels=(None,) * len(rows) if labels is None else tuple(labels),
        ids=tuple(str(i) for i in range(len(rows))),
        channels=channel_names(rows[0].shape[1]),
        name=name,
    )


def _as_steps(array: object, where: str) -> FloatArray:
    """[steps, C] float32"""
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which the checks refuse by place
            steps = np.asarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(
            "A series is not an array of numbers.",
            where=where,
            got=str(array)[:80],
            expected="an array [steps, channels], NaN where a value is missing",
            cure='the recipe "default" is for texts' if isinstance(array, str) else None,
        ) from error
    if steps.ndim == 1:
        steps = steps[:, None]
    if steps.ndim != 2 or steps.shape[1] == 0:
        raise DataError(
            "A series has the wrong shape.", where=where, got=list(steps.shape), expected="[steps, channels]"
        )
    return steps


def offsets_of(lengths: Sequence[int] | IntArray) -> IntArray:
    """[series + 1] where series of these lengths [series] start when they stand one after another"""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_CHANNELS]) + (" ..." if len(names) > SHOWN_CHANNELS else "")
