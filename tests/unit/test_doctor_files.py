"""Damaged, hostile and foreign files: refused with what is wrong and its cure; no code in them runs."""

import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from grunlock.doctor import Encoding, Told, read_patient
from grunlock.doctor.encoded import encoder_of
from grunlock.doctor.options import parse_parts
from grunlock.errors import DoctorError, GrunlockError
from tests.conftest import one_in
from tests.workflows.doctor_models import (
    GOLDEN,
    TorchNet,
    V,
    changed_keras,
    changed_onnx,
    saved_weights,
    sequence_graph,
    write_graph,
)

KERAS = GOLDEN / "doctor_reset_after.keras"


class Harmful:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("harmed"),)


def rewritten(path: Path, changes: dict[str, bytes | None]) -> Path:
    """A Keras file with members changed or left out."""
    with zipfile.ZipFile(KERAS) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = changes.get(name, source.read(name))
            if content is not None:
                target.writestr(name, content)
    return path


def h5_without(name: str) -> bytes:
    with zipfile.ZipFile(KERAS) as source:
        buffer = io.BytesIO(source.read("model.weights.h5"))
    with h5py.File(buffer, "r+") as file:
        del file[name]
    return buffer.getvalue()


def h5_claiming() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/gru/cell/vars/0", (10**6, 10**6), "f4", chunks=(100, 100))
    return buffer.getvalue()


def pickled_module(folder: Path) -> Path:
    torch.save(TorchNet(), folder / "m.pt")
    return folder / "m.pt"


def harmful_pickle(folder: Path) -> Path:
    (folder / "m.pt").write_bytes(pickle.dumps({"gru.weight_ih_l0": Harmful()}, protocol=2))
    return folder / "m.pt"


def harmful_checkpoint(folder: Path) -> Path:
    torch.save({"state_dict": {}, "callback": Harmful()}, folder / "m.pt")
    return folder / "m.pt"


def cut(source: Path, folder: Path) -> Path:
    path = folder / f"cut{source.suffix}"
    path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    return path


def lstm(folder: Path) -> Path:
    torch.save(nn.LSTM(4, 3).state_dict(), folder / "m.pt")
    return folder / "m.pt"


def linear(folder: Path) -> Path:
    torch.save(nn.Linear(4, 3).state_dict(), folder / "m.pt")
    return folder / "m.pt"


def external(folder: Path, location: str) -> Path:
    def move(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return changed_onnx(folder / "m.onnx", move)


def claiming_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 10**12


def cyclic(folder: Path) -> Path:
    nodes = [
        helper.make_node("Strange", ["ids", "b"], ["a"], domain="my.own"),
        helper.make_node("Strange", ["a"], ["b"], domain="my.own"),
        helper.make_node("Identity", ["b"], ["logits"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "steps"])
    return write_graph(folder / "m.onnx", nodes, [ids], {})


def unrolled(folder: Path) -> Path:
    nodes = [
        helper.make_node("Cast", ["ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Sigmoid", ["x"], ["r"]),
        helper.make_node("Sigmoid", ["r"], ["z"]),
        helper.make_node("Tanh", ["z"], ["logits"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "steps"])
    return write_graph(folder / "m.onnx", nodes, [ids], {})


def text_file(folder: Path, name: str, content: bytes = b"no model") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


REFUSED: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "a pickled module": (pickled_module, "would run code", "state_dict()"),
    "a pickle with code": (harmful_pickle, "would run code", "state_dict()"),
    "a checkpoint with code": (harmful_checkpoint, "would run code", "state_dict()"),
    "cut torch weights": (lambda f: cut(saved_weights(f / "w.pt"), f), "damaged", "torch.save"),
    "cut safetensors": (lambda f: cut(saved_weights(f / "w.safetensors"), f), "damaged", "copy it again"),
    "an LSTM": (lstm, "no GRU", "grunlock duel"),
    "no recurrent layer": (linear, "no GRU in this file", "weight_ih_l0"),
    "a cut Keras file": (lambda f: cut(KERAS, f), "no model of Keras 3", "model.save"),
    "no zip": (lambda f: text_file(f, "m.keras"), "no model of Keras 3", "model.save"),
    "no settings": (lambda f: rewritten(f / "m.keras", {"config.json": None}), "Keras 3", "config.json"),
    "settings that are no model": (
        lambda f: rewritten(f / "m.keras", {"config.json": b'{"class_name": "Mine", "config": {}}'}),
        "no chain of layers",
        "ONNX",
    ),
    "weights that are missing": (
        lambda f: rewritten(f / "m.keras", {"model.weights.h5": h5_without("layers/gru/cell/vars/1")}),
        "missing or have other shapes",
        "[5, 15]",
    ),
    "weights that claim to be huge": (
        lambda f: rewritten(f / "m.keras", {"model.weights.h5": h5_claiming()}),
        "weights in the Keras file are damaged",
        "claims 4,000,000,000,000 bytes",
    ),
    "weights that are no HDF5": (
        lambda f: rewritten(f / "m.keras", {"model.weights.h5": b"no hdf5"}),
        "weights in the Keras file are damaged",
        "HDF5",
    ),
    "no ONNX": (lambda f: text_file(f, "m.onnx"), "no ONNX model", "model.onnx"),
    "cut ONNX": (lambda f: cut(GOLDEN / "doctor_torch.onnx", f), "no ONNX model", "export it again"),
    "external data that is missing": (lambda f: external(f, "w.bin"), "not there", "beside the model"),
    "external data elsewhere": (
        lambda f: external(f, "../../etc/passwd"),
        "outside of its folder",
        "a file in",
    ),
    "a tensor that claims to be huge": (
        lambda f: changed_onnx(f / "m.onnx", claiming_tensor),
        "no ONNX model",
        "claims",
    ),
    "a cycle of unknown operators": (cyclic, "cycle", "my.own.Strange"),
    "an unrolled GRU": (unrolled, "No GRU is recognised", "unrolled step by step"),
    "an old Keras file": (lambda f: text_file(f, "m.h5"), "are not read", "model.keras"),
    "a torch.export file": (lambda f: text_file(f, "m.pt2"), "are not read", "ONNX"),
    "no file": (lambda f: f / "none.onnx", "no such file", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, what, more = REFUSED[name]
    with pytest.raises(DoctorError) as refused:
        read_patient(make(tmp_path), Told())
    assert what in str(refused.value)
    assert more in str(refused.value)
    assert not (tmp_path / "harmed").exists()


def sources(folder: Path) -> list[Path]:
    return [
        KERAS,
        GOLDEN / "doctor_torch.onnx",
        saved_weights(folder / "w.pt"),
        saved_weights(folder / "w.safetensors"),
        sequence_graph(folder / "g.onnx"),
    ]


@pytest.mark.parametrize("seed", one_in(4, range(16)))
@pytest.mark.parametrize("kind", range(5))
def test_flipped_bytes_end_in_our_errors_or_a_model(kind: int, seed: int, tmp_path: Path) -> None:
    source = sources(tmp_path)[kind]
    random = np.random.default_rng(seed)
    for i in range(12):
        content = bytearray(source.read_bytes())
        for place in random.integers(0, len(content), 4):
            content[place] = random.integers(256)
        path = tmp_path / f"{i}{source.suffix}"
        path.write_bytes(content)
        with contextlib.suppress(GrunlockError):
            read_patient(path, Told())


def test_a_misspelt_pooling_gets_its_name() -> None:
    with pytest.raises(DoctorError, match="did you mean last_step"):
        parse_parts("max,laststep")


def test_a_pooling_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DoctorError, match="which gives 32 numbers"):
        read_patient(saved_weights(tmp_path / "w.pt"), Told(pooling=("max", "mean")))


def test_what_a_keras_file_says_cannot_be_told() -> None:
    with pytest.raises(DoctorError, match="leave out --pooling"):
        read_patient(KERAS, Told(pooling=("max",)))


VECTORIZATION = {
    "class_name": "TextVectorization",
    "config": {
        "name": "reads",
        "standardize": "lower_and_strip_punctuation",
        "split": "whitespace",
        "output_mode": "int",
        "vocabulary": None,
    },
}


@pytest.mark.parametrize("ngrams", [None, 2])
def test_a_keras_file_brings_its_words(ngrams: int | None, tmp_path: Path) -> None:
    layer = json.loads(json.dumps(VECTORIZATION))
    layer["config"]["ngrams"] = ngrams
    path = changed_keras(tmp_path / "m.keras", KERAS.name, lambda layers: layers.insert(1, layer))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("assets/layers/text_vectorization/vocabulary.txt", "\n[UNK]\nthe\ncat")
    model = read_patient(path, Told()).model
    if ngrams is not None:
        assert model.words is None  # texts need --vocab then
        return
    encode, unknown = encoder_of(model, Encoding())
    assert encode("The cat, dog!") == [2, 3, 1]
    assert unknown == 1


def test_prefixes_and_wrappers_do_not_matter(tmp_path: Path) -> None:
    first = read_patient(saved_weights(tmp_path / "w.pt"), Told()).model
    second = read_patient(saved_weights(tmp_path / "w.safetensors"), Told()).model
    for one, other in ((first, second),):
        assert one.embedding is not None
        assert other.embedding is not None
        assert one.embedding.weight.shape == (V, 8)
        assert np.array_equal(one.embedding.weight, other.embedding.weight)
        assert np.array_equal(one.head[0].weight, other.head[0].weight)
