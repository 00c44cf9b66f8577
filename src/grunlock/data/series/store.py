"""Labelled series on disk: what a ragged store holds of them, missing values included, and batches of them.

A folder that exists under its final name is complete.
"""

import hashlib
from collections.abc import Iterator, Sequence
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
from grunlock.data.series.augmentation import augment
from grunlock.errors import ShapeError
from grunlock.recipe.schema import ExampleBatches, TokenBatches
from grunlock.seeding import generator
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray, IntArray, check_shape, pack_layout

STEPS = RowKind("steps", "<f4", wide=True)


@dataclass(frozen=True)
class SeriesStore:
    """Series as arrays. Made by `open_series_store` only.

    values:      [all steps, C] float32, one series after another, NaN where missing, on disk
    offsets:     [series + 1] int64, where each series starts in values
    targets:     [series] int32 class indices
    fingerprint: sha256 over the channels' names and each series' label and values
    front_end:   how values become what a network reads
    """

    values: FloatArray
    offsets: IntArray
    targets: Int32Array
    fingerprint: str
    front_end: SeriesFrontEnd

    @property
    def num_examples(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> IntArray:
        """[series]"""
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
        """Fetch some series and lay their features out packed."""
        values, lengths = self._fetch(examples)
        return self._packed(self.front_end.features(values, lengths), lengths, examples)

    def training_batch(self, examples: IntArray, seed: int) -> Batch:
        """As `batch`, changed as the options of augmentation say; equal seeds change equally."""
        values, lengths = self._fetch(examples)
        standardised = self.front_end.standardize(values, lengths)
        rng = generator(seed, "augmentation")
        standardised, lengths = augment(standardised, lengths, self.front_end.options, rng)
        return self._packed(self.front_end.columns(standardised, lengths), lengths, examples)

    def joined(self, other: "SeriesStore") -> "SeriesStore":
        """Its series, then those of another split of the same data, in memory."""
        return SeriesStore(
            np.concatenate([self.values, other.values]),
            joined_offsets(self.offsets, other.offsets),
            np.concatenate([self.targets, other.targets]),
            joined_fingerprint(self.fingerprint, other.fingerprint),
            self.front_end,
        )

    def _fetch(self, examples: IntArray) -> tuple[FloatArray, IntArray]:
        """Values [steps, C] of some series one after another, and their lengths."""
        parts = [self.values[self.offsets[i] : self.offsets[i + 1]] for i in examples.tolist()]
        return np.concatenate(parts), self.offsets[examples + 1] - self.offsets[examples]

    def _packed(self, features: FloatArray, lengths: IntArray, examples: IntArray) -> Batch:
        layout = pack_layout(lengths)
        packed = examples[layout.order]
        return Batch(layout, features[layout.rows], self.targets[packed].astype(np.int64), packed)


class SeriesStoreWriter:
    """Appends series to a store that is being written. Made by `writing_series_store` only."""

    def __init__(self, rows: RaggedWriter, channels: Sequence[str], labels: Sequence[str]) -> None:
        self._rows = rows
        self._num_channels = len(channels)
        self._labels = labels
        self._digest = hashlib.sha256()
        for channel in channels:
            self._add_to_digest(channel.encode())

    @property
    def num_examples(self) -> int:
        return self._rows.num_examples

    def append(self, values: FloatArray, lengths: IntArray, targets: Int32Array) -> None:
        """Add series of the given lengths [B], concatenated in values [steps, C], with class indices [B].

        Raises ShapeError if the sizes disagree, StorageError if the disk is full.
        """
        check_shape("values", values.shape, (None, self._num_channels), "[steps, C]")
        check_shape("targets", targets.shape, lengths.shape, "[B]")
        if int(lengths.sum()) != len(values):
            raise ShapeError(
                "The lengths do not add up to the steps.", got=int(lengths.sum()), expected=len(values)
            )
        values = np.array(values, np.dtype(STEPS.dtype))
        # Many bit patterns are NaN; the fingerprint must not tell them apart.
        values[np.isnan(values)] = np.nan
        self._rows.append(values, lengths, targets)
        ends = np.cumsum(lengths).tolist()
        for end, length, target in zip(ends, lengths.tolist(), targets.tolist(), strict=True):
            self._add_to_digest(self._labels[target].encode())
            self._add_to_digest(values[end - length : end].tobytes())

    def fingerprint(self) -> str:
        """Of what was appended so far."""
        return self._digest.hexdigest()

    def _add_to_digest(self, data: bytes) -> None:
        self._digest.update(len(data).to_bytes(8, "little") + data)


@contextmanager
def writing_series_store(
    folder: Path, channels: Sequence[str], labels: Sequence[str]
) -> Iterator[SeriesStoreWriter]:
    """Write a store into `folder`, which appears, complete, when the block ends well.

    channels: [C] names
    labels:   class names, in the order of class indices, for the fingerprint

    A block that fails leaves nothing behind. Raises StorageError if the disk is full.
    """
    with writing_ragged(folder, STEPS, len(channels)) as (rows, facts):
        writer = SeriesStoreWriter(rows, channels, labels)
        yield writer
        facts["channels"] = list(channels)
        facts["fingerprint"] = writer.fingerprint()


def open_series_store(folder: Path, front_end: SeriesFrontEnd) -> SeriesStore:
    """Map a store. Raises DataError if it is missing or its files do not fit each other or the front end."""
    stored = open_ragged(folder, STEPS)
    if not {"channels", "fingerprint"} <= set(stored.facts):
        raise damaged_store(folder, "no channels or no fingerprint")
    channels = tuple(stored.facts["channels"])
    if channels != front_end.channels or len(channels) != stored.rows.shape[1]:
        raise damaged_store(
            folder,
            f"channels {', '.join(channels)} and {stored.rows.shape[1]} values a step, "
            f"expected {', '.join(front_end.channels)}",
        )
    return SeriesStore(stored.rows, stored.offsets, stored.targets, stored.facts["fingerprint"], front_end)
