"""Tokenised examples on disk: ragged arrays, written in chunks, read through memory maps.

Knows no text and no tokeniser. A folder that exists under its final name is complete.
"""

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
from grunlock.shapes import IntArray
from grunlock.text import EncodedTexts

Int32Array = NDArray[np.int32]

# File of each array, its type on every machine, and what it holds.
FILES = {"tokens": "<i4", "offsets": "<i8", "targets": "<i4"}
FACTS = "facts.json"


@dataclass(frozen=True)
class TokenStore:
    """Examples as arrays. Made by `open_store` only.

    tokens:      [all tokens] int32 types, one example after another, on disk
    offsets:     [examples + 1] int64, where each example starts in tokens
    targets:     [examples] int32 class indices
    fingerprint: sha256 over the (label, text) rows
    """

    tokens: Int32Array
    offsets: IntArray
    targets: Int32Array
    fingerprint: str

    @property
    def num_examples(self) -> int:
        return len(self.targets)

    @property
    def num_tokens(self) -> int:
        return int(self.offsets[-1])

    @property
    def lengths(self) -> IntArray:
        """[examples]"""
        return np.diff(self.offsets)


class StoreWriter:
    """Appends examples to a store that is being written. Made by `writing_store` only."""

    def __init__(self, files: dict[str, Any]) -> None:
        self._files = files
        self.num_examples = 0
        self.num_tokens = 0
        self._append("offsets", np.zeros(1, np.int64))

    def append(self, encoded: EncodedTexts, targets: Int32Array) -> None:
        """Add encoded texts with their class indices [B]."""
        self._append("tokens", encoded.tokens)
        self._append("offsets", self.num_tokens + np.cumsum(encoded.lengths))
        self._append("targets", targets)
        self.num_tokens += len(encoded.tokens)
        self.num_examples += len(targets)

    def _append(self, name: str, values: NDArray[Any]) -> None:
        file = self._files[name]
        with storage_guard(Path(file.name)):
            file.write(np.ascontiguousarray(values, FILES[name]).tobytes())

    def finish(self) -> None:
        """See to it that everything is on the disk."""
        for file in self._files.values():
            with storage_guard(Path(file.name)):
                file.flush()
                os.fsync(file.fileno())


@contextmanager
def writing_store(folder: Path) -> Iterator[tuple[StoreWriter, dict[str, str]]]:
    """Write a store into `folder`, which appears, complete, when the block ends well.

    Yields the writer and a dict for the facts to keep; "fingerprint" must be put there. A block that fails
    leaves nothing behind. Raises StorageError if the disk is full.
    """
    partial = folder.with_name(folder.name + ".partial")
    facts: dict[str, str] = {}
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with storage_guard(folder):
            partial.mkdir(parents=True)
            files = {name: (partial / name).open("wb") for name in FILES}
            try:
                writer = StoreWriter(files)
                yield writer, facts
                writer.finish()
            finally:
                for file in files.values():
                    with suppress(OSError):  # closing tries once more to write what did not fit
                        file.close()
            counts = {"examples": writer.num_examples, "tokens": writer.num_tokens}
            (partial / FACTS).write_text(json.dumps(counts | facts), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_store(folder: Path) -> TokenStore:
    """Map a store. Raises DataError if it is missing or its files do not fit each other."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        sizes = {
            "tokens": facts["tokens"],
            "offsets": facts["examples"] + 1,
            "targets": facts["examples"],
        }
        arrays = {name: _map(folder / name, FILES[name], size) for name, size in sizes.items()}
        return TokenStore(**arrays, fingerprint=facts["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "The prepared data is missing or damaged.",
            where=folder,
            got=error,
            cure="prepare it again from its source",
        ) from error


def _map(path: Path, dtype: str, size: int) -> NDArray[Any]:
    expected = size * np.dtype(dtype).itemsize
    if path.stat().st_size != expected:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, expected {expected}")
    # A plain view: np.memmap itself makes every indexing step slower.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", shape=(size,)))
