"""Gradients of a logit by the vectors of tokens, or by the features of a series' steps: through torch.

What gradients cannot pass through, the wide path's table, is linear; its exact shares are added to theirs.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grunlock.artifact import Artifact
from grunlock.errors import missing_library
from grunlock.explanation.masked import Hiding
from grunlock.layers.packing import IndexedRows
from grunlock.models import SequenceClassifier, network_inputs
from grunlock.models.embedding import TokenEmbedding
from grunlock.models.inputs import SeriesInputs
from grunlock.text import UNKNOWN_ID
from grunlock.text.types import DistinctTokens

IG_STEPS = 64  # points on the way from the baseline, Gauss-Legendre
ROWS_AT_ONCE = 16_384  # steps of all points that are computed together


class OfFeatures(NamedTuple):
    """[T, F] of each feature of each step, and how far their sum is from what it should be, if that is
    known."""

    values: NDArray[np.float64]
    completeness_error: float | None


class GradientNetwork:
    """An artifact's network through torch, without its wide path."""

    def __init__(self, artifact: Artifact) -> None:
        self._model = SequenceClassifier(artifact.recipe.model_copy(update={"wide": None}), artifact.derived)
        weights = {name: w for name, w in artifact.weights.items() if not name.startswith("wide.")}
        self._model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
        self._model.eval().requires_grad_(False)
        self._reads_texts = artifact.recipe.data.kind == "text"

    def integrated_gradients(self, example: Hiding, place: int) -> OfFeatures:
        """Of class `place` against the mean of the classes (Sundararajan 2017), from a baseline on: every
        token unknown, or every feature 0, the mean of training.

        Raises MissingDependencyError without captum.
        """
        try:
            from captum.attr import IntegratedGradients
        except ModuleNotFoundError as error:
            raise missing_library(error) or error from error
        vectors, baseline = self._vectors(example), self._baseline(example)
        found, gap = IntegratedGradients(self._centred).attribute(
            vectors[None],
            baselines=baseline[None],
            target=place,
            n_steps=IG_STEPS,
            internal_batch_size=max(1, ROWS_AT_ONCE // example.num_steps),
            return_convergence_delta=True,
        )
        return OfFeatures(found[0].numpy().astype(np.float64), float(gap.abs().max()))

    def gradient_x_input(self, example: Hiding, place: int) -> OfFeatures:
        """Of class `place` against the mean of the classes: gradient times vector (Shrikumar 2016)."""
        vectors = self._vectors(example).requires_grad_()
        (gradient,) = torch.autograd.grad(self._centred(vectors[None])[0, place], vectors)
        return OfFeatures((gradient * vectors).detach().numpy().astype(np.float64), None)

    def _vectors(self, example: Hiding) -> Tensor:
        """[T, D] token vectors, or [T, F] features."""
        inputs = network_inputs(example.inputs, example.layout)
        if isinstance(inputs, SeriesInputs):
            return inputs.features.clone()
        rows: Tensor = self._model.embedding(inputs).spread()
        return rows.clone()

    def _baseline(self, example: Hiding) -> Tensor:
        if isinstance(example.inputs, DistinctTokens):
            return self._unknown_vector.expand(example.num_steps, -1)
        return torch.zeros(example.inputs.shape)

    @cached_property
    def _unknown_vector(self) -> Tensor:  # [D]
        assert isinstance(self._model.embedding, TokenEmbedding)
        found: Tensor = self._model.embedding.tokens(torch.tensor([UNKNOWN_ID]))
        return found[0]

    def _centred(self, vectors: Tensor) -> Tensor:
        """[S, K] of S variants [S, T, D] of one example."""
        sequences, steps, size = vectors.shape
        rows = vectors.transpose(0, 1).reshape(steps * sequences, size)
        sizes = torch.full((steps,), sequences)
        inputs = SeriesInputs(rows, sizes, torch.full((sequences,), steps))
        if self._reads_texts:  # without a wide path nothing behind the embedding looks at the inputs
            logits = self._model.answer(IndexedRows.of_rows(rows, sizes), inputs)
        else:
            logits = self._model(inputs)
        centred: Tensor = logits - logits.mean(dim=1, keepdim=True)
        return centred
