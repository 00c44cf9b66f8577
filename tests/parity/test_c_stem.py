"""Convolutions in front of the layers in the C sources: what Python answers, at the end and before it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import Artifact
from grunlock.export.c import CExport, CModel
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

INT8_AGREEMENT = 0.95  # of labels; the networks here are small and untrained
WIDTHS = ([1], [2], [3], [4], [21], [8, 5, 3], [2, 2], [4, 3, 2, 1], [5, 6])
NORMS = ("off", "batch", "layer")
BAG = ["encoder.kind=bag"]
SERIES_ENCODERS = [
    [],
    ONE_WAY,
    ["encoder.num_layers=3"],
    ["encoder.num_layers=3", *ONE_WAY],
    ["series.changes=true", "series.size=6"],
    ["series.each_alone=true", "pooling.inputs=true"],
    ["series.each_alone=true", "series.size=3", *ONE_WAY],
    ["encoder.kind=lstm", "encoder.norm=layer", 'pooling.parts=["last", "mean"]'],
    BAG,
]
TEXT_OPTIONS = [
    ["stem.widths=[3]"],
    ["stem.widths=[8, 5, 3]", "stem.norm=batch", *ONE_WAY, "wide.characters=true"],
    ["stem.widths=[4, 2]", "stem.norm=layer", "embedding.ngrams.buckets=64", "encoder.num_layers=2"],
    ["stem.widths=[2, 7]", *CONTEXT, "text.max_tokens=9", "text.cut=middle", *ONE_WAY],
    ["stem.widths=[6]", "stem.norm=layer", *CONTEXT],
    ["stem.widths=[5]", "encoder.kind=bag", "data.empty_texts=keep"],
]
SERIES_OPTIONS = [
    [f"stem.widths={widths}", f"stem.norm={NORMS[(i + j) % len(NORMS)]}", *encoder]
    for i, widths in enumerate(WIDTHS)
    for j, encoder in enumerate(SERIES_ENCODERS)
]


def named(overrides: list[str]) -> str:
    return " ".join(overrides)


def drawn_series(lengths: Sequence[int]) -> list[FloatArray]:
    draw = np.random.default_rng(5)
    return [draw.normal(3, 2, (length, 2)).astype(np.float32) for length in lengths]


def check(artifact: Artifact, inputs: list, folder: Path, **options: object) -> CExport:
    """Both precisions; gives the float32 export."""
    expected = artifact.classifier().predict_proba(inputs)
    assert np.ptp(expected, axis=0).max() > 0.05  # inputs are told apart
    int8 = CModel(exported(artifact, folder / "int8", int8=True, **options), QUICK).probabilities(inputs)
    assert (int8.argmax(axis=1) == expected.argmax(axis=1)).mean() >= INT8_AGREEMENT
    assert np.median(np.abs(int8 - expected).max(axis=1)) < 0.02
    export = exported(artifact, folder / "float32", **options)
    found = CModel(export, QUICK).probabilities(inputs)
    np.testing.assert_allclose(found, expected, atol=FLOAT_TOLERANCE, rtol=0)
    return export


@pytest.mark.parametrize("overrides", one_in(10, SERIES_OPTIONS), ids=named)
def test_series(overrides: list[str], tmp_path: Path) -> None:
    """Every length about the widths, some with missing values."""
    series = [*some_series()[2:4], *drawn_series([*range(1, 30), 50, 200])]
    artifact = series_artifact(overrides)
    if BAG[0] in overrides:
        artifact = replace(artifact, temperature=10.0)  # nothing keeps its pooled vectors small
    check(artifact, series, tmp_path)


@pytest.mark.parametrize("overrides", one_in(4, TEXT_OPTIONS), ids=named)
def test_texts(overrides: list[str], tmp_path: Path) -> None:
    check(text_artifact(overrides), some_texts([*range(1, 14), 40, 300]), tmp_path)


@pytest.mark.parametrize("overrides", [[], ONE_WAY], ids=["both ways", "one way"])
def test_five_thousand_steps(overrides: list[str], tmp_path: Path) -> None:
    artifact = series_artifact(["stem.widths=[8, 5, 3]", "series.changes=true", *overrides])
    series = drawn_series([5000, 4999, 1, 4])
    expected = artifact.classifier().predict_proba(series)
    found = CModel(exported(artifact, tmp_path, max_steps=5000), QUICK).probabilities(series)
    np.testing.assert_allclose(found, expected, atol=FLOAT_TOLERANCE, rtol=0)


# Probabilities before the end ---------------------------------------------------------------------------


@pytest.mark.parametrize("widths", one_in(6, [[8, 5, 3], [3], [2], [4, 2], [31], [5, 5]]), ids=str)
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_peek_at_every_step_of_a_series(widths: list[int], int8: bool, tmp_path: Path) -> None:
    """It says what the end would say, and the end says what it would have said."""
    artifact = series_artifact([f"stem.widths={widths}", "encoder.num_layers=2", *ONE_WAY])
    export = exported(artifact, tmp_path, int8=int8)
    library, (series,) = Streamed(export), drawn_series([40])
    prefixes = [series[:end] for end in range(1, len(series) + 1)]
    peeked = []
    for step in series:
        library.step_values(step)
        error, found = library.peek()
        assert error == 0
        peeked.append(found)
    whole = library.end()[1]
    if not int8:
        expected = artifact.classifier().predict_proba(prefixes)
        np.testing.assert_allclose(peeked, expected, atol=FLOAT_TOLERANCE, rtol=0)
    unpeeked = CModel(export, QUICK).probabilities(prefixes)
    np.testing.assert_array_equal(peeked, unpeeked)
    np.testing.assert_array_equal(whole, unpeeked[-1])


def test_peek_at_every_word(tmp_path: Path) -> None:
    artifact = text_artifact(["stem.widths=[5, 4]", "wide.characters=true", *ONE_WAY])
    library = Streamed(exported(artifact, tmp_path))
    words = [KNOWN[i] for i in (0, 5, 2, 17, 9, 0, 3, 4, 11, 12, 1)]
    for end in range(1, len(words) + 1):
        library.step(f"{words[end - 1]} ".encode())
        error, peeked = library.peek()
        assert error == 0
        expected = artifact.classifier().predict_proba([" ".join(words[:end])])[0]
        np.testing.assert_allclose(peeked, expected, atol=FLOAT_TOLERANCE, rtol=0)


def test_a_series_without_a_value_has_nothing_to_peek_at(tmp_path: Path) -> None:
    library = Streamed(exported(series_artifact(["stem.widths=[3]", *ONE_WAY]), tmp_path))
    library.step_values(np.full(2, np.nan, np.float32))
    assert library.peek()[0] == 1
    assert library.end()[0] == 1


def test_without_peek_the_state_is_smaller(tmp_path: Path) -> None:
    artifact = series_artifact(["stem.widths=[8, 5, 3]", *ONE_WAY])
    export, series = exported(artifact, tmp_path), drawn_series([3, 30])
    page = (tmp_path / "README.md").read_text()
    assert f"{export.peek_bytes} bytes are for `grunlock_peek`" in page
    blind = exported(artifact, tmp_path, peek=False)
    assert blind.state_bytes == export.state_bytes - export.peek_bytes < export.state_bytes
    model = CModel(blind, QUICK)
    assert not hasattr(model.library, "grunlock_peek")
    expected = artifact.classifier().predict_proba(series)
    np.testing.assert_allclose(model.probabilities(series), expected, atol=FLOAT_TOLERANCE, rtol=0)


# Memory -------------------------------------------------------------------------------------------------


def test_both_ways_a_step_takes_no_more_than_without_windows(tmp_path: Path) -> None:
    """What windows give is computed again on the way back."""

    def growth(overrides: list[str], int8: bool) -> int:
        first, second = (
            exported(series_artifact(overrides), tmp_path, max_steps=steps, int8=int8).state_bytes
            for steps in (1000, 2000)
        )
        return second - first

    for int8 in (False, True):
        assert growth(["stem.widths=[8, 5]"], int8) == growth(["stem=off"], int8)


def test_one_way_memory_is_a_ring_for_each_window(tmp_path: Path) -> None:
    size, widths = 6, [8, 5, 3]
    overrides = [f"series.size={size}", *ONE_WAY]
    plain = exported(series_artifact(["stem=off", *overrides]), tmp_path)
    export = exported(series_artifact([f"stem.widths={widths}", *overrides]), tmp_path)
    assert export.max_steps is None
    assert export.state_bytes - export.peek_bytes == plain.state_bytes + 4 * size * sum(widths)


# Errors planted on purpose ------------------------------------------------------------------------------

SOURCE_ERRORS = {
    "ring a place off": ("grunlock_stem.c", "time + window->width - age)", "time + window->width + 1 - age)"),
    "ring a step too short": ("grunlock_stem.c", "time % window->width", "time % (window->width - 1)"),
    "windows the wrong way round": ("grunlock_stem.c", "backwards ? k : window->width - 1 - k",
                                    "backwards ? window->width - 1 - k : k"),
    "the way back not turned round": ("grunlock_stem.c", "backwards ? k : window->width - 1 - k",
                                      "window->width - 1 - k"),
    "a step too early": ("grunlock_stem.c", "backwards ? window->width / 2 : (window->width - 1) / 2",
                         "(window->width - 1) / 2"),
    "the end repeats the last step": ("grunlock_stem.c", "time < state->num_steps ? *x : grunlock_floats(0)",
                                      "*x"),
    "windows beyond the end": ("grunlock_stem.c", "time < state->num_steps ?",
                               "time < state->num_steps + 1 ?"),
    "ring not cleared": ("grunlock_stem.c", "memset(state->network.stem, 0, sizeof state->network.stem);",
                         ""),
    "without relu": ("grunlock_stem.c", "y[i] > 0.0f ? y[i] : 0.0f", "y[i]"),
    "the wrong step added": ("grunlock_stem.c", "window, time, ahead), 1.0f", "window, time, 0), 1.0f"),
    "a step less at the end": ("grunlock_encoder.c", "i < GRUNLOCK_STEM_DELAY",
                               "i + 1 < GRUNLOCK_STEM_DELAY"),
    "peek without putting back": ("grunlock_model.c", "state->network = state->saved;", ""),
    "peek without the end": ("grunlock_model.c", "grunlock_encoder_end(state);\n#endif\n  answer",
                             "#endif\n  answer"),
}  # fmt: skip


PLANTED_IN = (
    ["stem.widths=[4, 3]", "encoder.num_layers=2"],
    ["stem.widths=[4, 3]", *ONE_WAY],
)


def disagrees(export: CExport, artifact: Artifact) -> bool:
    """At the end of some series, or before."""
    series = drawn_series([30, 2, 1, 17])
    library, differences = Streamed(export), []
    for steps, expected in zip(series, artifact.classifier().predict_proba(series), strict=True):
        for step in steps:
            library.step_values(step)
            if export.max_steps is None:
                peeked = library.peek()[1]
        differences += [library.end()[1] - expected]
        differences += [peeked - expected] if export.max_steps is None else []
    return not np.abs(differences).max() < 100 * FLOAT_TOLERANCE


@pytest.mark.parametrize("error", one_in(6, SOURCE_ERRORS))
def test_an_error_in_the_sources_is_caught(error: str, tmp_path: Path) -> None:
    name, right, wrong = SOURCE_ERRORS[error]
    caught = []
    for i, overrides in enumerate(PLANTED_IN):
        artifact = series_artifact(overrides)
        export = exported(artifact, tmp_path / str(i))
        assert not disagrees(export, artifact)
        path = export.folder / name
        source = path.read_text()
        assert source.count(right) == 1
        path.write_text(source.replace(right, wrong))
        caught.append(disagrees(export, artifact))
    assert any(caught)
