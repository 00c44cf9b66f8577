"""Out-of-sample class probabilities of a linear model, for judging labels that it has not learned from.

The model is of the baseline's kind (TF-IDF of runs of one and two tokens), but a logistic regression instead
of a support vector machine, because probabilities are needed. Word weights use all texts, but no label.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.data.splits import stratified_folds
from grunlock.seeding import derive_seed, generator
from grunlock.shapes import IntArray

FOLDS = 5
MAX_FEATURES = 50_000  # the most frequent runs
INVERSE_REGULARISATION = 3.0  # scikit-learn's C: of 3, 10 and 30, it found most planted label errors
EPOCHS = 10  # enough from UPDATES / EPOCHS texts on
UPDATES = 50_000
MAX_EPOCHS = 100

CsrMatrix = Any


def tfidf(counts: CsrMatrix) -> CsrMatrix:
    """[M, at most MAX_FEATURES] rows of length 1: (1 + ln count) * (1 + ln((1 + M) / (1 + texts so)))."""
    from scipy.sparse import diags

    num_texts = counts.shape[0]
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    frequent = np.argsort(-frequency, kind="stable")[:MAX_FEATURES]
    kept = np.sort(frequent[frequency[frequent] > 1])
    weighted = counts[:, kept].astype(np.float32)
    weighted.data = 1 + np.log(weighted.data)
    rarity = 1 + np.log((1 + num_texts) / (1 + frequency[kept]))
    weighted = weighted @ diags(rarity.astype(np.float32))
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return (diags(1 / np.maximum(norms, np.float32(1e-12))) @ weighted).tocsr()


def cross_validated_probs(
    counts: CsrMatrix,
    targets: IntArray,
    num_classes: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """[M, K] probabilities of each text's classes by a model of the other folds.

    counts: [M, tokens] of distinct texts, so that no fold holds a copy of another one's text.
    progress: called with the folds done. A class that a model has not seen has probability 0.
    """
    features, folds = tfidf(counts), stratified_folds(targets, FOLDS, generator(seed, "audit", "folds"))
    probs = np.zeros((len(targets), num_classes))
    for fold in range(FOLDS):
        held_out = folds == fold
        model = _logistic_regression(features[~held_out], targets[~held_out], seed)
        if model is None:
            probs[held_out, targets[~held_out][0]] = 1.0
        else:
            probs[np.ix_(held_out, model.classes_)] = model.predict_proba(features[held_out])
        if progress is not None:
            progress(fold + 1)
    return probs


def _logistic_regression(features: CsrMatrix, targets: IntArray, seed: int) -> Any:
    """One class against the others, by stochastic gradients: a quarter of a joint solver's time.

    None if there is one class only.
    """
    from sklearn.linear_model import SGDClassifier

    if len(np.unique(targets)) < 2:
        return None
    size = len(targets)
    model = SGDClassifier(
        loss="log_loss",
        alpha=1 / (INVERSE_REGULARISATION * size),
        max_iter=min(MAX_EPOCHS, max(EPOCHS, UPDATES // size)),
        tol=None,  # all epochs are made
        random_state=derive_seed(seed, "audit", "model") % 2**32,
    )
    return model.fit(features, targets)
