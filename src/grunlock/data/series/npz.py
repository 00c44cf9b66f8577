"""Series from .npz files: X_train, y_train, len_train and the same for valid and test, or X, y, lengths.

Object arrays are refused, so no pickle is ever read. Zeros behind a series' length are cut.
"""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.data.encoding import open_bytes
from grunlock.data.npz_files import NPZ_ERRORS, check_npz
from grunlock.data.series.cells import too_large
from grunlock.data.series.series_set import SeriesSet, channel_names, offsets_of
from grunlock.data.sources import STEMS
from grunlock.data.splits import SPLITS, SplitName
from grunlock.errors import DataError
from grunlock.shapes import IntArray

Arrays = Mapping[str, NDArray[Any]]

PLAIN = {"X": "X", "y": "y", "len": "lengths"}
LABEL_NAMES, CHANNELS = "labels", "channels"
EXPECTED = (
    "X_train, y_train and, for unequal lengths, len_train (the same for valid and test); or X, y, lengths"
)


def read_npz(path: Path) -> dict[SplitName, SeriesSet]:
    """Read a file's sets in order train, valid, test; the plain form X, y, lengths is one set, "train".

    X: [n, T, C] or [n, T]; len_train or lengths: [n], else every series has T steps; y: [n] names or indices
    into the array "labels", if there is one; "channels": [C] names.

    Raises DataError for object arrays, for shapes that do not fit, for infinite and too large values.
    """
    with _loaded(path) as arrays:
        names = _array_names(path, arrays)
        known = {name for parts in names.values() for name in parts.values()} | {LABEL_NAMES, CHANNELS}
        left = [name for name in arrays if name not in known]
        notes = (f"arrays of {path.name} not read: {', '.join(left)}",) if left else ()
        return {split: _series_set(path, arrays, names[split], notes) for split in SPLITS if split in names}


@contextmanager
def _loaded(path: Path) -> Iterator[Arrays]:
    with open_bytes(path):
        pass  # missing and empty files get the usual message
    try:
        if zipfile.is_zipfile(path):
            check_npz(path)
        with path.open("rb") as file:  # opened here: numpy leaves a damaged archive open
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("a single array (.npy)")
            with loaded:
                arrays = {name: _array(path, loaded, name) for name in loaded.files}
    except DataError:
        raise
    except NPZ_ERRORS as error:
        pickled = "pickle" in str(error)
        raise DataError(
            "The file is no .npz file.",
            where=path,
            got="a pickle, which may run code when it is read" if pickled else error,
            expected="arrays written by numpy.savez",
            cure="write the arrays with numpy.savez_compressed",
        ) from error
    yield arrays


def _array(path: Path, loaded: Mapping[str, Any], name: str) -> NDArray[Any]:
    try:
        return np.asarray(loaded[name])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            "An array holds Python objects.",
            where=f"{path}, array {name}",
            got="dtype object, which may run code when it is read",
            expected="numbers, or names as strings",
            cure="pad series to one length with zeros and give their lengths; write names with dtype str",
        ) from error


def _array_names(path: Path, arrays: Arrays) -> dict[SplitName, dict[str, str]]:
    """The arrays' names by split and part ("X", "y", "len")."""
    found: dict[SplitName, dict[str, str]] = {}
    for name in arrays:
        part, _, suffix = name.partition("_")
        split = STEMS.get(suffix)
        if split is None or part not in PLAIN:
            continue
        if part in found.setdefault(split, {}):
            raise DataError(
                f"Two arrays could be {part} of the {split} split.",
                where=path,
                got=f"{found[split][part]} and {name}",
                cure="remove one",
            )
        found[split][part] = name
    plain = {part: name for part, name in PLAIN.items() if name in arrays}
    if found and plain:
        raise DataError(
            "The file has arrays of splits and arrays without a split.",
            where=path,
            got=", ".join(arrays),
            expected=EXPECTED,
        )
    names = found or {"train": plain}
    without = next((split for split, parts in names.items() if "X" not in parts), None)
    if without is not None:
        raise DataError(
            f"The array X_{without} is missing." if found else "There is no array with the series.",
            where=path,
            got=", ".join(arrays) or "no array",
            expected=EXPECTED,
        )
    return names


def _series_set(path: Path, arrays: Arrays, names: Mapping[str, str], notes: tuple[str, ...]) -> SeriesSet:
    name = names["X"]
    padded = _padded(path, name, arrays[name])
    num_series, num_steps, num_channels = padded.shape
    lengths = np.full(num_series, num_steps, np.int64)
    if "len" in names:
        lengths = _lengths(path, names["len"], arrays[names["len"]], name, padded.shape)
    real = np.arange(num_steps) < lengths[:, None]  # [n, T]
    _check_padding(path, name, names.get("len"), padded, real, lengths)
    values = padded[real]
    _check_size(path, name, values, lengths)
    labels: tuple[str | None, ...] = (None,) * num_series
    if "y" in names:
        labels = _labels(path, names["y"], arrays[names["y"]], arrays.get(LABEL_NAMES), num_series, name)
    channels = channel_names(num_channels)
    if CHANNELS in arrays:
        channels = _distinct(path, CHANNELS, _names(path, CHANNELS, arrays[CHANNELS]), "channels")
        _fits(path, CHANNELS, (len(channels),), (num_channels,), f"a name for each channel of {name}")
    return SeriesSet(
        np.ascontiguousarray(values, np.float32),
        offsets_of(lengths),
        labels,
        tuple(f"{name}[{i}]" for i in range(num_series)),
        channels,
        str(path),
        notes,
    )


def _padded(path: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """[n, T, C]"""
    if array.dtype.kind not in "fiu":
        raise DataError(
            "The series are not numbers.",
            where=f"{path}, array {name}",
            got=f"dtype {array.dtype}",
            expected="floats or integers",
        )
    if array.ndim not in (2, 3):
        raise DataError(
            "An array has the wrong shape.",
            where=f"{path}, array {name}",
            got=list(array.shape),
            expected="[series, steps, channels], or [series, steps] for one channel",
        )
    return array if array.ndim == 3 else array[:, :, None]


def _lengths(path: Path, name: str, array: NDArray[Any], of: str, shape: tuple[int, ...]) -> IntArray:
    _fits(path, name, array.shape, (shape[0],), f"a length for each series of {of}")
    if array.dtype.kind not in "iu":
        raise DataError(
            "The lengths are not integers.", where=f"{path}, array {name}", got=f"dtype {array.dtype}"
        )
    outside = np.flatnonzero((array < 0) | (array > shape[1]))
    if len(outside):
        raise DataError(
            "A length does not fit the series.",
            where=f"{path}, {name}[{outside[0]}]",
            got=int(array[outside[0]]),
            expected=f"0 to {shape[1]}, the steps of {of}",
        )
    return array.astype(np.int64)


def _check_padding(
    path: Path,
    name: str,
    lengths_name: str | None,
    padded: NDArray[Any],
    real: NDArray[np.bool_],
    lengths: IntArray,
) -> None:
    """Behind a series' length only zeros and missing values may stand: anything else would be lost."""
    kept = (padded != 0) & ~np.isnan(padded) & ~real[:, :, None]
    if kept.any():
        series, step, channel = np.argwhere(kept)[0].tolist()
        raise DataError(
            "There are values behind the end of a series.",
            where=f"{path}, {name}[{series}, {step}, {channel}]",
            got=f"{padded[series, step, channel]}, and {lengths_name}[{series}] = {lengths[series]}",
            expected="zeros or NaN behind it",
            cure=f"correct {lengths_name}, or set what is behind the end to zero",
        )


def _check_size(path: Path, name: str, values: NDArray[Any], lengths: IntArray) -> None:
    wrong = np.isinf(values) | too_large(values)
    if wrong.any():
        row, channel = np.argwhere(wrong)[0].tolist()
        offsets = offsets_of(lengths)
        series = int(np.searchsorted(offsets, row, side="right")) - 1
        infinite = bool(np.isinf(values[row, channel]))
        raise DataError(
            "A value is infinite." if infinite else "A value is too large.",
            where=f"{path}, {name}[{series}, {row - offsets[series]}, {channel}]",
            got=values[row, channel],
            expected="a finite number, or NaN where it is missing"
            if infinite
            else f"at most {np.finfo(np.float32).max:.4g} in magnitude (float32)",
            cure=None if infinite else "give the channel another unit",
        )


def _labels(
    path: Path, name: str, array: NDArray[Any], class_names: NDArray[Any] | None, num_series: int, of: str
) -> tuple[str | None, ...]:
    _fits(path, name, array.shape, (num_series,), f"a label for each series of {of}")
    if array.dtype.kind not in "iu":
        return tuple(label.strip() or None for label in _names(path, name, array))
    if class_names is None:
        return tuple(map(str, array.tolist()))
    known = _distinct(path, LABEL_NAMES, _names(path, LABEL_NAMES, class_names), "classes")
    outside = np.flatnonzero((array < 0) | (array >= len(known)))
    if len(outside):
        raise DataError(
            "A label has no name.",
            where=f"{path}, {name}[{outside[0]}]",
            got=int(array[outside[0]]),
            expected=f'0 to {len(known) - 1}, places in the array "{LABEL_NAMES}"',
        )
    return tuple(known[target] for target in array.tolist())


def _names(path: Path, name: str, array: NDArray[Any]) -> tuple[str, ...]:
    """[n] strings or integers as names"""
    if array.ndim != 1 or array.dtype.kind not in "Uiu":
        raise DataError(
            "An array does not hold names.",
            where=f"{path}, array {name}",
            got=f"dtype {array.dtype}, shape {list(array.shape)}",
            expected="one dimension of strings or integers",
            cure="write class names or class indices, for one-hot rows y.argmax(axis=1)",
        )
    return tuple(map(str, array.tolist()))


def _distinct(path: Path, name: str, names: tuple[str, ...], what: str) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise DataError(
            f"Two {what} have the same name.",
            where=f"{path}, array {name}",
            got=", ".join(sorted({each for each in names if names.count(each) > 1})),
            expected="a name of its own for each",
        )
    return names


def _fits(path: Path, name: str, got: tuple[int, ...], expected: tuple[int, ...], meaning: str) -> None:
    if got != expected:
        raise DataError(
            "The arrays do not fit each other.",
            where=f"{path}, array {name}",
            got=list(got),
            expected=f"{list(expected)}, {meaning}",
        )
