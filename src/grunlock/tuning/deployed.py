"""What a model costs where it runs: bytes of its file, seconds of one prediction on this machine.

Neither depends on what the weights have learned, so a model that costs too much is not trained at all.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.artifact import ARTIFACT_NAME, Artifact, load, save
from grunlock.data.prepare import Examples
from grunlock.data.prepared import PreparedData
from grunlock.data.series.prepare import gather_series
from grunlock.data.texts import gather_texts
from grunlock.evaluation.latency import quickest_seconds
from grunlock.objectives.metrics import evaluate
from grunlock.recipe import Recipe
from grunlock.recipe.series_options import SeriesDataOptions
from grunlock.training.start import build_start, derive_for
from grunlock.training.wide_linear import wide_models
from grunlock.training.wide_path import as_arrays, summed, with_path

NUM_EXAMPLES = 100


@dataclass(frozen=True)
class Cost:
    """size: bytes of model.grunlock. latency: seconds from one raw example to its probabilities, median."""

    size: int
    latency: float


def cost_of_untrained(recipe: Recipe, data: PreparedData, examples: Sequence[object]) -> Cost:
    """What a model of this recipe will cost, from one with the weights that training starts from."""
    derived = derive_for(recipe, data)
    state = build_start(recipe, derived, data, None).model.state_dict()
    weights, classes = as_arrays(state), len(data.labels)
    if recipe.wide_apart is not None:
        linear = wide_models(data, recipe.wide_apart)[0]  # the others are of the same size
        weights = with_path(weights, summed([linear], [1.0]))
    # Metrics of the validation split are in the file too; those of chance are as long.
    chance = np.full((data.valid.num_examples, classes), 1.0 / classes)
    metrics = evaluate(chance, np.asarray(data.valid.targets, dtype=np.int64), data.labels).to_dict()
    artifact = Artifact(
        recipe=recipe,
        derived=derived,
        front_end=data.front_end,
        labels=data.labels,
        weights=weights,
        temperature=1.0,
        metrics=metrics,
        data_fingerprint=data.fingerprint,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ARTIFACT_NAME
        save(artifact, path)
        return cost_of_file(path, examples)


def cost_of_file(path: Path, examples: Sequence[object]) -> Cost:
    """path: a model file. examples: raw ones, texts or series."""
    return Cost(path.stat().st_size, median_latency(path, examples))


def median_latency(path: Path, examples: Sequence[object]) -> float:
    """Seconds of one prediction: from text or values to probabilities, one example at a time, one thread."""
    return float(np.median(quickest_seconds(load(path).predict_proba, examples)))


def raw_examples(source: Examples, recipe: Recipe) -> list[object]:
    """Up to NUM_EXAMPLES of a training set, as they would come to a deployed model: texts or series."""
    found: list[object]
    if isinstance(recipe.data, SeriesDataOptions):
        series = gather_series(source, None, None, recipe.data).train
        found = [series.series(i) for i in range(series.num_series)]
    else:
        chunk = next(gather_texts(source, None, None, recipe.data).train.chunks())
        found = [text for text in chunk.texts if text is not None and text.strip()]
    count = min(NUM_EXAMPLES, len(found))
    return [found[i * len(found) // count] for i in range(count)]
