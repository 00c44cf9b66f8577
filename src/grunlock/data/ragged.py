"""Ragged arrays on disk: the rows of many examples, written in chunks, read through memory maps.

Knows neither tokens nor series. A folder that exists under its final name is complete.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import DataError
from grunlock.files import storage_guard
from grunlock.shapes import FloatArray, IntArray

Int32Array = NDArray[np.int32]

FACTS = "facts.json"
OFFSETS, TARGETS = "offsets", "targets"
INDEX_TYPES = {OFFSETS: "<i8", TARGETS: "<i4"}
TEACHER, TEACHER_TYPE = "teacher", "<f4"  # file and, as a fact, the size of its rows


@dataclass(frozen=True)
class RowKind:
    """What the rows of a store are.

    name:  of their file, and of their count among the facts
    dtype: on every machine
    wide:  a row is a vector; its size is then the fact "width"
    """

    name: str
    dtype: str
    wide: bool


@dataclass(frozen=True)
class RaggedArrays:
    """A store as it lies on the disk. Made by `open_ragged` only.

    rows:    [all rows] or [all rows, width], one example after another
    offsets: [examples + 1] int64, where each example starts in rows
    targets: [examples] int32 class indices
    facts:   counts, and what the writer was given to keep
    teacher: [examples, K] float32 probabilities; None if the writer was given none
    """

    rows: NDArray[Any]
    offsets: IntArray
    targets: Int32Array
    facts: dict[str, Any]
    teacher: FloatArray | None


class RaggedWriter:
    """Appends examples to a store that is being written. Made by `writing_ragged` only."""

    def __init__(self, files: dict[str, Any], kind: RowKind) -> None:
        self._files = files
        self._kind = kind
        self._types = INDEX_TYPES | {kind.name: kind.dtype, TEACHER: TEACHER_TYPE}
        self.num_examples = 0
        self.num_rows = 0
        self._append(OFFSETS, np.zeros(1, np.int64))

    def append(
        self,
        rows: NDArray[Any],
        lengths: IntArray,
        targets: Int32Array,
        teacher: FloatArray | None = None,
    ) -> None:
        """Add examples of the given lengths [B], concatenated in `rows`, with their class indices [B].

        teacher: [B, K] probabilities, if the store keeps them.
        """
        if teacher is not None:
            self._append(TEACHER, teacher)
        self._append(self._kind.name, rows)
        self._append(OFFSETS, self.num_rows + np.cumsum(lengths))
        self._append(TARGETS, targets)
        self.num_rows += len(rows)
        self.num_examples += len(targets)

    def _append(self, name: str, values: NDArray[Any]) -> None:
        file = self._files[name]
        with storage_guard(Path(file.name)):
            file.write(np.ascontiguousarray(values, self._types[name]).tobytes())

    def finish(self) -> None:
        """See to it that everything is on the disk."""
        for file in self._files.values():
            with storage_guard(Path(file.name)):
                file.flush()
                os.fsync(file.fileno())


@contextmanager
def writing_ragged(
    folder: Path, kind: RowKind, width: int | None = None, teacher_classes: int | None = None
) -> Iterator[tuple[RaggedWriter, dict[str, Any]]]:
    """Write a store into `folder`, which appears, complete, when the block ends well.

    width: size of a row of a wide kind.
    teacher_classes: K, if a teacher's probabilities are kept beside each example.

    Yields the writer and a dict for the facts to keep. A block that fails leaves nothing behind. Raises
    StorageError if the disk is full.
    """
    partial = folder.with_name(folder.name + ".partial")
    facts: dict[str, Any] = {"width": width} if kind.wide else {}
    names = [kind.name, *INDEX_TYPES]
    if teacher_classes is not None:
        facts[TEACHER] = teacher_classes
        names.append(TEACHER)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with storage_guard(folder):
            partial.mkdir(parents=True)
            files = {name: (partial / name).open("wb") for name in names}
            try:
                writer = RaggedWriter(files, kind)
                yield writer, facts
                writer.finish()
            finally:
                for file in files.values():
                    with suppress(OSError):  # closing tries once more to write what did not fit
                        file.close()
            counts = {"examples": writer.num_examples, kind.name: writer.num_rows}
            (partial / FACTS).write_text(json.dumps(counts | facts), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_ragged(folder: Path, kind: RowKind) -> RaggedArrays:
    """Map a store. Raises DataError if it is missing or its files do not fit each other."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        num_examples, num_rows = facts["examples"], facts[kind.name]
        shape = (num_rows, facts["width"]) if kind.wide else (num_rows,)
        found = RaggedArrays(
            rows=_map(folder / kind.name, kind.dtype, shape),
            offsets=_map(folder / OFFSETS, INDEX_TYPES[OFFSETS], (num_examples + 1,)),
            targets=_map(folder / TARGETS, INDEX_TYPES[TARGETS], (num_examples,)),
            facts=facts,
            teacher=_map(folder / TEACHER, TEACHER_TYPE, (num_examples, facts[TEACHER]))
            if TEACHER in facts
            else None,
        )
        _check_offsets(found.offsets, num_rows)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise damaged_store(folder, error) from error
    return found


def _check_offsets(offsets: IntArray, num_rows: int) -> None:
    """They are read as places of rows, by compiled code too."""
    if offsets[0] != 0 or offsets[-1] != num_rows or (np.diff(offsets) < 1).any():
        raise ValueError(f"{OFFSETS} does not rise from 0 to {num_rows}")


def damaged_store(folder: Path, reason: object) -> DataError:
    """What is said about a folder that holds no whole store."""
    return DataError(
        "The prepared data is missing or damaged.",
        where=folder,
        got=reason,
        cure="prepare it again from its source",
    )


def _map(path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if path.stat().st_size != expected:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, expected {expected}")
    # A plain view: np.memmap itself makes every indexing step slower.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", shape=shape))


def joined_offsets(first: IntArray, second: IntArray) -> IntArray:
    """Where each example starts when the rows of two stores stand one after the other."""
    return np.concatenate([first, first[-1] + second[1:]])


def joined_fingerprint(first: str, second: str) -> str:
    return hashlib.sha256(f"{first}\n{second}".encode()).hexdigest()
