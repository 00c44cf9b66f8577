"""Between the forms in which users hold sequences and the packed form in which layers compute."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from grunlock.errors import ShapeError


@dataclass(frozen=True)
class IndexedRows:
    """A packed batch, longest sequence first, in which equal rows stand once: row n is vectors[index[n]].

    Layers take it beside PackedSequence and give a PackedSequence back. Work on the vectors, be it a
    norm or a projection, is then done U times instead of N times.
    """

    vectors: Tensor  # [U, D]
    index: Tensor  # [N] int64, each in [0, U)
    batch_sizes: Tensor  # [T] int64 on the CPU, as in PackedSequence

    @classmethod
    def of_rows(cls, rows: Tensor, batch_sizes: Tensor) -> "IndexedRows":
        """Packed rows [N, D] of which each stands for itself."""
        return cls(rows, torch.arange(len(rows)), batch_sizes)

    def spread(self) -> Tensor:
        """[N, D]: every packed row's vector."""
        return self.vectors.index_select(0, self.index)

    def counts(self) -> Tensor:
        """[U] int64: how many packed rows read each vector."""
        return torch.bincount(self.index, minlength=len(self.vectors))


@dataclass(frozen=True)
class Packed:
    """A batch as layers see it, with what is needed to give the user's form back."""

    rows: Tensor  # [U, D], or [N, D] without index
    index: Tensor | None  # [N] int64
    batch_sizes: Sequence[int]  # [T]
    unbatched: bool = False
    layout: PackedSequence | None = None  # None: every sequence has T steps, in the caller's order
    padded_steps: int | None = None  # T of the caller's padded tensor with lengths; None: came packed

    def sort(self, state: Tensor) -> Tensor:
        """State [L, B, H] from the caller's order into packed order; [L, H] if the input was unbatched."""
        if self.unbatched:
            state = state.unsqueeze(1)
        if self.layout is None or self.layout.sorted_indices is None:
            return state
        return state.index_select(1, self.layout.sorted_indices)

    def unsort(self, state: Tensor) -> Tensor:
        """State [L, B, H] back into the caller's order and form."""
        if self.layout is not None and self.layout.unsorted_indices is not None:
            state = state.index_select(1, self.layout.unsorted_indices)
        return state.squeeze(1) if self.unbatched else state

    def restore(self, rows: Tensor, batch_first: bool) -> Tensor | PackedSequence:
        """Output rows [N, E] in the form the input had; padded steps are zero."""
        if self.layout is None:
            if self.unbatched:
                return rows
            padded = rows.view(len(self.batch_sizes), -1, rows.shape[1])
            return padded.transpose(0, 1) if batch_first else padded
        packed = self.layout._replace(data=rows)
        if self.padded_steps is None:
            return packed
        padded, _ = pad_packed_sequence(packed, batch_first, total_length=self.padded_steps)
        return padded.squeeze(0 if batch_first else 1) if self.unbatched else padded


def pack(
    sequences: Tensor | PackedSequence | IndexedRows,
    lengths: Tensor | None,
    batch_first: bool,
    input_size: int,
) -> Packed:
    """Pack padded [T, B, D] (or [B, T, D]), unbatched [T, D], or take packed rows as they are.

    `lengths` [B] are the real steps of padded sequences, in any order; without it all are real.
    Raises ShapeError if sizes or lengths cannot be right.
    """
    if not isinstance(sequences, Tensor):
        return _take_packed(sequences, lengths, input_size)
    shape = sequences.shape
    if len(shape) not in (2, 3):
        raise ShapeError("Unknown form of input.", got=list(shape), expected="2 or 3 dimensions")
    _check_width(shape[-1], input_size)
    if lengths is not None:
        return _pack_lengths(sequences, lengths, batch_first)
    if 0 in shape[:-1]:
        raise ShapeError("The input is empty.", got=list(shape), expected="one sequence of one step or more")
    if len(shape) == 2:
        return Packed(sequences, None, [1] * shape[0], unbatched=True)
    if batch_first:
        sequences = sequences.transpose(0, 1)
    steps, batch, _ = sequences.shape
    return Packed(sequences.reshape(steps * batch, input_size), None, [batch] * steps)


def _take_packed(sequences: PackedSequence | IndexedRows, lengths: Tensor | None, input_size: int) -> Packed:
    if lengths is not None:
        raise ShapeError(f"A {type(sequences).__name__} knows its lengths.", got="lengths as well")
    sizes = sequences.batch_sizes
    if isinstance(sequences, IndexedRows):
        _check_width(sequences.vectors.shape[-1], input_size)
        layout = PackedSequence(sequences.vectors, sizes)
        return Packed(sequences.vectors, sequences.index, sizes.tolist(), layout=layout)
    _check_width(sequences.data.shape[-1], input_size)
    return Packed(sequences.data, None, sizes.tolist(), layout=sequences)


def _pack_lengths(sequences: Tensor, lengths: Tensor, batch_first: bool) -> Packed:
    unbatched = sequences.dim() == 2
    if unbatched:
        sequences = sequences.unsqueeze(0 if batch_first else 1)
    time, batch = (1, 0) if batch_first else (0, 1)
    steps = sequences.shape[time]
    lengths = lengths.detach().to("cpu", torch.int64)
    if lengths.shape != (sequences.shape[batch],) or len(lengths) == 0:
        raise ShapeError(
            "`lengths` does not fit the batch.",
            got=list(lengths.shape),
            expected=f"[B] = [{sequences.shape[batch]}], B at least 1",
        )
    if int(lengths.min()) < 1 or int(lengths.max()) > steps:
        raise ShapeError(
            "`lengths` does not fit the sequences.",
            got=f"from {int(lengths.min())} to {int(lengths.max())}",
            expected=f"from 1 to {steps}",
        )
    layout = pack_padded_sequence(sequences, lengths, batch_first, enforce_sorted=False)
    return Packed(layout.data, None, layout.batch_sizes.tolist(), unbatched, layout, steps)


def _check_width(width: int, input_size: int) -> None:
    if width != input_size:
        raise ShapeError("The input has the wrong width.", got=width, expected=f"D = {input_size}")
