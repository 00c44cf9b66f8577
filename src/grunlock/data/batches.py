"""Which examples form a batch, and the packed batch itself. No padding, no model.

What a batch holds of its examples is their store's business. Letters as in shapes.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from grunlock.recipe.schema import ExampleBatches, TokenBatches
from grunlock.seeding import derive_seed, generator
from grunlock.shapes import FloatArray, IntArray, PackedLayout
from grunlock.text import DistinctTokens


@dataclass(frozen=True)
class Batch:
    """Sequences in packed order.

    inputs:   of texts the distinct types, their inverse [N] in packed order; of series features [N, F]
    targets:  [B] int64 class indices, longest sequence first
    examples: [B] int64 positions in the store, longest sequence first
    teacher:  [B, K] probabilities that a teacher gave, longest sequence first; None without one
    """

    layout: PackedLayout
    inputs: DistinctTokens | FloatArray
    targets: IntArray
    examples: IntArray
    teacher: FloatArray | None = None


class BatchPlan(Protocol):
    """The batches of an epoch, each an array of examples; every example is in exactly one."""

    def __len__(self) -> int: ...
    def batches(self, first: int = 0) -> Iterator[IntArray]: ...  # from number `first`


class ExampleStore(Protocol):
    """The examples of one split, prepared. A training batch may show them changed, as `seed` decides.

    Nothing here is an array of all examples: they may be more than fit in memory (data/shards.py).
    """

    @property
    def num_examples(self) -> int: ...
    @property
    def num_steps(self) -> int: ...  # of all examples
    @property
    def longest_steps(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def plan(self, options: ExampleBatches | TokenBatches, seed: int, epoch: int) -> BatchPlan: ...
    def shuffled(
        self, rng: np.random.Generator
    ) -> IntArray: ...  # all, or as many as are in memory at a time
    def targets_of(self, examples: IntArray) -> IntArray: ...  # [B] class indices
    def lengths_of(self, examples: IntArray) -> IntArray: ...  # [B] steps
    def batch(self, examples: IntArray) -> Batch: ...
    def training_batch(self, examples: IntArray, seed: int) -> Batch: ...


class ArrayStore(ExampleStore, Protocol):
    """A store whose lengths and targets are in memory for all examples at once."""

    @property
    def lengths(self) -> IntArray: ...  # [examples] steps
    @property
    def targets(self) -> NDArray[np.int32]: ...  # [examples] class indices
    def joined(self, other: Self) -> Self: ...  # its examples, then those of another split, in memory


@dataclass(frozen=True)
class ListedPlan:
    """A plan that is made at once."""

    listed: Sequence[IntArray]

    def __len__(self) -> int:
        return len(self.listed)

    def batches(self, first: int = 0) -> Iterator[IntArray]:
        return iter(self.listed[first:])


def plan_batches(
    lengths: IntArray, options: ExampleBatches | TokenBatches, seed: int, epoch: int
) -> list[IntArray]:
    """The examples of each batch of an epoch; every example is in exactly one.

    Examples are shuffled, taken in windows of several batches, sorted by length inside a window so that a
    batch holds like lengths, and the batches shuffled. A token budget is kept but by a single longer example,
    so with one the number of batches differs a little from epoch to epoch.
    """
    rng = generator(seed, "batches", epoch)
    order = rng.permutation(len(lengths))
    window = options.size * options.window_batches
    batches: list[IntArray] = []
    for examples in _cut(order, lengths, window, by_tokens=options.kind == "tokens"):
        if options.window_batches > 1:
            examples = examples[np.argsort(lengths[examples], kind="stable")]
        batches += _cut(examples, lengths, options.size, by_tokens=options.kind == "tokens")
    return [batches[i] for i in rng.permutation(len(batches))]


class EndlessBatches:
    """The batches of a store, epoch after epoch, by number: what a step takes beside its labelled batch."""

    def __init__(self, lengths: IntArray, options: ExampleBatches | TokenBatches, seed: int) -> None:
        self._lengths, self._options, self._seed = lengths, options, derive_seed(seed, "unlabelled")
        self._epoch, self._batches = 0, plan_batches(lengths, options, self._seed, 0)
        self._size = len(self._batches)  # with a budget of tokens epochs differ a little: these count

    def __getitem__(self, step: int) -> IntArray:
        """The examples of a batch, a pure function of the seed and the step."""
        epoch, place = divmod(step, self._size)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = plan_batches(self._lengths, self._options, self._seed, epoch)
        return self._batches[place % len(self._batches)]


def evaluation_batches(lengths: IntArray, max_tokens: int) -> list[IntArray]:
    """All examples, sorted by length, in batches of at most max_tokens (or one longer example)."""
    return _cut(np.argsort(lengths, kind="stable"), lengths, max_tokens, by_tokens=True)


def _cut(examples: IntArray, lengths: IntArray, size: int, by_tokens: bool) -> list[IntArray]:
    """Cut into runs of `size` examples, or of as many as fit `size` tokens."""
    if not by_tokens:
        return [examples[start : start + size] for start in range(0, len(examples), size)]
    ends = np.cumsum(lengths[examples])
    runs = []
    start = before = 0
    while start < len(examples):
        stop = max(start + 1, int(np.searchsorted(ends, before + size, side="right")))
        runs.append(examples[start:stop])
        start, before = stop, int(ends[stop - 1])
    return runs
