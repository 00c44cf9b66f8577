"""The wide path of one text whose tokens come some at a time: what it would add after each of them.

The same numbers as network.wide_logits gives for every beginning of the text. A token changes a few n-grams'
counts, so sums and squared lengths are brought up to date by what these change, in double precision: the time
of a token does not depend on how many came before.

For a path that learned apart the counts themselves are kept, a number for each distinct n-gram that it knows,
so memory grows with these. One that was trained together needs its sums only.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grunlock.recipe.model_options import WideOptions
from grunlock.runtime.norms import Weights
from grunlock.shapes import FloatArray, IntArray
from grunlock.text.token_ngrams import character_ngrams, ngrams_ending
from grunlock.text.types import DistinctTokens

Doubles = NDArray[np.float64]


class WideSoFar(NamedTuple):
    """After some tokens of a text, whose n-grams are in a bag for each kind.

    recent: ids of the last tokens, as many as an n-gram can reach back
    sums:   [kinds, K] of weights, each times how much its n-gram counts
    sizes:  [kinds] n-grams; of a path that learned apart the squares of how much each distinct one counts
    counts: of each row of the table that the text has; only `keep` changes it
    news:   counts that differ from those
    """

    recent: IntArray
    sums: Doubles
    sizes: Doubles
    counts: dict[int, int]
    news: dict[int, int]

    def keep(self) -> "WideSoFar":
        """The same, with its news among the counts."""
        self.counts.update(self.news)
        return self._replace(news={})


class StreamedWide:
    """Holds weights only: what has been read is in the WideSoFar that it takes and gives."""

    def __init__(self, weights: Weights, options: WideOptions) -> None:
        self._table = weights["wide.weights.weight"]  # [M, K]
        self._options = options
        self._apart = options.training == "apart"
        if self._apart:
            self._rows, self._rarity = weights["wide.rows"], weights["wide.rarity"]
            self._bias = weights["wide.bias"]

    def start(self) -> WideSoFar:
        """Before the first token."""
        kinds = 2 if self._options.characters else 1
        sums = np.zeros((kinds, self._table.shape[1]))
        return WideSoFar(np.empty(0, np.int64), sums, np.zeros(kinds), {}, {})

    def advance(self, tokens: DistinctTokens, before: WideSoFar) -> tuple[Doubles, WideSoFar]:
        """The next tokens, n in order: what is added after each, [n, K], and for the next call."""
        ids = np.concatenate([before.recent, tokens.vocab_ids])
        rows, bags = self._ngrams(tokens, ids, len(before.recent))
        news = dict(before.news)
        if self._apart:
            rows, bags = self._known(rows, bags)
            weights, squares = _changes(_counted(rows, before.counts, news), self._rarity.take(rows))
        else:
            weights = squares = np.ones(len(rows))
        shape = len(before.sizes), len(tokens.vocab_ids)
        sums = _sums_so_far(weights[:, None] * self._table.take(rows, axis=0), bags, shape)
        sizes = _sums_so_far(squares, bags, shape)
        sums += before.sums[:, None]
        sizes += before.sizes[:, None]
        logits = (sums / np.sqrt(np.where(sizes > 0, sizes, 1.0))[:, :, None]).sum(axis=0)
        if self._apart:
            logits += self._bias
        recent = ids[max(0, len(ids) - self._options.max_length + 1) :].copy()
        return logits, WideSoFar(recent, sums[:, -1].copy(), sizes[:, -1].copy(), before.counts, news)

    def _ngrams(self, tokens: DistinctTokens, ids: IntArray, num_before: int) -> tuple[IntArray, IntArray]:
        """Buckets of the n-grams that n new tokens make, and the bag of each, kind * n + token, rising."""
        options = self._options
        if not options.characters:
            return ngrams_ending(ids, num_before, options.max_length, options.buckets)
        half, num_tokens = options.buckets // 2, len(tokens.vocab_ids)
        order, length = np.arange(num_tokens), np.array([num_tokens])
        found = character_ngrams(tokens, order, length, options.buckets - half)
        assert tokens.ngram_offsets is not None
        of_characters = order.repeat(tokens.ngram_offsets[1:] - tokens.ngram_offsets[:-1]) + num_tokens
        runs, of_runs = ngrams_ending(ids, num_before, options.max_length, half)
        return np.concatenate([runs, found.ids + half]), np.concatenate([of_runs, of_characters])

    def _known(self, buckets: IntArray, bags: IntArray) -> tuple[IntArray, IntArray]:
        """Rows of the n-grams that the table knows, and their bags."""
        if not len(self._rows):
            return buckets[:0], bags[:0]
        buckets = buckets.astype(self._rows.dtype)  # of another type all rows would be copied
        rows = self._rows.searchsorted(buckets)
        (known,) = (self._rows.take(rows, mode="clip") == buckets).nonzero()
        return rows[known], bags[known]


def _counted(rows: IntArray, counts: dict[int, int], news: dict[int, int]) -> IntArray:
    """How often each has been met, this time included; they are noted in `news`."""
    found = []
    for row in rows.tolist():
        count = news.get(row)
        count = (counts.get(row, 0) if count is None else count) + 1
        news[row] = count
        found.append(count)
    return np.array(found, np.int64)


def _changes(counts: IntArray, rarity: FloatArray) -> tuple[Doubles, Doubles]:
    """By how much (1 + log count) * rarity is more than it was at one less, and its square; at 0 it is 0."""
    now = (1.0 + np.log(counts)) * rarity
    before = (1.0 + np.log(np.maximum(counts - 1, 1))) * rarity * (counts > 1)
    return now - before, now * now - before * before


def _sums_so_far(values: Doubles, bags: IntArray, shape: tuple[int, int]) -> Doubles:
    """[kinds, n, ...] of each kind the sums of what is in its first 1, 2, ... n bags.

    values: [M] or [M, K], with the bag of each, rising
    """
    kinds, size = shape
    sums = np.zeros((len(values) + 1, *values.shape[1:]))
    values.cumsum(axis=0, out=sums[1:])
    ends = bags.searchsorted(np.arange(kinds * size), side="right").reshape(shape)
    starts = np.concatenate(([0], ends[:-1, -1]))
    found: Doubles = sums[ends] - sums[starts][:, None]
    return found
