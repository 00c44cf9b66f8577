"""Streams answer what the classifier answers to the input so far: every part, every cut, several at once."""

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grunlock import SeriesClassifier, TextClassifier
from grunlock.errors import DataError, StreamError
from grunlock.kernels.library import native_library, use_kernel
from grunlock.recipe import SeriesFacts, read_recipe
from grunlock.runtime import streamed_pooling, streamed_wide, streaming
from grunlock.runtime.hindrances import hindrances
from grunlock.runtime.network import Network
from grunlock.runtime.stepped import SteppedNetwork
from grunlock.series import SeriesFrontEnd
from tests.conftest import small_facts
from tests.parity.test_runtime import TEXTS, UNSEEN, away_from_its_start, built

FORWARD = "encoder.bidirectional=false"
ENDED = "train with --set encoder.bidirectional=false"
TEXT = ". ".join([*UNSEEN, *TEXTS])
LABELS = ("a", "b", "c")

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

SERIES = (FORWARD, "stem=off")
SERIES_OPTIONS = [
    [*SERIES],
    [*SERIES, "series.size=6", "series.changes=true"],
    [*SERIES, "encoder.kind=lstm", "series.changes=true"],
    [FORWARD, "encoder.kind=qrnn", "stem.widths=[2]"],
    ["encoder.kind=bag", "stem=off", "series.changes=true", 'pooling.parts=["attention", "mean"]'],
]


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


# ---- refusals --------------------------------------------------------------------------------------

REFUSED = {
    "encoder.bidirectional = true": (["encoder.kind=gru"], "--set encoder.bidirectional=false"),
    "text.tokens = bpe": ([FORWARD, "text.tokens=bpe", "text.vocab_size=40"], "--set text.tokens=words"),
    "text.tokens = chinese_words": ([FORWARD, "text.tokens=chinese_words"], "--set text.tokens=characters"),
    "text.cut = middle": ([FORWARD, "text.cut=middle"], "--set text.cut=end"),
    "stem.widths = [2, 3]": ([FORWARD, "stem.widths=[2, 3]"], "--set stem=off"),
    "encoder.widths = [3]": (["encoder.kind=conv", "encoder.widths=[3]"], "--set encoder.widths=[2]"),
    "encoder.kind = transformer": (
        ["encoder.kind=transformer", "encoder.hidden_size=8"],
        "--set encoder.kind=gru --set encoder.bidirectional=false",
    ),
    "chunks": ([FORWARD, "chunks.chunk_steps=2"], "--set chunks=off"),
    "attention": ([FORWARD, "encoder.hidden_size=4", "attention.num_heads=2"], "--set attention=off"),
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_needs_the_whole_text_is_refused_with_a_cure(option: str) -> None:
    overrides, cure = REFUSED[option]
    classifier = text_classifier(*overrides)
    for ask in (classifier.stream, lambda: classifier.prefix_logits(["cat"])):
        with pytest.raises(StreamError, match="cannot answer before its input has ended") as refused:
            ask()
        assert refused.value.where == option
        assert refused.value.cure == f"train with {cure}"
    cured = [setting for setting in cure.split() if setting != "--set"]
    recipe = read_recipe("default", [*overrides, *cured])
    assert hindrances(recipe, recipe.text.tokens.replace("auto", "words")) == ()


def test_all_hindrances_are_named_at_once() -> None:
    with pytest.raises(StreamError) as refused:
        series_classifier("series.each_alone=true", "stem.widths=[5]").stream()
    assert refused.value.where == "series.each_alone = true, stem.widths = [5], encoder.bidirectional = true"
    assert refused.value.cure == (
        "train with --set series.each_alone=false --set stem=off --set encoder.bidirectional=false"
    )


def test_a_cut_in_the_middle_of_texts_without_a_limit_is_none() -> None:
    assert (
        hindrances(read_recipe("default", [FORWARD, "text.cut=middle", "text.max_tokens=off"]), "words") == ()
    )


# ---- planted errors --------------------------------------------------------------------------------

MUTATIONS: dict[str, tuple[ModuleType, str, str]] = {
    "the mean forgets how many there were": (
        streamed_pooling,
        "np.arange(before.steps + 1, before.steps + len(rows) + 1)",
        "np.arange(1, len(rows) + 1)",
    ),
    "the sum begins anew": (
        streamed_pooling, "sums += 0.0 if before.total is None else before.total", "pass"
    ),
    "the maximum begins anew": (
        streamed_pooling, "rows if before.highest is None else np.maximum(rows, before.highest)", "rows"
    ),
    "old weights keep their reference": (
        streamed_pooling, "kept = np.exp(before.reference - reference)", "kept = np.ones_like(reference)"
    ),
    "a repeated n-gram counts as a new one": (streamed_wide, "news[row] = count", "pass"),
    "squares are not telescoped": (streamed_wide, "now * now - before * before", "(now - before) ** 2"),
    "n-grams do not reach back": (
        streamed_wide, "ids[max(0, len(ids) - self._options.max_length + 1) :]", "ids[:0]"
    ),
    "both kinds share a sum": (streamed_wide, "sums[ends] - sums[starts][:, None]", "sums[ends]"),
    "looking is reading": (
        streaming,
        "            last, steps = logits[-1], steps + len(logits)",
        "            last, steps, self._so_far = logits[-1], steps + len(logits), so_far.keep()",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_planted_errors_are_caught(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, old, new = MUTATIONS[mutation]
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    assert source.count(old) == 1, "the module was rewritten: write this mutation anew"
    parts = 'pooling.parts=["attention", "mean", "max"]'
    wide = ["wide.training=apart", "wide.buckets=64", "wide.characters=true"]
    namespace: dict[str, object] = {"__name__": module.__name__}
    exec(compile(source.replace(old, new), "mutated.py", "exec"), namespace)
    name = {streamed_pooling: "StreamedPooling", streamed_wide: "StreamedWide", streaming: "Stream"}[module]
    home = "grunlock.runtime.classifier" if module is streaming else "grunlock.runtime.stepped"
    classifier = text_classifier.__wrapped__(FORWARD, parts, *wide)
    check_text(classifier, "the zebra sat on the mat the mat", list(range(40)))
    monkeypatch.setattr(f"{home}.{name}", namespace[name])
    with pytest.raises(AssertionError):
        check_text(classifier, "the zebra sat on the mat the mat", list(range(40)))


def test_a_state_that_two_streams_share_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    start = SteppedNetwork.start
    shared: list[object] = []

    def started(network: SteppedNetwork) -> object:
        if not shared:
            shared.append(start(network))
        return shared[0]

    monkeypatch.setattr(SteppedNetwork, "start", started)
    with pytest.raises(AssertionError):
        test_two_streams_do_not_touch_each_other()
