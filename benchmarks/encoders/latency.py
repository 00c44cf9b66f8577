"""Microseconds of one prediction: single examples of the test split, from text or values to probabilities.

Imports no torch, as serving does not.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.encoders.plan import DataSet

import grunlock
from grunlock.data.sources import read_texts
from grunlock.recipe import read_recipe

NUM_EXAMPLES = 400
NUM_WARM_UP = 20
PASSES = 3  # over the examples; each counts with its median


def time_predictions(model: Path, data_set: DataSet) -> dict[str, Any]:
    """Median and quartiles over examples that are spread evenly over the test split."""
    classifier = grunlock.load(model)
    examples = spread_evenly(examples_of(data_set))
    for example in examples[:NUM_WARM_UP]:
        classifier.predict_proba([example])
    passes = [[_seconds(classifier, example) for example in examples] for _ in range(PASSES)]
    by_example = [1e6 * statistics.median(times) for times in zip(*passes, strict=True)]
    quartiles = statistics.quantiles(by_example, n=4)
    return {
        "microseconds": quartiles[1],
        "quartiles": [quartiles[0], quartiles[2]],
        "num_examples": len(by_example),
    }


def _seconds(classifier: Any, example: Any) -> float:
    started = time.perf_counter()
    classifier.predict_proba([example])
    return time.perf_counter() - started


def examples_of(data_set: DataSet) -> list[Any]:
    """Of the test split: texts, or series [T, C] float32."""
    if not data_set.is_series:
        chunks = read_texts(data_set.source, read_recipe(data_set.base).data, labels="ignored").chunks()
        return [text for chunk in chunks for text in chunk.texts]
    with np.load(data_set.source, allow_pickle=False) as arrays:
        values, lengths = arrays["X_test"].astype(np.float32), arrays["len_test"]
    return [series[:length] for series, length in zip(values, lengths, strict=True)]


def spread_evenly(examples: list[Any]) -> list[Any]:
    count = min(NUM_EXAMPLES, len(examples))
    return [examples[i * len(examples) // count] for i in range(count)]
