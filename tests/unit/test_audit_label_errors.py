"""The confident joint against numbers worked out by hand, and what the probabilities behind it rest on."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer

from grunlock.audit.cross_validation import cross_validated_probs, tfidf
from grunlock.audit.label_errors import find_label_errors
from grunlock.data.splits import stratified_folds
from grunlock.seeding import generator


def test_the_confident_joint_by_hand() -> None:
    """Thresholds: (0.9 + 0.7 + 0.2) / 3 = 0.6 for class 0 and (0.6 + 0.8 + 0.3) / 3 = 0.567 for class 1.

    Confident: 0, 1 → class 0; 2 → class 1 (labelled 0); 3, 4 → class 1; 5 → class 0 (labelled 1). So one of
    three is off the diagonal in either row: a third of all labels.
    """
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    found = find_label_errors(probs, np.array([0, 0, 0, 1, 1, 1]))
    assert found.rows.tolist() == [2, 5]  # margins 0.6 and 0.4
    assert found.suggested.tolist() == [1, 0]
    assert found.confidence.tolist() == [0.8, 0.7]
    assert found.noise_share == pytest.approx(1 / 3)
    assert found.accuracy == pytest.approx(4 / 6)


def test_nobody_is_confident_of_an_example_below_all_thresholds() -> None:
    """Thresholds 0.8 and 0.75: example 4 stays below both and is counted nowhere, though its label loses."""
    probs = np.array([[1.0, 0.0], [1.0, 0.0], [0.1, 0.9], [0.4, 0.6], [0.4, 0.6]])
    found = find_label_errors(probs, np.array([0, 0, 1, 1, 0]))
    assert found.rows.tolist() == []
    assert found.noise_share == 0.0
    assert found.accuracy == pytest.approx(4 / 5)


def test_a_class_without_examples_is_suggested_to_nobody() -> None:
    probs = np.array([[0.5, 0.1, 0.4], [0.1, 0.5, 0.4], [0.5, 0.2, 0.3]])
    assert 2 not in find_label_errors(probs, np.array([0, 1, 1])).suggested


def test_folds_have_each_class_in_proportion() -> None:
    targets = np.repeat([0, 1, 2], [50, 23, 4])
    folds = stratified_folds(targets, 5, generator(1))
    counts = np.array([np.bincount(folds[targets == k], minlength=5) for k in range(3)])
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    assert np.ptp(np.bincount(folds)) <= 1
    assert (folds == stratified_folds(targets, 5, generator(1))).all()
    assert (folds != stratified_folds(targets, 5, generator(2))).any()


def test_tfidf_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(0.6, (40, 15)).astype(np.float32))
    expected = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    assert abs(tfidf(counts) - expected).max() < 1e-6  # float32


def test_no_fold_has_learned_from_its_own_examples() -> None:
    """Every text has tokens of its own only, so an honest model knows nothing about any of them."""
    counts = csr_matrix(np.kron(np.eye(100), np.ones((1, 3))).astype(np.float32))
    counts = csr_matrix(np.hstack([counts.toarray(), np.ones((100, 1))]).astype(np.float32))
    targets = np.arange(100) % 2
    probs = cross_validated_probs(counts, targets, 2, seed=0)
    assert probs.sum(axis=1) == pytest.approx(1)
    assert (np.abs(probs - 0.5) < 0.2).all()


def test_one_class_outside_a_fold() -> None:
    """With a single example of class 1, the model that judges it has seen class 0 only."""
    counts = csr_matrix(np.ones((10, 1), np.float32))
    targets = np.array([0] * 9 + [1])
    probs = cross_validated_probs(counts, targets, 2, seed=0)
    assert probs[9].tolist() == [1.0, 0.0]
