"""The linear model of a wide path that learns apart: a linear SVM on TF-IDF of hashed n-grams."""

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from grunlock.data.batches import ExampleStore, evaluation_batches
from grunlock.data.prepared import KEPT, PreparedData
from grunlock.errors import MissingDependencyError
from grunlock.evaluation.splits import BATCH_TOKENS
from grunlock.files import atomic_file
from grunlock.objectives.calibration import fit_weight
from grunlock.recipe.model_options import WideOptions
from grunlock.seeding import derive_seed, generator
from grunlock.shapes import FloatArray, IntArray
from grunlock.text import DistinctTokens
from grunlock.text.token_ngrams import wide_ngrams

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

STRENGTHS = (0.1, 0.3, 1.0, 3.0)  # an example's loss beside half its squared weights; quickest first
# As accurate on imdb as a hundred passes (benchmarks/LOG.md).
PASSES, TOLERANCE = 20, 1e-2
MAX_TOKENS = 10**7  # that it learns from; of more, a random sample of texts; a process had 2.4 GB on imdb
SEED = 0  # the same model for every run on the same data


@dataclass(frozen=True)
class LinearModel:
    """rows: [M] buckets that training texts have, rising; weights: [M, K]; bias: [K].

    valid_logits: [validation examples, K] of the data that it was fitted on
    """

    rows: NDArray[np.int32]
    weights: FloatArray
    bias: FloatArray
    valid_logits: FloatArray
    strength: float


def wide_model(data: PreparedData, options: WideOptions) -> LinearModel:
    """The model of this data; fitted once and kept beside it.

    Rare n-grams count more (inverse document frequency). The strength has the lowest loss on validation.

    Raises MissingDependencyError without scikit-learn.
    """
    path = data.folder / KEPT / f"wide-{_key(options)}.npz"
    kept = _read(path)
    if kept is not None:
        return kept
    model = _fit_best(data, options)
    path.parent.mkdir(exist_ok=True)
    with atomic_file(path) as file:
        np.savez(file, **vars(model))
    return model


def ngram_features(store: ExampleStore, options: WideOptions, examples: IntArray) -> "csr_matrix":
    """[examples, buckets]: how often each n-gram is there over the root of their number, as the path adds
    them up. examples: rising."""
    from scipy.sparse import csr_matrix, vstack

    parts: list[csr_matrix] = []
    read: list[IntArray] = []
    for some in evaluation_batches(store.lengths[examples], BATCH_TOKENS):
        batch = store.batch(examples[some])
        assert isinstance(batch.inputs, DistinctTokens)  # a recipe with a wide path is one for texts
        groups = wide_ngrams(batch.inputs, batch.layout.batch_sizes, options)
        rows = [np.repeat(np.arange(len(some)), found.counts) for found in groups]
        scales = [np.repeat(np.maximum(found.counts, 1) ** -0.5, found.counts) for found in groups]
        places = (np.concatenate(rows), np.concatenate([found.ids for found in groups]))
        values = np.concatenate(scales).astype(np.float32)
        # What is there twice is added up.
        parts.append(csr_matrix((values, places), shape=(len(some), options.buckets)))
        read.append(batch.examples)
    return vstack(parts, format="csr")[np.argsort(np.concatenate(read))]


def _fit_best(data: PreparedData, options: WideOptions) -> LinearModel:
    chosen = _sample(data.train)
    targets = np.asarray(data.train.targets, dtype=np.int64)[chosen]
    features = ngram_features(data.train, options, chosen)
    rows = np.unique(features.indices).astype(np.int32)
    _keep_columns(features, rows)
    rarity = _rarity(features)
    features.data *= rarity[features.indices]
    unseen = ngram_features(data.valid, options, np.arange(data.valid.num_examples))[:, rows]
    wanted = np.asarray(data.valid.targets, dtype=np.int64)
    nothing = np.zeros((len(wanted), len(data.labels)))
    best: LinearModel | None = None
    lowest = np.inf
    for strength in STRENGTHS:
        weights, bias = _fit(features, targets, len(data.labels), strength)
        weights *= rarity[:, None]
        logits = np.asarray(unseen @ weights + bias)
        _, loss = fit_weight(nothing, logits, wanted)
        if best is not None and loss >= lowest:
            break
        weights, bias, logits = (each.astype(np.float32) for each in (weights, bias, logits))
        best, lowest = LinearModel(rows, weights, bias, logits, strength), loss
    assert best is not None
    return best


def _sample(store: ExampleStore) -> IntArray:
    """All examples, or a random part of them that has MAX_TOKENS; rising."""
    order = generator(SEED, "wide").permutation(store.num_examples)
    enough = int(np.searchsorted(np.cumsum(store.lengths[order]), MAX_TOKENS)) + 1
    return np.sort(order[:enough])


def _keep_columns(features: "csr_matrix", columns: NDArray[np.int32]) -> None:
    """Leave out all other columns, which are empty; in place, for there may be a hundred million cells."""
    features.indices = np.searchsorted(columns, features.indices).astype(np.int32)
    features.resize(features.shape[0], len(columns))


def _rarity(features: "csr_matrix") -> FloatArray:
    """[columns]: scikit-learn's smooth_idf, scaled so that rows have a length of about 1."""
    present = np.bincount(features.indices, minlength=features.shape[1])
    rarity = np.log((1.0 + features.shape[0]) / (1.0 + present)) + 1.0
    squares = (features.data * rarity[features.indices]) ** 2
    result: FloatArray = (rarity / np.sqrt(squares.sum() / features.shape[0])).astype(np.float32)
    return result


def _fit(
    features: "csr_matrix", targets: IntArray, num_classes: int, strength: float
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
    seed = derive_seed(SEED, "wide") % 2**32
    model = LinearSVC(C=strength, max_iter=PASSES, tol=TOLERANCE, random_state=seed)
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


def _key(options: WideOptions) -> str:
    what = [options.buckets, options.max_length, options.characters, STRENGTHS, MAX_TOKENS]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _read(path: Path) -> LinearModel | None:
    """What is kept; None where nothing is, or nothing whole."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return LinearModel(
                rows=stored["rows"],
                weights=stored["weights"],
                bias=stored["bias"],
                valid_logits=stored["valid_logits"],
                strength=float(stored["strength"]),
            )
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
