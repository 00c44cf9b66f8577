"""Which columns of a long-format table hold the series' ids, time, labels and channels.

By the user's word or by name; looks at names only.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from grunlock.data.columns import LabelNeed
from grunlock.errors import DataError
from grunlock.recipe.series_options import SeriesDataOptions

ID_NAMES = ("series_id", "id", "series")
TIME_NAMES = ("t", "time", "timestamp", "step")
LABEL_NAMES = ("label", "class", "target")
WEAK_LABEL_NAME = "y"  # beside x it is a coordinate as often as a label
USUAL_NAMES = frozenset({*ID_NAMES, *TIME_NAMES, *LABEL_NAMES, WEAK_LABEL_NAME})


@dataclass(frozen=True)
class SeriesColumns:
    """The columns in use. `note` says how they were found; None if the user named them all.

    time: None if there is none, steps are then in the file's order
    """

    id: str
    time: str | None
    label: str | None
    channels: tuple[str, ...]
    note: str | None = None


def choose_series_columns(
    names: Sequence[str], options: SeriesDataOptions, labels: LabelNeed, where: object
) -> SeriesColumns:
    """Settle on the columns. Raises DataError if a named one is missing or the choice is open."""
    for role, named in _named_roles(options):
        if named not in names and not (role == "label" and labels != "required"):
            raise _no_such_column(role, named, names, where)
    twice = [name for name in options.named_columns() if options.named_columns().count(name) > 1]
    if twice:
        raise DataError("One column is named for two roles.", where=where, got=twice[0])
    choice = _Choice(names, options, where)
    series_id = choice.one("id", options.id_column, ID_NAMES)
    if series_id is None:
        raise _missing_column("id", ID_NAMES, names, where)
    time = choice.one("time", options.time_column, TIME_NAMES)
    found = choice.label()
    label = None if labels == "ignored" else found
    if label is None and labels == "required":
        raise _missing_column("label", (*LABEL_NAMES, WEAK_LABEL_NAME), names, where)
    channels = options.channels or choice.rest(series_id, time, found)
    if not channels:
        raise DataError(
            "There is no channel column.",
            where=where,
            got=", ".join(names),
            expected="at least one column of numbers beside id, time and label",
        )
    note = None
    if (series_id, time, label, channels) != (*_named(options), options.channels) or time is None:
        parts = [
            f"{series_id} → id",
            f"{time} → time" if time else "no time column: steps in the file's order",
            *([f"{label} → label"] if label is not None else []),
            f"channels {', '.join(channels)}",
        ]
        note = f"{', '.join(parts)}; guessed by name"
    return SeriesColumns(series_id, time, label, tuple(channels), note)


def _named(options: SeriesDataOptions) -> tuple[str | None, str | None, str | None]:
    return options.id_column, options.time_column, options.label_column


class _Choice:
    """The columns of one table that no channel was asked to be."""

    def __init__(self, names: Sequence[str], options: SeriesDataOptions, where: object) -> None:
        self.names = names
        self.options = options
        self.where = where
        self.free = [name for name in names if name not in options.named_columns()]

    def one(self, role: str, named: str | None, usual: Sequence[str]) -> str | None:
        """The column with a usual name, if the user named none."""
        if named is not None:
            return named
        found = [name for name in self.free if name.strip().lower() in usual]
        if len(found) > 1:
            raise self._ambiguous(role, found)
        return found[0] if found else None

    def label(self) -> str | None:
        named = self.options.label_column
        if named is not None:
            return named if named in self.names else None
        strong = self.one("label", None, LABEL_NAMES)
        if strong is not None:
            return strong
        weak = self.one("label", None, (WEAK_LABEL_NAME,))
        beside = [name for name in self.names if name.strip().lower() == "x"]
        if weak is not None and beside and self.options.channels is None:
            raise DataError(
                "It is not clear whether a column is the label or a channel.",
                where=self.where,
                got=f"{weak} beside {beside[0]}",
                cure=f"--set data.label_column={weak}, or name the channels: --set 'data.channels=[...]'",
            )
        return weak

    def rest(self, *taken: str | None) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in taken and name != self.options.label_column)

    def _ambiguous(self, role: str, candidates: Sequence[str]) -> DataError:
        return DataError(
            f"It is not clear which column holds the {_held(role)}.",
            where=self.where,
            got=f"candidates: {', '.join(candidates)}; all columns: {', '.join(self.names)}",
            cure=f"--set data.{role}_column=..., and name the channels if not every other column is one",
        )


def _named_roles(options: SeriesDataOptions) -> list[tuple[str, str]]:
    roles = [("id", options.id_column), ("time", options.time_column), ("label", options.label_column)]
    channels = [("channel", name) for name in options.channels or ()]
    return [(role, name) for role, name in roles if name is not None] + channels


def _no_such_column(role: str, named: str, names: Sequence[str], where: object) -> DataError:
    near = difflib.get_close_matches(named, names, n=1)
    return DataError(
        f"There is no such {role} column.",
        where=where,
        got=named,
        expected=f"one of: {', '.join(names)}",
        cure=_named_so(role, near[0]) if near else None,
    )


def _named_so(role: str, near: str) -> str:
    """The cure for a name that is nearly `near`; a channel is one of several, which --set would drop."""
    return f"did you mean {near}?" if role == "channel" else f"--set data.{role}_column={near}"


def _missing_column(role: str, usual: Sequence[str], names: Sequence[str], where: object) -> DataError:
    return DataError(
        f"No column holds the {_held(role)}.",
        where=where,
        got=f"columns: {', '.join(names)}",
        expected=f"a column named {', '.join(usual[:-1])} or {usual[-1]}",
        cure=f"--set data.{role}_column=..."
        + ('; texts are read by the recipe "default"' if role == "id" else ""),
    )


def _held(role: str) -> str:
    return {"id": "series ids", "time": "time", "label": "labels"}[role]
