"""Small models that stream, and how their answers are held against the classifier's."""

from functools import cache
from itertools import pairwise

import numpy as np

from grunlock import SeriesClassifier, TextClassifier
from grunlock.recipe import SeriesFacts, read_recipe
from grunlock.runtime.network import Network
from grunlock.series import SeriesFrontEnd
from tests.conftest import small_facts
from tests.parity.test_runtime import TEXTS, UNSEEN, away_from_its_start, built

FORWARD = "encoder.bidirectional=false"
TEXT = ". ".join([*UNSEEN, *TEXTS])
LABELS = ("a", "b", "c")

SERIES = (FORWARD, "stem=off")


@cache
def text_classifier(*overrides: str) -> TextClassifier:
    recipe, front_end, model = built(
        [each.replace("wide.training=apart", "wide.dropout=0") for each in overrides]
    )
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    for name in [name for name in weights if name.endswith(".query")]:
        weights[name] = -20 * weights[name]  # attention whose largest score rises for some steps
    if "wide.training=apart" in overrides:
        wide = recipe.wide.model_copy(update={"training": "apart"})
        recipe = recipe.model_copy(update={"wide": wide})
        weights |= apart(wide.buckets)
    return TextClassifier(front_end, Network(recipe, weights), LABELS, 1.3)


def apart(buckets: int) -> dict[str, np.ndarray]:
    """A linear model that knows most n-grams."""
    rng = np.random.default_rng(3)
    rows = np.sort(rng.permutation(buckets)[: buckets * 3 // 4]).astype(np.int32)
    return {
        "wide.rows": rows,
        "wide.rarity": rng.uniform(1, 4, len(rows)).astype(np.float32),
        "wide.weights.weight": rng.normal(0, 1, (len(rows), 3)).astype(np.float32),
        "wide.bias": rng.normal(0, 1, 3).astype(np.float32),
    }


@cache
def series_classifier(*overrides: str) -> SeriesClassifier:
    hidden = [] if "encoder.kind=bag" in overrides else ["encoder.hidden_size=5"]
    recipe = read_recipe("series", [*hidden, *overrides])
    values, lengths = measured(40), np.array([25, 15])
    front_end, _ = SeriesFrontEnd.fit(values, lengths, ("a", "b"), recipe.series)
    inputs = SeriesFacts(channels=front_end.channels, num_features=front_end.num_features)
    model = away_from_its_start(recipe, small_facts(inputs=inputs))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return SeriesClassifier(front_end, Network(recipe, weights), LABELS, 0.7)


def measured(steps: int) -> np.ndarray:
    values = np.random.default_rng(steps).normal(3, 2, (steps, 2)).astype(np.float32)
    values[[2, 3, 11], [0, 1, 0]] = np.nan
    return values


def check_text(classifier: TextClassifier, text: str, places: list[int]) -> None:
    stream = classifier.stream()
    for start, end in pairwise(sorted({0, len(text), *(place for place in places if place < len(text))})):
        stream.feed(text[start:end])
        if text[:end].strip():
            np.testing.assert_allclose(
                stream.logits, classifier.logits([text[:end]])[0], atol=3e-6, rtol=1e-5
            )
    before = stream.probabilities
    stream.finish()
    np.testing.assert_allclose(stream.probabilities, before, atol=1e-6)
    np.testing.assert_allclose(before, classifier.predict_proba([text])[0], atol=1e-6)
    assert stream.label == classifier.predict([text])[0]
    of_each = classifier.prefix_logits([text, "cat", text])
    np.testing.assert_allclose(of_each[0], of_each[2], atol=3e-6)
    np.testing.assert_allclose(of_each[0][-1], stream.logits, atol=3e-6)
    assert len(of_each[0]) == stream.num_steps
    assert np.ptp(of_each[0], axis=0).max() > 0.05  # answers move
