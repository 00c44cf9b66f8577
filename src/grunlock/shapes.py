"""Dimension letters, shape checks, and the packed layout in which every batch lives.

Letters, used in all docstrings and kernels:

    B  sequences in the batch            N  real steps in the batch, sum of all lengths
    T  steps of the longest sequence     U  distinct tokens in the batch
    D  input_size                        V  vocab_size
    H  hidden_size                       K  num_classes
    L  num_layers

Packed, time-major order is torch's PackedSequence: sequences sorted longest first, then all
first steps, all second steps, and so on. batch_sizes[t] says how many sequences still run at t.

    lengths 3, 1, 2 of sequences a, b, c   ->   order a, c, b
    rows    a0 c0 b0 | a1 c1 | a2          ->   batch_sizes 3 2 1

A single sequence is dealt with apart: a served model reads one at a time, and finding out where its steps lie
took longer than the network itself.

This module knows numpy only, so that training and the torch-free runtime share it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import ShapeError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class PackedLayout:
    """Where the steps of a batch lie. Made by `pack_layout` only.

    lengths:     [B] real steps per sequence, longest first, each at least 1
    batch_sizes: [T] sequences still running at each step, never growing
    order:       [B] position in the caller's batch of each sequence here
    rows:        [N] position in the caller's concatenated sequences of each packed row
    """

    lengths: IntArray
    batch_sizes: IntArray
    order: IntArray
    rows: IntArray

    @property
    def num_sequences(self) -> int:
        return len(self.lengths)

    @property
    def num_rows(self) -> int:
        return len(self.rows)


def pack_layout(lengths: IntArray) -> PackedLayout:
    """Lay out sequences of the given lengths [B] (caller's order, concatenated one after another).

    Sequences of equal length keep the caller's order, so the layout is a pure function of lengths.

    Raises ShapeError if there is no sequence or one has no step.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if lengths.ndim != 1 or len(lengths) == 0:
        raise ShapeError("A batch needs at least one sequence.", got=f"lengths of shape {lengths.shape}")
    if lengths.min() < 1:
        raise ShapeError(
            "Every sequence needs at least one step.",
            where=f"sequence {int(lengths.argmin())}",
            got=f"length {int(lengths.min())}",
            expected="a length of 1 or more",
        )
    if len(lengths) == 1:
        steps = int(lengths[0])
        return PackedLayout(lengths, np.ones(steps, np.int64), np.zeros(1, np.int64), np.arange(steps))
    order = np.argsort(-lengths, kind="stable")
    sorted_lengths = lengths[order]
    longest = int(sorted_lengths[0])
    running = np.bincount(sorted_lengths, minlength=longest + 1)  # sequences that end at each length
    batch_sizes = len(lengths) - np.cumsum(running)[:longest]
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))[order]
    # Sequence-major [B, T] positions, transposed, then only the real ones: time-major packed order.
    step, member = row_places(batch_sizes)
    return PackedLayout(sorted_lengths, batch_sizes, order, starts[member] + step)


def sequence_major_rows(batch_sizes: IntArray) -> IntArray:
    """Packed row [N] of each step when sequences are read one after another, longest first."""
    if batch_sizes[0] == 1:
        return np.arange(len(batch_sizes))
    first_row = np.cumsum(batch_sizes) - batch_sizes
    lengths = sequence_lengths(batch_sizes)
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    step = np.arange(len(sequence)) - (np.cumsum(lengths) - lengths)[sequence]
    result: IntArray = first_row[step] + sequence
    return result


def sequence_lengths(batch_sizes: IntArray) -> IntArray:
    """Steps [B] of each sequence, longest first."""
    if batch_sizes[0] == 1:
        return np.array([len(batch_sizes)])
    ends = batch_sizes - np.append(batch_sizes[1:], 0)  # [T] sequences whose last step it is
    return np.repeat(np.arange(len(batch_sizes), 0, -1), ends[::-1])


@dataclass(frozen=True)
class ChunkLayout:
    """A packed batch whose sequences are cut into chunks of so many steps. Made by `chunk_layout` only.

    inner: the chunks as sequences of their own; its rows count in the batch's steps, sequence after sequence
    outer: of each sequence its chunks as steps; its rows count in all chunks, sequence after sequence
    """

    inner: PackedLayout
    outer: PackedLayout


def chunk_layout(lengths: IntArray, chunk_steps: int) -> ChunkLayout:
    """lengths: [B], longest first. The last chunk of a sequence may be shorter."""
    counts = -(-lengths // chunk_steps)
    sequence = np.repeat(np.arange(len(lengths)), counts)
    place = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
    sizes = np.minimum(chunk_steps, lengths[sequence] - place * chunk_steps)
    return ChunkLayout(pack_layout(sizes), pack_layout(counts))


def row_places(batch_sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Step [N] and sequence [N] (0 is the longest) of each packed row."""
    if batch_sizes[0] == 1:
        return np.arange(len(batch_sizes)), np.zeros(len(batch_sizes), np.int64)
    first_row = np.cumsum(batch_sizes) - batch_sizes
    step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    return step, np.arange(len(step)) - first_row[step]


def range_rows(starts: IntArray, counts: IntArray) -> IntArray:
    """starts[0], starts[0] + 1, ... as many as counts[0] says, then those of the next, and so on."""
    shifts = np.repeat(starts - counts.cumsum() + counts, counts)
    result: IntArray = np.arange(len(shifts)) + shifts
    return result


def centred_window(width: int) -> tuple[int, ...]:
    """Offsets of a window of `width` steps around a step; an even width has one more behind."""
    return tuple(range(-(width // 2), (width + 1) // 2))


def shifted_rows(batch_sizes: IntArray, shift: int) -> IntArray:
    """Packed row [N] of the same sequence `shift` steps later; N where it has no such step."""
    step, sequence = row_places(batch_sizes)
    first_row = np.cumsum(batch_sizes) - batch_sizes
    target = step + shift
    inside = (target >= 0) & (target < len(batch_sizes))
    clipped = np.where(inside, target, 0)
    inside &= sequence < batch_sizes[clipped]
    result: IntArray = np.where(inside, first_row[clipped] + sequence, len(step))
    return result


def last_rows(batch_sizes: IntArray) -> IntArray:
    """Packed row [B] of each sequence's last step, longest first."""
    first_row = np.cumsum(batch_sizes) - batch_sizes
    lengths = sequence_lengths(batch_sizes)
    result: IntArray = first_row[lengths - 1] + np.arange(len(lengths))
    return result


def check_shape(name: str, shape: tuple[int, ...], expected: tuple[int | None, ...], letters: str) -> None:
    """Raise ShapeError unless `shape` matches `expected` (None matches any size).

    `letters` is the shape in words, such as "[N, 3H]", for the message.
    """
    same_rank = len(shape) == len(expected)
    if not same_rank or any(e is not None and e != s for s, e in zip(shape, expected, strict=True)):
        sizes = ", ".join("any" if size is None else str(size) for size in expected)
        raise ShapeError(f"`{name}` has the wrong shape.", got=list(shape), expected=f"{letters} = [{sizes}]")


def check_batch_sizes(batch_sizes: Sequence[int], num_rows: int) -> None:
    """Raise ShapeError unless these steps have that many rows and sequences only leave."""
    sizes = list(batch_sizes)
    if not sizes or sizes[-1] < 1 or sum(sizes) != num_rows or sizes != sorted(sizes, reverse=True):
        raise ShapeError(
            "The steps do not fit the packed rows.",
            got=f"batch_sizes {sizes[:8]}{' ...' if len(sizes) > 8 else ''}, {sum(sizes)} in all",
            expected=f"sizes of at least 1 that never grow, {num_rows} in all",
        )
