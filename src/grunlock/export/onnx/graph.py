"""An ONNX graph in the making: nodes, constants, inputs and outputs. Knows no network.

Only operators of the default domain, as of opset 17, so that older runtimes and other languages read it too.

Weights of a small graph are int8 values and a float16 scale for each row:

    weight = float(values) * float(scale)

written as Cast and Mul. DequantizeLinear would say the same, but ONNX Runtime keeps it for kernels that read
int8, and so computes the weights anew in every call; Cast and Mul of constants it computes once, on loading.

A table of which most rows are zero, as compression leaves it, is stored without them.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

from grunlock._version import __version__
from grunlock.artifact.int8_storage import FEWEST_VALUES, rounded_rows
from grunlock.errors import ExportError
from grunlock.shapes import FloatArray

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8
SPARSE = 0.5  # share of rows that are not zero, below which a table is stored without the others
MAX_BYTES = 2**31 - 2**20  # of constants: a protobuf message holds 2 GiB, and the nodes need some

Value = str  # the name of a tensor in the graph
Shape = tuple[int | str, ...]  # a letter stands for a size that a call decides


class Graph:
    """int8: whether matrices are stored as int8; what is computed is float32 in any case."""

    def __init__(self, *, int8: bool) -> None:
        self.int8 = int8
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[Value, NDArray[Any]] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    # What goes in and comes out ------------------------------------------------------------------------

    def input(self, name: str, dtype: DTypeLike, shape: Shape) -> Value:
        self._inputs.append(helper.make_tensor_value_info(name, _element(dtype), shape))
        return name

    def output(self, name: str, value: Value, shape: Shape) -> None:
        """`value`, which is float32, comes out under this name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _element(np.float32), shape))

    # Constants -----------------------------------------------------------------------------------------

    def constant(self, name: str, array: NDArray[Any]) -> Value:
        """As it is."""
        self._constants[name] = np.asarray(array, order="C")
        return name

    def integers(self, *values: int) -> Value:
        """[n] int64"""
        return self.constant(f"integers_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def integer(self, value: int) -> Value:
        return self.constant(f"integer_{value}", np.array(value, np.int64))

    def number(self, value: float) -> Value:
        return self.constant(f"number_{value}", np.array(value, np.float32))

    def weight(self, name: str, array: FloatArray, axis: int = -1) -> Value:
        """float32. Stored as int8, the numbers along `axis` share a scale."""
        if not self._rounds(array):
            return self.constant(name, array.astype(np.float32))
        moved = np.moveaxis(array, axis, -1)
        values, scale = rounded_rows(moved.reshape(-1, moved.shape[-1]))
        scale = scale.reshape(*moved.shape[:-1], 1)
        return self._scaled(
            self.constant(f"{name}.int8", np.moveaxis(values.reshape(moved.shape), -1, axis)),
            self.constant(f"{name}.scale", np.moveaxis(scale, -1, axis)),
        )

    def _rounds(self, array: FloatArray) -> bool:
        return self.int8 and array.size >= FEWEST_VALUES

    def _scaled(self, values: Value, scale: Value) -> Value:
        return self.node("Mul", self.cast(values, np.float32), self.cast(scale, np.float32))

    # Nodes ---------------------------------------------------------------------------------------------

    def node(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        (output,) = self.nodes(operator, 1, *inputs, **attributes)
        return output

    def nodes(self, operator: str, num_outputs: int, *inputs: Value, **attributes: Any) -> list[Value]:
        """A node with several outputs. An input "" is left out."""
        name = f"{operator}_{len(self._nodes)}"
        outputs = [f"{name}_{i}" for i in range(num_outputs)]
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        return outputs

    def cast(self, value: Value, dtype: DTypeLike) -> Value:
        return self.node("Cast", value, to=_element(dtype))

    def transposed(self, value: Value, *axes: int) -> Value:
        return self.node("Transpose", value, perm=axes)

    def shaped(self, value: Value, *sizes: int) -> Value:
        """Reshape: 0 keeps the size in that place, -1 takes what is left."""
        return self.node("Reshape", value, self.integers(*sizes))

    def rows(self, name: str, table: FloatArray, ids: Value) -> Value:
        """table[ids] in float32, table: [n, D]. Of an int8 table only the rows read become float32."""
        some = np.flatnonzero(table.any(axis=1))
        if len(some) < SPARSE * len(table):
            table, ids = self._without_zeros(name, table, some, ids)
        if not self._rounds(table):
            return self.node("Gather", self.constant(name, table.astype(np.float32)), ids, axis=0)
        values, scale = rounded_rows(table)
        return self._scaled(
            self.node("Gather", self.constant(f"{name}.int8", values), ids, axis=0),
            self.node("Gather", self.constant(f"{name}.scale", scale[:, None]), ids, axis=0),
        )

    def _without_zeros(
        self, name: str, table: FloatArray, some: NDArray[np.intp], ids: Value
    ) -> tuple[FloatArray, Value]:
        """A row of zeros and the table's other rows, and the places of `ids` in it."""
        place = np.zeros(len(table), np.uint16 if len(some) < 2**16 else np.uint32)
        place[some] = np.arange(1, len(some) + 1)
        found = self.node("Gather", self.constant(f"{name}.place", place), ids, axis=0)
        return np.concatenate([np.zeros_like(table[:1]), table[some]]), self.cast(found, np.int64)

    def linear(self, name: str, rows: Value, weight: FloatArray, bias: FloatArray) -> Value:
        """rows [..., D] @ weight^T + bias; weight: [O, D], bias: [O]."""
        product = self.node("MatMul", rows, self.weight(f"{name}.weight", weight.T, axis=0))
        return self.node("Add", product, self.constant(f"{name}.bias", bias))

    # The whole -----------------------------------------------------------------------------------------

    def model(self) -> onnx.ModelProto:
        """Raises ExportError for more constants than a file can hold."""
        num_bytes = sum(array.nbytes for array in self._constants.values())
        if num_bytes > MAX_BYTES:
            raise ExportError(
                "The model is too large for an ONNX file.",
                where="model.onnx",
                got=f"{num_bytes:,} bytes of weights",
                expected=f"at most {MAX_BYTES:,}",
                cure="train with fewer n-grams or smaller vectors, or export with int8",
            )
        tensors = [numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, "grunlock", self._inputs, self._outputs, tensors)
        made = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="grunlock",
            producer_version=__version__,
        )
        onnx.checker.check_model(made, full_check=True)
        return made


def _element(dtype: DTypeLike) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
