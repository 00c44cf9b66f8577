"""Between the forms in which users hold sequences and the packed form in which layers compute."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from grunlock.errors import ShapeError

Form = Literal["packed", "padded", "unbatched"]


@dataclass(frozen=True)
class Packed:
    """A batch as layers see it, with what is needed to give the user's form back."""

    rows: Tensor  # [N, D]
    batch_sizes: Tensor  # [T] int64 on the CPU
    sorted_indices: Tensor | None  # [B] the caller's index of each sequence, longest first
    unsorted_indices: Tensor | None  # [B] the inverse
    form: Form
    padded_steps: int  # T of the caller's padded tensor, which may exceed the longest length

    def sort(self, state: Tensor) -> Tensor:
        """State [L, B, H] from the caller's order into packed order."""
        return state if self.sorted_indices is None else state.index_select(1, self.sorted_indices)

    def unsort(self, state: Tensor) -> Tensor:
        """State [L, B, H] back into the caller's order; [L, H] if the input was unbatched."""
        if self.unsorted_indices is not None:
            state = state.index_select(1, self.unsorted_indices)
        return state.squeeze(1) if self.form == "unbatched" else state

    def restore(self, rows: Tensor, batch_first: bool) -> Tensor | PackedSequence:
        """Output rows [N, E] in the form the input had; padded steps are zero."""
        packed = PackedSequence(rows, self.batch_sizes, self.sorted_indices, self.unsorted_indices)
        if self.form == "packed":
            return packed
        padded, _ = pad_packed_sequence(packed, batch_first, total_length=self.padded_steps)
        return padded.squeeze(0 if batch_first else 1) if self.form == "unbatched" else padded


def pack(
    sequences: Tensor | PackedSequence, lengths: Tensor | None, batch_first: bool, input_size: int
) -> Packed:
    """Pack padded [T, B, D] (or [B, T, D]), unbatched [T, D], or take a PackedSequence as it is.

    `lengths` [B] are the real steps of padded sequences, in any order; without it all are real.
    Raises ShapeError if sizes or lengths cannot be right.
    """
    if isinstance(sequences, PackedSequence):
        if lengths is not None:
            raise ShapeError("A PackedSequence knows its lengths.", got="lengths as well")
        _check_width(sequences.data, input_size)
        data, sizes, order, inverse = sequences
        return Packed(data, sizes, order, inverse, "packed", len(sizes))
    if sequences.dim() not in (2, 3):
        raise ShapeError("Unknown form of input.", got=list(sequences.shape), expected="2 or 3 dimensions")
    _check_width(sequences, input_size)
    form: Form = "unbatched" if sequences.dim() == 2 else "padded"
    if form == "unbatched":
        sequences = sequences.unsqueeze(0 if batch_first else 1)
    time, batch = (1, 0) if batch_first else (0, 1)
    steps = sequences.shape[time]
    if lengths is None:
        lengths = torch.full((sequences.shape[batch],), steps, dtype=torch.int64)
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
    data, sizes, order, inverse = pack_padded_sequence(sequences, lengths, batch_first, enforce_sorted=False)
    return Packed(data, sizes, order, inverse, form, steps)


def _check_width(data: Tensor, input_size: int) -> None:
    if data.shape[-1] != input_size:
        raise ShapeError("The input has the wrong width.", got=data.shape[-1], expected=f"D = {input_size}")
