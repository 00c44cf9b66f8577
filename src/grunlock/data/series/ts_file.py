"""Series from .ts files, the text format of sktime and the UEA archive (Bagnall 2018, 1811.00075).

A header of @ lines, then a series a line: dimensions between colons, values between commas, the label last.
Time stamps inside a file are not read: such files are refused.
"""

from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from grunlock.data.encoding import open_text
from grunlock.data.series.cells import MISSING, SHOWN_CHARACTERS, number_in, refused_number
from grunlock.data.series.series_set import SeriesSet, channel_names, offsets_of
from grunlock.errors import DataError

MISSING_MARK = "?"
MISSING_HERE = (MISSING - {""}) | {MISSING_MARK}
FLAGS = ("timestamps", "missing", "univariate", "equallength", "classlabel", "targetlabel")
SHOWN_LABELS = 10


@dataclass
class _Header:
    """What the @ lines say; None where they say nothing."""

    flags: dict[str, bool] = field(default_factory=dict)
    num_dimensions: int | None = None
    series_length: int | None = None
    labels: tuple[str, ...] | None = None
    unread: list[str] = field(default_factory=list)


def read_ts(path: Path, encoding: str = "utf-8") -> SeriesSet:
    """Read a .ts file, also as .gz.

    Raises DataError, with the line, for time stamps, a header that is unfinished or contradicts the data,
    dimensions of unequal length in one series, values that are no numbers, and labels not in the header.
    """
    reader = _Reader(path)
    with open_text(path, encoding, newline="\n") as text:
        for number, line in enumerate(text, start=1):
            stripped = line.strip()
            if not stripped or stripped.startswith(("#", "%")):
                continue
            if reader.in_data:
                reader.add_series(number, stripped)
            else:
                reader.add_header(number, stripped)
    return reader.result()


class _Reader:
    """The header and the series of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = _Header()
        self.in_data = False
        self.num_dimensions: int | None = None
        self.values = array("f")  # step by step, all dimensions of a step together
        self.lengths: list[int] = []
        self.labels: list[str | None] = []

    def add_header(self, number: int, line: str) -> None:
        if not line.startswith("@"):
            raise DataError(
                "A series stands before @data.",
                where=self._where(number),
                got=line[:SHOWN_CHARACTERS],
                expected="lines that start with @, the last of them @data",
            )
        tag, *words = line[1:].split()
        name = tag.lower()
        if name == "data":
            self._finish_header(number)
        elif name in FLAGS:
            self._add_flag(number, name, words)
        elif name in ("dimensions", "dimension"):
            self.header.num_dimensions = self._count(number, tag, words)
        elif name == "serieslength":
            self.header.series_length = self._count(number, tag, words)
        elif name != "problemname":
            self.header.unread.append(f"@{tag}")

    def _add_flag(self, number: int, name: str, words: list[str]) -> None:
        if not words or words[0].lower() not in ("true", "false"):
            raise DataError(
                "A header line cannot be read.",
                where=self._where(number),
                got=f"@{name} {' '.join(words)}".strip(),
                expected=f"@{name} true or @{name} false",
            )
        self.header.flags[name] = words[0].lower() == "true"
        if name == "classlabel":
            self.header.labels = tuple(words[1:])
        if name == "timestamps" and self.header.flags[name]:
            raise DataError(
                "Series with time stamps cannot be read from .ts files.",
                where=self._where(number),
                got="@timestamps true",
                expected="@timestamps false: values at equal distances",
                cure="write the values alone, or a table with series_id, t, label and the channels",
            )
        if name == "targetlabel" and self.header.flags[name]:
            raise DataError(
                "The file is for regression.",
                where=self._where(number),
                got="@targetLabel true",
                expected="@classLabel with the names of the classes",
            )

    def _count(self, number: int, tag: str, words: list[str]) -> int:
        if len(words) != 1 or not words[0].isdecimal() or int(words[0]) < 1:
            raise DataError(
                "A header line cannot be read.",
                where=self._where(number),
                got=f"@{tag} {' '.join(words)}".strip(),
                expected=f"@{tag} and a number, at least 1",
            )
        return int(words[0])

    def _finish_header(self, number: int) -> None:
        header = self.header
        if "classlabel" not in header.flags:
            raise DataError(
                "The header does not say whether the series have labels.",
                where=self._where(number),
                got="no @classLabel before @data",
                cure="add a line such as @classLabel true walking running, or @classLabel false",
            )
        if header.flags["classlabel"] and not header.labels:
            raise DataError(
                "The header names no class.",
                where=self.path,
                got="@classLabel true",
                expected="names behind it",
            )
        univariate, dimensions = header.flags.get("univariate", False), header.num_dimensions
        if univariate and dimensions not in (None, 1):
            raise DataError(
                "The header contradicts itself.",
                where=self.path,
                got=f"@univariate true and @dimensions {dimensions}",
                cure="correct the header",
            )
        self.num_dimensions = 1 if univariate else dimensions
        self.in_data = True

    def add_series(self, number: int, line: str) -> None:
        parts = line.split(":")
        if self.header.flags["classlabel"]:
            self.labels.append(self._label(number, parts.pop().strip()))
        else:
            self.labels.append(None)
        self.num_dimensions = self.num_dimensions or len(parts)
        if len(parts) != self.num_dimensions:
            raise DataError(
                "A series has the wrong number of dimensions.",
                where=self._where(number),
                got=f"{len(parts)}",
                expected=f"{self.num_dimensions}, as in the header or the first series",
                cure="separate dimensions by colons, values by commas, the label by a last colon",
            )
        dimensions = [part.split(",") if part.strip() else [] for part in parts]
        self._check_lengths(number, [len(cells) for cells in dimensions])
        rows = [self._numbers(number, place, cells) for place, cells in enumerate(dimensions)]
        self.lengths.append(len(dimensions[0]))
        for step in zip(*rows, strict=True):
            self.values.extend(step)

    def _label(self, number: int, label: str) -> str:
        known = self.header.labels or ()
        if label not in known:
            raise DataError(
                "A label is not in the header.",
                where=self._where(number),
                got=repr(label)[:SHOWN_CHARACTERS],
                expected="one of: " + ", ".join(known[:SHOWN_LABELS]) + " ..." * (len(known) > SHOWN_LABELS),
                cure="add it to @classLabel, or correct the line",
            )
        return label

    def _check_lengths(self, number: int, lengths: list[int]) -> None:
        for place, length in enumerate(lengths):
            if length != lengths[0]:
                raise DataError(
                    "The dimensions of a series have different lengths.",
                    where=self._where(number),
                    got=f"dimension {place + 1} with {length} steps",
                    expected=f"{lengths[0]}, as in dimension 1",
                    cure=f"fill the shorter one up with {MISSING_MARK}, or check for a lost line end",
                )
        expected = self.header.series_length
        if self.header.flags.get("equallength"):
            expected = expected or (self.lengths[0] if self.lengths else lengths[0])
            if lengths[0] != expected:
                raise DataError(
                    "A series is not as long as the others.",
                    where=self._where(number),
                    got=f"{lengths[0]} steps",
                    expected=f"{expected}, by @equalLength true",
                    cure="check the line, or write @equalLength false",
                )

    def _numbers(self, number: int, place: int, cells: list[str]) -> list[float]:
        numbers = []
        for step, cell in enumerate(cells, start=1):
            where = f"{self._where(number)}, dimension {place + 1}, step {step}"
            try:
                numbers.append(number_in(cell, MISSING_HERE))
            except ValueError:
                raise refused_number(
                    cell.strip(), where, f"write {MISSING_MARK} where it is missing"
                ) from None
            if numbers[-1] != numbers[-1] and self.header.flags.get("missing") is False:
                raise DataError(
                    "A value is missing, and the header says that none is.",
                    where=where,
                    got=repr(cell.strip()),
                    expected="a number, by @missing false",
                    cure="check the line, or write @missing true",
                )
        return numbers

    def result(self) -> SeriesSet:
        if not self.in_data or not self.lengths:
            raise DataError(
                "The file has no series.",
                where=self.path,
                got="no @data line" if not self.in_data else "nothing behind @data",
                expected="a header, @data, and a series a line",
            )
        channels = channel_names(self.num_dimensions or 1)
        unread = self.header.unread
        return SeriesSet(
            values=np.array(self.values, np.float32).reshape(-1, len(channels)),
            offsets=offsets_of(self.lengths),
            labels=tuple(self.labels),
            ids=tuple(str(i + 1) for i in range(len(self.lengths))),
            channels=channels,
            name=str(self.path),
            notes=(f"header lines of {self.path.name} not read: {', '.join(unread)}",) if unread else (),
        )

    def _where(self, number: int) -> str:
        return f"{self.path}, line {number}"
