"""Hashed n-grams of tokens and of characters, for linear models on texts. Shared by training and runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.recipe.model_options import WideOptions
from grunlock.shapes import IntArray, range_rows, sequence_lengths, sequence_major_rows
from grunlock.text.types import DistinctTokens

# Odd, with well mixed bits: the golden ratio's fraction, and splitmix64's first multiplier (Steele 2014).
# Arrays, because these are quicker than numpy's scalars.
STEP, MIX, ONE, HIGH, LOW = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 1, 30, 27], np.uint64)[:, None]

BAG_SHIFT = 32  # a bucket is an int32


@dataclass(frozen=True)
class NgramBags:
    """The n-grams of a batch, sequence after sequence, longest sequence first.

    ids:     [M] int64 buckets, those of a sequence in any order
    offsets: [B + 1] int64, where each sequence's begin in ids
    """

    ids: IntArray
    offsets: IntArray

    @property
    def counts(self) -> IntArray:
        """[B]"""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class NgramCounts:
    """Each n-gram of each bag once. A sequence has a bag for each kind of n-gram.

    keys:     [M] int64, rising: bag * 2**BAG_SHIFT + bucket; bag: sequence * kinds + kind
    counts:   [M] int32
    num_bags: B * kinds
    kinds:    bags of a sequence
    """

    keys: IntArray
    counts: NDArray[np.int32]
    num_bags: int
    kinds: int

    @property
    def ids(self) -> NDArray[np.int32]:
        """[M] the bucket of each"""
        return self.keys.astype(np.int32)  # the low half

    @property
    def bags(self) -> IntArray:
        """[M] the bag of each, rising"""
        return self.keys >> BAG_SHIFT


@dataclass(frozen=True)
class WeighedNgrams:
    """The distinct n-grams of a batch that a linear model knows, and how much each counts.

    offsets: [B + 1] where each sequence's begin
    places:  [M] the model's row of each
    values:  [M] float32; their squares add up to 1 in each bag that has any
    """

    offsets: IntArray
    places: IntArray
    values: NDArray[np.float32]


def count_ngrams(bags: Sequence[NgramBags], order: IntArray | None = None) -> NgramCounts:
    """Count those of each kind, of the same sequences, in buckets below 2**31.

    order: [B] each sequence's place in the result; None: as they stand
    """
    keys = np.concatenate([_keys(each, kind, len(bags), order) for kind, each in enumerate(bags)])
    keys.sort()
    edges = np.ones(len(keys) + 1, np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=edges[1:-1])
    (starts,) = edges.nonzero()
    counts = (starts[1:] - starts[:-1]).astype(np.int32)
    return NgramCounts(keys[starts[:-1]], counts, sum(len(each.offsets) - 1 for each in bags), len(bags))


def _keys(found: NgramBags, kind: int, kinds: int, order: IntArray | None) -> IntArray:
    num_sequences = len(found.offsets) - 1
    if num_sequences == 1:
        return found.ids + (kind << BAG_SHIFT)
    place = np.arange(num_sequences) if order is None else order
    return found.ids + np.repeat((place * kinds + kind) << BAG_SHIFT, found.counts)


def weigh(found: NgramCounts, rows: NDArray[Any], rarity: NDArray[np.float32]) -> WeighedNgrams:
    """TF-IDF: (1 + log count) * rarity, each bag scaled to length 1 (scikit-learn's TfidfVectorizer with
    sublinear_tf).

    rows: the buckets that the model knows, int32, rising; rarity: of each of them
    """
    if not len(rows):
        nothing = np.zeros(found.num_bags // found.kinds + 1, np.int64)
        return WeighedNgrams(nothing, nothing[:0], np.zeros(0, np.float32))
    ids = found.ids
    places = rows.searchsorted(ids)
    (known,) = (rows.take(places, mode="clip") == ids).nonzero()
    bags, places = found.bags[known], places[known]
    values = (1.0 + np.log(found.counts[known])) * rarity[places]
    lengths = np.sqrt(np.bincount(bags, values * values))
    offsets = bags.searchsorted(np.arange(0, found.num_bags + 1, found.kinds))
    return WeighedNgrams(offsets, places, (values / lengths[bags]).astype(np.float32))


def wide_ngrams(tokens: DistinctTokens, batch_sizes: IntArray, options: WideOptions) -> tuple[NgramBags, ...]:
    """What a wide path reads of a batch: runs of tokens; perhaps of characters, in the table's second half.

    tokens.inverse: [N] in packed order
    """
    types = tokens.inverse
    if batch_sizes[0] > 1:
        types = types[sequence_major_rows(batch_sizes)]
    lengths = sequence_lengths(batch_sizes)
    if not options.characters:
        return (token_ngrams(tokens.vocab_ids[types], lengths, options.max_length, options.buckets),)
    half = options.buckets // 2
    characters = character_ngrams(tokens, types, lengths, options.buckets - half)
    behind = NgramBags(characters.ids + half, characters.offsets)
    return token_ngrams(tokens.vocab_ids[types], lengths, options.max_length, half), behind


def character_ngrams(tokens: DistinctTokens, types: IntArray, lengths: IntArray, buckets: int) -> NgramBags:
    """The n-grams of each token's type, hashed anew. A sequence may have none.

    tokens: with n-grams; types: [N] of them, sequence after sequence; lengths: [B]
    """
    assert tokens.ngram_ids is not None
    assert tokens.ngram_offsets is not None
    hashed = _buckets(_mixed(tokens.ngram_ids.astype(np.uint64) + ONE), buckets)
    if len(lengths) == 1 and len(types) == len(tokens.vocab_ids):  # each type once
        return _one_bag(hashed)
    starts = tokens.ngram_offsets[types]
    counts = tokens.ngram_offsets[types + 1] - starts
    return _bags(hashed[range_rows(starts, counts)], counts, lengths)


def token_ngrams(vocab_ids: IntArray, lengths: IntArray, max_length: int, buckets: int) -> NgramBags:
    """All runs of 1 to max_length tokens. vocab_ids: [N], sequence after sequence; lengths: [B]"""
    num_tokens = len(vocab_ids)
    ahead = vocab_ids.astype(np.uint64) + ONE
    hashes = [_mixed(ahead)]  # of the runs of each length, by where they begin
    while len(hashes) < min(max_length, num_tokens):
        hashes.append(_mixed(hashes[-1][1:] + ahead[: -len(hashes)]))
    if len(lengths) == 1:
        return _one_bag(_buckets(np.concatenate(hashes), buckets))
    table = np.zeros((num_tokens, max_length), np.uint64)
    for k, found in enumerate(hashes):
        table[: len(found), k] = found
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(num_tokens)  # in the sequence, from each token on
    counts = np.minimum(left, max_length)
    return _bags(_buckets(table[np.arange(max_length) < counts[:, None]], buckets), counts, lengths)


def ngrams_ending(
    vocab_ids: IntArray, first: int, max_length: int, buckets: int
) -> tuple[IntArray, IntArray]:
    """The runs of 1 to max_length tokens that end at place `first` or later: buckets, and how far behind
    `first` each ends, rising. The same buckets as token_ngrams finds. vocab_ids: [N] of one sequence
    """
    ahead = vocab_ids.astype(np.uint64) + ONE
    places = np.arange(first, len(vocab_ids))
    hashes = _mixed(ahead[places])
    ids, ends = [hashes], [places]
    for length in range(1, max_length):  # of those before, each of which becomes longer by a token in front
        cut = max(0, length - int(places[0])) if len(places) else 0
        places = places[cut:]
        hashes = _mixed(hashes[cut:] + ahead[places - length])
        ids.append(hashes)
        ends.append(places)
    found, behind = _buckets(np.concatenate(ids), buckets), np.concatenate(ends) - first
    order = behind.argsort(kind="stable")
    return found[order], behind[order]


def _one_bag(ids: IntArray) -> NgramBags:
    return NgramBags(ids, np.array([0, len(ids)]))


def _bags(ids: IntArray, counts: IntArray, lengths: IntArray) -> NgramBags:
    """counts: [N] n-grams of each token; lengths: [B] tokens of each sequence"""
    before = np.concatenate(([0], counts.cumsum()))
    return NgramBags(ids, before[np.concatenate(([0], lengths.cumsum()))])


def _buckets(hashes: NDArray[np.uint64], buckets: int) -> IntArray:
    return (hashes % np.uint64(buckets)).astype(np.int64)


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value * STEP
    value ^= value >> HIGH
    value *= MIX
    value ^= value >> LOW
    return value
