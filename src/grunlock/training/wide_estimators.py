"""Linear models on TF-IDF features: linear SVMs and complement naive Bayes."""

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from grunlock.errors import MissingDependencyError
from grunlock.seeding import derive_seed
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.wide_features import SEED, LinearData

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# As accurate on imdb as a hundred passes (benchmarks/LOG.md).
PASSES, TOLERANCE = 20, 1e-2

# tfidf: a linear SVM; naive_bayes: one on n-grams that count besides by how well they tell a class (Wang &
# Manning 2012, "Baselines and bigrams"); complement: naive Bayes of the other classes' texts (Rennie 2003)
Kind = Literal["tfidf", "naive_bayes", "complement"]


def fit_linear(data: LinearData, kind: Kind, strength: float) -> tuple[FloatArray, FloatArray]:
    """Weights [M, K] and bias [K].

    strength: of an SVM an example's loss beside half its squared weights; of complement the smoothing, how
    often each n-gram counts as seen before the first text.
    Raises MissingDependencyError without scikit-learn.
    """
    features, targets, num_classes = data.features, data.targets, data.num_classes
    if kind == "complement":
        return fit_complement(features, targets, num_classes, strength), np.zeros(num_classes, np.float32)
    fit = _fit_told if kind == "naive_bayes" else _fit_svm
    weights, bias = fit(features, targets, num_classes, strength)
    return weights.astype(np.float32), bias.astype(np.float32)


def fit_complement(
    features: "csr_matrix", targets: IntArray, num_classes: int, smoothing: float
) -> FloatArray:
    """Weights [columns, K]: minus the log of how often all other classes' texts have an n-gram, each class
    against the mean of all (Rennie 2003, table 4, on features that are TF-IDF and of length 1 already).

    A class's own few texts say little of what it lacks; those of all others together say much.
    """
    from scipy.sparse import csr_matrix

    ones = np.ones(len(targets), np.float32)
    members = csr_matrix((ones, (targets, np.arange(len(targets)))), shape=(num_classes, len(targets)))
    inside = (members @ features).toarray()  # [K, columns]
    outside = inside.sum(axis=0) + np.float32(smoothing) - inside
    weights = np.log(outside.sum(axis=1, keepdims=True)) - np.log(outside)
    result: FloatArray = np.ascontiguousarray((weights - weights.mean(axis=0)).T)
    return result


def _fit_svm(
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


def _fit_told(
    features: "csr_matrix", targets: IntArray, num_classes: int, strength: float
) -> tuple[FloatArray, FloatArray]:
    """As _fit_svm, each class against the others on n-grams times how well they tell it.

    A weight on such a feature is that weight times its factor on the feature itself.
    """
    from scipy.sparse import csr_matrix

    classes = np.unique(targets)
    weights, biases = np.zeros((features.shape[1], num_classes)), np.full(num_classes, np.nan)
    for k in classes[1:] if len(classes) == 2 else classes:
        ratios = log_count_ratios(features, targets == k)
        # float64, else liblinear's interface would copy the whole.
        data = (features.data * ratios[features.indices]).astype(np.float64)
        told = csr_matrix((data, features.indices, features.indptr), shape=features.shape)
        found, bias = _fit_svm(told, (targets == k).astype(np.int64), 2, strength)
        weights[:, k], biases[k] = found[:, 1] * ratios, bias[1]
    if len(classes) == 2:
        weights[:, classes[0]], biases[classes[0]] = -weights[:, classes[1]], -biases[classes[1]]
    biases[np.isnan(biases)] = np.nanmin(biases)  # a class without training examples: as the rarest
    return weights, biases


def log_count_ratios(features: "csr_matrix", members: NDArray[np.bool_]) -> FloatArray:
    """[columns] |log((1 + f) / |1 + f| : (1 + g) / |1 + g|)|, of mean square 1.

    f, g: how many of the members, and of the other rows, have the column (Wang & Manning 2012, equation 3, on
    presence).
    """
    inside = np.repeat(members, np.diff(features.indptr))
    counts = [
        1.0 + np.bincount(features.indices[part], minlength=features.shape[1]) for part in (inside, ~inside)
    ]
    shares = [count / count.sum() for count in counts]
    ratios = np.abs(np.log(shares[0] / shares[1]))
    size = np.sqrt(np.square(ratios).mean())
    result: FloatArray = (ratios / size if size > 0 else np.ones_like(ratios)).astype(np.float32)
    return result
