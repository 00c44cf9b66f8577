"""Numbers of four bits in the C sources: the same answers, bit for bit, as where each has a byte."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grunlock.artifact import Artifact
from grunlock.compression.coarse import with_coarse_rows
from grunlock.export.c import CExport, CModel, matrices
from grunlock.shapes import FloatArray
from tests.conftest import one_in
from tests.parity.c_models import (
    CONTEXT,
    QUICK,
    exported,
    series_artifact,
    some_series,
    some_texts,
    text_artifact,
)

ONE_WAY = "encoder.bidirectional=false"
MODELS = {
    "words": (text_artifact, [ONE_WAY]),
    "both directions": (text_artifact, ["encoder.num_layers=2"]),
    "odd sizes": (text_artifact, ["embedding.size=7", "pooling.inputs=true"]),
    "n-grams": (text_artifact, ["embedding.ngrams.buckets=64"]),
    "characters": (text_artifact, [*CONTEXT, "wide.characters=true"]),
    "bag": (text_artifact, ["encoder.kind=bag"]),
    "stem of texts": (text_artifact, ["stem.widths=[3, 2]", ONE_WAY]),
    "stem of series": (series_artifact, ["stem.widths=[3]", "series.size=7"]),
    "lstm": (series_artifact, ["encoder.kind=lstm"]),
}  # fmt: skip


def coarse_artifact(name: str) -> tuple[Artifact, list]:
    make, overrides = MODELS[name]
    artifact = make(overrides)
    inputs = some_texts() if make is text_artifact else some_series()
    return replace(artifact, weights=with_coarse_rows(artifact.weights)), inputs


def answers(export: CExport, inputs: list) -> FloatArray:
    return CModel(export, QUICK).probabilities(inputs)


@pytest.mark.parametrize("name", one_in(4, MODELS))
def test_two_numbers_in_a_byte_are_the_same_numbers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, inputs = coarse_artifact(name)
    packed = exported(artifact, tmp_path / "packed", int8=True)
    monkeypatch.setattr(matrices, "COARSE_LIMIT", -1)
    plain = exported(artifact, tmp_path / "plain", int8=True)
    assert packed.const_bytes < plain.const_bytes
    assert packed.state_bytes == plain.state_bytes
    found = answers(packed, inputs)
    np.testing.assert_array_equal(found, answers(plain, inputs))
    assert np.ptp(found, axis=0).max() > 0.05  # inputs are told apart


def test_matrices_take_half(tmp_path: Path) -> None:
    sizes = ["embedding.size=64", "encoder.hidden_size=64"]
    artifact = text_artifact(sizes)
    coarse = replace(artifact, weights=with_coarse_rows(artifact.weights))
    whole = exported(artifact, tmp_path / "whole", int8=True).const_bytes
    half = exported(coarse, tmp_path / "half", int8=True).const_bytes
    numbers = sum(value.size for name, value in artifact.weights.items() if "weight_" in name)
    assert whole - half >= numbers // 2


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("#define ZERO 8 ", "#define ZERO 7 "),
        ("rest = x.values + lows", "rest = x.values + highs"),
        ("int32_t sum = -zero", "int32_t sum = 0"),
        ("(r2[k] >> 4) * rest[k]", "(r1[k] >> 4) * rest[k]"),
        ("table->lows != 0 ? table->lows : columns", "columns"),
    ],
)
def test_an_error_in_the_sources_is_caught(right: str, wrong: str, tmp_path: Path) -> None:
    artifact, inputs = coarse_artifact("odd sizes")
    export = exported(artifact, tmp_path, int8=True)
    expected = answers(export, inputs)
    path = tmp_path / "grunlock_product_int8.c"
    source = path.read_text()
    assert source.count(right) == 1
    path.write_text(source.replace(right, wrong))
    assert np.abs(answers(export, inputs) - expected).max() > 1e-3


def test_answers_are_those_of_the_model(tmp_path: Path) -> None:
    artifact, inputs = coarse_artifact("both directions")
    expected = artifact.classifier().predict_proba(inputs)
    np.testing.assert_allclose(answers(exported(artifact, tmp_path), inputs), expected, atol=1e-5)
    found = answers(exported(artifact, tmp_path, int8=True), inputs)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9
