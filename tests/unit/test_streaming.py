"""Streams answer what the classifier answers to the input so far: every part, every cut, several at once."""

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock import SeriesClassifier
from grunlock.errors import DataError, StreamError
from grunlock.kernels.library import native_library, use_kernel
from grunlock.recipe import SeriesFacts, read_recipe
from grunlock.runtime import streamed_pooling
from grunlock.runtime.network import Network
from grunlock.series import SeriesFrontEnd
from tests.conftest import small_facts
from tests.parity.test_runtime import TEXTS, UNSEEN, away_from_its_start
from tests.unit.streamed_models import (
    FORWARD,
    LABELS,
    SERIES,
    TEXT,
    check_text,
    measured,
    series_classifier,
    text_classifier,
)

TEXT_OPTIONS = [
    [FORWARD],
    [FORWARD, "encoder.reset_after=false", "encoder.cell_norm=true", "encoder.zoneout=0.3"],
    [FORWARD, "encoder.norm=batch", "encoder.num_layers=2"],
    [FORWARD, "encoder.norm=layer", "encoder.num_layers=3"],
    [FORWARD, "encoder.norm=batch", "encoder.cell_norm=true", "encoder.num_layers=2"],
    [FORWARD, "encoder.kind=lstm", "encoder.num_layers=2"],
    [FORWARD, "encoder.kind=lstm", "encoder.norm=layer", "encoder.cell_norm=true", "encoder.zoneout=0.2"],
    [FORWARD, "encoder.kind=mingru", "encoder.norm=batch"],
    [FORWARD, "encoder.kind=minlstm", "encoder.norm=layer"],
    [FORWARD, "encoder.kind=qrnn", "encoder.window_steps=3", "encoder.norm=batch"],
    ["encoder.kind=bag", "text.tokens=characters"],
    ["encoder.kind=conv", "encoder.widths=[1, 2]", 'pooling.parts=["max", "last"]'],
    ["encoder.kind=bag", "stem.widths=[2, 1, 2]", "stem.norm=layer"],
    [FORWARD, "stem.widths=[2]", "stem.norm=batch", "pooling.inputs=true"],
    [FORWARD, 'pooling.parts=["last"]'],
    [FORWARD, 'pooling.parts=["attention", "last", "mean", "max"]', "pooling.inputs=true"],
    [FORWARD, 'pooling.parts=["multi_attention", "attention"]', "pooling.num_hops=3"],
    [FORWARD, "embedding.ngrams.buckets=64"],
    [FORWARD, "embedding.ngrams.buckets=64", "embedding.ngrams.min_length=2", "text.tokens=characters"],
    [FORWARD, "wide.buckets=64", "wide.max_length=1"],
    [FORWARD, "wide.buckets=64", "wide.max_length=4"],
    [FORWARD, "wide.buckets=64", "wide.characters=true", "text.max_tokens=11"],
    [FORWARD, "wide.buckets=65", "wide.characters=true", "embedding.ngrams.buckets=64",
     "text.tokens=characters"],
    [FORWARD, "wide.training=apart", "wide.buckets=64", "wide.characters=true"],
    [FORWARD, "wide.training=apart", "wide.buckets=512", "wide.max_length=3"],
    [FORWARD, "wide.training=apart", "wide.buckets=64", "wide.characters=true", "text.tokens=characters"],
    [FORWARD, "text.max_tokens=5", "text.lowercase=false"],
]  # fmt: skip

SERIES_OPTIONS = [
    [*SERIES],
    [*SERIES, "series.size=6", "series.changes=true"],
    [*SERIES, "encoder.kind=lstm", "series.changes=true"],
    [FORWARD, "encoder.kind=qrnn", "stem.widths=[2]"],
    ["encoder.kind=bag", "stem=off", "series.changes=true", 'pooling.parts=["attention", "mean"]'],
]


@pytest.mark.parametrize("overrides", TEXT_OPTIONS, ids=" ".join)
@settings(max_examples=5, deadline=None)
@given(places=st.lists(st.integers(1, len(TEXT)), max_size=6))
def test_any_cuts_of_a_text(overrides: list[str], places: list[int]) -> None:
    check_text(text_classifier(*overrides), TEXT, places)


@pytest.mark.parametrize("overrides", TEXT_OPTIONS, ids=" ".join)
def test_every_beginning_of_a_text(overrides: list[str]) -> None:
    check_text(text_classifier(*overrides), "The zebra , a mat and THE zebra the cat sat", list(range(50)))


@pytest.mark.parametrize("overrides", TEXT_OPTIONS, ids=" ".join)
def test_logits_after_each_token_are_those_of_texts_that_end_there(overrides: list[str]) -> None:
    if "text.tokens=characters" in overrides:
        pytest.skip("its texts are not cut at spaces")
    classifier = text_classifier(*overrides)
    text = "the zebra sat on the mat and unseenwords sat on the mat"
    words = text.split(" ")
    of_each = classifier.prefix_logits(["a", text, "mat mat"])[1]
    texts = [" ".join(words[: i + 1]) for i in range(len(of_each))]
    np.testing.assert_allclose(of_each, classifier.logits(texts), atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("overrides", SERIES_OPTIONS, ids=" ".join)
@settings(max_examples=5, deadline=None)
@given(places=st.lists(st.integers(1, 29), max_size=6))
def test_any_cuts_of_a_series(overrides: list[str], places: list[int]) -> None:
    classifier, values = series_classifier(*overrides), measured(30)
    stream = classifier.stream()
    of_each = classifier.prefix_logits([values])[0]
    for start, end in pairwise(sorted({0, 30, *places})):
        piece = values[start:end]
        stream.feed(piece[0] if len(piece) == 1 else piece)
        np.testing.assert_allclose(stream.logits, classifier.logits([values[:end]])[0], atol=3e-6, rtol=1e-5)
        np.testing.assert_allclose(stream.logits, of_each[end - 1], atol=3e-6, rtol=1e-5)
        assert stream.num_steps == end
    stream.finish()
    np.testing.assert_allclose(stream.probabilities, classifier.predict_proba([values])[0], atol=1e-6)


@pytest.mark.parametrize("kernel", ["reference", None])
def test_with_and_without_compiled_kernels(kernel: str | None) -> None:
    use_kernel(kernel)
    try:
        for kind in ("gru", "lstm", "mingru", "qrnn"):
            overrides = [FORWARD, f"encoder.kind={kind}", "encoder.num_layers=2"]
            classifier = text_classifier.__wrapped__(*overrides)
            check_text(classifier, "the zebra sat on the mat", list(range(30)))
    finally:
        use_kernel(None)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_products_of_low_precision(precision: str) -> None:
    if native_library() is None:
        pytest.skip("without compiled kernels predictions are made in float32 only")
    overrides = [FORWARD, "encoder.hidden_size=16", "encoder.num_layers=2"]
    exact = text_classifier(*overrides)
    classifier = replace(exact, network=replace(exact.network, precision=precision))
    check_text(classifier, "the zebra sat on the mat", list(range(30)))
    assert np.abs(classifier.logits([TEXT]) - exact.logits([TEXT])).max() > 1e-5


def test_long_pieces_are_read_in_blocks_of_the_same_numbers() -> None:
    classifier = text_classifier(FORWARD, "wide.training=apart", "wide.buckets=64", "wide.characters=true")
    classifier = replace(classifier, front_end=replace(classifier.front_end, max_tokens=None))
    text = " ".join([*UNSEEN, *TEXTS] * 40)
    whole, single = classifier.stream(), classifier.stream()
    whole.feed(text)
    for word in text.split():
        single.feed(word + " ")
    whole.finish()
    assert whole.num_steps == single.num_steps > 512
    np.testing.assert_allclose(whole.logits, single.logits, atol=1e-5)
    np.testing.assert_allclose(whole.logits, classifier.logits([text])[0], atol=1e-5)
    np.testing.assert_allclose(classifier.prefix_logits([text])[0][-1], whole.logits, atol=1e-5)


def test_attention_over_scores_that_lie_far_apart() -> None:
    """Weights of e ** 1000 and more apart, rising and falling."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (40, 3)).astype(np.float32)
    weights = {
        "pooling.attention.projection.weight": np.eye(3, dtype=np.float32),
        "pooling.attention.projection.bias": np.zeros(3, np.float32),
        "pooling.attention.query": np.array([4000, -3000, 10], np.float32),
    }
    pooling = streamed_pooling.StreamedPooling(weights, ("attention",))
    scores = (np.tanh(rows) @ weights["pooling.attention.query"]).astype(np.float64)
    expected = []
    for end in range(1, 41):
        shares = np.exp(scores[:end] - scores[:end].max())
        expected.append(shares @ rows[:end] / shares.sum())
    whole, _ = pooling.advance(rows, pooling.start())
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    so_far = pooling.start()
    for row, after in zip(rows, expected, strict=True):
        found, so_far = pooling.advance(row[None], so_far)
        np.testing.assert_allclose(found[0], after, atol=1e-5)


# ---- several streams -------------------------------------------------------------------------------


def test_two_streams_do_not_touch_each_other() -> None:
    classifier = text_classifier(FORWARD, "wide.training=apart", "wide.buckets=64", "wide.characters=true")
    first, second = classifier.stream(), classifier.stream()
    texts = ("the cat sat on the mat", "a zebra , a zebra and a dog")
    for one, other in zip(*texts, strict=False):
        first.feed(one)
        second.feed(other)
        assert first.probabilities.shape == second.probabilities.shape == (3,)
    read = [text[: min(map(len, texts))] for text in texts]
    np.testing.assert_allclose([first.logits, second.logits], classifier.logits(read), atol=3e-6)


def test_streams_in_many_threads() -> None:
    classifier = text_classifier(FORWARD, "wide.training=apart", "wide.buckets=64", "wide.characters=true")
    texts = [f"{text} {i}" for i, text in enumerate([*UNSEEN, *TEXTS] * 6)]

    def read(text: str) -> np.ndarray:
        stream = classifier.stream()
        for piece in text:
            stream.feed(piece)
        return stream.logits

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, texts))
    np.testing.assert_allclose(found, classifier.logits(texts), atol=3e-6)


def test_what_is_given_away_is_a_copy() -> None:
    stream = text_classifier(FORWARD).stream()
    stream.feed("the cat ")
    before = stream.logits
    stream.logits[:] = 7
    np.testing.assert_array_equal(stream.logits, before)


def test_a_classifier_that_streams_can_be_pickled() -> None:
    classifier = text_classifier(FORWARD)
    stream = classifier.stream()
    stream.feed("the cat")
    again = pickle.loads(pickle.dumps(classifier)).stream()
    again.feed("the cat")
    np.testing.assert_array_equal(again.logits, stream.logits)


def test_a_state_does_not_grow() -> None:
    classifier = text_classifier(
        FORWARD, "embedding.ngrams.buckets=64", 'pooling.parts=["attention", "max", "mean"]'
    )
    classifier = replace(classifier, front_end=replace(classifier.front_end, max_tokens=None))
    stream = classifier.stream()

    def read(words: range) -> None:
        for i in words:
            stream.feed(f"word{i} ")

    tracemalloc.start()
    try:
        read(range(300))
        before = tracemalloc.get_traced_memory()[0]
        read(range(300, 2000))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert stream.num_steps == 2000
    assert grown < 4000  # of 1,700 distinct tokens


# ---- the ends --------------------------------------------------------------------------------------


def test_nothing_read_yet() -> None:
    stream = text_classifier(FORWARD).stream()
    stream.feed(" \n")
    for ask in ("logits", "probabilities", "label"):
        with pytest.raises(DataError, match="Nothing has been read yet"):
            getattr(stream, ask)
    stream.finish()
    with pytest.raises(DataError, match="Nothing has been read yet"):
        _ = stream.logits
    assert stream.num_steps == 0
    with pytest.raises(DataError, match="Nothing has been read yet"):
        _ = series_classifier(*SERIES).stream().logits


def test_an_empty_text_of_a_model_that_knows_them() -> None:
    classifier = text_classifier(FORWARD, "data.empty_texts=keep")
    stream = classifier.stream()
    np.testing.assert_allclose(stream.logits, classifier.logits([""])[0], atol=3e-6)
    stream.feed("  ")
    stream.finish()
    np.testing.assert_allclose(stream.logits, classifier.logits([""])[0], atol=3e-6)
    stream = classifier.stream()
    _ = stream.logits
    stream.feed("cat")
    np.testing.assert_allclose(stream.logits, classifier.logits(["cat"])[0], atol=3e-6)


def test_after_the_end() -> None:
    stream = text_classifier(FORWARD).stream()
    stream.feed("the cat")
    stream.finish()
    stream.finish()
    assert stream.num_steps == 2
    with pytest.raises(StreamError, match=r"stream has ended(.|\n)*stream\(\)"):
        stream.feed(" sat")


def test_steps_of_a_series_that_are_none() -> None:
    stream = series_classifier(*SERIES).stream()
    stream.feed([1.0, 2.0])
    before = stream.logits
    for piece, complaint in (
        ([1.0], r"wrong shape(.|\n)*\[1\](.|\n)*a, b"),
        (np.zeros((2, 3)), "wrong shape"),
        (np.zeros((0, 2)), "wrong shape"),
        (3.0, "wrong shape"),
        ("abc", "not an array of numbers"),
        ([[1.0, 2.0], [3.0, np.inf]], "infinite(.|\n)*step 2, b"),
    ):
        with pytest.raises(DataError, match=complaint):
            stream.feed(piece)
    np.testing.assert_array_equal(stream.logits, before)
    stream.feed([np.nan, np.nan])
    assert stream.num_steps == 2


def test_a_single_channel_comes_as_numbers() -> None:
    recipe = read_recipe("series", [*SERIES, "encoder.hidden_size=3"])
    values = np.arange(12, dtype=np.float32)
    front_end, _ = SeriesFrontEnd.fit(values[:, None], np.array([12]), ("a",), recipe.series)
    inputs = SeriesFacts(channels=("a",), num_features=front_end.num_features)
    model = away_from_its_start(recipe, small_facts(inputs=inputs))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    classifier = SeriesClassifier(front_end, Network(recipe, weights), LABELS, 1.0)
    stream = classifier.stream()
    stream.feed(values[0])
    stream.feed(values[1:4])
    stream.feed(values[4:, None])
    assert stream.num_steps == 12
    np.testing.assert_allclose(stream.logits, classifier.logits([values])[0], atol=3e-6)
