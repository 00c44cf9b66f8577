"""Tokenised examples on disk: what a ragged store holds of texts, and batches of them.

Knows no text and no tokeniser. A folder that exists under its final name is complete.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.data.batches import Batch
from grunlock.data.ragged import (
    Int32Array,
    RaggedWriter,
    RowKind,
    damaged_store,
    open_ragged,
    writing_ragged,
)
from grunlock.shapes import IntArray, PackedLayout, pack_layout, row_places
from grunlock.text import EncodedTexts, TokenTypes

TOKENS = RowKind("tokens", "<i4", wide=False)


@dataclass(frozen=True)
class TokenStore:
    """Examples as arrays. Made by `open_store` only.

    tokens:      [all tokens] int32 types, one example after another, on disk
    offsets:     [examples + 1] int64, where each example starts in tokens
    targets:     [examples] int32 class indices
    fingerprint: sha256 over the (label, text) rows
    types:       what the tokens are; read only
    """

    tokens: Int32Array
    offsets: IntArray
    targets: Int32Array
    fingerprint: str
    types: TokenTypes

    @property
    def num_examples(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> IntArray:
        """[examples]"""
        return np.diff(self.offsets)

    def batch(self, examples: IntArray) -> Batch:
        """Fetch some examples and lay them out packed."""
        starts = self.offsets[examples]
        lengths = self.offsets[examples + 1] - starts
        layout = pack_layout(lengths)
        # layout.rows count in the examples laid end to end; an example's shift leads from there to the store.
        shifts = starts - (np.cumsum(lengths) - lengths)
        tokens = self.tokens[layout.rows + shifts[_sequences(layout)]]
        packed = examples[layout.order]
        return Batch(layout, self.types.distinct(tokens), self.targets[packed].astype(np.int64), packed)

    def training_batch(self, examples: IntArray, seed: int) -> Batch:
        """As `batch`: a text is not changed before the network reads it."""
        return self.batch(examples)


def _sequences(layout: PackedLayout) -> IntArray:
    """[N] position in the caller's batch of the sequence of each packed row."""
    return layout.order[row_places(layout.batch_sizes)[1]]


class StoreWriter:
    """Appends texts to a store that is being written. Made by `writing_store` only."""

    def __init__(self, rows: RaggedWriter) -> None:
        self._rows = rows

    @property
    def num_examples(self) -> int:
        return self._rows.num_examples

    def append(self, encoded: EncodedTexts, targets: Int32Array) -> None:
        """Add encoded texts with their class indices [B]."""
        self._rows.append(encoded.tokens, encoded.lengths, targets)


@contextmanager
def writing_store(folder: Path) -> Iterator[tuple[StoreWriter, dict[str, str]]]:
    """Write a store into `folder`, which appears, complete, when the block ends well.

    Yields the writer and a dict for the facts to keep; "fingerprint" must be put there. A block that fails
    leaves nothing behind. Raises StorageError if the disk is full.
    """
    with writing_ragged(folder, TOKENS) as (rows, facts):
        yield StoreWriter(rows), facts


def open_store(folder: Path, types: TokenTypes) -> TokenStore:
    """Map a store. Raises DataError if it is missing or its files do not fit each other."""
    stored = open_ragged(folder, TOKENS)
    if "fingerprint" not in stored.facts:
        raise damaged_store(folder, "no fingerprint")
    return TokenStore(stored.rows, stored.offsets, stored.targets, stored.facts["fingerprint"], types)
