"""What every encoder is, and what it gives."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from grunlock.layers.packing import IndexedRows
from grunlock.shapes import last_rows


@dataclass(frozen=True)
class EncodedSequences:
    """What pooling reads."""

    rows: Tensor  # [N, E] state after every step, packed
    final: Tensor  # [B, E] state after the last step, of each direction
    batch_sizes: Tensor  # [T] of the rows: the input's steps, or chunks of them


class Encoder(Protocol):
    """From packed vectors to packed states, steps of different sequences kept apart."""

    output_size: int  # E

    def __call__(self, rows: IndexedRows) -> EncodedSequences: ...


# Of each layer the state, or an LSTM's two, each [directions, B, H].
CarriedStates = list[tuple[Tensor, ...]]


class SteppedEncoder(Encoder, Protocol):
    """One that can go on from its states: it reads forward in time only."""

    def advance(
        self, rows: IndexedRows, states: CarriedStates | None
    ) -> tuple[EncodedSequences, CarriedStates]:
        """Encode the next steps of the sequences. states: after the steps before, None at the first."""
        ...


def beside(inputs: Tensor, encoded: EncodedSequences) -> EncodedSequences:
    """Each step's input and its state in one row, [N, D] and [N, E] to [N, D + E]."""
    also = ending_at_last_step(inputs, encoded.batch_sizes)
    return EncodedSequences(
        torch.cat([also.rows, encoded.rows], dim=1),
        torch.cat([also.final, encoded.final], dim=1),
        encoded.batch_sizes,
    )


def ending_at_last_step(rows: Tensor, batch_sizes: Tensor) -> EncodedSequences:
    """States [N, E] that have no direction: the final one is that of the last step."""
    last = torch.from_numpy(last_rows(batch_sizes.numpy()))
    return EncodedSequences(rows, rows.index_select(0, last), batch_sizes)
