"""The training loss and its class weights. Metrics, which need no torch, live in metrics.py."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from grunlock.errors import DataError, RecipeError
from grunlock.shapes import check_shape

WEIGHTS_KEY = "loss.class_weights"


def cross_entropy(
    logits: Tensor,  # [B, K]
    targets: Tensor,  # [B] class indices
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,  # [K]
) -> Tensor:  # scalar, nats per sequence
    """Cross-entropy of softmax(logits), as torch.nn.functional.cross_entropy gives it.

        loss = -sum_i w[t_i] log p[i, t_i] / sum_i w[t_i]          w = 1 without class weights

    With label smoothing s the target is (1 - s) of the label and s / K of every class.

    Raises ShapeError if the sizes disagree.
    """
    losses = cross_entropies(logits, targets, label_smoothing, class_weights)
    return losses.sum() / example_weights(targets, class_weights).sum()


def cross_entropies(
    logits: Tensor,  # [B, K]
    targets: Tensor,  # [B] class indices
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,  # [K]
) -> Tensor:  # [B]
    """The terms of `cross_entropy`, each times its weight."""
    num_sequences, num_classes = logits.shape
    check_shape("targets", tuple(targets.shape), (num_sequences,), "[B]")
    if class_weights is not None:
        check_shape("class_weights", tuple(class_weights.shape), (num_classes,), "[K]")
    return functional.cross_entropy(
        logits, targets, class_weights, label_smoothing=label_smoothing, reduction="none"
    )


def example_weights(targets: Tensor, class_weights: Tensor | None) -> Tensor:  # [B] -> [B]
    """The weight of each sequence's class, 1 without class weights."""
    return torch.ones(len(targets)) if class_weights is None else class_weights[targets]


def divergences(logits: Tensor, others: Tensor) -> Tensor:  # [B, K] twice -> [B]
    """KL(softmax(logits) || softmax(others)) of each sequence, in nats."""
    log_probs = functional.log_softmax(logits, dim=1)
    return (log_probs.exp() * (log_probs - functional.log_softmax(others, dim=1))).sum(dim=1)


def distillation_losses(
    logits: Tensor,  # [B, K] of the student
    probs: Tensor,  # [B, K] of the teacher
    temperature: float,
) -> Tensor:  # [B]
    """T^2 KL(q || p), both softened: q_k ~ probs_k^(1/T), p = softmax(logits / T) (Hinton 2015, 1503.02531).

    The factor keeps the size of its gradients where the temperature changes.
    """
    check_shape("probs", tuple(probs.shape), tuple(logits.shape), "[B, K]")
    teacher = torch.log(probs.clamp_min(torch.finfo(probs.dtype).tiny))
    return temperature**2 * divergences(teacher / temperature, logits / temperature)


def class_weights(
    weights: Literal["balanced"] | Mapping[str, float] | None,
    label_counts: Sequence[int],  # training examples of each label
    labels: Sequence[str],
) -> Tensor | None:  # [K]
    """Class weights of a recipe.

    "balanced": n / (K * count), so that every class weighs the same in sum. A table: its weight for a
    label it names, 1 for the others.

    Raises RecipeError for labels that do not exist, DataError where a balanced weight has no value.
    """
    if weights is None:
        return None
    if weights == "balanced":
        return _balanced(label_counts, labels)
    _refuse_unknown(weights, labels)
    return torch.tensor([weights.get(label, 1.0) for label in labels])


def _balanced(label_counts: Sequence[int], labels: Sequence[str]) -> Tensor:
    missing = [label for label, count in zip(labels, label_counts, strict=True) if count == 0]
    if missing:
        raise DataError(
            "A label without a training example has no balanced weight.",
            where=WEIGHTS_KEY,
            got=", ".join(repr(label) for label in missing),
            expected="at least one training example of each label",
            cure="add examples, leave the label out, or give weights in a table",
        )
    total, num_classes = sum(label_counts), len(labels)
    return torch.tensor([total / (num_classes * count) for count in label_counts])


def _refuse_unknown(weights: Mapping[str, float], labels: Sequence[str]) -> None:
    problems = []
    for label in weights:
        if label not in labels:
            near = difflib.get_close_matches(label, labels, n=1, cutoff=0.0)
            problems.append(
                RecipeError(
                    "No such label in the data.",
                    where=f"{WEIGHTS_KEY}.{label}",
                    got=repr(label),
                    cure=f"did you mean {near[0]!r}?" if near else None,
                )
            )
    if problems:
        raise RecipeError("The class weights name labels that do not exist.", problems=tuple(problems))
