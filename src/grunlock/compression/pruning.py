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
from grunlock.training.wide_path import Array, WideFit, WideTable, summed, with_path


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
        count = int(0.99 * len(self.rows))
        if not count:
            return None
        kept = most_important(summed(self.models, self.weights), num_examples, count)
        return replace(
            self,
            models=tuple(
                replace(each, rows=each.rows[kept], rarity=each.rarity[kept], weights=each.weights[kept])
                for each in self.models
            ),
        )

    def fitted_on(self, store: ExampleStore, recipe: Recipe, num_classes: int) -> "Pruning":
        """The same n-grams and weights, learned from other examples."""
        assert recipe.wide is not None
        return replace(self, models=fitted_on(store, num_classes, recipe.wide, self.models, self.rows))


def pruned(data: PreparedData, recipe: Recipe, wide: WideFit, most: int, logits: FloatArray) -> Pruning:
    """The path with at most `most` n-grams. logits: [validation examples, K] of the network."""
    assert recipe.wide is not None
    models, targets = wide.models, np.asarray(data.valid.targets, np.int64)
    if most < len(models[0].rows):
        kept = most_important(wide.table, data.train.num_examples, most)
        models = fitted_on(data.train, len(data.labels), recipe.wide, models, models[0].rows[kept])
        everything = np.arange(data.valid.num_examples)
        unseen = ngram_features(data.valid, recipe.wide, everything, models[0].rows, models[0].rarity)
        models = tuple(
            replace(each, valid_logits=np.asarray(unseen @ each.weights + each.bias, np.float32))
            for each in models
        )
    weights, _ = fit_weights(logits, [each.valid_logits for each in models], targets)
    return Pruning(models, weights)


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
