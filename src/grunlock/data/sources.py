"""Where examples come from: files, folders, globs, or memory. Rows stream in order, again at each call.

Finds the files and settles their columns; it judges no text and no label (checks.py does).
"""

import glob
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grunlock.data.columns import Cell, Columns, LabelNeed, choose_columns
from grunlock.data.splits import SPLITS, SplitName
from grunlock.data.tables import EXPECTED_SUFFIX, Table, open_table, table_format, table_stem
from grunlock.errors import DataError
from grunlock.recipe.text_options import TextDataOptions

CHUNK_ROWS = 1000

VALID_STEMS = ("valid", "dev", "val", "validation")
STEMS: dict[str, SplitName] = {"train": "train", "test": "test", **dict.fromkeys(VALID_STEMS, "valid")}

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Chunk:
    """Some rows of a source, in order; None where a value is missing.

    place:     the file, or "texts" in memory
    first_row: number of the first of these rows there, from 1, without a header
    labels:    None if the source has no label column
    """

    place: str
    first_row: int
    texts: list[Cell]
    labels: list[Cell] | None

    def where(self, index: int) -> str:
        return f"{self.place}, row {self.first_row + index}"


class Rows(Protocol):
    """Some rows of a source: a Chunk, or whatever else knows where each of its rows stands."""

    @property
    def texts(self) -> list[Cell]: ...
    @property
    def labels(self) -> list[Cell] | None: ...
    def where(self, index: int) -> str: ...


class Source(Protocol):
    """Examples that can be read again and again."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> Columns | None: ...
    def chunks(self) -> Iterator[Chunk]: ...


@dataclass(frozen=True)
class InMemory:
    """Examples that the caller holds."""

    texts: Sequence[str]
    labels: Sequence[str] | None = None
    name: str = "texts"

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.texts):
            raise DataError(
                "There are not as many labels as texts.",
                where=self.name,
                got=f"{len(self.texts)} texts, {len(self.labels)} labels",
            )
        if len(self.texts) == 0:
            raise DataError("There are no texts.", where=self.name)

    @property
    def columns(self) -> Columns | None:
        return None

    def chunks(self) -> Iterator[Chunk]:
        for start in range(0, len(self.texts), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            labels: list[Cell] | None = None if self.labels is None else list(self.labels[rows])
            yield Chunk(self.name, start + 1, list(self.texts[rows]), labels)


@dataclass(frozen=True)
class FileSource:
    """Files with the same columns, one after another. Made by `open_files` only."""

    tables: tuple[Table, ...]
    columns: Columns

    @property
    def name(self) -> str:
        first = str(self.tables[0].path)
        return first if len(self.tables) == 1 else f"{first} and {len(self.tables) - 1} more"

    def chunks(self) -> Iterator[Chunk]:
        label = self.columns.label
        wanted = (self.columns.text,) if label is None else (self.columns.text, label)
        for table in self.tables:
            rows = table.rows(wanted)
            first_row = 1
            while batch := list(itertools.islice(rows, CHUNK_ROWS)):
                labels = None if label is None else [row[1] for row in batch]
                yield Chunk(str(table.path), first_row, [row[0] for row in batch], labels)
                first_row += len(batch)


@dataclass(frozen=True)
class SplitSources:
    """Sources by split; `notes` says what was taken and what was left."""

    train: Source
    valid: Source | None = None
    test: Source | None = None
    notes: tuple[str, ...] = ()

    def by_split(self) -> dict[SplitName, Source]:
        """The sources there are, in order train, valid, test."""
        found: dict[SplitName, Source | None]
        found = {"train": self.train, "valid": self.valid, "test": self.test}
        return {split: source for split in SPLITS if (source := found.get(split)) is not None}


def open_source(source: PathLike | Sequence[PathLike], options: TextDataOptions) -> SplitSources:
    """Find labelled examples: a file, a glob, a folder, or a list of files.

    A folder or glob with files named train, valid (dev, val, validation) and test is read as these splits
    and its other files are left; without such names all its data files are one source, as are a list's.
    """
    if not isinstance(source, str | os.PathLike):
        return SplitSources(open_files([Path(path) for path in source], options))
    paths = find_files(source)
    if len(paths) == 1:
        return SplitSources(open_files(paths, options))
    by_split = files_by_split(paths, source)
    if not by_split:
        return SplitSources(open_files(paths, options), notes=(f"{len(paths)} files read as one",))
    left = [path.name for path in paths if path not in by_split.values()]
    opened = {split: open_files([path], options) for split, path in by_split.items()}
    taken = ", ".join(f"{path.name} → {split}" for split, path in by_split.items())
    note = taken + (f"; not read: {', '.join(left)}" if left else "")
    return SplitSources(opened["train"], opened.get("valid"), opened.get("test"), (note,))


def open_files(paths: Sequence[Path], options: TextDataOptions, labels: LabelNeed = "required") -> FileSource:
    """Open files as one source. The first decides the columns, the others must have them too."""
    if not paths:
        raise DataError("No file is given.", expected="at least one")
    wanted = (options.text_column, options.label_column)
    tables = tuple(open_table(path, options.encoding, wanted) for path in paths)
    columns = choose_columns(
        tables[0].names,
        tables[0].sample,
        where=tables[0].path,
        text_column=options.text_column,
        label_column=options.label_column,
        labels=labels,
    )
    for table in tables[1:]:
        for column in (columns.text, columns.label):
            if column is not None and column not in table.names:
                raise DataError(
                    "The files have different columns.",
                    where=table.path,
                    got=", ".join(table.names),
                    expected=f"{column}, as in {tables[0].path}",
                )
    return FileSource(tables, columns)


def read_texts(
    source: PathLike | Sequence[PathLike], options: TextDataOptions, labels: LabelNeed = "optional"
) -> FileSource:
    """Open texts to predict or evaluate: one source, with labels if it has them and they are wanted.

    A folder or glob with files named by split gives its test file.
    """
    return open_files(files_to_read(source), options, labels)


def files_to_read(source: PathLike | Sequence[PathLike]) -> list[Path]:
    """The files that `read_texts` opens. Raises DataError if there is none."""
    if not isinstance(source, str | os.PathLike):
        return [Path(path) for path in source]
    paths = find_files(source)
    by_split = files_by_split(paths, source, needs_train=False) if len(paths) > 1 else {}
    if by_split and "test" not in by_split:
        raise DataError("There is no test file.", where=source, got=", ".join(path.name for path in paths))
    return [by_split["test"]] if by_split else paths


def find_files(
    source: PathLike,
    is_data: Callable[[Path], bool] = lambda path: table_format(path) is not None,
    expected: str = EXPECTED_SUFFIX,
) -> list[Path]:
    """The data files of a folder or glob, sorted; a single file as it is, whatever its name.

    is_data, expected: which names are data files, in code and in words.

    Raises DataError if there is none.
    """
    path = Path(source)
    if path.is_dir():
        found = [child for child in path.iterdir() if child.is_file() and not child.name.startswith(".")]
        where = f"folder {path}"
    elif path.exists() or not glob.has_magic(str(source)):
        return [path]
    else:
        found = [Path(name) for name in glob.glob(str(source), recursive=True)]
        where = f"pattern {source}"
    data = sorted(child for child in found if is_data(child))
    if data:
        return data
    names = ", ".join(sorted(child.name for child in found)[:5])
    raise DataError("No data file is there.", where=where, got=names or "no file", expected=expected)


def files_by_split(
    paths: Sequence[Path],
    source: PathLike,
    needs_train: bool = True,
    stem: Callable[[Path], str] = table_stem,
) -> dict[SplitName, Path]:
    """The files named by split, in order train, valid, test; none if no file has such a name.

    stem: the part of a file's name that is looked up in STEMS.

    Raises DataError if two files could be one split, or if train is needed and missing.
    """
    found: dict[SplitName, Path] = {}
    for path in paths:
        split = STEMS.get(stem(path).lower())
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"Two files could be the {split} split.",
                where=source,
                got=f"{found[split].name} and {path.name}",
                cure="remove one, or give the files apart",
            )
        found[split] = path
    if found and needs_train and "train" not in found:
        raise DataError(
            "There is no train file beside the others.",
            where=source,
            got=", ".join(path.name for path in paths),
            expected="a file named train",
            cure="name it so, or give the training file itself",
        )
    return {split: found[split] for split in SPLITS if split in found}
