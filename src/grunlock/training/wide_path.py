"""A wide path that learns apart: a linear model by itself, added to the network when that is finished.

    logits = network + weight * linear

Trained together, the network soon explains the training examples, and what it explains leaves the path no
gradient. Apart, the two err differently, and their sum is right more often than either (as Mesnil 2014 found
for recurrent nets and bags of n-grams). `weight` is chosen on validation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from grunlock.data.prepared import PreparedData
from grunlock.objectives.calibration import fit_weight
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import WideOptions
from grunlock.shapes import FloatArray
from grunlock.training.wide_linear import LinearModel, wide_models

# Names of their weights.
ROWS, RARITY, TABLE, BIAS = "wide.rows", "wide.rarity", "wide.weights.weight", "wide.bias"

# A network that has learned its texts by heart decides where it is wrong and sure, and costs little loss
# beside a linear model: on tnews the weight of the lowest loss is a third of that of the highest accuracy.
RAISED = (1.0, 1.5, 2.0, 3.0, 5.0)
ENOUGH_EXAMPLES = 2000

Array = NDArray[Any]


@dataclass(frozen=True)
class WideFit:
    """A linear model and its weight beside a network. accuracies are those on validation."""

    model: LinearModel
    weight: float
    linear_accuracy: float
    network_accuracy: float


def as_arrays(weights: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(value.numpy().astype(np.float32)) for name, value in weights.items()}


def with_silent_path(recipe: Recipe, weights: Mapping[str, Array], num_classes: int) -> dict[str, Array]:
    """A network's weights with those of a path that says nothing, if the recipe's path learns apart."""
    if recipe.wide_apart is None:
        return dict(weights)
    rows, table = np.empty(0, np.int32), np.empty((0, num_classes), np.float32)
    nothing = {RARITY: np.empty(0, np.float32), BIAS: np.zeros(num_classes, np.float32)}
    return {**weights, **nothing, ROWS: rows, TABLE: table}


def with_path(weights: Mapping[str, Array], model: LinearModel, weight: float) -> dict[str, Array]:
    """A network's weights with the path's. Of the table only the rows of the linear model are there."""
    scale = np.float32(weight)
    path = {ROWS: model.rows, RARITY: model.rarity, TABLE: scale * model.weights, BIAS: scale * model.bias}
    return {**weights, **path}


def fit_wide(
    data: PreparedData,
    options: WideOptions,
    logits: FloatArray,  # [validation examples, K] of the network
) -> WideFit:
    """The linear model and the weight beside the network that have the lowest loss on validation. Where there
    are enough examples to tell, the weight is raised while that brings accuracy.

    Raises MissingDependencyError without scikit-learn.
    """
    targets = np.asarray(data.valid.targets, dtype=np.int64)
    fits = [(model, *fit_weight(logits, model.valid_logits, targets)) for model in wide_models(data, options)]
    model, weight, _ = min(fits, key=lambda fit: fit[2])
    if len(targets) >= ENOUGH_EXAMPLES:
        right = [((logits + f * weight * model.valid_logits).argmax(axis=1) == targets).sum() for f in RAISED]
        weight *= RAISED[int(np.argmax(right))]  # the first of equals
    return WideFit(
        model=model,
        weight=weight,
        linear_accuracy=float((model.valid_logits.argmax(axis=1) == targets).mean()),
        network_accuracy=float((logits.argmax(axis=1) == targets).mean()),
    )
