"""Fewer n-grams of a wide path: those that move answers most stay, and learn once more by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from grunlock.data.batches import ExampleStore
from grunlock.data.prepared import PreparedData
from grunlock.objectives.calibration import fit_weights
from grunlock.recipe import Recipe
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.wide_features import ngram_features
from grunlock.training.wide_linear import LinearModel, fitted_on
from grunlock.training.wide_path import Array, WideTable, summed, with_path


@dataclass(frozen=True)
class Pruning:
    """Smaller linear models and their weights beside the network."""

    models: tuple[LinearModel, ...]
    weights: tuple[float, ...]

    @property
    def rows(self) -> NDArray[np.int32]:
        return self.models[0].rows

    def added_to(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        return with_path(weights, summed(self.models, self.weights))

    def without_last(self, num_examples: int) -> "Pruning | None":
        """Without a hundredth of the n-grams, those that matter least; None where none is left."""
        return self.of_most(int(0.99 * len(self.rows)), num_examples)

    def of_most(self, count: int, num_examples: int) -> "Pruning | None":
        """With so many n-grams, those that matter most, as they are; None for 0."""
        if not count:
            return None
        kept = most_important(summed(self.models, self.weights), num_examples, count)
        models = tuple(
            replace(each, rows=each.rows[kept], rarity=each.rarity[kept], weights=each.weights[kept])
            for each in self.models
        )
        return replace(self, models=models)

    def learned_once_more(self, data: PreparedData, recipe: Recipe, logits: FloatArray) -> "Pruning":
        """The same n-grams, which have to do without the others; logits as for `weighed`."""
        return self.fitted_on(data.train, recipe, len(data.labels)).weighed(data, recipe, logits)

    def weighed(self, data: PreparedData, recipe: Recipe, logits: FloatArray) -> "Pruning":
        """The same with the best weights beside a network. logits: [validation examples, K] of it."""
        assert recipe.wide is not None
        everything = np.arange(data.valid.num_examples)
        rarity, targets = self.models[0].rarity, np.asarray(data.valid.targets, np.int64)
        unseen = ngram_features(data.valid, recipe.wide, everything, self.rows, rarity)
        models = tuple(
            replace(each, valid_logits=np.asarray(unseen @ each.weights + each.bias, np.float32))
            for each in self.models
        )
        weights, _ = fit_weights(logits, [each.valid_logits for each in models], targets)
        return Pruning(models, weights)

    def fitted_on(self, store: ExampleStore, recipe: Recipe, num_classes: int) -> "Pruning":
        """The same n-grams and weights, learned from other examples."""
        assert recipe.wide is not None
        return replace(self, models=fitted_on(store, num_classes, recipe.wide, self.models, self.rows))


def most_important(table: WideTable, num_examples: int, count: int) -> IntArray:
    """The places, rising, of so many n-grams that move the training texts' answers most."""
    found: IntArray = np.sort(np.argsort(-importance(table, num_examples), kind="stable")[:count])
    return found


def importance(table: WideTable, num_examples: int) -> FloatArray:
    """[M] root of the summed squares by which each n-gram moves the training texts' answers, about: how much
    it tells classes apart, times its value, times the root of how many texts have it."""
    apart = table.weights - table.weights.mean(axis=1, keepdims=True)
    having = (1.0 + num_examples) / np.exp(table.rarity - 1.0) - 1.0  # from smooth_idf
    found: FloatArray = np.linalg.norm(apart, axis=1) * table.rarity * np.sqrt(np.maximum(having, 0.0))
    return found
