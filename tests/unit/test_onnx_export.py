"""The exported folder: what stands in it, and what keeps it from being written."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from grunlock.errors import ExportError, MissingDependencyError, StorageError
from grunlock.export.onnx import OnnxModel, graph, predict_series, predict_text, write_onnx
from grunlock.export.portable import portable
from grunlock.recipe import override
from tests.parity.exported_models import drawn_texts, series_artifact, text_artifact

APART = ["wide.buckets=4096", "wide.training=apart"]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_of_a_model_of_texts(tmp_path: Path) -> None:
    artifact = text_artifact(APART)
    written = write_onnx(portable(artifact, "here"), tmp_path / "new" / "folder", int8=False)
    assert names(written.folder) == set(written.sizes)
    assert set(written.sizes) == {
        "model.onnx", "labels.json", "tokenizer.json", "front_end.json", "wide_rows.npz", "predict.py"
    }  # fmt: skip
    assert written.sizes == {path.name: path.stat().st_size for path in written.folder.iterdir()}
    model = OnnxModel(written.folder)
    assert model.size_bytes == written.size_bytes == sum(written.sizes.values())
    assert model.labels == artifact.labels == tuple(json.loads((written.folder / "labels.json").read_text()))
    assert (written.folder / "predict.py").read_text() == Path(predict_text.__file__).read_text()
    assert (written.folder / "tokenizer.json").read_text() == artifact.front_end.to_json()


def test_a_folder_of_a_model_of_series(tmp_path: Path) -> None:
    written = write_onnx(portable(series_artifact(), "here"), tmp_path, int8=True)
    assert set(written.sizes) == {"model.onnx", "labels.json", "front_end.json", "predict.py"}
    assert (tmp_path / "predict.py").read_text() == Path(predict_series.__file__).read_text()


def test_the_graph_is_of_the_default_domain_and_says_its_sizes(tmp_path: Path) -> None:
    write_onnx(portable(text_artifact(["embedding.ngrams.buckets=64", *APART]), "here"), tmp_path, int8=False)
    model = onnx.load(tmp_path / "model.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", graph.OPSET)]
    assert {node.domain for node in model.graph.node} == {""}

    def shapes(values: object) -> dict[str, list[int | str]]:
        return {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in values  # type: ignore[attr-defined]
        }

    assert shapes(model.graph.input) == {
        "lengths": ["B"],
        "tokens": ["B", "T"],
        "ngrams": ["M"],
        "ngram_counts": ["B", "T"],
        "wide_rows": ["B", "W"],
        "wide_values": ["B", "W"],
    }
    assert shapes(model.graph.output) == {"logits": ["B", 3], "probabilities": ["B", 3]}


def test_equal_models_make_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_onnx(portable(text_artifact(APART), "here"), tmp_path / name, int8=True)
    for name in names(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_older_export_is_replaced_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_onnx(portable(text_artifact(APART), "here"), tmp_path, int8=False)
    write_onnx(portable(series_artifact(), "here"), tmp_path, int8=False)
    assert names(tmp_path) == {"model.onnx", "labels.json", "front_end.json", "predict.py", "notes.txt"}


def test_weights_are_ready_when_the_graph_is_loaded(tmp_path: Path) -> None:
    """Of an int8 graph only the tables stay int8; other weights are not computed anew in every call."""
    import onnxruntime

    artifact = text_artifact(["encoder.hidden_size=24", "embedding.size=24"])
    write_onnx(portable(artifact, "here"), tmp_path, int8=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx").graph
    constants = {tensor.name: tensor.data_type for tensor in optimized.initializer}
    (gru,) = [node for node in optimized.node if node.op_type == "GRU"]
    assert {constants[name] for name in gru.input[1:4]} == {onnx.TensorProto.FLOAT}
    assert constants["tokens.vectors.int8"] == onnx.TensorProto.INT8


# What keeps it from being written ---------------------------------------------------------------------


def test_a_part_that_no_target_has_is_refused(tmp_path: Path) -> None:
    artifact = text_artifact()
    recipe = override(artifact.recipe, ["encoder.zoneout=0.2"])
    object.__setattr__(artifact, "recipe", recipe)
    with pytest.raises(
        ExportError, match=r"where:    run(.|\n)*got:      encoder.zoneout(.|\n)*encoder.zoneout=0"
    ):
        write_onnx(portable(artifact, "run"), tmp_path / "out", int8=False)
    assert not (tmp_path / "out").exists()


def test_a_model_too_large_for_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MAX_BYTES", 1000)
    with pytest.raises(ExportError, match=r"too large(.|\n)*model.onnx(.|\n)*at most 1,000(.|\n)*int8"):
        write_onnx(portable(text_artifact(), "run"), tmp_path / "out", int8=False)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError):
        write_onnx(portable(text_artifact(), "run"), tmp_path / "out", int8=False)


def test_without_the_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = portable(text_artifact(), "run")
    write_onnx(model, tmp_path / "there", int8=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"no module onnxruntime(.|\n)*grunlock\[export\]"):
        OnnxModel(tmp_path / "there")
    for name in ("network", "graph", "sequences", "encoder", "pooling", "wide"):
        monkeypatch.delitem(sys.modules, f"grunlock.export.onnx.{name}")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"onnx is not installed(.|\n)*grunlock\[export\]"):
        write_onnx(model, tmp_path / "out", int8=False)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_no_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no exported model here"):
        OnnxModel(tmp_path)


def test_a_folder_may_be_moved(tmp_path: Path) -> None:
    texts = drawn_texts([3, 1])
    write_onnx(portable(text_artifact(APART), "run"), tmp_path / "old", int8=False)
    expected = OnnxModel(tmp_path / "old").probabilities(texts)
    shutil.move(tmp_path / "old", tmp_path / "new")
    np.testing.assert_array_equal(OnnxModel(tmp_path / "new").probabilities(texts), expected)
