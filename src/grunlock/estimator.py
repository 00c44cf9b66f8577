"""GRUClassifier: a recipe as a scikit-learn estimator, on top of training/ and runtime/."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags

from grunlock.data.series import SeriesSet, series_of_arrays
from grunlock.data.sources import InMemory
from grunlock.errors import DataError, NotFittedError
from grunlock.recipe import Recipe, recipe_from_settings
from grunlock.recipe.merging import Settings, put
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.shapes import FloatArray
from grunlock.training.progress import ProgressBar
from grunlock.training.run import RunOptions, train


class GRUClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of texts or of numeric series, trained from a recipe.

    Args:
        recipe: name of a built-in recipe or path of a TOML file; "series" is the one for numeric series.
        settings: values laid over it by dotted key, such as {"encoder.hidden_size": 64}.
        seed: recipe.seed; the same seed and data give the same model.
        folder: where to keep the run; None trains in a temporary folder.
        progress: show a progress bar.

    A stratified share of the training texts (recipe.data.valid_fraction) is held out to choose the epoch
    and to calibrate. With data.calibration_fraction, classifier_ has predict_set and predict_or_abstain.

    Attributes after fit:
        classes_: [K] distinct labels, sorted, in the type they came in.
        classifier_: the trained model, as grunlock.load gives it.
        metrics_: evaluation on the held-out texts.

    Raises RecipeError and DataError from fit, NotFittedError from predict before fit.
    """

    def __init__(
        self,
        recipe: str = "default",
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        self.recipe = recipe
        self.settings = settings
        self.seed = seed
        self.folder = folder
        self.progress = progress

    def fit(self, X: Sequence[Any], y: Sequence[Any]) -> "GRUClassifier":
        """X: texts, or series as arrays [steps, channels], one length or many; y: one label each.

        Forgets any earlier fit.
        """
        examples = [X[i] for i in range(len(X))] if isinstance(X, (list, tuple, np.ndarray)) else list(X)
        labels = np.asarray(y)
        if labels.ndim != 1 or len(examples) != len(labels):
            raise DataError(
                "Examples and labels do not match.",
                got=f"{len(examples)} examples, labels of shape {labels.shape}",
                expected="as many labels as examples",
            )
        classes = np.unique(labels)
        names = [str(name) for name in classes]
        if len(set(names)) < len(names):
            raise DataError("Two classes have the same name as text.", got=list(classes))
        settings: Settings = {}
        for key, value in (self.settings or {}).items():
            put(settings, key, value)
        recipe = recipe_from_settings({**settings, "seed": self.seed}, base=self.recipe)
        memory = _in_memory(recipe, examples, [str(label) for label in labels])
        if self.folder is not None:
            self._train(memory, recipe, Path(self.folder))
        else:
            with tempfile.TemporaryDirectory(prefix="grunlock-") as folder:
                self._train(memory, recipe, Path(folder) / "run")
        self.classes_ = classes
        self._columns = np.array([self.classifier_.labels.index(name) for name in names])
        return self

    def predict_proba(self, X: Sequence[Any]) -> FloatArray:
        """[len(X), K] calibrated probabilities, columns in the order of classes_."""
        result: FloatArray = self._fitted().predict_proba(list(X))[:, self._columns]
        return result

    def predict(self, X: Sequence[Any]) -> NDArray[Any]:
        """The most probable class of each example."""
        probs = self.predict_proba(X)
        result: NDArray[Any] = self.classes_[probs.argmax(axis=1)]
        return result

    def _train(self, memory: InMemory | SeriesSet, recipe: Recipe, folder: Path) -> None:
        if self.progress:
            with ProgressBar(Console(stderr=True)) as bar:
                result = train(memory, recipe, folder, options=RunOptions(listeners=(bar,)))
        else:
            result = train(memory, recipe, folder)
        self.classifier_ = result.artifact.classifier()
        self.metrics_ = result.metrics

    def _fitted(self) -> TextClassifier | SeriesClassifier:
        if not hasattr(self, "classifier_"):
            raise NotFittedError(
                "This GRUClassifier is not fitted yet.", cure="call fit(examples, labels) first"
            )
        classifier: TextClassifier | SeriesClassifier = self.classifier_
        return classifier

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.non_deterministic = False
        return tags


def _in_memory(recipe: Recipe, examples: Sequence[Any], labels: Sequence[str]) -> InMemory | SeriesSet:
    """Examples of the recipe's kind. Raises DataError for those of the other one."""
    if recipe.data.kind == "series":
        return series_of_arrays(examples, labels, "X")
    if len(examples) and isinstance(examples[0], np.ndarray):
        raise DataError(
            "The recipe is for texts.",
            where=f"recipe {recipe.name}",
            got="an array",
            expected="strings",
            cure='GRUClassifier("series") is for numeric series',
        )
    return InMemory(examples, labels)
