"""ONNX Runtime on a graph of GRU operators that is built here. It has no gradients."""

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from grunlock.benchmark.arrays import draw_batches, draw_weights, swap_reset_update
from grunlock.benchmark.cases import Case, Contender
from grunlock.benchmark.timing import Prepared, UnsupportedError

OPSET = 14
IR_VERSION = 10

OPTIONS = onnxruntime.SessionOptions()  # of every session; `start` sets the threads


def start(threads: int) -> dict[str, str]:
    OPTIONS.intra_op_num_threads = threads
    OPTIONS.inter_op_num_threads = 1
    return {"onnxruntime": onnxruntime.__version__}


def prepare(case: Case, contender: Contender) -> Prepared:
    masked = contender.state_dropout or contender.zoneout or contender.weight_dropout
    if case.mode != "forward" or case.lengths is not None or masked or contender.layer_norm:
        raise UnsupportedError("ONNX Runtime is measured forward, padded and without masks")
    if contender.precision != "float32":
        raise UnsupportedError(f"ONNX Runtime's GRU operator has no {contender.precision}")
    session = onnxruntime.InferenceSession(
        build_graph(case).SerializeToString(), OPTIONS, providers=["CPUExecutionProvider"]
    )
    feed = {"input": draw_batches(case)[0].inputs}

    def call() -> Any:
        return session.run(["output"], feed)

    return Prepared(call, lambda: {"output": call()[0].reshape(-1, case.hidden_size)})


def build_graph(case: Case) -> Any:
    """Input [T, B, D] to output [T, B, H] of the last layer."""
    weights, rows = draw_weights(case), "input"
    constants: dict[str, Any] = {"direction_axis": np.array([1], np.int64)}
    nodes = []
    for k in range(case.num_layers):
        parts = {
            name: swap_reset_update(weights[f"{name}_l{k}"])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        constants[f"W_{k}"] = parts["weight_ih"][None]
        constants[f"R_{k}"] = parts["weight_hh"][None]
        constants[f"B_{k}"] = np.concatenate([parts["bias_ih"], parts["bias_hh"]])[None]
        output = f"output_{k}" if k < case.num_layers - 1 else "output"
        gru = helper.make_node(
            "GRU",
            [rows, f"W_{k}", f"R_{k}", f"B_{k}"],
            [f"Y_{k}"],  # [T, 1, B, H]
            hidden_size=case.hidden_size,
            linear_before_reset=1,
        )
        nodes += [gru, helper.make_node("Squeeze", [f"Y_{k}", "direction_axis"], [output])]
        rows = output
    element = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "gru",
        [helper.make_tensor_value_info("input", element, ["T", "B", case.input_size])],
        [helper.make_tensor_value_info("output", element, ["T", "B", case.hidden_size])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
