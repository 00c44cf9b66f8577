"""A training split in many shards on disk, a window of them in memory at a time, whatever its size.

Only counts are held of shards that are not open. Each shard (data/shard_files.py) has types of its own, so a
word that the vocabulary lacks and that two shards of a window have is two types there, with the same n-grams
and so the same vector.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from grunlock.data.batches import Batch, plan_batches
from grunlock.data.ragged import Int32Array, damaged_store
from grunlock.data.shard_files import Shard, ShardArrays, read_added_types, read_index, read_shard
from grunlock.data.store import TokenStore
from grunlock.data.type_files import are_below
from grunlock.recipe.schema import ExampleBatches, TokenBatches
from grunlock.seeding import derive_seed, generator
from grunlock.shapes import IntArray
from grunlock.text import TextFrontEnd, TokenTypes, TypeTable

# At most of a window, unless a single shard has more: 128 MiB of tokens. In it examples are shuffled.
WINDOW_EXAMPLES = 2**19
WINDOW_STEPS = 2**25
SAMPLE_EXAMPLES = 200_000  # of a window, for what learns from examples in memory


@dataclass(frozen=True)
class _Window:
    """Shards that are open, in rising order, one after another.

    shift: [shards of the store] what to add to the place of an example in the store for its place here;
           it means nothing for shards that are not open
    """

    shards: IntArray
    store: TokenStore
    shift: IntArray


class ShardedStore:
    """Examples of many shards. Made by `open_shards` only.

    Examples are numbered through the shards in the order of the index. Whatever is asked of some examples
    opens the shards they are in: beside those that are open while a window holds them all, else instead.

    Args:
        num_classes: K; targets are held against it as they are read.
        vocab_types, buckets: the types of the vocabulary, and how many buckets n-grams have; None without.
    """

    def __init__(
        self,
        folder: Path,
        shards: Sequence[Shard],
        fingerprint: str,
        num_classes: int,
        vocab_size: int,
        vocab_types: TypeTable | None,
        buckets: int | None,
    ) -> None:
        self.folder, self.shards, self.fingerprint = folder, tuple(shards), fingerprint
        self._num_classes, self._vocab_size = num_classes, vocab_size
        self._vocab_types, self._buckets = vocab_types, buckets
        self._examples = np.array([shard.examples for shard in shards], np.int64)
        self._steps = np.array([shard.steps for shard in shards], np.int64)
        self._starts = np.concatenate(([0], self._examples.cumsum()))  # [shards + 1]
        self._open: _Window | None = None

    @property
    def num_examples(self) -> int:
        return int(self._starts[-1])

    @property
    def num_steps(self) -> int:
        return int(self._steps.sum())

    @property
    def longest_steps(self) -> int:
        return max(shard.longest for shard in self.shards)

    def plan(self, options: ExampleBatches | TokenBatches, seed: int, epoch: int) -> "ShardedPlan":
        return ShardedPlan(self, options, seed, epoch)

    def shuffled(self, rng: np.random.Generator) -> IntArray:
        """At most SAMPLE_EXAMPLES of one window."""
        (first, *_) = self.windows(rng)
        return rng.permutation(self.examples_of(first))[:SAMPLE_EXAMPLES]

    def windows(self, rng: np.random.Generator) -> list[IntArray]:
        """All shards in random order, cut into windows."""
        found: list[list[int]] = []
        examples = steps = 0
        for shard in rng.permutation(len(self.shards)).tolist():
            examples += self.shards[shard].examples
            steps += self.shards[shard].steps
            if not found or examples > WINDOW_EXAMPLES or steps > WINDOW_STEPS:
                found.append([])
                examples, steps = self.shards[shard].examples, self.shards[shard].steps
            found[-1].append(shard)
        return [np.array(window, np.int64) for window in found]

    def examples_of(self, window: IntArray) -> IntArray:
        """All examples of some shards, in their order."""
        return np.concatenate([np.arange(self._starts[shard], self._starts[shard + 1]) for shard in window])

    def lengths_in(self, window: IntArray) -> IntArray:
        """Of all examples of some shards, in their order; no shard stays open for it."""
        return np.concatenate([np.diff(self._arrays_of(int(shard)).offsets) for shard in window])

    def targets_of(self, examples: IntArray) -> IntArray:
        window, places = self._find(examples)
        return window.store.targets_of(places)

    def lengths_of(self, examples: IntArray) -> IntArray:
        window, places = self._find(examples)
        return window.store.lengths_of(places)

    def batch(self, examples: IntArray) -> Batch:
        """Fetch some examples and lay them out packed."""
        window, places = self._find(examples)
        found = window.store.batch(places)
        return replace(found, examples=examples[found.layout.order])

    def training_batch(self, examples: IntArray, seed: int) -> Batch:
        """As `batch`: a text is not changed before the network reads it."""
        return self.batch(examples)

    def tokens_of(self, examples: IntArray) -> tuple[Int32Array, IntArray]:
        """As TokenStore.tokens_of; the types hold until other examples are asked for."""
        window, places = self._find(examples)
        return window.store.tokens_of(places)

    def lay_out(self, tokens: Int32Array, lengths: IntArray, examples: IntArray) -> Batch:
        """A packed batch of tokens that stand for the examples."""
        window, places = self._find(examples)
        found = window.store.lay_out(tokens, lengths, places)
        return replace(found, examples=examples[found.layout.order])

    def stores(self) -> Iterator[TokenStore]:
        """Each shard by itself, in memory, one at a time."""
        for shard in range(len(self.shards)):
            yield self._read(np.array([shard]))

    def _find(self, examples: IntArray) -> tuple[_Window, IntArray]:
        """A window that holds the examples, and their places in it."""
        of = self._starts.searchsorted(examples, side="right") - 1
        needed = np.flatnonzero(np.bincount(of, minlength=len(self.shards)))
        window = self._open
        if window is None or not np.isin(needed, window.shards).all():
            wanted = needed if window is None else np.union1d(window.shards, needed)
            if self._examples[wanted].sum() > WINDOW_EXAMPLES or self._steps[wanted].sum() > WINDOW_STEPS:
                wanted = needed
            window = self._open = None  # never two at a time in memory
            shift = np.zeros(len(self.shards), np.int64)
            sizes = self._examples[wanted]
            shift[wanted] = np.cumsum(sizes) - sizes - self._starts[wanted]
            window = self._open = _Window(wanted, self._read(wanted), shift)
        return window, examples + window.shift[of]

    def _read(self, shards: IntArray) -> TokenStore:
        """Some shards as one store in memory."""
        tokens, offsets, targets = [], [np.zeros(1, np.int64)], []
        tables = [] if self._vocab_types is None else [self._vocab_types]
        num_types, num_steps = self._vocab_size, 0
        for shard in shards.tolist():
            known, found = self.shards[shard], self._arrays_of(shard)
            shift = num_types - self._vocab_size  # of this shard's own types, behind those of shards before
            if self._buckets is not None:
                tables.append(read_added_types(self.folder, known, self._vocab_size, self._buckets))
                num_types += len(tables[-1].vocab_ids)
            if not are_below(found.tokens, num_types - shift):
                got = f"tokens that are not from 0 to {num_types - shift - 1}"
                raise damaged_store(self.folder / known.name, got)
            tokens.append(np.where(found.tokens < self._vocab_size, found.tokens, found.tokens + shift))
            offsets.append(num_steps + found.offsets[1:])
            targets.append(found.targets)
            num_steps += len(found.tokens)
        return TokenStore(
            np.concatenate(tokens).astype(np.int32, copy=False),
            np.concatenate(offsets),
            np.concatenate(targets),
            self.fingerprint,
            TokenTypes(self._vocab_size, joined_types(tables) if tables else None),
        )

    def _arrays_of(self, shard: int) -> ShardArrays:
        return read_shard(self.folder, self.shards[shard], self._num_classes)


@dataclass(frozen=True)
class ShardedPlan:
    """An epoch over shards: in random order, cut into windows, and each window planned as a store of its own.

    A pure function of seed and epoch. Windows are planned as they are reached; those before the first batch
    are passed over by their counts, with a budget of tokens by their examples' lengths.
    """

    store: ShardedStore
    options: ExampleBatches | TokenBatches
    seed: int
    epoch: int

    def __len__(self) -> int:
        return sum(self._size(number, window) for number, window in enumerate(self._windows()))

    def batches(self, first: int = 0) -> Iterator[IntArray]:
        for number, window in enumerate(self._windows()):
            size = self._size(number, window) if first else 0
            if first and first >= size:
                first -= size
                continue
            examples = self.store.examples_of(window)
            yield from (examples[batch] for batch in self._planned(number, window)[first:])
            first = 0

    def _windows(self) -> list[IntArray]:
        return self.store.windows(generator(self.seed, "shards", self.epoch))

    def _size(self, number: int, window: IntArray) -> int:
        if self.options.kind == "tokens":
            return len(self._planned(number, window))
        examples: int = sum(self.store.shards[shard].examples for shard in window.tolist())
        return -(-examples // self.options.size)

    def _planned(self, number: int, window: IntArray) -> list[IntArray]:
        """Batches of places in the window."""
        seed = derive_seed(self.seed, "window", number)
        return plan_batches(self.store.lengths_in(window), self.options, seed, self.epoch)


def joined_types(tables: Sequence[TypeTable]) -> TypeTable:
    """The types of several tables, one table after another."""
    ends = np.cumsum([0, *(table.ngram_offsets[-1] for table in tables)])
    offsets = [table.ngram_offsets[1:] + end for table, end in zip(tables, ends[:-1], strict=True)]
    return TypeTable(
        np.concatenate([table.vocab_ids for table in tables]),
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        np.concatenate([table.ngram_ids for table in tables]),
    )


def open_shards(folder: Path, num_classes: int, front_end: TextFrontEnd) -> ShardedStore:
    """Open a folder whose index is written. Raises DataError if that is damaged; shards are looked at when
    they are read."""
    shards, fingerprint = read_index(folder)
    buckets = None if front_end.ngrams is None else front_end.ngrams.buckets
    return ShardedStore(
        folder, shards, fingerprint, num_classes, front_end.vocab_size, front_end.vocab_types, buckets
    )
