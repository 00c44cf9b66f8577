"""Series from long-format tables: a row a step, with the series' id, its time, the channels and the label.

Rows of one series may be scattered over the file, but its own time must rise. Sorts and repairs nothing.
"""

import json
import shlex
from array import array
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from grunlock.data.columns import Cell, LabelNeed
from grunlock.data.series.cells import SHOWN_CHARACTERS, number_in, refused_number
from grunlock.data.series.columns import USUAL_NAMES, SeriesColumns, choose_series_columns
from grunlock.data.series.series_set import SeriesSet, concatenate, offsets_of
from grunlock.data.tables import open_table
from grunlock.errors import DataError
from grunlock.recipe.series_options import SeriesDataOptions

Time = int | float | datetime


def read_long_tables(
    paths: Sequence[Path], options: SeriesDataOptions, labels: LabelNeed = "required"
) -> SeriesSet:
    """Read long-format tables as one set. The first decides the columns, the others must have them too.

    Raises DataError for whatever cannot be read as a series: columns that are missing or unclear, text or
    infinite values in a channel, time that does not rise, labels that change inside a series, a series that
    goes on in another file.
    """
    first = open_table(paths[0], options.encoding, options.named_columns(), USUAL_NAMES)
    columns = choose_series_columns(first.names, options, labels, first.path)
    sets = [_read(path, columns, options) for path in paths]
    if len(sets) == 1:
        return sets[0]
    home: dict[str, str] = {}
    for found in sets:
        for series_id in found.ids:
            if home.setdefault(series_id, found.name) != found.name:
                raise DataError(
                    "Two files have the same series.",
                    where=f"{found.name}, series {series_id}",
                    got=f"the id {series_id} in {home[series_id]} too",
                    expected="every series in one file",
                    cure="give the series of each file ids of their own, or put a series into one file",
                )
    return concatenate(sets, f"{paths[0]} and {len(paths) - 1} more")


def _read(path: Path, columns: SeriesColumns, options: SeriesDataOptions) -> SeriesSet:
    table = open_table(path, options.encoding, options.named_columns(), USUAL_NAMES)
    needed = [name for name in (columns.id, columns.time, columns.label, *columns.channels) if name]
    absent = [name for name in needed if name not in table.names]
    if absent:
        raise DataError(
            "The files have different columns.",
            where=path,
            got=", ".join(table.names),
            expected=", ".join(needed),
            cure=f"add the column {absent[0]}",
        )
    steps = _Steps(path, columns)
    for number, row in enumerate(table.rows(tuple(needed)), start=1):
        steps.add(number, row)
    return steps.result()


class _Steps:
    """The steps of one table, in the file's order, and what is known of each series so far."""

    def __init__(self, path: Path, columns: SeriesColumns) -> None:
        self.path = path
        self.columns = columns
        self.values = array("f")
        self.members = array("q")  # series of each row
        self.series: dict[str, int] = {}  # by id
        self.last: list[tuple[int, Time | None]] = []  # row and time of each series' last step
        self.labels: list[tuple[int, str | None]] = []  # of each series' first row, with that row
        self.kind: str | None = None  # of all times in the file

    def add(self, number: int, row: tuple[Cell, ...]) -> None:
        """Add row `number`, from 1 without a header: id, time, label as far as there are, channels."""
        head = 1 + (self.columns.time is not None) + (self.columns.label is not None)
        series_id = (row[0] or "").strip()
        if not series_id:
            raise DataError(
                "A row belongs to no series.",
                where=f"{self.path}, row {number}, column {self.columns.id}",
                got="an empty id",
                cure="give the row the id of its series, or remove it",
            )
        time = None if self.columns.time is None else self._time(number, series_id, row[1])
        label = None if self.columns.label is None else (row[head - 1] or "").strip() or None
        place = self.series.setdefault(series_id, len(self.series))
        if place == len(self.last):
            self.last.append((number, time))
            self.labels.append((number, label))
        else:
            self._check_order(number, series_id, self.last[place], time)
            self._check_label(number, series_id, self.labels[place], label)
            self.last[place] = (number, time)
        self.members.append(place)
        for i, cell in enumerate(row[head:]):
            try:
                self.values.append(number_in(cell))
            except ValueError:
                raise self._refused_value(number, series_id, self.columns.channels[i], cell) from None

    def result(self) -> SeriesSet:
        members = np.frombuffer(self.members, np.int64)
        values = np.frombuffer(self.values, np.float32).reshape(len(members), -1)
        order = np.argsort(members, kind="stable")
        return SeriesSet(
            values=values[order],
            offsets=offsets_of(np.bincount(members, minlength=len(self.series))),
            labels=tuple(label for _, label in self.labels),
            ids=tuple(self.series),
            channels=self.columns.channels,
            name=str(self.path),
            notes=() if self.columns.note is None else (self.columns.note,),
        )

    def _where(self, number: int, series_id: str) -> str:
        return f"{self.path}, series {series_id}, row {number}"

    def _time(self, number: int, series_id: str, cell: Cell) -> Time:
        time, kind = _time_in(cell)
        where = f"{self._where(number, series_id)}, column {self.columns.time}"
        if time is None:
            raise DataError(
                "A time stamp cannot be read.",
                where=where,
                got=repr(cell)[:SHOWN_CHARACTERS],
                expected="a finite number or an ISO date-time such as 2024-05-01T12:30:00",
            )
        if self.kind is None:
            self.kind = kind
        if kind != self.kind:
            raise DataError(
                "The time stamps are of different kinds.",
                where=where,
                got=f"{kind}: {cell}",
                expected=f"{self.kind}, as in row 1",
                cure="write all time stamps in one form",
            )
        return time

    def _check_order(
        self, number: int, series_id: str, last: tuple[int, Time | None], time: Time | None
    ) -> None:
        last_row, before = last
        if time is None or before is None or time > before:  # type: ignore[operator]  # one kind, see _time
            return
        same = time == before
        raise DataError(
            "A series has two steps at the same time." if same else "The time of a series does not rise.",
            where=self._where(number, series_id),
            got=f"{self.columns.time} = {time}, after {before} in row {last_row}",
            expected="each step of a series later than the one before it",
            cure="remove one of the two rows, or give repeated recordings ids of their own"
            if same
            else f"sort the file by {self.columns.id} and {self.columns.time}",
        )

    def _check_label(
        self, number: int, series_id: str, first: tuple[int, str | None], label: str | None
    ) -> None:
        first_row, expected = first
        if label != expected:
            raise DataError(
                "The label changes inside a series.",
                where=f"{self._where(number, series_id)}, column {self.columns.label}",
                got=_shown_label(label),
                expected=f"{_shown_label(expected)}, as in row {first_row}",
                cure="write the series' label into each of its rows, or give parts with other labels "
                "ids of their own",
            )

    def _refused_value(self, number: int, series_id: str, channel: str, cell: Cell) -> DataError:
        others = [name for name in self.columns.channels if name != channel]
        cure = "replace it"
        if others:
            setting = f"data.channels={json.dumps(others, ensure_ascii=False)}"
            cure += f", or leave the column out: --set {shlex.quote(setting)}"
        return refused_number(cell, f"{self._where(number, series_id)}, column {channel}", cure)


def _time_in(cell: Cell) -> tuple[Time | None, str]:
    """A time stamp and its kind; None if the cell holds none. Integers stay exact, however large."""
    text = (cell or "").strip()
    if "_" not in text:
        for read in (int, float):
            try:
                number = read(text)
            except ValueError:
                continue
            return (number if abs(number) < float("inf") else None), "numbers"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None, "unreadable"
    return time, "date-times" if time.tzinfo is None else "date-times with a time zone"


def _shown_label(label: str | None) -> str:
    return "no label" if label is None else repr(label)[:SHOWN_CHARACTERS]
