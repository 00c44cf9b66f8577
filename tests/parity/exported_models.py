"""Small models whose numbers are not trivial, for the tests of exporters, and what they read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.artifact import Artifact
from grunlock.recipe import DataFacts, Recipe, SeriesFacts, derive, read_recipe
from grunlock.recipe.model_options import WideOptions
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray
from grunlock.text.front_end import TextFrontEnd
from tests.conftest import facts_for, small_facts
from tests.parity.test_runtime import away_from_its_start

NUM_LABELS = 3
KNOWN = (
    "the cat sat on the mat , a dog and unlock what gated nets can do please naïve Straße 我 爱 北京 天安门"
)
UNSEEN = [*KNOWN.split(), "[", "unk", "]", "zebra", "unseenwords", "gate", "上海", "e=mc2", "ﬁne", "x" * 60]
TEMPERATURE = 0.7


def text_artifact(
    overrides: Sequence[str] = (), temperature: float = TEMPERATURE, num_labels: int = NUM_LABELS
) -> Artifact:
    """A model of texts: recipe `default` without a wide path, made small, with some values changed."""
    wide = "wide={training='together', characters=false}"
    wide = wide if any(each.startswith("wide") for each in overrides) else "wide=off"
    recipe = read_recipe("default", [*_small(overrides), "embedding.size=6", wide, *overrides])
    assert recipe.text is not None
    front_end = TextFrontEnd.train(lambda: [KNOWN], recipe.text, recipe.ngrams_of(recipe.text.tokens))
    facts = facts_for(front_end).model_copy(update={"num_classes": num_labels})
    weights = _weights(recipe, facts)
    if recipe.wide_apart is not None:
        weights |= _wide_weights(recipe.wide_apart, num_labels)
    return _artifact(recipe, facts, front_end, weights, temperature)


def series_artifact(
    overrides: Sequence[str] = (),
    temperature: float = TEMPERATURE,
    channels: tuple[str, ...] = ("a", "b"),
) -> Artifact:
    """A model of series of which values were missing: recipe `series` made small, a stem if asked for."""
    stem = [] if any(each.startswith("stem") for each in overrides) else ["stem=off"]
    recipe = read_recipe("series", [*stem, *_small(overrides), "series.size=off", *overrides])
    assert recipe.series is not None
    values = drawn_series([40, 9, 1])
    lengths = np.array([len(each) for each in values])
    joined = np.concatenate(values)[:, -len(channels) :]
    front_end, _ = SeriesFrontEnd.fit(joined, lengths, channels, recipe.series)
    inputs = SeriesFacts(channels=front_end.channels, num_features=front_end.num_features)
    facts = small_facts(inputs=inputs)
    return _artifact(recipe, facts, front_end, _weights(recipe, facts), temperature)


def drawn_texts(lengths: Sequence[int], seed: int = 0) -> list[str]:
    """Texts of so many words, known and unknown ones."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(UNSEEN, length)) for length in lengths]


def drawn_series(lengths: Sequence[int], seed: int = 0) -> list[FloatArray]:
    """Series of two channels, with missing values in both; never none at all."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(3, 2, (length, 2)).astype(np.float32) for length in lengths]
    for series in found:
        series[rng.random(series.shape) < 0.1] = np.nan
        series[0, 1] = 1.5
    return found


def _small(overrides: Sequence[str]) -> list[str]:
    return [] if "encoder.kind=bag" in overrides else ["encoder.hidden_size=5"]


def _artifact(
    recipe: Recipe,
    facts: DataFacts,
    front_end: TextFrontEnd | SeriesFrontEnd,
    weights: dict[str, FloatArray],
    temperature: float,
) -> Artifact:
    labels = tuple(f"klasse {k} 蓝" for k in range(facts.num_classes))
    return Artifact(recipe, derive(recipe, facts), front_end, labels, weights, temperature, {}, "f" * 64)


def _weights(recipe: Recipe, facts: DataFacts) -> dict[str, FloatArray]:
    """Of an untrained network whose norms and biases are not trivial."""
    weights = away_from_its_start(recipe, facts).state_dict()
    weights["head.weight"] *= 3  # so that probabilities are far from even
    return {name: value.numpy() for name, value in weights.items()}


def _wide_weights(options: WideOptions, num_labels: int) -> dict[str, NDArray[Any]]:
    """Of a wide path that knows three quarters of the buckets."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(rng.random(options.buckets) < 0.75).astype(np.int32)
    return {
        "wide.rows": rows,
        "wide.rarity": rng.uniform(1, 4, len(rows)).astype(np.float32),
        "wide.weights.weight": rng.normal(size=(len(rows), num_labels)).astype(np.float32),
        "wide.bias": rng.normal(size=num_labels).astype(np.float32),
    }
