"""What a report is made of, before it is HTML: sections of paragraphs, tables, charts, texts and commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Cell:
    """order: what its column is sorted by, if not by the text. own: the user's text, of any writing
    direction."""

    text: str
    order: float | None = None
    own: bool = False


@dataclass(frozen=True)
class Table:
    """columns: headings. rows: of as many cells. sorts: whether a click on a heading sorts.
    is_dense: many columns, a line a row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sorts: bool = True
    is_dense: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Chart:
    """figure: data and layout of Plotly, colours by role (figures.py). caption: one sentence with the number
    that matters. height: in CSS pixels. is_wide: scrolls on narrow screens. table: the same in numbers."""

    figure: Mapping[str, Any]
    caption: str
    table: Table | None
    height: int = 340
    is_wide: bool = False
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Paragraph:
    text: str
    kind: Literal["paragraph"] = "paragraph"


@dataclass(frozen=True)
class Command:
    """A line for the shell, and what it is for."""

    purpose: str
    line: str
    kind: Literal["command"] = "command"


@dataclass(frozen=True)
class Example:
    """One of the user's texts. facts: what is to be said of it. command: to look into it, if there is one."""

    text: str
    facts: str
    command: str | None


@dataclass(frozen=True)
class Examples:
    items: tuple[Example, ...]
    kind: Literal["examples"] = "examples"


@dataclass(frozen=True)
class Folded:
    """Long plain text behind a summary."""

    summary: str
    text: str
    kind: Literal["folded"] = "folded"


Part = Table | Chart | Paragraph | Command | Examples | Folded


@dataclass(frozen=True)
class Section:
    """name: of its anchor, unique in the page."""

    name: str
    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Page:
    """subject: what the report is of. verdict: the answer in one or two sentences. remarks: what else is to
    be known of it. notice: what is unfinished, or which split was looked at; None if there is nothing."""

    title: str
    subject: str
    verdict: tuple[str, ...]
    notice: str | None
    sections: tuple[Section, ...]
    remarks: tuple[str, ...] = ()


def section(name: str, title: str, parts: Sequence[Part | None]) -> Section | None:
    """None if none of its parts is there."""
    found = tuple(part for part in parts if part is not None)
    return Section(name, title, found) if found else None


def own(text: str) -> Cell:
    """A cell with a text of the user's."""
    return Cell(text, own=True)


def cells(*values: "str | Cell") -> tuple[Cell, ...]:
    return tuple(value if isinstance(value, Cell) else Cell(value) for value in values)
