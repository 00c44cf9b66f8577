"""Broken and sound GRU classifiers, made by code: torch modules, files of weights, Keras and ONNX files."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
V, D, H, K = 40, 8, 16, 3


class TorchNet(nn.Module):
    """reads: "packed", "last_step", "mean", "zeros" (the last column of what was packed) or "attention"."""

    def __init__(self, reads: str = "packed", head: nn.Module | None = None, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.reads = reads
        self.embedding = nn.Embedding(V, D, padding_idx=0)
        self.gru = nn.GRU(D, H, **{"batch_first": True, **options})
        self.head = head or nn.Linear(H * (1 + self.gru.bidirectional), K)

    def forward(self, ids: Tensor) -> Tensor:
        vectors = self.embedding(ids)
        if self.reads in ("packed", "zeros"):
            lengths = (ids != 0).sum(1)
            packed = nn.utils.rnn.pack_padded_sequence(
                vectors, lengths, batch_first=True, enforce_sorted=False
            )
            states, last = self.gru(packed)
            if self.reads == "packed":
                return self.head(torch.cat(list(last[-(1 + self.gru.bidirectional) :]), dim=1))
            states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=ids.shape[1])
            return self.head(states[:, -1])
        states, _ = self.gru(vectors)
        if self.reads == "attention":
            return self.head((states.sum(2).softmax(1)[..., None] * states).sum(1))
        return self.head(states.mean(1) if self.reads == "mean" else states[:, -1])


def saved_weights(path: Path, change: Callable[[dict[str, Tensor]], None] = lambda _: None) -> Path:
    """A state dict of a packed model, changed."""
    weights = {name: value.clone() for name, value in TorchNet().state_dict().items()}
    change(weights)
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(weights, path)
    else:
        torch.save({"state_dict": {f"model.{name}": value for name, value in weights.items()}}, path)
    return path


def lstm_biases(weights: dict[str, Tensor]) -> None:
    size = len(weights["gru.bias_ih_l0"])
    weights["gru.bias_ih_l0"][size // 4 : size // 2] = 1.0


def exploding(weights: dict[str, Tensor]) -> None:
    weights["gru.weight_hh_l0"] *= 12


def not_a_number(weights: dict[str, Tensor]) -> None:
    weights["gru.weight_ih_l0"][3, 2] = float("nan")


def frozen(weights: dict[str, Tensor]) -> None:
    weights["gru.bias_ih_l0"][H : 2 * H] = 12.0


def hopeless_class(weights: dict[str, Tensor]) -> None:
    weights["head.bias"][2] = -30.0


def empty_words(weights: dict[str, Tensor]) -> None:
    weights["embedding.weight"][20:] = 0.0


def changed_keras(path: Path, name: str, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """A golden Keras file whose layers' settings are changed."""
    with zipfile.ZipFile(GOLDEN / name) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.namelist():
            content = source.read(entry)
            if entry == "config.json":
                config = json.loads(content)
                change(config["config"]["layers"])
                content = json.dumps(config).encode()
            target.writestr(entry, content)
    return path


def without_mask(layers: list[dict[str, Any]]) -> None:
    for layer in layers:
        if layer["class_name"] == "Embedding":
            layer["config"]["mask_zero"] = False


def recurrent_dropout(layers: list[dict[str, Any]]) -> None:
    for layer in layers:
        if layer["class_name"] == "GRU":
            layer["config"]["recurrent_dropout"] = 0.3


def softmax_again(layers: list[dict[str, Any]]) -> None:
    settings = {"name": "again", "activation": "softmax"}
    layers.append({"class_name": "Activation", "config": settings})


def changed_onnx(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The file of torch.onnx, changed."""
    model = onnx.load(GOLDEN / "doctor_torch.onnx")
    change(model)
    onnx.save(model, path)
    return path


def lost_form(model: onnx.ModelProto) -> None:
    """What the exporter of torch 2.10 wrote (onnxscript#2852)."""
    for node in model.graph.node:
        kept = [each for each in node.attribute if each.name != "linear_before_reset"]
        del node.attribute[:]
        node.attribute.extend(kept)


def swapped_gates(model: onnx.ModelProto) -> None:
    names = next(node for node in model.graph.node if node.op_type == "GRU").input[1:4]
    for tensor in model.graph.initializer:
        if tensor.name in names:
            array = numpy_helper.to_array(tensor)
            axis = 1
            blocks = np.split(array, array.shape[axis] // 5, axis=axis)
            turned = [blocks[i + j] for i in range(0, len(blocks), 3) for j in (1, 0, 2)]
            tensor.CopyFrom(numpy_helper.from_array(np.concatenate(turned, axis=axis), tensor.name))


def sequence_graph(path: Path, *, lengths: bool = True, two: bool = False) -> Path:
    """A GRU node with or without sequence_lens, its Y_h read by a Gemm."""
    random = np.random.default_rng(0)
    count = 1 + two
    arrays = {
        "table": random.normal(size=(V, D)),
        "W": random.normal(size=(count, 3 * H, D)) / 3,
        "R": random.normal(size=(count, 3 * H, H)) / 4,
        "B": random.normal(size=(count, 6 * H)) / 4,
        "weight": random.normal(size=(K, count * H)),
        "bias": random.normal(size=K) / 4,
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["vectors"]),
        helper.make_node("Transpose", ["vectors"], ["turned"], perm=[1, 0, 2]),
        helper.make_node(
            "GRU",
            ["turned", "W", "R", "B", *(["steps"] if lengths else [])],
            ["", "last"],
            hidden_size=H,
            linear_before_reset=1,
            direction="bidirectional" if two else "forward",
        ),
        helper.make_node("Transpose", ["last"], ["by_text"], perm=[1, 0, 2]),
        helper.make_node("Flatten", ["by_text"], ["pooled"]),
        helper.make_node("Gemm", ["pooled", "weight", "bias"], ["logits"], transB=1),
    ]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "steps"])]
    if lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]))
        nodes.insert(0, helper.make_node("Cast", ["lengths"], ["steps"], to=TensorProto.INT32))
    return write_graph(path, nodes, inputs, arrays)


def dropped_logits(layers: list[dict[str, Any]]) -> None:
    layers[-1]["config"]["activation"] = "linear"
    layers.append({"class_name": "Dropout", "config": {"name": "drop", "rate": 0.5}})
    layers.append({"class_name": "Activation", "config": {"name": "answers", "activation": "softmax"}})


def write_graph(path: Path, nodes: Sequence[Any], inputs: Sequence[Any], arrays: dict[str, Any]) -> Path:
    constants = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in arrays.items()]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", K])
    graph = helper.make_graph(list(nodes), "g", list(inputs), [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path
