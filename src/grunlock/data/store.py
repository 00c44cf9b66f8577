"""Tokenised examples on disk: what a ragged store holds of texts, and batches of them.

Knows no text and no tokeniser. A folder that exists under its final name is complete.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.data.batches import Batch, ListedPlan, plan_batches
from grunlock.data.ragged import (
    Int32Array,
    RaggedWriter,
    RowKind,
    damaged_store,
    joined_fingerprint,
    joined_offsets,
    open_ragged,
    writing_ragged,
)
from grunlock.recipe.schema import ExampleBatches, TokenBatches
from grunlock.shapes import FloatArray, IntArray, pack_layout, range_rows
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
    teacher:     [examples, K] float32 probabilities that a teacher gave, on disk; None without one
    """

    tokens: Int32Array
    offsets: IntArray
    targets: Int32Array
    fingerprint: str
    types: TokenTypes
    teacher: FloatArray | None = None

    @property
    def num_examples(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> IntArray:
        """[examples]"""
        return np.diff(self.offsets)

    @property
    def num_steps(self) -> int:
        return int(self.lengths.sum())

    @property
    def longest_steps(self) -> int:
        return int(self.lengths.max())

    def plan(self, options: ExampleBatches | TokenBatches, seed: int, epoch: int) -> ListedPlan:
        return ListedPlan(plan_batches(self.lengths, options, seed, epoch))

    def shuffled(self, rng: np.random.Generator) -> IntArray:
        return rng.permutation(self.num_examples)

    def targets_of(self, examples: IntArray) -> IntArray:
        return self.targets[examples].astype(np.int64)

    def lengths_of(self, examples: IntArray) -> IntArray:
        return self.offsets[examples + 1] - self.offsets[examples]

    def batch(self, examples: IntArray) -> Batch:
        """Fetch some examples and lay them out packed."""
        return self.lay_out(*self.tokens_of(examples), examples)

    def training_batch(self, examples: IntArray, seed: int) -> Batch:
        """As `batch`: a text is not changed before the network reads it."""
        return self.batch(examples)

    def joined(self, other: "TokenStore") -> "TokenStore":
        """Its examples, then those of another split of the same data, in memory and without a teacher."""
        return TokenStore(
            np.concatenate([self.tokens, other.tokens]),
            joined_offsets(self.offsets, other.offsets),
            np.concatenate([self.targets, other.targets]),
            joined_fingerprint(self.fingerprint, other.fingerprint),
            self.types,
        )

    def tokens_of(self, examples: IntArray) -> tuple[Int32Array, IntArray]:
        """Some examples' tokens, one example after another, and their lengths."""
        starts = self.offsets[examples]
        lengths = self.offsets[examples + 1] - starts
        return self.tokens[range_rows(starts, lengths)], lengths

    def lay_out(self, tokens: Int32Array, lengths: IntArray, examples: IntArray) -> Batch:
        """A packed batch of tokens that stand for the examples."""
        layout = pack_layout(lengths)
        packed = examples[layout.order]
        return Batch(
            layout=layout,
            inputs=self.types.distinct(tokens[layout.rows]),
            targets=self.targets[packed].astype(np.int64),
            examples=packed,
            teacher=None if self.teacher is None else self.teacher[packed],
        )


class StoreWriter:
    """Appends texts to a store that is being written. Made by `writing_store` only."""

    def __init__(self, rows: RaggedWriter) -> None:
        self._rows = rows

    @property
    def num_examples(self) -> int:
        return self._rows.num_examples

    def append(self, encoded: EncodedTexts, targets: Int32Array, teacher: FloatArray | None = None) -> None:
        """Add encoded texts with their class indices [B] and, if the store keeps them, a teacher's
        probabilities [B, K]."""
        self._rows.append(encoded.tokens, encoded.lengths, targets, teacher)


@contextmanager
def writing_store(
    folder: Path, teacher_classes: int | None = None
) -> Iterator[tuple[StoreWriter, dict[str, str]]]:
    """Write a store into `folder`, which appears, complete, when the block ends well.

    teacher_classes: K, if a teacher's probabilities are kept.

    Yields the writer and a dict for the facts to keep; "fingerprint" must be put there. A block that fails
    leaves nothing behind. Raises StorageError if the disk is full.
    """
    with writing_ragged(folder, TOKENS, teacher_classes=teacher_classes) as (rows, facts):
        yield StoreWriter(rows), facts


def open_store(folder: Path, types: TokenTypes) -> TokenStore:
    """Map a store. Raises DataError if it is missing or its files do not fit each other."""
    stored = open_ragged(folder, TOKENS)
    if "fingerprint" not in stored.facts:
        raise damaged_store(folder, "no fingerprint")
    if len(stored.rows) and not 0 <= int(stored.rows.min()) <= int(stored.rows.max()) < types.num_types:
        raise damaged_store(folder, f"tokens that are not from 0 to {types.num_types - 1}")
    return TokenStore(
        stored.rows, stored.offsets, stored.targets, stored.facts["fingerprint"], types, stored.teacher
    )
