"""The loss of one batch and its gradients: cross-entropy, and what a recipe adds to it."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from grunlock.data.batches import Batch
from grunlock.layers.norm import frozen_statistics
from grunlock.models import NetworkInputs, SequenceClassifier, network_inputs
from grunlock.models.encoded import SteppedEncoder
from grunlock.objectives.losses import cross_entropies, distillation_losses, divergences, example_weights
from grunlock.recipe import Recipe
from grunlock.seeding import derive_seed, generator
from grunlock.training.perturbation import PerturbedPass
from grunlock.training.truncation import TruncatedPass


class BatchGradients:
    """What one recipe asks of a batch.

    Every sum over sequences is divided by the sum of their class weights, so that batches add up to the
    gradient of the whole set however it is cut.
    """

    def __init__(self, recipe: Recipe, model: SequenceClassifier, class_weights: Tensor | None) -> None:
        self._recipe = recipe
        self._model = model
        self._class_weights = class_weights

    def add(self, batch: Batch, weight: float, seed: int) -> float:
        """Add a batch's gradients, times `weight`, to the parameters. Returns its loss times `weight`.

        Whatever is random depends on the seed alone.
        """
        # Not torch.manual_seed: for devices that are not there it keeps a stack trace, half a millisecond.
        torch.default_generator.manual_seed(seed)
        inputs = network_inputs(batch.inputs, batch.layout)
        bptt_steps = self._recipe.training.bptt_steps

        def loss_of(logits: Tensor) -> Tensor:
            return weight * self.loss(logits, batch, seed)

        if bptt_steps is not None and len(batch.layout.batch_sizes) > bptt_steps:
            encoder = cast(SteppedEncoder, self._model.encoder)  # the recipe refuses bptt_steps for others
            return TruncatedPass(self._model, encoder, bptt_steps, seed).backward(inputs, loss_of)

        def mean_of(divergence: Tensor) -> Tensor:
            weights = example_weights(torch.from_numpy(batch.targets), self._class_weights)
            return weight * (weights * divergence).sum() / weights.sum()

        if self._recipe.adversarial is not None or self._recipe.virtual_adversarial is not None:
            return self._perturbed(inputs, seed, loss_of, mean_of)
        logits = self._model(inputs)
        loss = loss_of(logits)
        if self._recipe.rdrop is not None:
            other = self._model(inputs)  # the generator has gone on: other dropout
            apart = (divergences(logits, other) + divergences(other, logits)) / 2
            loss = (loss + loss_of(other)) / 2 + self._recipe.rdrop.weight * mean_of(apart)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def add_unlabelled(self, batch: Batch, weight: float, seed: int) -> float:
        """Add the gradients of the virtual adversarial loss of texts without labels, times `weight`. Returns
        that loss times `weight`."""
        options = self._recipe.virtual_adversarial
        assert options is not None  # the recipe refuses data.unlabelled without it
        torch.default_generator.manual_seed(seed)
        inputs = network_inputs(batch.inputs, batch.layout)
        passes = PerturbedPass(self._model, inputs, derive_seed(seed, "dropout", "answer"))
        with frozen_statistics(self._model):
            logits = passes.answer()
            loss = passes.virtual_adversarial(options, logits, lambda apart: weight * torch.mean(apart))
        passes.finish()
        return loss

    def _perturbed(
        self,
        inputs: NetworkInputs,
        seed: int,
        loss_of: Callable[[Tensor], Tensor],
        mean_of: Callable[[Tensor], Tensor],
    ) -> float:
        batch = PerturbedPass(self._model, inputs, derive_seed(seed, "dropout", "answer"))
        total, grad, logits = batch.plain(loss_of)
        with frozen_statistics(self._model):
            if self._recipe.adversarial is not None:
                total += batch.adversarial(self._recipe.adversarial, grad, loss_of)
            if self._recipe.virtual_adversarial is not None:
                total += batch.virtual_adversarial(self._recipe.virtual_adversarial, logits, mean_of)
        batch.finish()
        return total

    def loss(self, logits: Tensor, batch: Batch, seed: int) -> Tensor:
        """Mean over the sequences, in nats."""
        targets = torch.from_numpy(batch.targets)
        weights = example_weights(targets, self._class_weights)
        if self._recipe.mixup is None:
            return self._terms(logits, batch, torch.arange(len(targets))).sum() / weights.sum()
        # The head is linear: mixed pooled vectors and mixed logits are the same thing.
        rng, alpha = generator(seed, "mixup"), self._recipe.mixup.alpha
        shares = torch.from_numpy(rng.beta(alpha, alpha, len(targets))).to(logits.dtype)
        partners = torch.from_numpy(rng.permutation(len(targets)))
        mixed = torch.lerp(logits[partners], logits, shares[:, None])
        own = self._terms(mixed, batch, torch.arange(len(targets)))
        other = self._terms(mixed, batch, partners)
        total = torch.lerp(weights[partners], weights, shares).sum()
        return torch.lerp(other, own, shares).sum() / total

    def _terms(self, logits: Tensor, batch: Batch, of: Tensor) -> Tensor:
        """[B]: each sequence's cross-entropy with the targets of the sequences `of` [B], times its weight."""
        targets = torch.from_numpy(batch.targets)[of]
        losses = cross_entropies(logits, targets, self._recipe.loss.label_smoothing, self._class_weights)
        distillation = self._recipe.distillation
        if distillation is None or batch.teacher is None:
            return losses
        teacher = torch.from_numpy(batch.teacher)[of]
        taught = distillation_losses(logits, teacher, distillation.temperature)
        return torch.lerp(losses, example_weights(targets, self._class_weights) * taught, distillation.weight)
