"""Finding series: a file, a pair of files, a folder, a glob or a list of files, and which split each one is.

Judges no value (checks.py does).
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from grunlock.data.columns import LabelNeed
from grunlock.data.series.long_table import read_long_tables
from grunlock.data.series.npz import read_npz
from grunlock.data.series.series_set import SeriesSet, SeriesSplits, concatenate
from grunlock.data.series.ts_file import read_ts
from grunlock.data.sources import STEMS, PathLike, files_by_split, find_files
from grunlock.data.splits import SplitName
from grunlock.data.tables import EXPECTED_SUFFIX, SERIES_SUFFIXES, table_format, table_stem
from grunlock.errors import DataError
from grunlock.recipe.series_options import SeriesDataOptions

NPZ, TS, TS_GZ = SERIES_SUFFIXES
EXPECTED = f"{NPZ}, {TS} (also as .gz), {EXPECTED_SUFFIX}"

T = TypeVar("T")


def open_series(
    source: PathLike | Sequence[PathLike],
    options: SeriesDataOptions | None = None,
) -> SeriesSplits:
    """Read series to train on: a file, a glob, a folder, or a list of files.

    A .npz file may hold its splits itself. Beside name_TRAIN.ts, name_TEST.ts is found as the test split.
    A folder or glob with files named train, valid (dev, val, validation) and test, or name_TRAIN and so on,
    is read as these splits and its other files are left; without such names all its files are one set, as
    are a list's.

    Raises DataError for whatever is wrong with the files.
    """
    options = options or SeriesDataOptions()
    if not isinstance(source, str | os.PathLike):
        return SeriesSplits(_read_as_one([Path(path) for path in source], options, "required"))
    paths = find_files(source, is_series_file, EXPECTED)
    if len(paths) == 1:
        paths = [*paths, *_companions(paths[0])]
        if len(paths) == 1:
            return _splits_of_file(paths[0], options)
    by_split = files_by_split(paths, source, stem=series_stem)
    if not by_split:
        note = f"{len(paths)} files read as one"
        return SeriesSplits(_read_as_one(paths, options, "required"), notes=(note,))
    read = {split: _read_as_one([path], options, "required") for split, path in by_split.items()}
    taken = ", ".join(f"{path.name} → {split}" for split, path in by_split.items())
    left = [path.name for path in paths if path not in by_split.values()]
    note = taken + (f"; not read: {', '.join(left)}" if left else "")
    return SeriesSplits(read["train"], read.get("valid"), read.get("test"), (note,))


def read_series(
    source: PathLike | Sequence[PathLike],
    options: SeriesDataOptions | None = None,
    labels: LabelNeed = "optional",
) -> SeriesSet:
    """Read series to predict or evaluate: one set, with labels if it has them and they are wanted.

    A folder, a glob or a .npz file with splits gives its test split.

    Raises DataError as `open_series` does, and if there are splits but no test.
    """
    options = options or SeriesDataOptions()
    if not isinstance(source, str | os.PathLike):
        return _read_as_one([Path(path) for path in source], options, labels)
    paths = find_files(source, is_series_file, EXPECTED)
    if len(paths) == 1 and is_npz(paths[0]):
        _refuse_column_options(paths[0], options)
        sets = read_npz(paths[0])
        found = _test_of(sets, source) if len(sets) > 1 else next(iter(sets.values()))
        return _without_labels(found) if labels == "ignored" else found
    by_split = files_by_split(paths, source, False, series_stem) if len(paths) > 1 else {}
    return _read_as_one([_test_of(by_split, source)] if by_split else paths, options, labels)


def holds_series(source: PathLike | Sequence[PathLike]) -> bool:
    """Whether a source has files that can only be series: .npz or .ts. A table may be either kind."""
    paths = [source] if isinstance(source, str | os.PathLike) else list(source)
    found = [
        file for path in paths for file in (Path(path).iterdir() if Path(path).is_dir() else [Path(path)])
    ]
    return any(is_npz(path) or is_ts(path) for path in found)


def has_tables(source: PathLike) -> bool:
    """Whether a source of series has a long-format table, whose columns can be named."""
    return any(table_format(path) is not None for path in find_files(source, is_series_file, EXPECTED))


def is_npz(path: Path) -> bool:
    return path.name.lower().endswith(NPZ)


def is_ts(path: Path) -> bool:
    return path.name.lower().endswith((TS, TS_GZ))


def is_series_file(path: Path) -> bool:
    """Whether the name is that of a file with series."""
    return is_npz(path) or is_ts(path) or table_format(path) is not None


def series_stem(path: Path) -> str:
    """The part of the name that may tell a split: train for train.csv and for GunPoint_TRAIN.ts."""
    stem = _plain_stem(path)
    _, underscore, last = stem.rpartition("_")
    return last if underscore and last.lower() in STEMS and last.isupper() else stem


def _plain_stem(path: Path) -> str:
    stem = table_stem(path)
    for suffix in (NPZ, TS):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
    return stem


def _companions(path: Path) -> list[Path]:
    """The other splits of name_TRAIN, in files of the same kind beside it."""
    stem = _plain_stem(path)
    problem, _, last = stem.rpartition("_")
    if last != "TRAIN" or not path.exists():
        return []
    ending = path.name[len(stem) :]
    names = {f"{problem}_{split.upper()}{ending}" for split in STEMS} - {path.name}
    return sorted(child for child in path.parent.iterdir() if child.name in names)


def _test_of(by_split: dict[SplitName, T], source: PathLike) -> T:
    if "test" not in by_split:
        raise DataError(
            "There is no test split.", where=source, got=", ".join(by_split), cure="give the file itself"
        )
    return by_split["test"]


def _splits_of_file(path: Path, options: SeriesDataOptions) -> SeriesSplits:
    if not is_npz(path):
        return SeriesSplits(_read_as_one([path], options, "required"))
    _refuse_column_options(path, options)
    sets = read_npz(path)
    if "train" not in sets:
        raise DataError(
            "There is no train split beside the others.",
            where=path,
            got=", ".join(f"X_{split}" for split in sets),
            expected="an array X_train",
        )
    return SeriesSplits(sets["train"], sets.get("valid"), sets.get("test"))


def _read_as_one(paths: Sequence[Path], options: SeriesDataOptions, labels: LabelNeed) -> SeriesSet:
    """Files of one kind as one set."""
    if not paths:
        raise DataError("No file is given.", expected="at least one")
    tables = [path for path in paths if table_format(path) is not None]
    if len(tables) == len(paths):
        return read_long_tables(paths, options, labels)
    sets = []
    for path in paths:
        if not is_series_file(path) or path in tables:
            raise DataError(
                "The files are of different kinds." if tables else "The file's kind is not supported.",
                where=path,
                got="".join(path.suffixes) or "no suffix",
                expected=EXPECTED,
                cure="give files of one kind" if tables else None,
            )
        _refuse_column_options(path, options)
        sets.append(read_ts(path, options.encoding) if is_ts(path) else _single_set(path))
    found = sets[0] if len(sets) == 1 else concatenate(sets, f"{paths[0]} and {len(paths) - 1} more")
    return _without_labels(found) if labels == "ignored" else found


def _without_labels(found: SeriesSet) -> SeriesSet:
    return replace(found, labels=(None,) * found.num_series)


def _single_set(path: Path) -> SeriesSet:
    sets = read_npz(path)
    if len(sets) > 1:
        raise DataError(
            "A file that holds several splits cannot be one of several files.",
            where=path,
            got=", ".join(f"X_{split}" for split in sets),
            expected="X, y, lengths",
            cure="give this file alone",
        )
    return next(iter(sets.values()))


def _refuse_column_options(path: Path, options: SeriesDataOptions) -> None:
    if options.named_columns():
        raise DataError(
            "Only tables have columns that can be named.",
            where=path,
            got=", ".join(options.named_columns()),
            expected=f"no column name for {NPZ} and {TS} files",
            cure="leave data.id_column, time_column, label_column and channels out",
        )
