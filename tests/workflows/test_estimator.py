"""GRUClassifier inside scikit-learn."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from grunlock import GRUClassifier
from grunlock.errors import DataError, NotFittedError, RecipeError
from tests.conftest import colour_rows

SMALL = {
    "embedding.size": 12,
    "encoder.hidden_size": 12,
    "training.epochs": 8,
    "batches.size": 8,
    "optim.lr": 0.03,
}
LABELS, TEXTS = (list(column) for column in zip(*colour_rows(180), strict=True))


def lower(texts: list[str]) -> list[str]:
    return [text.lower() for text in texts]


@pytest.fixture(scope="module")
def fitted() -> GRUClassifier:
    return GRUClassifier("tiny", SMALL).fit(TEXTS, LABELS)


def test_learns_and_speaks_scikit_learn(fitted: GRUClassifier) -> None:
    assert list(fitted.classes_) == ["blue", "green", "red"]
    probs = fitted.predict_proba(["the red house", "a green car"])
    assert probs.shape == (2, 3)
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-6)
    assert list(fitted.predict(["the red house", "a green car"])) == ["red", "green"]
    assert fitted.score(TEXTS, LABELS) > 0.9
    assert fitted.metrics_["num_examples"] == 18


def test_classes_keep_their_type_and_order() -> None:
    numbers = [{"red": 10, "green": 9, "blue": 2}[label] for label in LABELS]  # as text, "10" < "2" < "9"
    model = GRUClassifier("tiny", SMALL).fit(np.array(TEXTS, dtype=object), numbers)
    assert list(model.classes_) == [2, 9, 10]
    assert model.score(TEXTS, numbers) > 0.9
    best = model.classes_[model.predict_proba(TEXTS).argmax(axis=1)]
    np.testing.assert_array_equal(best, model.predict(TEXTS))


def test_clone_keeps_arguments_as_given() -> None:
    model = GRUClassifier("seed", SMALL, seed=3)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "classes_")


def test_cross_validation_grid_search_and_pipeline() -> None:
    scores = cross_val_score(GRUClassifier("tiny", SMALL), TEXTS, LABELS, cv=3, error_score="raise")
    assert scores.mean() > 0.6
    grid = {"gruclassifier__settings": [SMALL, {**SMALL, "training.epochs": 1, "optim.lr": 1e-6}]}
    pipeline = make_pipeline(FunctionTransformer(lower), GRUClassifier("tiny"))
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(TEXTS, LABELS)
    assert search.best_params_["gruclassifier__settings"] == SMALL


def test_same_seed_same_model_and_fit_forgets(fitted: GRUClassifier) -> None:
    again = clone(fitted).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    again.fit(TEXTS[:60], ["x" if label == "red" else "y" for label in LABELS[:60]])
    assert list(again.classes_) == ["x", "y"]


def test_pickles(fitted: GRUClassifier) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_wrong_use_is_said_in_words(fitted: GRUClassifier) -> None:
    with pytest.raises(NotFittedError, match=r"call fit"):
        GRUClassifier().predict(["x"])
    with pytest.raises(DataError, match=r"180 examples, labels of shape \(179,\)"):
        GRUClassifier("tiny", SMALL).fit(TEXTS, LABELS[:-1])
    with pytest.raises(RecipeError, match=r"encoder.hidden_size"):
        GRUClassifier("tiny", {"encoder.hiden_size": 3}).fit(TEXTS, LABELS)
    with pytest.raises(DataError, match=r"same label(.|\n)*at least two labels"):
        GRUClassifier("tiny", SMALL).fit(TEXTS, ["same"] * 180)
    assert len(fitted.predict([])) == 0
