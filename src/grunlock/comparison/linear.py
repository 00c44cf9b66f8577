"""The linear models to beat: on bags of words, and on random convolutions of series."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from grunlock.comparison.random_convolutions import series_baseline
from grunlock.data.batches import ExampleStore
from grunlock.data.prepared import open_prepared
from grunlock.data.texts import labelled_splits
from grunlock.recipe import read_recipe
from grunlock.recipe.schema import DataOptions
from grunlock.recipe.text_options import TextDataOptions
from grunlock.shapes import FloatArray, IntArray, sequence_major_rows
from grunlock.text import Script, detect_script
from grunlock.tuning.data_cache import prepared_for

Right = Mapping[str, NDArray[np.bool_]]  # by split


def linear_baseline(script: Script = "spaced") -> Pipeline:
    """A linear SVM on TF-IDF, scikit-learn's defaults otherwise: of word 1-2-grams and character 2-5-grams,
    or of character 1-4-grams where words are not set apart."""
    if script != "spaced":
        return make_pipeline(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True), LinearSVC()
        )
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return make_pipeline(make_union(words, characters), LinearSVC())


def linear_answers(
    source: str, valid: str | None, test: str | None, reading: DataOptions, folder: Path
) -> Right:
    """Which examples of validation and test, if there is one, the linear model of the training split gets
    right.

    folder: where series are prepared. Raises what reading the sources raises.
    """
    if isinstance(reading, TextDataOptions):
        splits = labelled_splits(source, valid, test, reading)
        texts = splits["train"].texts
        model = linear_baseline(detect_script(texts)).fit(texts, splits["train"].labels)
        return {
            name: np.asarray(model.predict(split.texts) == np.asarray(split.labels))
            for name, split in splits.items()
            if name in ("valid", "test")
        }
    recipe = read_recipe("series", ["series.changes=false"]).model_copy(update={"data": reading})
    data = open_prepared(prepared_for(recipe, folder, source, valid, test))
    model = series_baseline().fit(*_series_and_targets(data.train))
    stores = {"valid": data.valid, "test": data.test}
    return {name: _right(model, store) for name, store in stores.items() if store is not None}


def _right(model: Pipeline, store: ExampleStore) -> NDArray[np.bool_]:
    series, targets = _series_and_targets(store)
    return np.asarray(model.predict(series) == targets)


def _series_and_targets(store: ExampleStore) -> tuple[list[FloatArray], IntArray]:
    """Features [steps, F] of each series, and class indices, in the store's order."""
    batch = store.batch(np.arange(store.num_examples))
    assert isinstance(batch.inputs, np.ndarray)  # of series
    rows = batch.inputs[sequence_major_rows(batch.layout.batch_sizes)]
    longest_first = np.split(rows, np.cumsum(batch.layout.lengths)[:-1])
    place = np.argsort(batch.examples)
    return [longest_first[i] for i in place], batch.targets[place]
