"""An ONNX file as a graph whose constants are arrays. What it claims is checked before it is believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.doctor.torch_files import MOST_BYTES
from grunlock.errors import DoctorError

EXPORT_AGAIN = "export it again: torch.onnx.export(model, (ids,), 'model.onnx', external_data=False)"
STANDARD_DOMAINS = ("", "ai.onnx")
# What exporters wrap around weights. All of it is cheap, and none of it makes room for more than it is given.
# What reading a graph raises whose names, types or numbers of inputs are not what they should be.
ODD = (TypeError, ValueError, LookupError, AttributeError, OverflowError)
FOLDED = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Slice", "Split", "Cast")


@dataclass(frozen=True)
class Node:
    """outputs, inputs: names of values; "" where one is left out."""

    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any]
    name: str


@dataclass(frozen=True)
class OnnxGraph:
    """constants: arrays by name, those folded from others included. inputs: shape by name, None: any size."""

    where: str
    producer: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[Any]]
    inputs: Mapping[str, tuple[int | None, ...]]
    input_types: Mapping[str, str]
    outputs: tuple[str, ...]

    def producer_of(self, value: str) -> Node | None:
        return next((node for node in self.nodes if value in node.outputs), None)

    def readers_of(self, value: str) -> list[Node]:
        return [node for node in self.nodes if value in node.inputs]


def read_onnx(path: Path) -> OnnxGraph:
    """Raises DoctorError for damaged files, missing external data and graphs that are not in order."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path), load_external_data=False)
        graph = model.graph
        external = [each for each in graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL]
        _check_external(path, external)
        if external:
            onnx.load_external_data_for_model(model, str(path.parent))
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError, RuntimeError) as error:
        raise _not_onnx(path, str(error).split("\n")[0][:300]) from error
    if not graph.node:
        raise _not_onnx(path, "a graph without nodes")
    try:
        return _graph(path, model)
    except ODD as error:
        raise _not_onnx(path, f"{type(error).__name__}: {error}") from error


def _graph(path: Path, model: Any) -> OnnxGraph:
    import onnx

    graph = model.graph
    constants = {each.name: _array(path, each) for each in graph.initializer}
    nodes = [_node(path, each, constants) for each in graph.node]
    _check_order(path, nodes, {each.name for each in graph.input} | set(constants))
    _fold(graph.node, nodes, constants, path)
    inputs = [each for each in graph.input if each.name not in constants]
    return OnnxGraph(
        str(path),
        f"{model.producer_name} {model.producer_version}".strip() or "unknown",
        tuple(nodes),
        constants,
        {each.name: _shape(each) for each in inputs},
        {each.name: onnx.TensorProto.DataType.Name(each.type.tensor_type.elem_type) for each in inputs},
        tuple(each.name for each in graph.output),
    )


def _check_external(path: Path, tensors: Any) -> None:
    for tensor in tensors:
        at = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        file = path.parent / at
        inside = file.resolve().is_relative_to(path.parent.resolve())
        if not at or not inside or not file.is_file():
            raise DoctorError(
                "Weights of the ONNX model lie in another file, and it is not there."
                if inside
                else "Weights of the ONNX model are said to lie outside of its folder.",
                where=f"{path}, {tensor.name}",
                got=at or "no name",
                expected=f"a file in {path.parent}",
                cure=f"put it beside the model, or {EXPORT_AGAIN}",
            )


def _array(path: Path, tensor: Any) -> NDArray[Any]:
    from onnx import TensorProto, helper, numpy_helper

    try:
        width = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except (KeyError, TypeError) as error:
        raise _not_onnx(path, f"{tensor.name} of the unknown type {tensor.data_type}") from error
    claimed = prod(tensor.dims) * width
    there = tensor.ByteSize() * 8  # a number that is packed takes at least an eighth of what it is made to
    if min(tensor.dims, default=0) < 0 or claimed > min(MOST_BYTES, there + 64):
        raise _not_onnx(path, f"{tensor.name} claims {claimed:,} bytes")
    if tensor.data_type == TensorProto.STRING:
        return np.zeros(0)
    try:
        found: NDArray[Any] = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, RuntimeError) as error:
        raise _not_onnx(path, f"{tensor.name}: {error}") from error
    return found


def _node(path: Path, proto: Any, constants: dict[str, NDArray[Any]]) -> Node:
    from onnx import AttributeProto, helper

    options: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.type == AttributeProto.TENSOR:
            options[attribute.name] = _array(path, attribute.t)
        elif attribute.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            value = helper.get_attribute_value(attribute)
            options[attribute.name] = value.decode() if isinstance(value, bytes) else value
        else:
            options[attribute.name] = attribute.g
    if proto.op_type == "Constant" and "value" in options:
        constants[proto.output[0]] = np.asarray(options["value"])
    return Node(
        proto.op_type,
        proto.domain,
        tuple(proto.input),
        tuple(proto.output),
        options,
        proto.name or proto.op_type,
    )


def _check_order(path: Path, nodes: list[Node], known: set[str]) -> None:
    """ONNX wants nodes in an order in which each reads what is there; a cycle has none."""
    for node in nodes:
        missing = [name for name in node.inputs if name and name not in known]
        if missing:
            raise DoctorError(
                "The graph reads what nothing has computed: it has a cycle, or is cut.",
                where=f"{path}, {node.name} ({node.domain + '.' if node.domain else ''}{node.kind})",
                got=", ".join(missing[:4]),
                expected="nodes in the order in which they are computed",
                cure=EXPORT_AGAIN,
            )
        known |= set(node.outputs)


def _fold(protos: Any, nodes: list[Node], constants: dict[str, NDArray[Any]], path: Path) -> None:
    """Add what is computed from constants alone."""
    from onnx.reference import ReferenceEvaluator

    for proto, node in zip(protos, nodes, strict=True):
        given = [name for name in node.inputs if name]
        if node.kind not in FOLDED or node.domain not in STANDARD_DOMAINS or not given:
            continue
        if all(name in constants for name in given):
            try:
                results: Any = ReferenceEvaluator(proto).run(None, {name: constants[name] for name in given})
            except Exception as error:  # whatever a node with wrong options raises there
                raise _not_onnx(path, f"{node.name} cannot be computed: {str(error)[:200]}") from error
            constants.update(zip(node.outputs, results, strict=False))


def _shape(value: Any) -> tuple[int | None, ...]:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


def _not_onnx(path: Path, got: str) -> DoctorError:
    return DoctorError(
        "The file is damaged, or no ONNX model.",
        where=path,
        got=got,
        expected="a complete model.onnx",
        cure=EXPORT_AGAIN,
    )
