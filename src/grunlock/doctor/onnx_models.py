"""What an ONNX graph with GRU nodes computes, and the graph itself as what answers experiments."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.doctor.foreign import Dense, Dropout, Embedding, ForeignModel, GruLayer, Norm, Padding
from grunlock.doctor.keras_models import swap_gates
from grunlock.doctor.onnx_files import EXPORT_AGAIN, ODD, Node, OnnxGraph, read_onnx
from grunlock.doctor.options import Told, still_unknown
from grunlock.errors import DoctorError, MissingDependencyError
from grunlock.kernels.stack import DirectionWeights
from grunlock.shapes import FloatArray, IntArray

GRU_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h")
LOOPS = ("Loop", "Scan", "If")
# Operators that move numbers without changing what the twin has to compute.
PLUMBING = frozenset(
    [
        "Shape",
        "Gather",
        "Concat",
        "Expand",
        "Transpose",
        "Slice",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Constant",
        "ConstantOfShape",
        "Cast",
        "Identity",
        "Mul",
        "Add",
        "Sub",
        "Div",
        "Sum",
        "Neg",
        "Range",
        "Where",
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
        "Not",
        "And",
        "Clip",
        "Max",
        "Min",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Flatten",
        "Gemm",
        "MatMul",
        "GRU",
        "Softmax",
        "LogSoftmax",
        "Dropout",
        "BatchNormalization",
        "Relu",
        "Tanh",
        "Sigmoid",
        "ArgMax",
        "GatherElements",
        "GatherND",
        "GlobalMaxPool",
        "GlobalAveragePool",
        "Split",
    ]
)


@dataclass(frozen=True)
class OnnxModel:
    """See foreign.Original."""

    path: Path
    ids_name: str
    lengths_name: str | None
    types: dict[str, str]
    one_by_one: bool = False  # the graph takes a batch of one
    runner: str = "onnxruntime"

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                "Running an ONNX model needs onnxruntime.", cure='pip install "grunlock[doctor]"'
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])

    def outputs(self, ids: IntArray, lengths: IntArray) -> FloatArray:
        if self.one_by_one and len(ids) > 1:
            rows = range(len(ids))
            return np.concatenate([self.outputs(ids[i : i + 1], lengths[i : i + 1]) for i in rows])
        given = {self.ids_name: ids}
        if self.lengths_name is not None:
            given[self.lengths_name] = lengths
        numpy_types = {"INT64": np.int64, "INT32": np.int32, "FLOAT": np.float32}
        feed = {
            name: value.astype(numpy_types.get(self.types[name], np.int64)) for name, value in given.items()
        }
        found: FloatArray = np.asarray(self._session.run(None, feed)[0], np.float32)
        return found


def describe_onnx(path: Path, told: Told) -> tuple[ForeignModel, OnnxModel | None, int | None]:
    """The description, the graph ready to run if it reads ids, and the number of steps if it is fixed.

    Raises DoctorError if there is no GRU node.
    """
    graph = read_onnx(path)
    try:
        return _described(graph, path, told)
    except ODD as error:
        raise DoctorError(
            "The graph around the GRU is not what it should be.",
            where=path,
            got=f"{type(error).__name__}: {error}",
            cure=EXPORT_AGAIN,
        ) from error


def _described(graph: OnnxGraph, path: Path, told: Told) -> tuple[ForeignModel, OnnxModel | None, int | None]:
    grus = [node for node in graph.nodes if node.kind == "GRU"]
    if not grus:
        raise _no_gru(graph)
    layers = tuple(_layer(graph, node) for node in grus)
    embedding, ids = _embedding(graph, grus[0])
    head = tuple(_head(graph, layers[-1]))
    knows_ends = all(_input(node, "sequence_lens") for node in grus)
    model = ForeignModel(
        kind="ONNX graph",
        where=graph.where,
        embedding=embedding,
        layers=layers,
        pooling=told.pooling,
        padding=Padding(not knows_ends, None),
        norms=tuple(_norms(graph, grus)),
        head=head,
        dropouts=tuple(_dropouts(graph)),
        other=tuple(_others(graph)),
        facts={
            "producer": graph.producer,
        },
    )
    model = replace(model, unknown=still_unknown(model))
    if ids is None or embedding is None or len(graph.inputs) > 2 or len(graph.inputs[ids]) != 2:
        return model, None, None
    rest = [name for name in graph.inputs if name != ids]
    original = OnnxModel(
        path, ids, rest[0] if rest else None, dict(graph.input_types), graph.inputs[ids][0] == 1
    )
    return model, original, graph.inputs[ids][1]


def _no_gru(graph: OnnxGraph) -> DoctorError:
    loops = [node.name for node in graph.nodes if node.kind in LOOPS]
    kinds = list(dict.fromkeys(f"{n.domain}.{n.kind}" if n.domain else n.kind for n in graph.nodes))
    sigmoids = sum(node.kind == "Sigmoid" for node in graph.nodes)
    got = f"operators {', '.join(kinds[:12])}{', ...' if len(kinds) > 12 else ''}"
    if loops:
        got = f"a loop ({', '.join(loops[:3])}), which may be a GRU written step by step"
    elif sigmoids >= 2 and any(node.kind == "Tanh" for node in graph.nodes):
        got = f"{sigmoids} Sigmoid nodes, which may be a GRU unrolled step by step"
    return DoctorError(
        "No GRU is recognised in this graph.",
        where=graph.where,
        got=got,
        expected="nodes of the operator GRU",
        cure="export from the framework's own GRU layer, or give the file of weights",
    )


def _input(node: Node, name: str) -> str | None:
    place = GRU_INPUTS.index(name)
    return (node.inputs[place] or None) if place < len(node.inputs) else None


def _layer(graph: OnnxGraph, node: Node) -> GruLayer:
    arrays = {}
    for name in ("W", "R", "B"):
        value = _input(node, name)
        if value is None and name == "B":
            continue
        if value is None or value not in graph.constants:
            raise DoctorError(
                "Weights of a GRU node are computed in the graph.",
                where=f"{graph.where}, {node.name}, {name}",
                got=value,
                expected="constants",
                cure=EXPORT_AGAIN,
            )
        arrays[name] = np.asarray(graph.constants[value], np.float32)
    W, R = arrays["W"], arrays["R"]
    two = node.options.get("direction", "forward") == "bidirectional"
    count, hidden = 1 + two, R.shape[-1]
    B = arrays.get("B", np.zeros((count, 6 * hidden), np.float32))
    expected = ((count, 3 * hidden, W.shape[-1]), (count, 3 * hidden, hidden), (count, 6 * hidden))
    if (W.shape, R.shape, B.shape) != expected:
        raise DoctorError(
            "Weights of a GRU node do not fit together.",
            where=f"{graph.where}, {node.name}",
            got=f"W {list(W.shape)}, R {list(R.shape)}, B {list(B.shape)}",
            expected=", ".join(str(list(shape)) for shape in expected),
            cure=EXPORT_AGAIN,
        )
    directions = tuple(
        DirectionWeights(
            swap_gates(w), swap_gates(r), swap_gates(b[: 3 * hidden]), swap_gates(b[3 * hidden :])
        )
        for w, r, b in zip(W, R, B, strict=True)
    )
    names = [
        str(each, "utf-8") if isinstance(each, bytes) else str(each)
        for each in node.options.get("activations", [])
    ]
    gate, candidate = (names[0].lower(), names[1].lower()) if len(names) >= 2 else ("sigmoid", "tanh")
    if node.options.get("direction") == "reverse":
        candidate = "reverse direction"  # told apart by what the twin refuses
    return GruLayer(node.name, directions, bool(node.options.get("linear_before_reset", 0)), candidate, gate)


def _embedding(graph: OnnxGraph, gru: Node) -> tuple[Embedding | None, str | None]:
    """The Gather from a constant matrix by ids, and the name of the ids."""
    for node in graph.nodes:
        if node.kind != "Gather" or node.options.get("axis", 0) != 0 or len(node.inputs) != 2:
            continue
        table, ids = graph.constants.get(node.inputs[0]), _source(graph, node.inputs[1])
        if table is not None and table.ndim == 2 and table.dtype.kind == "f" and ids in graph.inputs:
            return Embedding(node.inputs[0], np.asarray(table, np.float32), padding_id=0), ids
    return None, None


def _source(graph: OnnxGraph, value: str) -> str:
    """Where a value comes from, behind casts."""
    node = graph.producer_of(value)
    while node is not None and node.kind in ("Cast", "Identity"):
        value = node.inputs[0]
        node = graph.producer_of(value)
    return value


def _norms(graph: OnnxGraph, grus: list[Node]) -> Iterator[Norm]:
    first = graph.nodes.index(grus[0])
    for node in graph.nodes:
        if node.kind == "BatchNormalization":
            arrays = [
                np.asarray(graph.constants[name], np.float32)
                for name in node.inputs[1:5]
                if name in graph.constants
            ]
            if len(arrays) != 4:
                continue
            scale, bias, mean, variance = arrays
            gain = scale / np.sqrt(variance + np.float32(node.options.get("epsilon", 1e-5)))
            place = "embedding" if graph.nodes.index(node) < first else "pooled"
            yield Norm(node.name, gain, bias - mean * gain, place, masked=False)  # type: ignore[arg-type]


def _head(graph: OnnxGraph, last: GruLayer) -> Iterator[Dense]:
    """Linear layers behind the last GRU: Gemm, or MatMul with Add."""
    after = False
    width: int | None = None
    for node in graph.nodes:
        after = after or node.kind == "GRU"
        if not after or node.kind not in ("Gemm", "MatMul") or node.inputs[1] not in graph.constants:
            continue
        weight = np.asarray(graph.constants[node.inputs[1]], np.float32)
        weight = weight if node.options.get("transB") else weight.T
        if weight.ndim != 2 or (weight.shape[1] != width if width else weight.shape[1] % last.output_size):
            continue
        bias, output = _bias(graph, node, len(weight))
        width = len(weight)
        yield Dense(node.name, np.ascontiguousarray(weight), bias, _activation(graph, output))


def _bias(graph: OnnxGraph, node: Node, size: int) -> tuple[FloatArray, str]:
    if node.kind == "Gemm":
        bias = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
        return np.zeros(size, np.float32) if bias is None else np.asarray(bias, np.float32), node.outputs[0]
    for reader in graph.readers_of(node.outputs[0]):
        other = [graph.constants[name] for name in reader.inputs if name in graph.constants]
        if reader.kind == "Add" and other and other[0].shape == (size,):
            return np.asarray(other[0], np.float32), reader.outputs[0]
    return np.zeros(size, np.float32), node.outputs[0]


def _activation(graph: OnnxGraph, value: str) -> str:
    names = {
        "Relu": "relu",
        "Tanh": "tanh",
        "Softmax": "softmax",
        "Sigmoid": "sigmoid",
        "LogSoftmax": "log_softmax",
    }
    readers = graph.readers_of(value)
    while readers and readers[0].kind in ("Dropout", "Identity"):
        readers = graph.readers_of(readers[0].outputs[0])
    return names.get(readers[0].kind, "linear") if readers else "linear"


def _dropouts(graph: OnnxGraph) -> Iterator[Dropout]:
    """What an export in training mode leaves."""
    for node in graph.nodes:
        if node.kind == "Dropout":
            ratio = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
            producer = graph.producer_of(node.inputs[0])
            place = "logits" if producer is not None and producer.kind in ("Gemm", "Softmax") else "hidden"
            yield Dropout(node.name, float(node.options.get("ratio", 0.5 if ratio is None else ratio)), place)  # type: ignore[arg-type]


def _others(graph: OnnxGraph) -> Iterator[str]:
    for node in graph.nodes:
        if node.kind not in PLUMBING or node.domain not in ("", "ai.onnx"):
            yield f"{node.name} ({node.domain + '.' if node.domain else ''}{node.kind})"
