"""A wide path that learns apart: a linear model by itself, added to the network when that is finished.

    logits = network + weight * SVM + weight * complement naive Bayes

All linear models read the same n-grams, so in the end they are one table. Trained together with the network
they would get no gradient of what the network explains, and it soon explains the training examples. Apart,
they err differently, and their sum is right more often than either (as Mesnil 2014 found for recurrent nets
and bags of n-grams). Weights are chosen on validation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from grunlock.data.prepared import PreparedData
from grunlock.objectives.calibration import fit_temperature, fit_weights
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import WideOptions
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.wide_linear import LinearModel, wide_models

# Names of their weights.
ROWS, RARITY, TABLE, BIAS = "wide.rows", "wide.rarity", "wide.weights.weight", "wide.bias"

# A network that has learned its texts by heart decides where it is wrong and sure, and costs little loss
# beside a linear model: on tnews the weights of the lowest loss are a third of those of the highest accuracy.
# Probabilities that are SURER times as sure tell that with less noise than counting who is right.
RAISED = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
SURER = 4.0
ENOUGH_EXAMPLES = 2000

Array = NDArray[Any]


@dataclass(frozen=True)
class WideTable:
    """What a path answers with: buckets [M], rising, their rarity [M], weights [M, K], bias [K]."""

    rows: NDArray[np.int32]
    rarity: NDArray[np.float32]
    weights: FloatArray
    bias: FloatArray


@dataclass(frozen=True)
class WideFit:
    """Linear models on the same n-grams and their weights beside a network.

    accuracies: on validation, of the weighed models' sum and of the network
    """

    models: tuple[LinearModel, ...]
    weights: tuple[float, ...]
    linear_accuracy: float
    network_accuracy: float

    @property
    def table(self) -> WideTable:
        return summed(self.models, self.weights)


def summed(models: Sequence[LinearModel], weights: Sequence[float]) -> WideTable:
    """Linear models on the same n-grams as one."""
    pairs = [(np.float32(weight), model) for weight, model in zip(weights, models, strict=True)]
    return WideTable(
        models[0].rows,
        models[0].rarity,
        np.sum([weight * model.weights for weight, model in pairs], axis=0),
        np.sum([weight * model.bias for weight, model in pairs], axis=0),
    )


def as_arrays(weights: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(value.numpy().astype(np.float32)) for name, value in weights.items()}


def with_silent_path(recipe: Recipe, weights: Mapping[str, Array], num_classes: int) -> dict[str, Array]:
    """A network's weights with those of a path that says nothing, if the recipe's path learns apart."""
    if recipe.wide_apart is None:
        return dict(weights)
    rows, table = np.empty(0, np.int32), np.empty((0, num_classes), np.float32)
    nothing = {RARITY: np.empty(0, np.float32), BIAS: np.zeros(num_classes, np.float32)}
    return {**weights, **nothing, ROWS: rows, TABLE: table}


def with_path(weights: Mapping[str, Array], path: WideTable) -> dict[str, Array]:
    """A network's weights with the path's."""
    return {**weights, ROWS: path.rows, RARITY: path.rarity, TABLE: path.weights, BIAS: path.bias}


def fit_wide(
    data: PreparedData,
    options: WideOptions,
    logits: FloatArray,  # [validation examples, K] of the network
) -> WideFit:
    """The linear models and the weights beside the network that have the lowest loss on validation. Where
    there are enough examples to tell, the weights are raised together as far as that brings accuracy.

    Raises MissingDependencyError without scikit-learn.
    """
    targets = np.asarray(data.valid.targets, dtype=np.int64)
    found = wide_models(data, options)
    beside = tuple(model for model in found if model.kind == "complement")
    choices = [(model, *beside) for model in found if model.kind != "complement"]
    fits = [
        (fit_weights(logits, [each.valid_logits for each in models], targets), models) for models in choices
    ]
    (weights, _), models = min(fits, key=lambda fit: fit[0][1])
    answers = [model.valid_logits for model in models]
    linear = _weighed(answers, weights)
    return WideFit(
        models=models,
        weights=raised(weights, logits, answers, targets),
        linear_accuracy=float((linear.argmax(axis=1) == targets).mean()),
        network_accuracy=float((logits.argmax(axis=1) == targets).mean()),
    )


def raised(
    weights: Sequence[float], logits: FloatArray, answers: Sequence[FloatArray], targets: IntArray
) -> tuple[float, ...]:
    """Weights of linear models beside a network, together as many times larger as brings accuracy on
    validation; as they are where there are too few examples to tell.

    logits, answers: [validation examples, K] of the network and of each linear model
    """
    if len(targets) < ENOUGH_EXAMPLES:
        return tuple(weights)
    linear = _weighed(answers, weights)
    factor = max(RAISED, key=lambda each: smooth_accuracy(logits + each * linear, targets))
    return tuple(factor * weight for weight in weights)


def _weighed(answers: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    found: FloatArray = np.sum(
        [np.float32(weight) * each for weight, each in zip(weights, answers, strict=True)], axis=0
    )
    return found


def smooth_accuracy(logits: FloatArray, targets: IntArray) -> float:
    """The mean probability of the true class where all are SURER times as sure as they should be."""
    scaled = logits / (logits.std() or 1.0)  # so that no bound of the temperature acts
    probs = probabilities(scaled, fit_temperature(scaled, targets) / SURER)
    return float(probs[np.arange(len(targets)), targets].mean())
