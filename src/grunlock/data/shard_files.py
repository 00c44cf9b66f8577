"""Shards of a training split as they lie on the disk, and their index: counts of each, written last.

A shard is a ragged store of tokens with types of its own: those that the vocabulary lacks are numbered anew
in each. So no table grows with the corpus, and shards can be written anywhere in any order.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.data.npz_files import NPZ_ERRORS
from grunlock.data.ragged import Int32Array, damaged_store, open_ragged, writing_ragged
from grunlock.data.store import TOKENS
from grunlock.data.type_files import are_below, load_types, save_types
from grunlock.files import storage_guard, write_atomically
from grunlock.shapes import IntArray
from grunlock.text import EncodedTexts, TokenTypes, TypeTable

INDEX = "index.json"
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """What is known of a shard that is not open. steps: of all its examples."""

    name: str
    examples: int
    steps: int
    longest: int


@dataclass(frozen=True)
class ShardArrays:
    """tokens: [steps]; offsets: [examples + 1]; targets: [examples]. In memory."""

    tokens: Int32Array
    offsets: IntArray
    targets: Int32Array


def write_shard(
    folder: Path, encoded: EncodedTexts, targets: Int32Array, types: TokenTypes, fingerprint: str
) -> None:
    """Write a shard into `folder`, which appears, complete. One that stands there is left: whoever writes a
    shard a second time writes the same.

    types: those the texts were encoded with, which nothing else was encoded with.

    Raises StorageError.
    """
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        with writing_ragged(aside, TOKENS) as (rows, facts):
            rows.append(encoded.tokens, encoded.lengths, targets)
            facts["fingerprint"] = fingerprint
            facts["longest"] = int(encoded.lengths.max())
        table = types.table()
        if table is not None:
            save_types(aside, _behind_vocabulary(table, types.vocab_size))
        with storage_guard(folder):
            try:
                os.rename(aside, folder)
            except OSError:
                if not folder.is_dir():
                    raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_index(folder: Path, names: Sequence[str]) -> str:
    """Write the index of the shards of a folder, which completes it, and take away what a killed writer of
    shards has left. Returns its fingerprint, which does not depend on the order of the names."""
    for aside in folder.glob(".*"):
        shutil.rmtree(aside, ignore_errors=True)
    shards, prints = [], []
    for name in sorted(names):
        stored = open_ragged(folder / name, TOKENS)
        shards.append([name, len(stored.targets), len(stored.rows), stored.facts["longest"]])
        prints.append(stored.facts["fingerprint"])
    fingerprint = hashlib.sha256("\n".join(sorted(prints)).encode()).hexdigest()
    index = {"version": VERSION, "fingerprint": fingerprint, "shards": shards}
    write_atomically(folder / INDEX, json.dumps(index))
    return fingerprint


def is_sharded(folder: Path) -> bool:
    return (folder / INDEX).is_file()


def read_index(folder: Path) -> tuple[list[Shard], str]:
    """The shards, and the fingerprint of all. Raises DataError if there is no whole index."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["version"] != VERSION:
            raise ValueError(f"version {index['version']}, expected {VERSION}")
        shards = [_shard(*entry) for entry in index["shards"]]
        if not shards or not isinstance(index["fingerprint"], str):
            raise ValueError("no shards, or no fingerprint")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged_store(folder, error) from error
    return shards, index["fingerprint"]


def read_shard(folder: Path, known: Shard, num_classes: int) -> ShardArrays:
    """Raises DataError if it is missing, damaged or not what the index says. Types are not held against any
    table here."""
    stored = open_ragged(folder / known.name, TOKENS)
    # Copies: what is mapped would stay in memory for as long as it is open.
    found = ShardArrays(np.array(stored.rows), np.array(stored.offsets), np.array(stored.targets))
    if (len(found.targets), len(found.tokens)) != (known.examples, known.steps):
        got = f"{len(found.targets):,} examples with {len(found.tokens):,} steps"
        raise damaged_store(
            folder / known.name, f"{got}, the index says {known.examples:,} and {known.steps:,}"
        )
    if not are_below(found.targets, num_classes):
        raise damaged_store(folder / known.name, f"targets that are not from 0 to {num_classes - 1}")
    return found


def read_added_types(folder: Path, known: Shard, vocab_size: int, buckets: int) -> TypeTable:
    """The types of a shard that the vocabulary lacks. Raises DataError if they are damaged."""
    try:
        return load_types(folder / known.name, vocab_size, buckets, fewest=0)
    except NPZ_ERRORS as error:
        raise damaged_store(folder / known.name, error) from error


def _shard(name: Any, examples: Any, steps: Any, longest: Any) -> Shard:
    whole = all(type(value) is int for value in (examples, steps, longest))
    if not isinstance(name, str) or Path(name).name != name or not whole or not 1 <= longest <= steps:
        raise ValueError(f"no shard: {name!r}")
    if not 1 <= examples <= steps:
        raise ValueError(f"shard {name} of {examples} examples with {steps} steps")
    return Shard(name, examples, steps, longest)


def _behind_vocabulary(table: TypeTable, vocab_size: int) -> TypeTable:
    start = table.ngram_offsets[vocab_size]
    return TypeTable(
        table.vocab_ids[vocab_size:], table.ngram_offsets[vocab_size:] - start, table.ngram_ids[start:]
    )
