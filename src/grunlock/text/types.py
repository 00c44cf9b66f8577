"""Token types: what a token id stands for once character n-grams tell unknown words apart.

Without n-grams a type is a vocabulary entry and nothing is stored. With them, types 0..V-1 are the
vocabulary and each further type is a surface met in a text: an unknown word, or a character in its context.
This module makes no tokens and no vectors.

Letters besides those of shapes.py: M n-grams of all types concerned.
"""

import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.recipe.text_options import NgramOptions
from grunlock.shapes import IntArray, range_rows

Int32Array = NDArray[np.int32]

FEW_TOKENS = 64  # up to that many, a dictionary is quicker than numpy's calls
FEW_TYPES = 64  # up to that many new ones, their arrays are made at each call
FLAG_TYPES_PER_TOKEN = 32  # above that, sorting the tokens is quicker than a pass over all types


@dataclass(frozen=True)
class TypeTable:
    """Types as arrays, for keeping.

    vocab_ids:     [types] int64
    ngram_offsets: [types + 1] int64, where each type's n-grams start in ngram_ids
    ngram_ids:     [M] int32, buckets
    """

    vocab_ids: IntArray
    ngram_offsets: IntArray
    ngram_ids: Int32Array


@dataclass(frozen=True)
class DistinctTokens:
    """The distinct types of a batch, U of them, in rising order of type.

    vocab_ids:     [U] int64; vocab_ids[inverse] are the vocabulary ids of the batch's tokens
    inverse:       [N] int64
    ngram_ids:     [M] int64, or None without n-grams
    ngram_offsets: [U + 1] int64, or None without n-grams
    """

    vocab_ids: IntArray
    inverse: IntArray
    ngram_ids: IntArray | None = None
    ngram_offsets: IntArray | None = None


class TokenTypes:
    """The types known so far. Cheap to make; use one per thread, because encoding may add to it.

    Args:
        vocab_size: V.
        table: types known beforehand, the vocabulary first; None without n-grams.
    """

    def __init__(self, vocab_size: int, table: TypeTable | None = None) -> None:
        self.vocab_size = vocab_size
        self._table = table
        self._added: dict[str, int] = {}  # surface -> type, of types not yet in _table
        self._vocab_ids = array("q")
        self._ngram_counts = array("q")
        self._ngram_ids = array("i")

    @property
    def num_types(self) -> int:
        known = self.vocab_size if self._table is None else len(self._table.vocab_ids)
        return known + len(self._vocab_ids)

    def find(self, surface: str, vocab_id: int, ngrams: Callable[[], Sequence[int]]) -> int:
        """The type of a surface, added if it is new; `ngrams` gives its buckets."""
        known = self._added.get(surface)
        if known is None:
            known = self._added[surface] = self.num_types
            ids = ngrams()
            self._vocab_ids.append(vocab_id)
            self._ngram_counts.append(len(ids))
            self._ngram_ids.extend(ids)
        return known

    def table(self) -> TypeTable | None:
        """All types as arrays, None without n-grams. Surfaces keep their types afterwards."""
        if self._table is not None and self._vocab_ids:
            old, new = self._table, self._added_table()
            self._table = TypeTable(
                np.concatenate([old.vocab_ids, new.vocab_ids]),
                np.concatenate([old.ngram_offsets, old.ngram_offsets[-1] + new.ngram_offsets[1:]]),
                np.concatenate([old.ngram_ids, new.ngram_ids]),
            )
            self._vocab_ids, self._ngram_counts, self._ngram_ids = array("q"), array("q"), array("i")
        return self._table

    def _added_table(self) -> TypeTable:
        """Of the types that are not yet in _table."""
        return TypeTable(
            np.array(self._vocab_ids, np.int64),
            np.concatenate(([0], np.array(self._ngram_counts, np.int64).cumsum())),
            np.array(self._ngram_ids, np.int32),
        )

    def distinct(self, tokens: NDArray[np.integer]) -> DistinctTokens:
        """Each type of tokens [N] once, and where it goes."""
        types, inverse = self._unique(tokens)
        # A few new types are looked up beside the table: a copy of it would take longer than all else.
        table = self._table if len(self._vocab_ids) <= FEW_TYPES else self.table()
        if table is None:
            return DistinctTokens(types, inverse)
        known = int(types.searchsorted(len(table.vocab_ids)))
        parts = [_entries(table, types[:known])]
        if known < len(types):
            parts.append(_entries(self._added_table(), types[known:] - len(table.vocab_ids)))
        vocab_ids, counts, ngram_ids = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        offsets = np.concatenate(([0], counts.cumsum()))
        return DistinctTokens(vocab_ids, inverse, ngram_ids.astype(np.int64), offsets)

    def _unique(self, tokens: NDArray[np.integer]) -> tuple[IntArray, IntArray]:
        if len(tokens) <= FEW_TOKENS:
            values = tokens.tolist()
            place_of = {value: i for i, value in enumerate(sorted(set(values)))}
            places = [place_of[value] for value in values]
            return np.array(list(place_of), np.int64), np.array(places, np.int64)
        num_types = self.num_types
        if num_types > FLAG_TYPES_PER_TOKEN * len(tokens):
            types, inverse = np.unique(tokens, return_inverse=True)
            return types.astype(np.int64), inverse.astype(np.int64)
        present = np.zeros(num_types, dtype=np.bool_)
        present[tokens] = True
        types = np.flatnonzero(present)
        place = np.empty(num_types, dtype=np.int64)
        place[types] = np.arange(len(types))
        return types, place[tokens]


def _entries(table: TypeTable, types: IntArray) -> tuple[IntArray, IntArray, Int32Array]:
    """Vocabulary ids and counts of n-grams of some types, and these n-grams."""
    starts = table.ngram_offsets[types]
    counts = table.ngram_offsets[types + 1] - starts
    return table.vocab_ids[types], counts, table.ngram_ids[range_rows(starts, counts)]


def word_ngrams(word: str, options: NgramOptions) -> list[int]:
    """Buckets of the n-grams of "<word>", as in fastText; a boundary mark alone is none."""
    marked = f"<{word}>"
    return [
        _bucket(marked[start : start + length], options)
        for length in range(options.min_length, min(options.max_length, len(marked)) + 1)
        for start in range(len(marked) - length + 1)
        if length > 1 or 0 < start < len(marked) - 1
    ]


def context_ngrams(context: str, options: NgramOptions) -> list[int]:
    """Buckets of the runs of characters that end where `context` ends."""
    longest = min(options.max_length, len(context))
    return [_bucket(context[-length:], options) for length in range(options.min_length, longest + 1)]


def vocab_table(vocab: Sequence[str], options: NgramOptions, num_plain: int) -> TypeTable:
    """The types of a vocabulary whose first `num_plain` entries have no n-grams."""
    ids = array("i")
    offsets = array("q", [0])
    for i, word in enumerate(vocab):
        if i >= num_plain:
            ids.extend(word_ngrams(word, options))
        offsets.append(len(ids))
    return TypeTable(np.arange(len(vocab)), np.array(offsets, np.int64), np.array(ids, np.int32))


def _bucket(ngram: str, options: NgramOptions) -> int:
    return zlib.crc32(ngram.encode()) % options.buckets
