"""Adversarial and virtual adversarial training: the loss where the embedded sequence is moved (Miyato 2017).

A sequence's vectors are moved together, by a share of their common length. So the network cannot escape by
growing its embedding, which Miyato prevents by normalising it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from grunlock.layers.dropout import sequence_of_row
from grunlock.layers.packing import IndexedRows
from grunlock.models import NetworkInputs, SequenceClassifier
from grunlock.objectives.losses import divergences
from grunlock.recipe.regularization_options import AdversarialOptions, VirtualAdversarialOptions

TINY = 1e-12


class PerturbedPass:
    """One batch embedded once, and answered at its vectors and at moved ones.

    Every answer has the same dropout, which `seed` decides: only the move makes a difference. Gradients reach
    the parameters behind the embedding at once and the embedding at the end, in `finish`.
    """

    def __init__(self, model: SequenceClassifier, inputs: NetworkInputs, seed: int) -> None:
        self._model = model
        self._inputs = inputs
        self._seed = seed
        embedded: IndexedRows = model.embedding(inputs)
        self._sizes = embedded.batch_sizes
        self._embedded = embedded.spread()  # [N, D]
        self._rows = self._embedded.detach()
        self._sequences = sequence_of_row(embedded.batch_sizes.tolist())  # [N]
        self._grad = torch.zeros_like(self._rows)

    def plain(self, loss_of: Callable[[Tensor], Tensor]) -> tuple[float, Tensor, Tensor]:
        """Add the gradients of loss_of(logits). Returns the loss, its gradient [N, D], the logits [B, K]."""
        rows = self._rows.clone().requires_grad_()
        logits = self._answer(rows)
        loss = loss_of(logits)
        loss.backward()  # type: ignore[no-untyped-call]
        assert rows.grad is not None
        self._grad += rows.grad
        return loss.item(), rows.grad, logits.detach()

    @torch.no_grad()
    def answer(self) -> Tensor:
        """Logits [B, K] at the vectors as they are, without gradients."""
        return self._answer(self._rows)

    def adversarial(
        self, options: AdversarialOptions, grad: Tensor, loss_of: Callable[[Tensor], Tensor]
    ) -> float:
        """Add the gradients of the loss at vectors moved along `grad` [N, D], which count as given."""
        return self._at(self._along(grad, options.epsilon), lambda logits: options.weight * loss_of(logits))

    def virtual_adversarial(
        self, options: VirtualAdversarialOptions, logits: Tensor, mean: Callable[[Tensor], Tensor]
    ) -> float:
        """Add the gradients of the mean divergence from `logits` [B, K] at moved vectors.

        They are moved to where it grows fastest: one step of the power method from a random direction.
        """
        torch.default_generator.manual_seed(self._seed)
        probe = self._along(torch.randn_like(self._rows), options.probe).requires_grad_()
        rise = divergences(logits, self._answer(self._rows + probe)).sum()
        (direction,) = torch.autograd.grad(rise, probe)
        move = self._along(direction, options.epsilon)
        return self._at(move, lambda moved: options.weight * mean(divergences(logits, moved)))

    def finish(self) -> None:
        """Send the gradients that reached the vectors on to the embedding."""
        if self._embedded.requires_grad:
            self._embedded.backward(self._grad)  # type: ignore[no-untyped-call]

    def _at(self, move: Tensor, loss_of: Callable[[Tensor], Tensor]) -> float:
        rows = (self._rows + move).requires_grad_()
        loss = loss_of(self._answer(rows))
        loss.backward()  # type: ignore[no-untyped-call]
        assert rows.grad is not None
        self._grad += rows.grad
        return loss.item()

    def _answer(self, rows: Tensor) -> Tensor:
        torch.default_generator.manual_seed(self._seed)
        return self._model.answer(IndexedRows.of_rows(rows, self._sizes), self._inputs)

    def _along(self, direction: Tensor, share: float) -> Tensor:
        """[N, D] moves in a direction, each sequence's `share` of its own length."""
        factors = share * self._lengths(self._rows) / self._lengths(direction).clamp_min(TINY)
        return direction * factors[self._sequences, None]

    def _lengths(self, rows: Tensor) -> Tensor:  # [N, D] -> [B]
        squares = rows.square().sum(dim=1)
        return torch.zeros(int(self._sizes[0])).index_add_(0, self._sequences, squares).sqrt()
