"""Fewer n-grams of a wide path: those that move answers most stay, and learn once more by themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from grunlock.compression.quantization import quantized
from grunlock.data.batches import ExampleStore
from grunlock.data.prepared import PreparedData
from grunlock.objectives.calibration import fit_weights
from grunlock.recipe import Recipe
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.wide_features import ngram_features
from grunlock.training.wide_linear import LinearModel, fitted_on
from grunlock.training.wide_path import Array, WideTable, raised, summed, with_path

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ngrams = TypeVar("Ngrams", LinearModel, WideTable)


@dataclass(frozen=True)
class Pruning:
    """Smaller linear models, their weights beside the network, and their sum in few distinct values.

    num_parts: of the classes, in which values are few; None where they are not
    """

    models: tuple[LinearModel, ...]
    weights: tuple[float, ...]
    table: WideTable
    num_parts: int | None

    @classmethod
    def of(
        cls,
        models: tuple[LinearModel, ...],
        weights: tuple[float, ...],
        num_parts: int | None,
        num_examples: int,
    ) -> "Pruning":
        table = summed(models, weights)
        coarse = quantized(table, num_parts, importance(table, num_examples))
        return cls(models, weights, coarse, num_parts)

    @property
    def rows(self) -> NDArray[np.int32]:
        return self.table.rows

    def added_to(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        return with_path(weights, self.table)

    def without_last(self, num_examples: int) -> "Pruning | None":
        """Without a hundredth of the n-grams, those that matter least; None where none is left."""
        return self.of_most(int(0.99 * len(self.rows)), num_examples)

    def of_most(self, count: int, num_examples: int) -> "Pruning | None":
        """With so many n-grams, those that matter most, as they are; None for 0."""
        if not count:
            return None
        kept = most_important(self.table, num_examples, count)
        models = tuple(_only(each, kept) for each in self.models)
        return replace(self, models=models, table=_only(self.table, kept))

    def learned_once_more(self, data: PreparedData, recipe: Recipe, logits: FloatArray) -> "Pruning":
        """The same n-grams, which have to do without the others, with the best weights beside a network.
        logits: [validation examples, K] of it."""
        assert recipe.wide is not None
        learned = fitted_on(data.train, len(data.labels), recipe.wide, self.models, self.rows)
        unseen = self._valid_features(data, recipe)
        answers = [np.asarray(unseen @ each.weights + each.bias, np.float32) for each in learned]
        weights = _best_weights(logits, answers, data)
        return Pruning.of(learned, weights, self.num_parts, data.train.num_examples)

    def weighed(self, data: PreparedData, recipe: Recipe, logits: FloatArray) -> "Pruning":
        """As it is, with the best weight beside a network; logits as for `learned_once_more`."""
        answers = np.asarray(self._valid_features(data, recipe) @ self.table.weights + self.table.bias)
        (weight,) = _best_weights(logits, [answers], data)
        scale = np.float32(weight)
        # Centres stay numbers that a half-precision number holds.
        scaled = (scale * self.table.weights).astype(np.float16).astype(np.float32)
        table = replace(self.table, weights=scaled, bias=scale * self.table.bias)
        return replace(self, weights=tuple(weight * each for each in self.weights), table=table)

    def fitted_on(self, store: ExampleStore, recipe: Recipe, num_classes: int) -> "Pruning":
        """The same n-grams and weights, learned from other examples."""
        assert recipe.wide is not None
        models = fitted_on(store, num_classes, recipe.wide, self.models, self.rows)
        return Pruning.of(models, self.weights, self.num_parts, store.num_examples)

    def _valid_features(self, data: PreparedData, recipe: Recipe) -> "csr_matrix":
        assert recipe.wide is not None
        everything = np.arange(data.valid.num_examples)
        return ngram_features(data.valid, recipe.wide, everything, self.rows, self.table.rarity)


def _best_weights(logits: FloatArray, answers: Sequence[FloatArray], data: PreparedData) -> tuple[float, ...]:
    """As in training."""
    targets = np.asarray(data.valid.targets, np.int64)
    weights, _ = fit_weights(logits, answers, targets)
    return raised(weights, logits, answers, targets)


def _only(of: Ngrams, kept: IntArray) -> Ngrams:
    return replace(of, rows=of.rows[kept], rarity=of.rarity[kept], weights=of.weights[kept])


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
