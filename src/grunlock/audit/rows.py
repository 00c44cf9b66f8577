"""All rows of a labelled text set, read for judging: what training would refuse is marked instead.

Holds the texts in memory. It follows data/checks.py in what is a fault and weakens none of its refusals.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grunlock.audit.findings import Row, shortened
from grunlock.data.columns import Cell
from grunlock.data.sources import Chunk, Source
from grunlock.data.splits import SPLITS, SplitName
from grunlock.errors import DataError
from grunlock.shapes import IntArray

Progress = Callable[[str, int], None]  # what is being done, rows or rounds done so far
FaultKind = Literal["unlabelled", "not_unicode", "too_long", "empty"]


@dataclass(frozen=True)
class LabelledTexts:
    """Rows with a valid text and a label, splits one after another in their order. N rows.

    texts:   [N], empty ones included
    targets: [N] int32, index into `labels`
    splits:  [N] int8, index into SPLITS
    places:  [N] int32, index into `place_names`
    numbers: [N] int64, row number in that place, from 1
    labels:  without outer whitespace, sorted
    faults:  rows by what is wrong with each alone; all but empty and too long ones are in no array above
    """

    texts: list[str]
    targets: NDArray[np.int32]
    splits: NDArray[np.int8]
    places: NDArray[np.int32]
    numbers: IntArray
    labels: tuple[str, ...]
    place_names: tuple[str, ...]
    faults: Mapping[FaultKind, list[Row]]

    def __len__(self) -> int:
        return len(self.texts)

    def row(self, i: int) -> Row:
        return Row(
            place=self.place_names[self.places[i]],
            number=int(self.numbers[i]),
            split=SPLITS[self.splits[i]],
            label=self.labels[self.targets[i]],
            text=shortened(self.texts[i]),
        )

    @property
    def present(self) -> tuple[SplitName, ...]:
        """The splits that have rows, in order."""
        return tuple(split for i, split in enumerate(SPLITS) if (self.splits == i).any())

    def in_split(self, split: SplitName) -> NDArray[np.bool_]:
        """[N] bool"""
        return np.asarray(self.splits == SPLITS.index(split))


@dataclass
class _Collector:
    max_text_bytes: int
    texts: list[str] = field(default_factory=list)
    targets: "array[int]" = field(default_factory=lambda: array("i"))
    splits: "array[int]" = field(default_factory=lambda: array("b"))
    places: "array[int]" = field(default_factory=lambda: array("i"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    labels: dict[str, int] = field(default_factory=dict)
    place_names: dict[str, int] = field(default_factory=dict)
    faults: dict[FaultKind, list[Row]] = field(default_factory=dict)
    num_rows: int = 0

    def add(self, chunk: Chunk, split: SplitName) -> None:
        labels = chunk.labels if chunk.labels is not None else [None] * len(chunk.texts)
        place = self.place_names.setdefault(chunk.place, len(self.place_names))
        self.num_rows += len(chunk.texts)
        for i, (cell, label) in enumerate(zip(chunk.texts, labels, strict=True)):
            _refuse_other_types(cell, label, chunk, i)
            text = cell or ""
            name = (label or "").strip()
            found = _faults(text, name, self.max_text_bytes)
            row = Row(chunk.place, chunk.first_row + i, split, name or None, shortened(text))
            for fault in found:
                self.faults.setdefault(fault, []).append(row)
            if "unlabelled" in found or "not_unicode" in found:
                continue
            self.texts.append(text)
            self.targets.append(self.labels.setdefault(name, len(self.labels)))
            self.splits.append(SPLITS.index(split))
            self.places.append(place)
            self.numbers.append(chunk.first_row + i)

    def result(self) -> LabelledTexts:
        labels = sorted(self.labels)
        rank = np.empty(len(labels), np.int32)
        rank[[self.labels[label] for label in labels]] = np.arange(len(labels))
        return LabelledTexts(
            self.texts,
            rank[np.array(self.targets, np.int32)],
            np.array(self.splits, np.int8),
            np.array(self.places, np.int32),
            np.array(self.numbers, np.int64),
            tuple(labels),
            tuple(self.place_names),
            self.faults,
        )


def read_rows(
    sources: Mapping[SplitName, Source], max_text_bytes: int, progress: Progress | None = None
) -> LabelledTexts:
    """Read every row of every split.

    Raises DataError for what no audit can look past: a file that cannot be read, no labels at all, only one
    label, only empty texts.
    """
    collector = _Collector(max_text_bytes)
    for split, source in sources.items():
        for chunk in source.chunks():
            if chunk.labels is None:
                raise DataError(
                    "The examples have no labels.",
                    where=source.name,
                    expected="a label for each text",
                    cure="--set data.label_column=..., or give the file that holds the labels",
                )
            collector.add(chunk, split)
            if progress is not None:
                progress("reading rows", collector.num_rows)
    names = ", ".join(source.name for source in sources.values())
    _refuse_unlabelled(collector, names)
    return collector.result()


def _refuse_unlabelled(collector: _Collector, names: str) -> None:
    if not collector.texts:
        raise DataError(
            "No row has both a text and a label.",
            where=names,
            got=f"{collector.num_rows:,} rows",
            cure="check data.text_column and data.label_column",
        )
    if len(collector.labels) < 2:
        raise DataError(
            "All examples have the same label.",
            where=names,
            got=f"only {next(iter(collector.labels))!r}",
            expected="at least two labels",
            cure="check that data.label_column names the right column",
        )
    if all(not text.strip() for text in collector.texts):
        raise DataError(
            "No example is left.",
            where=names,
            got="only empty texts",
            cure="check that data.text_column names the right column",
        )


def _faults(text: str, label: str, max_text_bytes: int) -> list[FaultKind]:
    found: list[FaultKind] = [] if label else ["unlabelled"]
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return [*found, "not_unicode"]
    if size > max_text_bytes:
        found.append("too_long")
    if not text.strip():
        found.append("empty")
    return found


def _refuse_other_types(text: Cell, label: Cell, chunk: Chunk, i: int) -> None:
    """Only a caller in Python can pass other types, and a row number helps him more than a finding."""
    for value, what in ((text, "text"), (label, "label")):
        if value is not None and not isinstance(value, str):
            raise DataError(f"A {what} is not a string.", where=chunk.where(i), got=repr(value)[:80])
