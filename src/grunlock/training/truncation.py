"""Truncated back-propagation through time: states go on from stretch to stretch, gradients do not.

A sequence is cut into stretches of bptt_steps. The first pass runs them without gradients, for pooling and
loss; the second runs each again, from the same states and with the same dropout masks, and sends the
gradients that reach its own states back through it alone. So only one stretch's activations are ever in
memory, and the result is exactly the gradient of the network whose states are detached between stretches.
Costs one more forward pass. Masks are drawn anew for each stretch (as Merity 2017 does).

Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
trajectories".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from grunlock.layers.packing import IndexedRows
from grunlock.models import NetworkInputs, SequenceClassifier
from grunlock.models.encoded import CarriedStates, EncodedSequences, SteppedEncoder
from grunlock.models.streamed_pooling import StreamedPooling
from grunlock.seeding import derive_seed


@dataclass(frozen=True)
class Stretch:
    """Some steps of a batch: packed rows [first_row, last_row) and the batch_sizes of the steps."""

    place: int
    first_row: int
    last_row: int
    batch_sizes: Tensor
    num_going_on: int  # sequences that have a step behind it

    @property
    def ending(self) -> Tensor:
        """[sequences of the stretch] bool: its last step is here."""
        return torch.arange(int(self.batch_sizes[0])) >= self.num_going_on


def stretches(batch_sizes: Tensor, bptt_steps: int) -> Iterator[Stretch]:
    first_row = 0
    for place, sizes in enumerate(torch.split(batch_sizes, bptt_steps)):
        last_row, after = first_row + int(sizes.sum()), (place + 1) * bptt_steps
        going_on = int(batch_sizes[after]) if after < len(batch_sizes) else 0
        yield Stretch(place, first_row, last_row, sizes, going_on)
        first_row = last_row


class TruncatedPass:
    """One batch's loss and gradients."""

    def __init__(
        self, model: SequenceClassifier, encoder: SteppedEncoder, bptt_steps: int, seed: int
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._bptt_steps = bptt_steps
        self._seed = seed

    def backward(self, inputs: NetworkInputs, loss_of: Callable[[Tensor], Tensor]) -> float:
        """Add the gradients of loss_of(logits [B, K]) to the parameters. Returns the loss."""
        embedded = self._model.embedding(inputs)
        vectors = embedded.vectors.detach().requires_grad_(embedded.vectors.requires_grad)
        rows = IndexedRows(vectors, embedded.index, embedded.batch_sizes)
        parts = self._model.pooling.parts
        pooling = StreamedPooling(parts, inputs.lengths, self._encoder.output_size, vectors.dtype)
        with torch.no_grad():
            for stretch, encoded in self._encode(rows):
                pooling.add(encoded, stretch.batch_sizes)
        pooled = pooling.pooled().requires_grad_()
        torch.default_generator.manual_seed(derive_seed(self._seed, "dropout", "head"))
        loss = loss_of(self._model.logits_of(pooled, inputs))
        loss.backward()  # type: ignore[no-untyped-call]
        assert pooled.grad is not None
        for stretch, encoded in self._encode(rows):
            grads = pooling.gradients(pooled.grad, encoded, stretch.batch_sizes, stretch.ending)
            torch.autograd.backward((encoded.rows, encoded.final), grads)
        if vectors.grad is not None:
            embedded.vectors.backward(vectors.grad)
        return float(loss.detach())

    def _encode(self, rows: IndexedRows) -> Iterator[tuple[Stretch, EncodedSequences]]:
        """Each stretch's states, from those before it, which count as given."""
        states: CarriedStates | None = None
        for stretch in stretches(rows.batch_sizes, self._bptt_steps):
            torch.default_generator.manual_seed(derive_seed(self._seed, "dropout", stretch.place))
            index = rows.index[stretch.first_row : stretch.last_row]
            part = IndexedRows(rows.vectors, index, stretch.batch_sizes)
            encoded, states = self._encoder.advance(part, states)
            states = [tuple(state.detach()[:, : stretch.num_going_on] for state in layer) for layer in states]
            yield stretch, encoded
