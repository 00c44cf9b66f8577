"""Hashed n-grams of tokens and of characters, for linear models on texts. Shared by training and runtime."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.recipe.model_options import WideOptions
from grunlock.shapes import (
    IntArray,
    range_rows,
    row_places,
    sequence_lengths,
    sequence_major_rows,
    shifted_rows,
)
from grunlock.text.types import DistinctTokens

# Odd, with well mixed bits: the golden ratio's fraction, and splitmix64's first multiplier (Steele 2014).
STEP = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True)
class NgramBags:
    """The n-grams of a batch, sequence after sequence, longest sequence first.

    ids:     [M] int64 buckets
    offsets: [B + 1] int64, where each sequence's begin in ids
    """

    ids: IntArray
    offsets: IntArray

    @property
    def counts(self) -> IntArray:
        """[B]"""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class WeighedNgrams:
    """The distinct n-grams of a batch that a linear model knows, and how much each counts.

    owners: [M] the sequence of each, rising
    places: [M] the model's row of each
    values: [M] float32; their squares add up to 1 in each sequence that has any
    """

    owners: IntArray
    places: IntArray
    values: NDArray[np.float32]


def weigh(found: NgramBags, rows: NDArray[Any], rarity: NDArray[np.float32]) -> WeighedNgrams:
    """TF-IDF: (1 + log count) * rarity, each sequence scaled to length 1 (scikit-learn's TfidfVectorizer with
    sublinear_tf).

    rows: the buckets that the model knows, rising; rarity: of each of them
    """
    nothing = np.zeros(0, np.int64)
    if not len(rows):
        return WeighedNgrams(nothing, nothing, np.zeros(0, np.float32))
    place = np.minimum(np.searchsorted(rows, found.ids), len(rows) - 1)
    known = rows[place] == found.ids
    owner = np.repeat(np.arange(len(found.counts)), found.counts)[known]
    pairs, counts = np.unique(owner * len(rows) + place[known], return_counts=True)
    owners, places = np.divmod(pairs, len(rows))
    values = (1.0 + np.log(counts)) * rarity[places]
    squares = np.bincount(owners, values**2, minlength=len(found.counts))
    return WeighedNgrams(owners, places, (values / np.sqrt(squares[owners])).astype(np.float32))


def wide_ngrams(tokens: DistinctTokens, batch_sizes: IntArray, options: WideOptions) -> tuple[NgramBags, ...]:
    """What a wide path reads of a batch: runs of tokens; perhaps of characters, in the table's second half.

    tokens.inverse: [N] in packed order
    """
    vocab_ids = tokens.vocab_ids[tokens.inverse]
    if not options.characters:
        return (token_ngrams(vocab_ids, batch_sizes, options.max_length, options.buckets),)
    half = options.buckets // 2
    characters = character_ngrams(tokens, batch_sizes, options.buckets - half)
    behind = NgramBags(characters.ids + half, characters.offsets)
    return token_ngrams(vocab_ids, batch_sizes, options.max_length, half), behind


def character_ngrams(tokens: DistinctTokens, batch_sizes: IntArray, buckets: int) -> NgramBags:
    """The n-grams of each token's type, hashed anew. A sequence may have none.

    tokens: with n-grams; inverse [N] in packed order
    """
    assert tokens.ngram_ids is not None
    assert tokens.ngram_offsets is not None
    types = tokens.inverse[sequence_major_rows(batch_sizes)]
    starts, ends = tokens.ngram_offsets[types], tokens.ngram_offsets[types + 1]
    found = tokens.ngram_ids[range_rows(starts, ends - starts)]
    ids = (_mixed(found.astype(np.uint64) + np.uint64(1)) % np.uint64(buckets)).astype(np.int64)
    before = np.concatenate(([0], np.cumsum(ends - starts)))  # n-grams ahead of each token
    tokens_before = np.concatenate(([0], np.cumsum(sequence_lengths(batch_sizes))))
    return NgramBags(ids, before[tokens_before])


def token_ngrams(vocab_ids: IntArray, batch_sizes: IntArray, max_length: int, buckets: int) -> NgramBags:
    """All runs of 1 to max_length tokens. vocab_ids: [N] in packed order."""
    step, sequence = row_places(batch_sizes)
    behind = [np.append(vocab_ids, 0)[shifted_rows(batch_sizes, -k)] for k in range(max_length)]
    hashes: list[NDArray[np.uint64]] = []
    owners: list[IntArray] = []
    value = np.zeros(len(vocab_ids), np.uint64)
    for length in range(1, max_length + 1):
        value = _mixed(value + behind[length - 1].astype(np.uint64) + np.uint64(1))
        whole = step >= length - 1
        hashes.append(value[whole])
        owners.append(sequence[whole])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    ids = (np.concatenate(hashes)[order] % np.uint64(buckets)).astype(np.int64)
    counts = np.bincount(owner, minlength=int(batch_sizes[0]))
    return NgramBags(ids, np.concatenate(([0], np.cumsum(counts))))


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value * STEP
    value = (value ^ (value >> np.uint64(30))) * MIX
    return value ^ (value >> np.uint64(27))
