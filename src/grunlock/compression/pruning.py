"""Fewer n-grams of a wide path: those that move answers most stay, and learn once more by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grunlock.data.batches import ExampleStore
from grunlock.data.prepared import PreparedData
from grunlock.objectives.calibration import fit_weight
from grunlock.recipe import Recipe
from grunlock.shapes import FloatArray
from grunlock.training.wide_linear import LinearModel, fitted_on, ngram_features
from grunlock.training.wide_path import Array, WideFit, with_path


@dataclass(frozen=True)
class Pruning:
    """A smaller linear model and its weight beside the network."""

    model: LinearModel
    weight: float

    @property
    def rows(self) -> NDArray[np.int32]:
        return self.model.rows

    def added_to(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        return with_path(weights, self.model, self.weight)

    def without_last(self, num_examples: int) -> "Pruning | None":
        """Without a hundredth of the n-grams, those that matter least; None where none is left."""
        count = int(0.99 * len(self.rows))
        if not count:
            return None
        model = self.model
        kept = np.sort(np.argsort(-importance(model, num_examples), kind="stable")[:count])
        rows, rarity, weights = model.rows[kept], model.rarity[kept], model.weights[kept]
        return replace(self, model=replace(model, rows=rows, rarity=rarity, weights=weights))

    def fitted_on(self, store: ExampleStore, recipe: Recipe, num_classes: int) -> "Pruning":
        """The same n-grams and weight, learned from other examples."""
        assert recipe.wide is not None
        return replace(self, model=fitted_on(store, num_classes, recipe.wide, self.model, self.rows))


def pruned(data: PreparedData, recipe: Recipe, wide: WideFit, most: int, logits: FloatArray) -> Pruning:
    """The path with at most `most` n-grams. logits: [validation examples, K] of the network."""
    assert recipe.wide is not None
    model = wide.model
    if most < len(model.rows):
        kept = np.sort(np.argsort(-importance(model, data.train.num_examples), kind="stable")[:most])
        model = fitted_on(data.train, len(data.labels), recipe.wide, model, model.rows[kept])
        everything = np.arange(data.valid.num_examples)
        unseen = ngram_features(data.valid, recipe.wide, everything, model.rows, model.rarity)
        answers = np.asarray(unseen @ model.weights + model.bias, np.float32)
        model = replace(model, valid_logits=answers)
    weight, _ = fit_weight(logits, model.valid_logits, np.asarray(data.valid.targets, np.int64))
    return Pruning(model, weight)


def importance(model: LinearModel, num_examples: int) -> FloatArray:
    """[M] root of the summed squares by which each n-gram moves the training texts' answers, about: how much
    it tells classes apart, times its value, times the root of how many texts have it."""
    apart = model.weights - model.weights.mean(axis=1, keepdims=True)
    having = (1.0 + num_examples) / np.exp(model.rarity - 1.0) - 1.0  # from smooth_idf
    found: FloatArray = np.linalg.norm(apart, axis=1) * model.rarity * np.sqrt(np.maximum(having, 0.0))
    return found
