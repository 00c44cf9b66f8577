"""The scripts beside exported graphs: they read and refuse as the library does, and need nothing of it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grunlock.artifact import Artifact
from grunlock.errors import DataError
from grunlock.export.onnx import OnnxModel, predict_series, predict_text, write_onnx
from grunlock.export.portable import portable
from grunlock.recipe.model_options import WideOptions
from grunlock.recipe.text_options import NgramOptions
from grunlock.shapes import pack_layout
from grunlock.text import TextFrontEnd
from grunlock.text.token_ngrams import count_ngrams, token_ngrams, weigh, wide_ngrams
from grunlock.text.types import context_ngrams, word_ngrams
from tests.parity.exported_models import UNSEEN, drawn_series, series_artifact, text_artifact

NGRAMS = ["embedding.ngrams.buckets=64", "wide.buckets=65", "wide.characters=true", "wide.max_length=3"]
APART = ["wide.buckets=512", "wide.characters=true", "wide.training=apart"]
FRONT_ENDS: dict[str, list[str]] = {
    "words": NGRAMS,
    "words apart": APART,
    "words without case, cut in the middle": [*APART, "text.max_tokens=5", "text.cut=middle"],
    "characters": [*NGRAMS, "text.tokens=characters", "text.max_tokens=9"],
    "chinese words": [*NGRAMS, "text.tokens=chinese_words"],
    "bpe": [*NGRAMS, "text.tokens=bpe", "text.vocab_size=60"],
    "unigram": [*APART, "text.tokens=unigram", "text.vocab_size=60"],
    "no n-grams": ["wide.buckets=65"],
}


@pytest.fixture(scope="module", params=FRONT_ENDS)
def reader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, predict_text.FrontEnd]:
    """A model of texts, and what the script beside its graph reads texts with."""
    artifact = text_artifact([*FRONT_ENDS[request.param], "data.empty_texts=keep"])
    folder = tmp_path_factory.mktemp("reader")
    write_onnx(portable(artifact, "model.grunlock"), folder, int8=False)
    return artifact, predict_text.FrontEnd(folder)


# Hashes -----------------------------------------------------------------------------------------------

words = st.text(min_size=1, max_size=40)
ngram_options = st.builds(
    lambda buckets, shortest, more: NgramOptions(
        buckets=buckets, min_length=shortest, max_length=shortest + more
    ),
    st.integers(2, 2**31 - 1),
    st.integers(1, 5),
    st.integers(0, 4),
)


@given(words, ngram_options)
def test_ngrams_of_characters_have_the_same_buckets(word: str, options: NgramOptions) -> None:
    assert list(predict_text.word_ngrams(word, **options.model_dump())) == word_ngrams(word, options)
    assert list(predict_text.context_ngrams(word, **options.model_dump())) == context_ngrams(word, options)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=50), st.integers(1, 8), st.integers(2, 2**40))
def test_ngrams_of_tokens_have_the_same_buckets(ids: list[int], max_length: int, buckets: int) -> None:
    found = predict_text.token_ngrams(ids, max_length, buckets)
    expected = token_ngrams(np.array(ids), np.array([len(ids)]), max_length, buckets)
    np.testing.assert_array_equal(found, expected.ids)


# Whole texts ------------------------------------------------------------------------------------------

texts = st.lists(
    st.one_of(st.text(max_size=60), st.lists(st.sampled_from(UNSEEN), max_size=20).map(" ".join)),
    min_size=1,
    max_size=3,
)


@given(texts=texts)
def test_texts_are_read_as_in_the_library(
    reader: tuple[Artifact, predict_text.FrontEnd], texts: list[str]
) -> None:
    artifact, script = reader
    read = script.read(texts)
    inputs = script.inputs(read)
    for i, text in enumerate(texts):
        expected = library_reads(artifact, text)
        assert read[i].ids == expected["ids"]
        assert inputs["tokens"][i, : inputs["lengths"][i]].tolist() == expected["ids"]
        if artifact.front_end.ngrams is not None:  # type: ignore[union-attr]
            assert [list(own) for own in read[i].ngrams] == expected["ngrams"]
        values: Counter[int] = Counter()
        for row, value in zip(inputs["wide_rows"][i], inputs["wide_values"][i], strict=True):
            values[int(row)] += float(value)
        known = sorted(row for row, value in values.items() if value)
        assert known == sorted(expected["wide"])
        np.testing.assert_allclose(
            [values[row] for row in known], [expected["wide"][row] for row in known], rtol=1e-6
        )


def library_reads(artifact: Artifact, text: str) -> dict[str, Any]:
    """The library's ids, n-grams of each token, and rows of the wide table with their values."""
    front_end, options = artifact.front_end, artifact.recipe.wide
    assert isinstance(front_end, TextFrontEnd)
    assert options is not None
    types = front_end.new_types()
    encoded = front_end.encode([text], types)
    tokens = types.distinct(encoded.tokens)
    ngrams: list[list[int]] = []
    if tokens.ngram_ids is not None and tokens.ngram_offsets is not None:
        by_type = np.split(tokens.ngram_ids, tokens.ngram_offsets[1:-1])
        ngrams = [by_type[place].tolist() for place in tokens.inverse]
    bags = wide_ngrams(tokens, pack_layout(encoded.lengths).batch_sizes, options)
    return {
        "ids": tokens.vocab_ids[tokens.inverse].tolist(),
        "ngrams": ngrams,
        "wide": wide_values(artifact, options, bags),
    }


def wide_values(artifact: Artifact, options: WideOptions, bags: Any) -> dict[int, float]:
    if options.training == "apart":
        known = weigh(count_ngrams(bags), artifact.weights["wide.rows"], artifact.weights["wide.rarity"])
        return dict(zip(known.places.tolist(), known.values.tolist(), strict=True))
    values: Counter[int] = Counter()
    for bag in bags:
        for row in bag.ids.tolist():
            values[row] += 1 / np.sqrt(len(bag.ids))
    return dict(values)


# Series -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides", [[], ["series.changes=true"], ["series.each_alone=true", "series.changes=true"]]
)
def test_series_are_read_as_in_the_library(overrides: list[str], tmp_path: Path) -> None:
    artifact = series_artifact(overrides)
    write_onnx(portable(artifact, "model.grunlock"), tmp_path, int8=False)
    script = predict_series.FrontEnd(tmp_path)
    constant = np.full((5, 2), 0.1, np.float32)
    gap = np.array([[1, np.nan], [np.nan, np.nan], [2, 3]], np.float32)
    for series in [*drawn_series([1, 2, 50, 400]), constant, gap, gap[:1]]:
        expected = artifact.front_end.features(series, np.array([len(series)]))  # type: ignore[union-attr, arg-type]
        np.testing.assert_allclose(script.features(series, "here"), expected, rtol=1e-6, atol=1e-6)


# What is refused --------------------------------------------------------------------------------------

BAD_TEXTS: dict[str, Any] = {
    "one string": "a text",
    "no string": ["a text", None],
    "a half character": ["a text", "half \ud83d"],
    "empty": ["", "a text"],
    "many empty": ["a text", *[" "] * 7],
}
BAD_SERIES: dict[str, Any] = {
    "no numbers": [[["a", "b"]]],
    "ragged": [[[1, 2], [3]]],
    "one channel too many": [np.zeros((4, 3))],
    "no channel": [np.zeros(4)],
    "no step": [np.zeros((2, 2)), np.zeros((0, 2))],
    "no value": [np.full((3, 2), np.nan)],
    "infinite": [np.array([[0, 1], [1, np.inf]])],
    "too large for float32": [np.array([[0, 1], [1, 1e300]])],
    "too far off": [np.array([[0, 1], [1e38, 0]])],
}


def assert_refused_alike(artifact: Artifact, folder: Path, bad: Any) -> None:
    write_onnx(portable(artifact, "model.grunlock"), folder, int8=False)
    with pytest.raises(DataError) as expected:
        artifact.classifier().predict_proba(bad)
    with pytest.raises(ValueError) as found:
        OnnxModel(folder).probabilities(bad)
    said, wanted = str(found.value).splitlines(), str(expected.value).splitlines()
    assert said == wanted[: len(said)]
    assert len(said) >= 3


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_bad_texts_are_refused_in_the_library_s_words(kind: str, tmp_path: Path) -> None:
    assert_refused_alike(text_artifact(), tmp_path, BAD_TEXTS[kind])


@pytest.mark.parametrize("kind", BAD_SERIES)
def test_bad_series_are_refused_in_the_library_s_words(kind: str, tmp_path: Path) -> None:
    artifact = series_artifact()
    scale = np.array([1e-3, 1e-3], np.float32)
    object.__setattr__(artifact.front_end.standardization, "scale", scale)  # type: ignore[union-attr]
    assert_refused_alike(artifact, tmp_path, BAD_SERIES[kind])


# The command ------------------------------------------------------------------------------------------


def ran(folder: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, to which no environment variable points the way."""
    command = [sys.executable, "-I", str(folder / "predict.py"), *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=False, encoding="utf-8")


def answers(lines: str) -> list[tuple[str, list[float]]]:
    found = [json.loads(line) for line in lines.splitlines()]
    return [(answer["label"], list(answer["probabilities"].values())) for answer in found]


def test_texts_as_arguments_and_as_lines(tmp_path: Path) -> None:
    artifact = text_artifact(NGRAMS)
    write_onnx(portable(artifact, "model.grunlock"), tmp_path, int8=True)
    texts = ["the cat sat", "爱 北京\u2028zebra"]
    expected = OnnxModel(tmp_path).probabilities(texts)
    for done in (ran(tmp_path, *texts), ran(tmp_path, given="\n".join(texts) + "\n")):
        assert done.returncode == 0, done.stderr
        found = answers(done.stdout)
        np.testing.assert_allclose([row for _, row in found], expected, rtol=1e-6)
        assert [label for label, _ in found] == [artifact.labels[k] for k in expected.argmax(axis=1)]


def test_series_as_files_and_as_lines(tmp_path: Path) -> None:
    write_onnx(portable(series_artifact(), "model.grunlock"), tmp_path, int8=False)
    series = [np.array([[1, 2], [np.nan, 3]], np.float32), np.array([[4, 5]], np.float32)]
    expected = OnnxModel(tmp_path).probabilities(series)
    for i, values in enumerate(series):
        np.save(tmp_path / f"{i}.npy", values)
    files = [str(tmp_path / f"{i}.npy") for i in range(len(series))]
    for done in (ran(tmp_path, *files), ran(tmp_path, given="[[1, 2], [null, 3]]\n[[4, 5]]\n")):
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose([row for _, row in answers(done.stdout)], expected, rtol=1e-6)


def test_a_refusal_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    write_onnx(portable(text_artifact(), "model.grunlock"), tmp_path, int8=False)
    done = ran(tmp_path, given="a cat\n\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "1 of 2 texts are empty: there is nothing to read in them.\n  where:    texts at 1"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("make", [lambda: text_artifact(NGRAMS), series_artifact], ids=["texts", "series"])
def test_the_script_needs_nothing_of_the_library(make: Callable[[], Artifact], tmp_path: Path) -> None:
    """It runs where importing the library fails, and reads no module but those it names."""
    write_onnx(portable(make(), "model.grunlock"), tmp_path, int8=False)
    given = "the zebra sat" if (tmp_path / "tokenizer.json").exists() else "[[1, 2], [3, 4]]"
    check = f"""
import runpy, sys
for name in ("grunlock", "torch", "onnx", "safetensors", "pydantic", "scipy"):
    sys.modules[name] = None
sys.argv = ["predict.py"]
runpy.run_path({str(tmp_path / "predict.py")!r}, run_name="__main__")
assert not [name for name in sys.modules if name.startswith("grunlock.")]
"""
    command = [sys.executable, "-I", "-c", check]
    done = subprocess.run(
        command, input=given, capture_output=True, check=False, encoding="utf-8", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert len(answers(done.stdout)) == 1
