"""A trained network that reads one sequence some steps at a time, and one that answers to every beginning.

The numbers are those of network.Network for the sequence so far. Which networks can do it: hindrances.py.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np

from grunlock.kernels.pool import sequence_major
from grunlock.runtime.encoded import States, SteppedEncoder
from grunlock.runtime.network import Network, embed
from grunlock.runtime.norms import under
from grunlock.runtime.probabilities import sound
from grunlock.runtime.stem import Stem
from grunlock.runtime.streamed_pooling import PooledSoFar, StreamedPooling
from grunlock.runtime.streamed_wide import StreamedWide, WideSoFar
from grunlock.shapes import FloatArray, IntArray, PackedLayout, range_rows, sequence_major_rows
from grunlock.text.types import DistinctTokens

Inputs = (
    DistinctTokens | FloatArray
)  # of consecutive steps of one sequence: tokens in order, or features [n, F]

BLOCK_STEPS = 256  # bounds memory: what is made for each step of a block is not kept


class NetworkSoFar(NamedTuple):
    """After some steps of a sequence."""

    stem: States
    encoder: States
    pooling: PooledSoFar
    wide: WideSoFar | None

    def keep(self) -> "NetworkSoFar":
        """The same, fit to go on from: see WideSoFar."""
        return self if self.wide is None else self._replace(wide=self.wide.keep())


class SteppedNetwork:
    """Holds weights only, so that many sequences can be read with it at once, in any threads.

    The network must have no hindrance.
    """

    def __init__(self, network: Network) -> None:
        recipe, self._weights = network.recipe, network.weights
        self._stem = None if recipe.stem is None else Stem(under(self._weights, "stem."), recipe.stem)
        self._encoder = cast(SteppedEncoder, network.encoder)
        self._inputs = recipe.pooling.inputs
        self._pooling = StreamedPooling(self._weights, recipe.pooling.parts)
        self._wide = None if recipe.wide is None else StreamedWide(self._weights, recipe.wide)

    def start(self) -> NetworkSoFar:
        """Before the first step."""
        return NetworkSoFar(
            () if self._stem is None else self._stem.start(),
            self._encoder.start(),
            self._pooling.start(),
            None if self._wide is None else self._wide.start(),
        )

    def advance(self, inputs: Inputs, before: NetworkSoFar) -> tuple[FloatArray, NetworkSoFar]:
        """The next steps: logits after each, [n, K], and for the next call, after `keep`."""
        vectors, index = embed(self._weights, inputs)
        rows, stem = vectors[index], before.stem
        if self._stem is not None:
            rows, stem = self._stem.advance(rows, stem)
        states, encoder = self._encoder.advance(rows, before.encoder)
        if self._inputs:
            states = np.concatenate([rows, states], axis=1)
        logits, pooling = self.pooled_logits(states, before.pooling)
        wide = before.wide
        if wide is not None and isinstance(inputs, DistinctTokens):
            added, wide = self.wide_logits(inputs, wide)
            logits = logits + added.astype(np.float32)
        logits = sound(logits, of_series=not isinstance(inputs, DistinctTokens))
        return logits, NetworkSoFar(stem, encoder, pooling, wide)

    def pooled_logits(self, states: FloatArray, before: PooledSoFar) -> tuple[FloatArray, PooledSoFar]:
        """Of the next states [n, E], without the wide path, [n, K]."""
        pooled, after = self._pooling.advance(states, before)
        logits: FloatArray = pooled @ self._weights["head.weight"].T + self._weights["head.bias"]
        return logits, after

    def wide_logits(self, tokens: DistinctTokens, before: WideSoFar) -> tuple[np.ndarray, WideSoFar]:
        """Of the wide path, which the network must have, [n, K]."""
        assert self._wide is not None
        return self._wide.advance(tokens, before)


def prefix_logits(network: Network, inputs: Inputs, layout: PackedLayout) -> Iterator[FloatArray]:
    """Of each sequence, longest first, the logits [steps, K] after each of its steps.

    inputs: as for Network.logits. All states come from one pass; what else is in memory belongs to one
    sequence.
    """
    stepped = SteppedNetwork(network)
    states, starts = sequence_major(network.encode(inputs, layout).rows, layout)
    rows = sequence_major_rows(layout.batch_sizes)
    for first, steps in zip(starts.tolist(), layout.lengths.tolist(), strict=True):
        so_far, found = stepped.start(), []
        for start in range(first, first + steps, BLOCK_STEPS):
            block = slice(start, min(start + BLOCK_STEPS, first + steps))
            logits, pooling = stepped.pooled_logits(states[block], so_far.pooling)
            wide = so_far.wide
            if wide is not None and isinstance(inputs, DistinctTokens):
                added, wide = stepped.wide_logits(some_tokens(inputs, rows[block]), wide)
                logits = logits + added.astype(np.float32)
            so_far = so_far._replace(pooling=pooling, wide=wide).keep()
            found.append(logits)
        yield np.concatenate(found)


def some_tokens(tokens: DistinctTokens, rows: IntArray) -> DistinctTokens:
    """Those of some packed rows, one after another, each for itself."""
    types = tokens.inverse[rows]
    order = np.arange(len(types))
    if tokens.ngram_ids is None or tokens.ngram_offsets is None:
        return DistinctTokens(tokens.vocab_ids[types], order)
    starts = tokens.ngram_offsets[types]
    counts = tokens.ngram_offsets[types + 1] - starts
    ids = tokens.ngram_ids[range_rows(starts, counts)]
    return DistinctTokens(tokens.vocab_ids[types], order, ids, np.concatenate(([0], counts.cumsum())))
