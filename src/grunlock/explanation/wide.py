"""The wide path's logits, n-gram by n-gram, and their tokens' parts of them. No torch.

A linear model, so what each n-gram gives is exact. It is divided evenly among the tokens of the n-gram, and
among its occurrences where it occurs several times; n-grams that share a bucket cannot be told apart. What
all n-grams are divided by (the bag's length) is taken as it came.
"""

from typing import NamedTuple

import numpy as np

from grunlock.explanation.gates import Doubles
from grunlock.recipe.model_options import WideOptions
from grunlock.runtime.norms import Weights
from grunlock.shapes import IntArray
from grunlock.text.token_ngrams import BAG_SHIFT, NgramBags, count_ngrams, weigh, wide_ngrams
from grunlock.text.types import DistinctTokens


class WideShares(NamedTuple):
    """Of a sequence of T tokens."""

    shares: Doubles  # [T, K]
    bias: Doubles  # [K]


class _Occurrences(NamedTuple):
    """The n-grams of one kind, in the order in which wide_ngrams has them."""

    first: IntArray  # [M] the first token of each
    length: IntArray  # [M] in tokens


def wide_shares(weights: Weights, options: WideOptions, tokens: DistinctTokens) -> WideShares:
    """tokens: of a single sequence"""
    kinds = wide_ngrams(tokens, np.ones(len(tokens.inverse), np.int64), options)
    places = [_runs(len(tokens.inverse), options.max_length)]
    if options.characters:
        places.append(_of_characters(tokens))
    together = options.training == "together"
    each = _together(weights, kinds) if together else _apart(weights, kinds)
    num_classes = weights["wide.weights.weight"].shape[1]
    shares = np.zeros((len(tokens.inverse), num_classes))
    for of_ngrams, place in zip(each, places, strict=True):
        of_token = of_ngrams / place.length[:, None]
        for offset in range(int(place.length.max(initial=0))):
            inside = place.length > offset
            np.add.at(shares, place.first[inside] + offset, of_token[inside])
    bias = np.zeros(num_classes) if together else np.asarray(weights["wide.bias"], np.float64)
    return WideShares(shares, bias)


def _together(weights: Weights, kinds: tuple[NgramBags, ...]) -> list[Doubles]:
    """[M, K] of each kind what its n-grams add."""
    table = weights["wide.weights.weight"]
    return [
        np.asarray(table[found.ids], np.float64) / np.sqrt(max(1, int(found.counts[0]))) for found in kinds
    ]


def _apart(weights: Weights, kinds: tuple[NgramBags, ...]) -> list[Doubles]:
    """The same; what a bucket gives is divided among its occurrences."""
    rows, table = weights["wide.rows"], weights["wide.weights.weight"]
    counted = count_ngrams(kinds)
    known = weigh(counted, rows, weights["wide.rarity"])
    of_bucket = np.zeros((len(counted.keys), table.shape[1]))
    if len(rows):
        inside = rows.take(rows.searchsorted(counted.ids), mode="clip") == counted.ids
        given = known.values.astype(np.float64)[:, None] * table.take(known.places, axis=0)
        of_bucket[inside] = given / counted.counts[inside][:, None]
    found = []
    for kind, bags in enumerate(kinds):
        keys = bags.ids + (kind << BAG_SHIFT)
        found.append(of_bucket[counted.keys.searchsorted(keys)])
    return found


def _runs(num_tokens: int, max_length: int) -> _Occurrences:
    """As text.token_ngrams.token_ngrams has those of one sequence: by length, then by where they begin."""
    lengths = range(1, min(max_length, num_tokens) + 1)
    first = [np.arange(num_tokens - length + 1) for length in lengths]
    return _Occurrences(
        np.concatenate(first), np.repeat(np.array(lengths), [len(each) for each in first]).astype(np.int64)
    )


def _of_characters(tokens: DistinctTokens) -> _Occurrences:
    """As character_ngrams has those of one sequence: by type if each occurs once, else by token."""
    assert tokens.ngram_offsets is not None
    num_tokens = len(tokens.inverse)
    each_once = num_tokens == len(tokens.vocab_ids)
    order = tokens.inverse.argsort() if each_once else np.arange(num_tokens)
    counts = np.diff(tokens.ngram_offsets)[tokens.inverse[order]]
    first = np.repeat(order, counts)
    return _Occurrences(first, np.ones_like(first))
