"""The first pass over a source: is every row fit to learn from, which rows stay, what labels occur.

Refuses or marks rows; it changes no text and writes nothing.
"""

import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.data.columns import Cell
from grunlock.data.sources import Rows, Source
from grunlock.data.splits import SplitName
from grunlock.errors import DataError
from grunlock.recipe.text_options import TextDataOptions

Progress = Callable[[str, int], None]  # what is being done, rows done so far

SHOWN_ROWS = 5
SHOWN_LABELS = 10
HASH_BYTES = 8


@dataclass(frozen=True)
class Scan:
    """What one pass found.

    kept:    [rows] bool, False for empty texts that are dropped
    targets: [kept rows] int32, index into `labels`
    hashes:  [kept rows] uint64 of the texts without outer whitespace, to find repeated ones
    labels:  without outer whitespace, in order of appearance
    """

    kept: NDArray[np.bool_]
    targets: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    labels: tuple[str, ...]
    num_empty: int

    @property
    def label_counts(self) -> dict[str, int]:
        """Kept rows of each label."""
        counts = np.bincount(self.targets, minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))


class _Scanner:
    def __init__(self, options: TextDataOptions) -> None:
        self.options = options
        self.kept = bytearray()
        self.targets = array("i")
        self.hashes = bytearray()
        self.labels: dict[str, int] = {}
        self.empty: list[str] = []  # places, the first few
        self.num_empty = 0
        self.unlabelled: list[str] = []
        self.num_unlabelled = 0

    def add(self, chunk: Rows) -> None:
        labels = chunk.labels if chunk.labels is not None else [None] * len(chunk.texts)
        for i, (text, label) in enumerate(zip(chunk.texts, labels, strict=True)):
            data = checked_bytes(text, chunk, i, self.options)
            if not data:
                self.num_empty += 1
                if len(self.empty) < SHOWN_ROWS:
                    self.empty.append(chunk.where(i))
            keep = bool(data) or self.options.empty_texts == "keep"
            self.kept.append(keep)
            name = self._label(label, chunk, i)
            if keep and name is not None:
                self.targets.append(self.labels.setdefault(name, len(self.labels)))
                self.hashes += hashlib.blake2b(data, digest_size=HASH_BYTES).digest()

    def _label(self, label: Cell, chunk: Rows, i: int) -> str | None:
        if label is not None and not isinstance(label, str):
            raise DataError("A label is not a string.", where=chunk.where(i), got=repr(label)[:80])
        if label is None or not label.strip():
            self.num_unlabelled += 1
            if len(self.unlabelled) < SHOWN_ROWS:
                self.unlabelled.append(chunk.where(i))
            return None
        return label.strip()

    def result(self) -> Scan:
        if self.num_unlabelled:
            raise DataError(
                _counted(self.num_unlabelled, "row has no label.", "rows have no label."),
                where=_first(self.unlabelled, self.num_unlabelled),
                cure="remove these rows, or give them a label",
            )
        if self.num_empty and self.options.empty_texts == "refuse":
            raise DataError(
                _counted(self.num_empty, "text is empty.", "texts are empty."),
                where=_first(self.empty, self.num_empty),
                cure="--set data.empty_texts=drop, or keep to learn from them as empty",
            )
        return Scan(
            np.frombuffer(bytes(self.kept), np.bool_),
            np.array(self.targets, np.int32),
            np.frombuffer(bytes(self.hashes), "<u8").astype(np.uint64),
            tuple(self.labels),
            self.num_empty,
        )


def checked_bytes(text: Cell, chunk: Rows, i: int, options: TextDataOptions) -> bytes:
    """Row i's text as UTF-8 without outer whitespace; empty if missing. For training and for evaluation.

    Raises DataError for what is no string, no valid Unicode, or longer than data.max_text_bytes.
    """
    if text is None:
        return b""
    if not isinstance(text, str):
        raise DataError("A text is not a string.", where=chunk.where(i), got=repr(text)[:80])
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        got = f"the half character {text[error.start]!r}"
        raise DataError("A text is not valid Unicode.", where=chunk.where(i), got=got) from error
    limit = options.max_text_bytes
    if len(data) > limit:
        raise DataError(
            "A text is too long.",
            where=chunk.where(i),
            got=f"{len(data):,} bytes",
            expected=f"at most {limit:,} (data.max_text_bytes)",
            cure=f"--set data.max_text_bytes={len(data)}, or check for an unclosed quote",
        )
    return data.strip() if data.isascii() else text.strip().encode()


def scan(source: Source, options: TextDataOptions, progress: Progress | None = None) -> Scan:
    """Check every row. Raises DataError for too long texts, missing labels and refused empty texts."""
    scanner = _Scanner(options)
    for chunk in source.chunks():
        if chunk.labels is None:
            raise DataError("The examples have no labels.", where=source.name)
        scanner.add(chunk)
        if progress is not None:
            progress("checking", len(scanner.kept))
    found = scanner.result()
    if not len(found.targets):
        raise nothing_left(source.name)
    return found


def scan_rows(rows: Rows, options: TextDataOptions) -> Scan:
    """Check some rows by themselves; perhaps none is kept. Raises DataError as `scan`."""
    scanner = _Scanner(options)
    scanner.add(rows)
    return scanner.result()


def nothing_left(where: str) -> DataError:
    return DataError("No example is left.", where=where, got="only empty texts")


def settle_labels(
    counts: Mapping[SplitName, Mapping[str, int]],
    names: Mapping[SplitName, str],
    known: Sequence[str],
    options: TextDataOptions,
) -> tuple[str, ...]:
    """All labels: those known beforehand in their order, then the new ones, sorted.

    counts: of each split, rows by label.

    Raises DataError if there is only one, or if a given valid or test file has one that train lacks
    and these are refused.
    """
    before = tuple(known)
    kept = counts.values() if options.unseen_labels == "keep" else (counts["train"],)
    labels = (*before, *sorted({label for found in kept for label in found} - set(before)))
    for split, found in counts.items():
        unknown = sorted(set(found) - set(labels))
        if unknown:
            rows = sum(found[label] for label in unknown)
            raise DataError(
                f"The {split} split has labels that the training split lacks.",
                where=names[split],
                got=f"{', '.join(unknown[:SHOWN_LABELS])} ({_counted(rows, 'row', 'rows')})",
                expected=f"one of: {', '.join(labels[:SHOWN_LABELS])}{' ...' * (len(labels) > SHOWN_LABELS)}",
                cure="add training examples of them, remove these rows, or count them as errors with "
                "--set data.unseen_labels=keep",
            )
    if len(labels) < 2:
        raise DataError(
            "All examples have the same label.",
            where=names["train"],
            got=f"only {labels[0]!r}",
            expected="at least two labels",
            cure="check that data.label_column names the right column",
        )
    return labels


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _first(places: list[str], count: int) -> str:
    return "; ".join(places) + (" and more" if count > len(places) else "")
