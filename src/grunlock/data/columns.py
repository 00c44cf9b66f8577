"""Which column holds the text and which the label: by the user's word, by name, or by content.

Looks at names and a sample of rows only; it opens no file.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from grunlock.errors import DataError

ENGLISH_TEXT_NAMES = """text texts sentence sentences content contents review reviews question comment
comments message body title document utterance query tweet description headline post abstract input"""
ENGLISH_LABEL_NAMES = "label labels class classes category target sentiment intent topic polarity y"
TEXT_NAMES = {*ENGLISH_TEXT_NAMES.split(), "内容", "文本", "评论", "句子", "正文", "标题", "文章", "问题"}
LABEL_NAMES = {*ENGLISH_LABEL_NAMES.split(), "标签", "类别", "分类", "情感", "类目", "意图"}

LabelNeed = Literal["required", "optional", "ignored"]
Cell = str | None

REPEATS = 2  # how often a label must occur in the sample on average to look like one
LONGER = 2  # times the next longest column's mean length, for a column to look like the text
LONGEST_HEADER = 60  # characters of a column name
LONGEST_LABEL = 100


@dataclass(frozen=True)
class Columns:
    """The columns in use. `note` says how they were found; None if the user named them."""

    text: str
    label: str | None
    note: str | None = None


def is_header(
    first: Sequence[Cell],
    rows: Sequence[Sequence[Cell]],
    wanted: Sequence[str | None],
    usual_names: Collection[str] = TEXT_NAMES | LABEL_NAMES,
) -> bool:
    """Whether the first row names the columns of the rows below it.

    It does if it holds a name the user wants, or one of the usual names (lower case); but a first row whose
    cells come back as values further down is data.
    """
    cells = [(cell or "").strip() for cell in first]
    if any(name is not None and name in cells for name in wanted):
        return True
    plain = all(0 < len(cell) <= LONGEST_HEADER for cell in cells)
    if not plain or not any(_usual(cell, usual_names) for cell in cells):
        return False
    return not any(row[i] == first[i] for row in rows for i in range(min(len(row), len(first))))


def choose_columns(
    names: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    where: object,
    text_column: str | None,
    label_column: str | None,
    labels: LabelNeed,
) -> Columns:
    """Settle on the columns. Raises DataError if a named one is missing or the choice is open."""
    guess = _Guess(list(names), rows, where)
    label = None if labels == "ignored" else guess.find_label(label_column, text_column, labels == "required")
    text = guess.find_text(text_column, label)
    note = None
    if guess.reasons:
        found = f"{text} → text" + (f", {label} → label" if label is not None else "")
        note = f"{found}, guessed because {' and '.join(guess.reasons)}"
    return Columns(text, label, note)


class _Guess:
    """The columns of one table, with the reasons collected on the way."""

    def __init__(self, names: list[str], rows: Sequence[Sequence[Cell]], where: object) -> None:
        self.names = names
        self.where = where
        self.reasons: list[str] = []
        values = {name: [row[i] or "" for row in rows] for i, name in enumerate(names)}
        self.num_rows = len(rows)
        self.of_numbers = {name for name, column in values.items() if all(map(_is_number, column))}
        self.num_distinct = {name: len(set(column)) for name, column in values.items()}
        self.mean_length = {
            name: sum(map(len, column)) / max(1, len(column)) for name, column in values.items()
        }

    def find_label(self, named: str | None, text: str | None, required: bool) -> str | None:
        if named is not None and (required or named in self.names):
            return self._named(named, "label")
        others = [name for name in self.names if name != text]
        usual = [name for name in others if _usual(name, LABEL_NAMES)]
        if len(usual) == 1:
            self.reasons.append(f'"{usual[0]}" is a usual name for labels')
            return usual[0]
        if not usual:
            usual = self._look_like_labels([n for n in others if not _usual(n, TEXT_NAMES)])
            if len(usual) == 1 and len(self.names) > 1:
                count = self.num_distinct[usual[0]]
                values = "value" if count == 1 else "values"
                self.reasons.append(f"{usual[0]} has {count} distinct {values} in {self.num_rows:,} rows")
                return usual[0]
        if not required:
            return None
        if len(self.names) == 1:
            raise DataError(
                "The file has one column, so no label column.",
                where=self.where,
                got=self.names[0],
                expected="a text column and a label column",
                cure="check the delimiter: .csv means commas, .tsv means tabs",
            )
        raise self._ambiguous("label", usual or others)

    def find_text(self, named: str | None, label: str | None) -> str:
        if named is not None:
            return self._named(named, "text")
        others = [name for name in self.names if name != label]
        if len(others) == 1:
            self.reasons.append(f"{others[0]} is the only {'column' if label is None else 'other column'}")
            return others[0]
        usual = [name for name in others if _usual(name, TEXT_NAMES)]
        if len(usual) == 1:
            self.reasons.append(f'"{usual[0]}" is a usual name for texts')
            return usual[0]
        by_length = sorted(usual or others, key=lambda name: -self.mean_length[name])
        if len(by_length) > 1 and not usual:
            longest, second = (self.mean_length[name] for name in by_length[:2])
            if longest >= LONGER * second > 0 or (longest > 0 and second == 0):
                self.reasons.append(f"{by_length[0]} is by far the longest")
                return by_length[0]
        raise self._ambiguous("text", by_length)

    def _look_like_labels(self, names: list[str]) -> list[str]:
        return [
            name
            for name in names
            if self.num_distinct[name] * REPEATS <= self.num_rows
            and 0 < self.mean_length[name] <= LONGEST_LABEL
        ]

    def _named(self, name: str, role: str) -> str:
        if name in self.names:
            return name
        near = difflib.get_close_matches(name, self.names, n=1)
        raise DataError(
            f"There is no such {role} column.",
            where=self.where,
            got=name,
            expected=f"one of: {', '.join(self.names)}",
            cure=f"--set data.{role}_column={near[0]}" if near else None,
        )

    def _ambiguous(self, role: str, candidates: list[str]) -> DataError:
        cure = "--set data.text_column=... --set data.label_column=..."
        if len(set(candidates) - self.of_numbers) <= 1 < len(candidates):
            cure += '; if these are numeric series: the recipe "series"'
        return DataError(
            f"It is not clear which column holds the {role}s.",
            where=self.where,
            got=f"candidates: {', '.join(candidates) or 'none'}; all columns: {', '.join(self.names)}",
            cure=cure,
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _usual(name: str, usual_names: Collection[str]) -> bool:
    return name.strip().lower() in usual_names
