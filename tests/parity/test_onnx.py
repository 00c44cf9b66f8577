"""An exported folder answers as its model: the script on ONNX Runtime, for every part a recipe can choose.

Graphs spoilt on purpose are caught by the same comparison.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from grunlock.artifact import Artifact
from grunlock.artifact.int8_storage import class_parts
from grunlock.compression.candidates import rounded
from grunlock.export.onnx import OnnxModel, write_onnx
from grunlock.export.portable import portable
from grunlock.shapes import FloatArray
from tests.parity.exported_models import drawn_series, drawn_texts, series_artifact, text_artifact

TOLERANCE = 1e-5  # of a probability
LENGTHS = [3, 1, 300, 17, 2, 64, 1, 150, 5]

TEXT_OPTIONS = [
    [],
    ["encoder.reset_after=false"],
    ["encoder.reset_after=false", "encoder.num_layers=2", "encoder.bidirectional=false"],
    ["encoder.bidirectional=false", 'pooling.parts=["last"]'],
    ["encoder.num_layers=2", 'pooling.parts=["last", "max"]'],
    ["encoder.hidden_size=128", "embedding.size=100", 'pooling.parts=["last", "mean"]'],
    ["encoder.kind=lstm", 'pooling.parts=["last", "mean"]'],
    ["encoder.kind=lstm", "encoder.num_layers=2", "encoder.bidirectional=false", 'pooling.parts=["last"]'],
    ["encoder.norm=batch", "encoder.num_layers=2"],
    ["encoder.norm=layer", "encoder.num_layers=3", "encoder.bidirectional=false"],
    ["encoder.kind=lstm", "encoder.norm=layer"],
    ["encoder.kind=conv", "encoder.widths=[1, 2, 5]", 'pooling.parts=["max", "last", "mean"]'],
    ["encoder.kind=bag", 'pooling.parts=["mean", "last", "attention"]'],
    ['pooling.parts=["attention", "last", "mean", "max"]'],
    ['pooling.parts=["multi_attention", "last"]', "pooling.num_hops=3"],
    ["pooling.inputs=true", 'pooling.parts=["max", "last", "attention"]'],
    ["text.tokens=characters"],
    ["text.tokens=characters", "embedding.ngrams=off"],
    ["text.tokens=bpe", "text.vocab_size=60"],
    ["text.tokens=unigram", "text.vocab_size=60", "text.lowercase=false"],
    ["text.tokens=chinese_words"],
    ["text.max_tokens=7"],
    ["text.max_tokens=7", "text.cut=middle", "embedding.ngrams.buckets=64"],
    ["embedding.ngrams.buckets=64"],
    ["embedding.ngrams.buckets=64", "text.tokens=chinese_words"],
    ["embedding.ngrams.buckets=64", "text.tokens=bpe", "text.vocab_size=60", "encoder.kind=bag"],
    ["embedding.ngrams.buckets=64", "embedding.ngrams.min_length=2", "text.tokens=characters"],
    ["embedding.ngrams.buckets=9", "embedding.ngrams.min_length=1", "embedding.ngrams.max_length=1"],
    ["stem.widths=[3]", "stem.norm=batch", "encoder.kind=conv", "encoder.widths=[2]"],
    ["wide.buckets=64"],
    ["wide.buckets=65", "wide.max_length=3", "wide.characters=true"],
    ["wide.buckets=65", "wide.characters=true", "embedding.ngrams.buckets=64", "text.tokens=characters"],
    ["wide.buckets=4096", "wide.training=apart"],
    ["wide.buckets=4097", "wide.training=apart", "wide.characters=true", "encoder.reset_after=false"],
    ["wide.buckets=4096", "wide.training=apart", "wide.characters=true", "text.tokens=characters"],
]
SERIES_OPTIONS = [
    [],
    ["series.size=6"],
    ["series.changes=true", "series.each_alone=true"],
    ["series.each_alone=true", "encoder.reset_after=false", 'pooling.parts=["last"]'],
    ["encoder.kind=lstm", "series.size=3", "series.changes=true"],
    ["encoder.kind=conv", "encoder.widths=[1, 3, 8]"],
    ["encoder.kind=bag", "series.changes=true"],
    ["encoder.norm=layer", 'pooling.parts=["last", "attention"]'],
    ["encoder.norm=batch", "encoder.num_layers=2", "series.size=4"],
    ["pooling.inputs=true", "series.size=3"],
    ["stem.widths=[8, 5, 3]", "series.size=6", "series.changes=true"],
    ["stem.widths=[2]", "stem.norm=layer", "encoder.kind=bag", 'pooling.parts=["last", "mean"]'],
    ["stem.widths=[4, 1]", "stem.norm=off", "pooling.inputs=true", 'pooling.parts=["last", "mean"]'],
]


def exported(artifact: Artifact, folder: Path, *, int8: bool = False) -> OnnxModel:
    write_onnx(portable(artifact, "model.grunlock"), folder, int8=int8)
    return OnnxModel(folder)


def assert_answers(
    model: OnnxModel, artifact: Artifact, inputs: Sequence[str] | Sequence[FloatArray]
) -> None:
    """The model's probabilities are the artifact's, whatever stands beside an input."""
    expected = artifact.classifier().predict_proba(inputs)  # type: ignore[arg-type]
    assert np.ptp(expected, axis=0).max() > 1e3 * TOLERANCE  # inputs are told apart
    np.testing.assert_allclose(model.probabilities(inputs), expected, atol=TOLERANCE, rtol=0)
    alone = [model.probabilities(inputs[i : i + 1])[0] for i in range(len(inputs))]
    np.testing.assert_allclose(alone, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("overrides", TEXT_OPTIONS, ids=lambda o: " ".join(o) or "default")
def test_texts(overrides: list[str], tmp_path: Path) -> None:
    artifact = text_artifact(overrides)
    assert_answers(exported(artifact, tmp_path), artifact, drawn_texts(LENGTHS))


@pytest.mark.parametrize("overrides", SERIES_OPTIONS, ids=lambda o: " ".join(o) or "series")
def test_series(overrides: list[str], tmp_path: Path) -> None:
    artifact = series_artifact(overrides)
    assert_answers(exported(artifact, tmp_path), artifact, drawn_series(LENGTHS))


def test_a_series_of_one_channel_may_be_a_row(tmp_path: Path) -> None:
    artifact = series_artifact(channels=("a",))
    series = [values[:, 1] for values in drawn_series(LENGTHS)]
    assert_answers(exported(artifact, tmp_path), artifact, series)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 6.0])
def test_temperatures(temperature: float, tmp_path: Path) -> None:
    artifact = text_artifact(temperature=temperature)
    assert_answers(exported(artifact, tmp_path), artifact, drawn_texts(LENGTHS))


def test_long_and_many_inputs(tmp_path: Path) -> None:
    """Several batches, in which lengths differ."""
    lengths = [5000, 1, 4095, 4097, *range(1, 60)]
    artifact = text_artifact(["text.max_tokens=off", "embedding.ngrams.buckets=64", "wide.buckets=64"])
    assert_answers(exported(artifact, tmp_path / "texts"), artifact, drawn_texts(lengths))
    artifact = series_artifact(["encoder.reset_after=false", "encoder.norm=layer"])
    assert_answers(exported(artifact, tmp_path / "series"), artifact, drawn_series(lengths))


@pytest.mark.parametrize("options", [[], ["wide.buckets=64"], ["embedding.ngrams.buckets=64"]])
def test_empty_texts_where_the_model_keeps_them(options: list[str], tmp_path: Path) -> None:
    artifact = text_artifact(["data.empty_texts=keep", *options])
    model = exported(artifact, tmp_path)
    assert_answers(model, artifact, ["", "the cat", " \t ", *drawn_texts([4])])
    assert_answers(model, artifact, ["", "the zebra sat on the mat , the zebra can unlock"])


def test_no_inputs_give_no_answers(tmp_path: Path) -> None:
    assert exported(text_artifact(), tmp_path / "texts").probabilities([]).shape == (0, 3)
    assert exported(series_artifact(), tmp_path / "series").probabilities([]).shape == (0, 3)


def test_ngrams_that_no_text_has(tmp_path: Path) -> None:
    """Words of one letter have no n-grams of three; a path that knows no n-gram says its bias."""
    ngrams = ["embedding.ngrams.buckets=64", "embedding.ngrams.min_length=5"]
    artifact = text_artifact([*ngrams, "wide.buckets=4", "wide.training=apart"])
    artifact.weights["wide.rows"] = np.array([3], np.int32)
    for name in ("wide.rarity", "wide.weights.weight"):
        artifact.weights[name] = artifact.weights[name][:1]
    assert_answers(exported(artifact, tmp_path / "one"), artifact, ["a", ", a", "[ unk ]", "zebra"])
    artifact.weights["wide.rows"] = np.array([], np.int32)
    for name in ("wide.rarity", "wide.weights.weight"):
        artifact.weights[name] = artifact.weights[name][:0]
    model = exported(artifact, tmp_path / "none")
    assert not (tmp_path / "none" / "wide_rows.npz").exists()
    assert_answers(model, artifact, ["a", ", a", "[ unk ]", "zebra"])


# int8 -------------------------------------------------------------------------------------------------

LARGER = ["encoder.hidden_size=24", "embedding.size=24"]
ROUNDED = [
    LARGER,
    [*LARGER, "encoder.kind=lstm", "encoder.num_layers=2", "embedding.ngrams.buckets=64"],
    [*LARGER, "encoder.kind=conv", "encoder.widths=[2, 3]"],
    [*LARGER, 'pooling.parts=["attention", "multi_attention"]', "pooling.num_hops=8"],
    [*LARGER, "wide.buckets=4096", "wide.training=apart", "wide.characters=true"],
]


@pytest.mark.parametrize("overrides", ROUNDED, ids=lambda o: " ".join(o[2:]) or "default")
def test_int8_is_exact_for_weights_that_were_int8(overrides: list[str], tmp_path: Path) -> None:
    """A compressed model's weights are int8 values times a scale already, so nothing is lost."""
    artifact = rounded(text_artifact(overrides))
    assert_answers(exported(artifact, tmp_path, int8=True), artifact, drawn_texts(LENGTHS))
    stored = {tensor.name for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert "tokens.vectors.int8" in stored
    assert len([name for name in stored if name.endswith(".int8")]) >= 3


def test_int8_is_exact_for_projected_series(tmp_path: Path) -> None:
    artifact = rounded(series_artifact(["series.size=128", "encoder.hidden_size=24", "series.changes=true"]))
    assert_answers(exported(artifact, tmp_path, int8=True), artifact, drawn_series(LENGTHS))


@pytest.mark.parametrize(("num_labels", "num_parts"), [(4, 1), (11, 1), (11, 3)])
def test_a_table_of_few_values_keeps_its_codes(num_labels: int, num_parts: int, tmp_path: Path) -> None:
    artifact = text_artifact(["wide.buckets=4096", "wide.training=apart"], num_labels=num_labels)
    values = np.random.default_rng(0).normal(size=(200, num_labels)).astype(np.float16).astype(np.float32)
    table = artifact.weights["wide.weights.weight"]
    draw = np.random.default_rng(1)
    for part in class_parts(num_labels, num_parts):
        table[:, part] = values[draw.integers(0, 200, len(table)), part]
    assert_answers(exported(artifact, tmp_path, int8=True), artifact, drawn_texts(LENGTHS))
    stored = {tensor.name: tensor for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert list(stored["wide.codes"].dims) == [len(table), num_parts]
    assert "wide.weights.int8" not in stored


@pytest.mark.parametrize("int8", [False, True])
def test_rows_of_zeros_are_left_out(int8: bool, tmp_path: Path) -> None:
    """Compression leaves rare words and n-grams without a vector."""
    artifact = text_artifact([*LARGER, "embedding.ngrams.buckets=4096"])
    for name in ("embedding.ngrams.weight", "embedding.tokens.weight"):
        table = artifact.weights[name]
        table[np.random.default_rng(0).random(len(table)) < 0.8] = 0
    artifact = rounded(artifact) if int8 else artifact
    assert_answers(exported(artifact, tmp_path, int8=int8), artifact, drawn_texts(LENGTHS))
    kept = int(artifact.weights["embedding.ngrams.weight"].any(axis=1).sum())
    stored = {tensor.name: tensor for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert list(stored["ngrams.vectors.int8" if int8 else "ngrams.vectors"].dims) == [kept + 1, 24]


def test_int8_is_smaller_and_close(tmp_path: Path) -> None:
    artifact = text_artifact([*LARGER, "embedding.ngrams.buckets=4096"])
    texts = drawn_texts(LENGTHS)
    plain, small = exported(artifact, tmp_path / "a"), exported(artifact, tmp_path / "b", int8=True)
    sizes = [(folder / "model.onnx").stat().st_size for folder in (tmp_path / "a", tmp_path / "b")]
    assert sizes[1] < 0.32 * sizes[0]
    difference = np.abs(plain.probabilities(texts) - small.probabilities(texts)).max()
    assert 0 < difference < 0.02


# Errors planted in a graph that was right -------------------------------------------------------------

Mutation = Callable[[onnx.ModelProto], None]


def node_of(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(node for node in model.graph.node if node.op_type == operator)
    return found


def change_constants(model: onnx.ModelProto, part: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    changed = 0
    for tensor in model.graph.initializer:
        if part in tensor.name:
            array = change(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
            changed += 1
    assert changed


def gates_in(order: Sequence[int]) -> Mutation:
    """Undo the turn from ours to ONNX's order of gates; order: of the blocks that a constant has."""

    def change(array: np.ndarray) -> np.ndarray:
        blocks = np.split(array, len(order) if array.ndim == 3 else 2 * len(order), axis=1)
        both = [*order, *(len(order) + place for place in order)]
        return np.concatenate([blocks[place] for place in both[: len(blocks)]], axis=1)

    return lambda model: change_constants(model, "layers.", change)


def reset_before(model: onnx.ModelProto) -> None:
    (wanted,) = [a for a in node_of(model, "GRU").attribute if a.name == "linear_before_reset"]
    wanted.i = 0


def without_lengths(model: onnx.ModelProto) -> None:
    node_of(model, "GRU").input[4] = ""


def without_masks(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Where":
            node.input[2] = node.input[1]


def halves_of_biases_swapped(model: onnx.ModelProto) -> None:
    change_constants(model, ".B", lambda array: np.roll(array, array.shape[1] // 2, axis=1))


def directions_swapped(model: onnx.ModelProto) -> None:
    change_constants(model, "layers.", lambda array: array[::-1].copy())


def without_temperature(model: onnx.ModelProto) -> None:
    change_constants(model, "number_0.7", np.ones_like)


def window_shifted(model: onnx.ModelProto) -> None:
    (pads,) = [a for a in node_of(model, "Conv").attribute if a.name == "pads"]
    pads.ints[:] = pads.ints[::-1]


def ngrams_summed(model: onnx.ModelProto) -> None:
    node_of(model, "Div").op_type = "Add"


CONV = ["encoder.kind=conv", "encoder.widths=[4]", 'pooling.parts=["mean"]']
PLANTED: dict[str, tuple[list[str], Mutation]] = {
    "a GRU's gates in our order": ([], gates_in([1, 0, 2])),
    "an LSTM's gates in our order": (["encoder.kind=lstm"], gates_in([0, 2, 3, 1])),
    "reset before the product": ([], reset_before),
    "lengths ignored by the GRU": (['pooling.parts=["last"]'], without_lengths),
    "halves of biases swapped": ([], halves_of_biases_swapped),
    "directions swapped": ([], directions_swapped),
    "pads pooled": (CONV, without_masks),
    "window shifted": (CONV, window_shifted),
    "n-grams summed": (["embedding.ngrams.buckets=64", "encoder.kind=bag"], ngrams_summed),
    "temperature left out": ([], without_temperature),
}


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_caught(error: str, tmp_path: Path) -> None:
    overrides, spoil = PLANTED[error]
    artifact, texts = text_artifact(overrides), drawn_texts(LENGTHS)
    assert_answers(exported(artifact, tmp_path), artifact, texts)
    model = onnx.load(tmp_path / "model.onnx")
    spoil(model)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_answers(OnnxModel(tmp_path), artifact, texts)
