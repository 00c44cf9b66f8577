"""A wide path that learns apart: a linear model by itself, added to the network when that is finished.

    logits = network + weight * linear

Trained together, the network soon explains the training examples, and what it explains leaves the path no
gradient. Apart, the two err differently, and their sum is right more often than either (as Mesnil 2014 found
for recurrent nets and bags of n-grams). `weight` is chosen on validation.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from grunlock.data.batches import ExampleStore, evaluation_batches
from grunlock.data.prepared import PreparedData
from grunlock.errors import MissingDependencyError
from grunlock.evaluation.splits import BATCH_TOKENS
from grunlock.objectives.calibration import fit_weight
from grunlock.recipe import Recipe
from grunlock.recipe.model_options import WideOptions
from grunlock.seeding import derive_seed, generator
from grunlock.shapes import FloatArray, IntArray
from grunlock.text import DistinctTokens
from grunlock.text.token_ngrams import token_ngrams

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TABLE, BIAS = "wide.weights.weight", "head.bias"  # names of their weights
STRENGTHS = (0.1, 0.3, 1.0, 3.0)  # of the linear model: an example's loss beside half its squared weights
MAX_EXAMPLES = 200_000  # that it learns from; of more, a random sample


@dataclass(frozen=True)
class WideFit:
    """The linear model, already times its weight. accuracies are those on validation."""

    table: FloatArray  # [buckets, K]
    bias: FloatArray  # [K]
    weight: float
    strength: float
    linear_accuracy: float
    network_accuracy: float


def as_arrays(weights: Mapping[str, Tensor]) -> dict[str, FloatArray]:
    return {name: np.ascontiguousarray(value.numpy().astype(np.float32)) for name, value in weights.items()}


def with_empty_path(
    recipe: Recipe, weights: Mapping[str, FloatArray], num_classes: int
) -> dict[str, FloatArray]:
    """A network's weights with those of a path that says nothing yet, if the recipe's path learns apart."""
    if recipe.wide_apart is None:
        return dict(weights)
    return {**weights, TABLE: np.zeros((recipe.wide_apart.buckets, num_classes), np.float32)}


def with_path(weights: Mapping[str, FloatArray], fit: WideFit) -> dict[str, FloatArray]:
    """A network's weights with the path's."""
    return {**weights, TABLE: fit.table, BIAS: weights[BIAS] + fit.bias}


def fit_wide(
    data: PreparedData,
    options: WideOptions,
    logits: FloatArray,  # [validation examples, K] of the network
    seed: int,
) -> WideFit:
    """A linear SVM on the n-grams of the training texts, rare ones counting more (inverse document
    frequency). Its strength and its weight beside the network have the lowest loss on validation.

    Raises MissingDependencyError without scikit-learn.
    """
    targets = np.asarray(data.valid.targets, dtype=np.int64)
    chosen = np.arange(data.train.num_examples)
    if len(chosen) > MAX_EXAMPLES:
        chosen = np.sort(generator(seed, "wide").permutation(len(chosen))[:MAX_EXAMPLES])
    features, own = (
        _features(data.train, options, chosen),
        np.asarray(data.train.targets, dtype=np.int64)[chosen],
    )
    unseen = _features(data.valid, options, np.arange(data.valid.num_examples))
    present = np.bincount(features.indices, minlength=options.buckets)
    rarity = np.log((1.0 + len(chosen)) / (1.0 + present)) + 1.0  # as scikit-learn's smooth_idf
    rarity /= np.sqrt(features.power(2).multiply(rarity**2).sum(axis=1).mean())  # rows of length 1 or so
    used = np.flatnonzero(present)
    scaled = features[:, used].multiply(rarity[used]).tocsr()
    found: list[tuple[float, WideFit]] = []
    for strength in STRENGTHS:
        weights, bias = _fit(scaled, own, len(data.labels), strength, seed)
        table = np.zeros((options.buckets, len(data.labels)))
        table[used] = weights * rarity[used, None]
        linear = np.asarray(unseen @ table + bias)
        weight, loss = fit_weight(logits, linear, targets)
        fit = WideFit(
            table=(weight * table).astype(np.float32),
            bias=(weight * bias).astype(np.float32),
            weight=weight,
            strength=strength,
            linear_accuracy=float((linear.argmax(axis=1) == targets).mean()),
            network_accuracy=float((logits.argmax(axis=1) == targets).mean()),
        )
        found.append((loss, fit))
    return min(found, key=lambda each: each[0])[1]


def _features(store: ExampleStore, options: WideOptions, examples: IntArray) -> "csr_matrix":
    """[examples, buckets]: how often each n-gram is there over the root of their number, as the path adds
    them up."""
    from scipy.sparse import csr_matrix

    rows: list[IntArray] = []
    columns: list[IntArray] = []
    values: list[FloatArray] = []
    for some in evaluation_batches(store.lengths[examples], BATCH_TOKENS):
        batch = store.batch(examples[some])
        assert isinstance(batch.inputs, DistinctTokens)  # a recipe with a wide path is one for texts
        tokens = batch.inputs.vocab_ids[batch.inputs.inverse]
        ngrams = token_ngrams(tokens, batch.layout.batch_sizes, options.max_length, options.buckets)
        rows.append(np.repeat(np.searchsorted(examples, batch.examples), ngrams.counts))
        columns.append(ngrams.ids)
        values.append(np.repeat(1.0 / np.sqrt(ngrams.counts), ngrams.counts).astype(np.float32))
    shape = (len(examples), options.buckets)
    places = (np.concatenate(rows), np.concatenate(columns))
    return csr_matrix((np.concatenate(values), places), shape=shape)  # what is there twice is added up


def _fit(
    features: "csr_matrix", targets: IntArray, num_classes: int, strength: float, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Weights [columns of features, K] and bias [K] of the linear model."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise MissingDependencyError(
            "A wide path that learns apart needs scikit-learn.",
            cure='pip install "grunlock[train]", or --set wide.training=together',
        ) from error
    model = LinearSVC(C=strength, random_state=derive_seed(seed, "wide") % 2**32)
    with warnings.catch_warnings():  # its last digits do not matter here
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, targets)
    found, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn has one row then, the second class's against the first's
        found, bias = (np.concatenate([-each, each]) for each in (found, bias))
    weights = np.zeros((features.shape[1], num_classes))
    weights[:, model.classes_] = found.T
    # A class without training examples is as unlikely as the rarest.
    biases = np.full(num_classes, bias.min())
    biases[model.classes_] = bias
    return weights, biases
