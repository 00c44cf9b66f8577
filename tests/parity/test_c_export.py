"""What the C sources answer is what Python answers, for every part that they have."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import Artifact
from grunlock.artifact.int8_storage import class_parts
from grunlock.errors import ExportError
from grunlock.export.c import CExport, CModel, wide_part
from grunlock.export.c.unicode_tables import LATIN
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray
from tests.conftest import one_in
from tests.parity.c_models import (
    CONTEXT,
    FLOAT_TOLERANCE,
    KNOWN,
    ONE_WAY,
    QUICK,
    Streamed,
    exported,
    series_artifact,
    some_series,
    some_texts,
    text_artifact,
)

EMPTY, TOO_LONG, INVALID = 1, 2, 3
INT8_TOLERANCE = 0.05  # of probabilities; the networks here are small and untrained

EMBEDDED = ["embedding.ngrams.buckets=64", "embedding.ngrams.max_length=4"]
APART = ["wide.characters=true"]
TOGETHER = ["wide.training=together", "wide.max_length=3"]

TEXT_OPTIONS = [
    [],
    ["encoder.reset_after=false"],
    ["encoder.reset_after=false", *ONE_WAY],
    ["encoder.kind=lstm"],
    ["encoder.kind=lstm", "encoder.num_layers=2", *ONE_WAY],
    ["encoder.norm=layer"],
    ["encoder.norm=layer", "encoder.num_layers=3", *ONE_WAY],
    ["encoder.norm=batch", "encoder.num_layers=2"],
    ["encoder.norm=layer", "encoder.num_layers=3", "encoder.hidden_size=4"],
    ['pooling.parts=["last"]'],
    ['pooling.parts=["last", "mean", "max"]', "pooling.inputs=true"],
    ['pooling.parts=["mean"]', "encoder.kind=bag"],
    ["encoder.kind=bag", "wide.characters=true", *EMBEDDED],
    APART,
    [*APART, "wide.max_length=1", *ONE_WAY],
    ["wide.characters=false", "wide.max_length=4"],
    ["wide.characters=false", *TOGETHER],
    ["wide.characters=true", *TOGETHER],
    ["text.tokens=characters", *APART],
    ["text.tokens=characters"],
    ["text.tokens=characters", "text.lowercase=false", *ONE_WAY],
    EMBEDDED,
    [*EMBEDDED, *ONE_WAY, *APART],
    [*EMBEDDED, "embedding.ngrams.min_length=1", "pooling.inputs=true"],
    CONTEXT,
    [*CONTEXT, *ONE_WAY],
    [*CONTEXT, *APART, "encoder.num_layers=2"],
    ["text.max_tokens=5", *APART],
    ["text.max_tokens=7", "text.cut=middle", *APART],
    ["text.max_tokens=1", "text.cut=middle"],
    ["text.max_tokens=6", "text.cut=middle", *ONE_WAY, "wide.max_length=3", "wide.characters=false"],
    ["text.max_tokens=9", "text.cut=middle", *CONTEXT],
    ["text.max_tokens=2", "text.cut=middle", *CONTEXT, *APART],
    ["text.max_tokens=8", "text.cut=middle", *EMBEDDED],
]

SERIES_OPTIONS = [
    [],
    ONE_WAY,
    ["series.size=6"],
    ["series.changes=true"],
    ["series.changes=true", *ONE_WAY],
    ["series.changes=true", "series.each_alone=true"],
    ["series.each_alone=true", "series.size=3", *ONE_WAY],
    ["encoder.kind=lstm", "series.size=3", "series.changes=true"],
    ["encoder.kind=bag", "series.changes=true"],
    ["encoder.norm=layer", "encoder.num_layers=2", "pooling.inputs=true"],
    ["encoder.reset_after=false", 'pooling.parts=["last"]'],
]


def named(overrides: list[str]) -> str:
    return " ".join(overrides) or "default"


def answers(artifact: Artifact, inputs: list) -> FloatArray:
    return artifact.classifier().predict_proba(inputs)


def check(artifact: Artifact, inputs: list, folder: Path, tolerance: float, **options: object) -> CExport:
    export = exported(artifact, folder, **options)
    expected, found = answers(artifact, inputs), CModel(export, QUICK).probabilities(inputs)
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    assert np.ptp(expected, axis=0).max() > 0.05  # inputs are told apart
    return export


@pytest.mark.parametrize("overrides", one_in(8, TEXT_OPTIONS), ids=named)
def test_texts(overrides: list[str], tmp_path: Path) -> None:
    artifact = text_artifact(overrides)
    check(artifact, some_texts(), tmp_path / "float32", FLOAT_TOLERANCE)
    check(artifact, some_texts(), tmp_path / "int8", INT8_TOLERANCE, int8=True)


@pytest.mark.parametrize("overrides", one_in(6, SERIES_OPTIONS), ids=named)
def test_series(overrides: list[str], tmp_path: Path) -> None:
    artifact = series_artifact(overrides)
    check(artifact, some_series(), tmp_path / "float32", FLOAT_TOLERANCE)
    check(artifact, some_series(), tmp_path / "int8", INT8_TOLERANCE, int8=True)


def test_five_thousand_tokens(tmp_path: Path) -> None:
    """One word again and again is where sums that always round the same way would go wrong."""
    artifact = text_artifact(["text.max_tokens=off", *APART])
    texts = [" ".join(np.random.default_rng(0).choice(KNOWN, 5000)), "the " * 5000, *some_texts([3])]
    export = check(artifact, texts, tmp_path, FLOAT_TOLERANCE, max_steps=5000)
    assert export.max_steps == 5000


def test_five_thousand_steps(tmp_path: Path) -> None:
    series = [np.random.default_rng(0).normal(3, 2, (5000, 2)).astype(np.float32), *some_series()]
    check(series_artifact(["series.changes=true"]), series, tmp_path, FLOAT_TOLERANCE, max_steps=5000)


def test_many_ngrams_are_forgotten_between_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large wide path's counts only those that were used are set to 0, unless these are too many."""
    monkeypatch.setattr(wide_part, "MANY_ROWS", 10)
    monkeypatch.setattr(wide_part, "TOUCHED", 50)
    artifact = text_artifact(APART)
    texts = some_texts([1, 2, 300, 1, 2, 3])
    export = check(artifact, texts, tmp_path, FLOAT_TOLERANCE)
    model = CModel(export, QUICK)
    np.testing.assert_array_equal(model.probabilities(texts), model.probabilities(texts[::-1])[::-1])


@pytest.mark.parametrize(("num_centres", "num_parts"), [(15, 1), (40, 2)])
def test_a_compressed_path_stays_codes(num_centres: int, num_parts: int, tmp_path: Path) -> None:
    """A wide path of few distinct rows, or of few in each of two parts of the classes, and 329 n-grams."""
    artifact = text_artifact([*APART, "wide.max_length=3"])
    draw = np.random.default_rng(0)
    weights, labels = dict(artifact.weights), tuple("abcdefg")
    rows = len(weights["wide.rows"])
    centres = draw.normal(0, 2, (num_centres, len(labels))).astype(np.float16).astype(np.float32)
    codes = draw.integers(0, num_centres, (rows, 2))
    first, second = class_parts(len(labels), 2)
    table = np.concatenate([centres[codes[:, 0], first], centres[codes[:, 1], second]], axis=1)
    head = draw.normal(0, 1, (len(labels), weights["head.weight"].shape[1])).astype(np.float32)
    zeros = np.zeros(len(labels), np.float32)
    weights |= {"wide.weights.weight": table, "wide.bias": zeros, "head.weight": head, "head.bias": zeros}
    artifact = replace(artifact, weights=weights, labels=labels)
    for int8, tolerance in ((False, FLOAT_TOLERANCE), (True, INT8_TOLERANCE)):
        export = check(artifact, some_texts(), tmp_path, tolerance, int8=int8)
        assert f"#define GRUNLOCK_WIDE_PARTS {num_parts}" in (export.folder / "model_weights.h").read_text()


@pytest.mark.parametrize("overrides", [APART, [*CONTEXT, *ONE_WAY]], ids=named)
def test_pieces_of_any_size_give_the_same(overrides: list[str], tmp_path: Path) -> None:
    library = Streamed(exported(text_artifact(overrides), tmp_path))
    for text in some_texts([8, 40]):
        content = text.encode()
        whole = library.finish([content])
        for size in (1, 2, 3, 7):
            pieces = [content[i : i + size] for i in range(0, len(content), size)]
            np.testing.assert_array_equal(library.finish(pieces), whole)


def test_peek_says_what_the_end_would_say(tmp_path: Path) -> None:
    library = Streamed(exported(text_artifact([*ONE_WAY, *APART, "encoder.num_layers=2"]), tmp_path))
    words = some_texts([12])[0].split()
    library.step(b"the")
    assert library.peek()[0] == EMPTY  # the word may go on
    library.finish([])
    for end in range(1, len(words)):
        seen = " ".join(words[:end]).encode()
        whole = library.finish([seen])
        library.step(seen + b" ")
        library.step(words[end].encode()[:1])
        error, peeked = library.peek()
        assert error == 0
        np.testing.assert_array_equal(peeked, whole)
        library.finish([])


def test_both_ways_there_is_no_peek(tmp_path: Path) -> None:
    assert not hasattr(Streamed(exported(text_artifact([]), tmp_path)).library, "grunlock_peek")


def test_refused_inputs(tmp_path: Path) -> None:
    """The state is as new after each of them."""
    library = Streamed(exported(text_artifact(["text.max_tokens=off"]), tmp_path, max_steps=4))
    answer = library.finish([b"the cat"])
    for content, expected in ((b"", EMPTY), (b" \t", EMPTY), (b"a b c d e", TOO_LONG), (b"a \xff b", INVALID),
                              (b"a \xe4\xbd", INVALID)):  # fmt: skip
        library.step(content)
        assert library.end()[0] == expected
        np.testing.assert_array_equal(library.finish([b"the cat"]), answer)


@pytest.mark.parametrize(
    "behind", ["\ufdfa", "!?", " b c"], ids=["four words in one character", "signs", "words"]
)
def test_a_word_that_fills_the_room_of_the_last_tokens(behind: str, tmp_path: Path) -> None:
    """Where there is no room for its end, nobody may look for that: this once took forever."""
    overrides = ["text.max_tokens=2", "text.cut=middle", *EMBEDDED]
    library = Streamed(exported(text_artifact(overrides), tmp_path))
    for length in range(250, 290):
        library.step(f"a {'x' * length}{behind}".encode())
        assert library.end()[0] in (0, TOO_LONG)


def test_refused_series(tmp_path: Path) -> None:
    """The state is as new after each of them."""
    artifact = series_artifact([])
    assert isinstance(artifact.front_end, SeriesFrontEnd)
    small = replace(artifact.front_end.standardization, scale=np.array([0.1, 0.1], np.float32))
    artifact = replace(artifact, front_end=replace(artifact.front_end, standardization=small))
    model = CModel(exported(artifact, tmp_path, max_steps=8), QUICK)
    fine = some_series()[:3]
    expected = answers(artifact, fine)
    odd = [np.inf, 0.0], [3e38, 0.0], [0.0, -3e38]
    nothing, long, none = np.full((2, 2), np.nan), np.zeros((9, 2)), np.zeros((0, 2))
    for series in (*(np.array([step]) for step in odd), nothing, long, none):
        with pytest.raises(ExportError, match="refuses"):
            model.probabilities([series.astype(np.float32)])
        np.testing.assert_allclose(model.probabilities(fine), expected, atol=FLOAT_TOLERANCE)


@pytest.mark.parametrize("overrides", [[], APART, CONTEXT, [*EMBEDDED, "wide.characters=true"]], ids=named)
def test_an_empty_text_that_is_kept(overrides: list[str], tmp_path: Path) -> None:
    artifact = text_artifact(["data.empty_texts=keep", *overrides])
    check(artifact, ["", " \n", *some_texts([2, 40])], tmp_path, FLOAT_TOLERANCE)


@pytest.mark.parametrize("covered", ["ascii", "latin"])
def test_fewer_characters_are_enough_for_some_texts(covered: str, tmp_path: Path) -> None:
    texts = some_texts()
    if covered == "ascii":
        texts = [text.encode("ascii", "ignore").decode() for text in texts]
        texts = [text for text in texts if text.strip()]
    else:
        texts = [text for text in texts if all(any(ord(c) in run for run in LATIN) for c in text)]
    whole = exported(text_artifact(APART), tmp_path / "whole")
    export = check(text_artifact(APART), texts, tmp_path / covered, FLOAT_TOLERANCE, unicode=covered)
    assert export.const_bytes < whole.const_bytes - 30_000


# Errors planted on purpose ------------------------------------------------------------------------------

SOURCE_ERRORS = {
    "reset and update swapped": ("grunlock_cell.c", "*z = gates + 2 * H", "*z = gates + H"),
    "update the other way round": ("grunlock_cell.c", "n + z[j] * (h[j] - n)", "h[j] + z[j] * (n - h[j])"),
    "candidate without tanh": ("grunlock_cell.c", "grunlock_tanh(x_n[j] + a_n[j])", "(x_n[j] + a_n[j])"),
    "no reset": ("grunlock_cell.c", "multiply(a_n, r);", "(void)r;"),
    "a column left out": ("grunlock_product.c", "; k < matrix->columns", "; k + 1 < matrix->columns"),
    "mean over a step too many": ("grunlock_pool.c", "(float)state->num_steps", "(1.0f + state->num_steps)"),
    "backward from the wrong end": ("grunlock_tokens.c", "state->rows[--state->cursor]",
                                    "state->rows[state->num_steps - state->cursor--]"),
    "directions swapped": ("grunlock_encoder.c", "direction == 0 ? FORWARD_AT : BACKWARD_AT",
                           "direction == 1 ? FORWARD_AT : BACKWARD_AT"),
    "counts not logarithmic": ("grunlock_wide.c", "1.0f + grunlock_log((float)times)", "(float)times"),
    "n-grams not scaled": ("grunlock_wide.c", "sums[kind][k] / length", "sums[kind][k]"),
    "word marks left out": ("grunlock_tokens.c", "add_boundary(state, '>');\n#endif", "#endif"),
    "temperature left out": ("grunlock_pool.c", " / GRUNLOCK_TEMPERATURE", ""),
}  # fmt: skip


def disagrees(export: CExport, artifact: Artifact) -> bool:
    texts = some_texts()
    difference = np.abs(CModel(export, QUICK).probabilities(texts) - answers(artifact, texts))
    return bool(difference.max() > 100 * FLOAT_TOLERANCE)


@pytest.mark.parametrize("error", one_in(6, SOURCE_ERRORS))
def test_an_error_in_the_sources_is_caught(error: str, tmp_path: Path) -> None:
    artifact = text_artifact(APART)
    export = exported(artifact, tmp_path)
    assert not disagrees(export, artifact)
    name, right, wrong = SOURCE_ERRORS[error]
    source = (tmp_path / name).read_text()
    assert source.count(right) == 1
    (tmp_path / name).write_text(source.replace(right, wrong))
    assert disagrees(export, artifact)


def test_confused_forms_are_caught(tmp_path: Path) -> None:
    """The same weights with the reset gate in the other place."""
    artifact, other = text_artifact([]), text_artifact(["encoder.reset_after=false"])
    assert disagrees(exported(replace(other, weights=artifact.weights), tmp_path), artifact)


@pytest.mark.parametrize("gates", [(1, 0, 2), (0, 2, 1)], ids=["reset, update", "update, candidate"])
def test_swapped_gates_are_caught(gates: tuple[int, int, int], tmp_path: Path) -> None:
    artifact = text_artifact([])
    weights = dict(artifact.weights)
    for name, weight in weights.items():
        if name.startswith("encoder.layers.0."):
            weights[name] = np.concatenate([np.split(weight, 3)[gate] for gate in gates])
    assert disagrees(exported(replace(artifact, weights=weights), tmp_path), artifact)
