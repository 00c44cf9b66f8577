"""Our GRU against ONNX's GRU operator, both forms of reset: values in onnxruntime and onnx's own evaluator.

The graphs are built here, one operator per layer. onnxruntime computes in float32 only. float64 comes from
onnx.reference.ReferenceEvaluator, whose GRU ignores sequence_lens: it gets one sequence at a time. Neither
has gradients.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from grunlock.layers import GRU
from tests.parity.agreement import assert_agrees
from tests.parity.conversions import to_onnx
from tests.parity.test_gru_torch import unspoilt

D, H = 5, 7
LENGTHS = [5, 7, 1, 5, 3]
OPSET = 14
IR_VERSION = 10
ELEMENT_TYPE = {torch.float32: TensorProto.FLOAT, torch.float64: TensorProto.DOUBLE}


@dataclass(frozen=True)
class Case:
    """The evaluator follows from the dtype: float32 onnxruntime, float64 onnx's reference."""

    dtype: torch.dtype = torch.float32
    num_layers: int = 1
    bidirectional: bool = True
    reset_after: bool = True
    bias: bool = True

    def __str__(self) -> str:
        words = [f"{self.num_layers}l", "bi" if self.bidirectional else "uni"]
        words += ["after" if self.reset_after else "before", "bias" if self.bias else "nobias"]
        return "-".join([*words, str(self.dtype).removeprefix("torch.")])

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1


def build_graph(case: Case, weights: Mapping[str, Tensor]) -> onnx.ModelProto:
    """From input [T, B, D], lengths [B] int32 and h0 [L * directions, B, H] to output [T, B, directions * H]
    and final [L * directions, B, H]."""
    element, directions = ELEMENT_TYPE[case.dtype], case.num_directions
    constants = {
        "split_sizes": np.full(case.num_layers, directions, np.int64),
        "joined": np.array([0, 0, -1]),
    }
    layers = range(case.num_layers)
    nodes = [helper.make_node("Split", ["h0", "split_sizes"], [f"h0_{k}" for k in layers], axis=0)]
    rows = "input"
    for k in layers:
        suffixes = [f"_l{k}", f"_l{k}_reverse"][:directions]
        arrays = to_onnx(weights, suffixes)
        constants |= {f"{name}_{k}": array for name, array in arrays.items()}
        nodes += [
            helper.make_node(
                "GRU",
                [rows, f"W_{k}", f"R_{k}", f"B_{k}" if "B" in arrays else "", "lengths", f"h0_{k}"],
                [f"Y_{k}", f"final_{k}"],  # Y [T, directions, B, H]
                hidden_size=H,
                direction="bidirectional" if case.bidirectional else "forward",
                linear_before_reset=int(case.reset_after),
            ),
            helper.make_node("Transpose", [f"Y_{k}"], [f"turned_{k}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"turned_{k}", "joined"], [f"output_{k}"]),
        ]
        rows = f"output_{k}"
    nodes.append(helper.make_node("Identity", [rows], ["output"]))
    nodes.append(helper.make_node("Concat", [f"final_{k}" for k in layers], ["final"], axis=0))
    states: list[int | str | None] = [case.num_layers * directions, "B", H]
    graph = helper.make_graph(
        nodes,
        "gru",
        [
            helper.make_tensor_value_info("input", element, ["T", "B", D]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
            helper.make_tensor_value_info("h0", element, states),
        ],
        [
            helper.make_tensor_value_info("output", element, ["T", "B", directions * H]),
            helper.make_tensor_value_info("final", element, states),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def evaluate(case: Case, model: onnx.ModelProto, inputs: Tensor, h0: Tensor) -> dict[str, Tensor]:
    """Output, zero past each end, and final state of a ragged batch."""
    if case.dtype == torch.float32:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        lengths = np.array(LENGTHS, np.int32)
        found = session.run(
            ["output", "final"], {"input": inputs.numpy(), "lengths": lengths, "h0": h0.numpy()}
        )
        output, final = (torch.from_numpy(array) for array in found)
        return {"output": output, "final": final}
    evaluator = ReferenceEvaluator(model)
    output = torch.zeros(*inputs.shape[:2], case.num_directions * H, dtype=case.dtype)
    finals = []
    for b, length in enumerate(LENGTHS):
        alone = {
            "input": inputs[:length, b : b + 1].numpy(),
            "lengths": np.array([length], np.int32),
            "h0": h0[:, b : b + 1].numpy(),
        }
        rows, last = evaluator.run(["output", "final"], alone)
        output[:length, b] = torch.from_numpy(np.asarray(rows)[:, 0])
        finals.append(torch.from_numpy(np.asarray(last)))
    return {"output": output, "final": torch.cat(finals, dim=1)}


def check_against_onnx(case: Case, spoil: Callable[[GRU], GRU] = unspoilt) -> None:
    """Raise DisagreementError unless our layer, after `spoil`, gives the operator's numbers."""
    torch.manual_seed(0)
    ours = GRU(
        D,
        H,
        case.num_layers,
        bias=case.bias,
        bidirectional=case.bidirectional,
        dtype=case.dtype,
        reset_after=case.reset_after,
    )
    inputs = torch.randn(max(LENGTHS), len(LENGTHS), D, dtype=case.dtype)
    h0 = torch.randn(case.num_layers * case.num_directions, len(LENGTHS), H, dtype=case.dtype)
    expected = evaluate(case, build_graph(case, ours.state_dict()), inputs, h0)
    with torch.no_grad():
        output, final = spoil(ours)(inputs, h0, torch.tensor(LENGTHS))
    assert_agrees({"output": output, "final": final}, expected)


@pytest.mark.parametrize(
    "case",
    [
        Case(*parts)
        for parts in itertools.product(ELEMENT_TYPE, (1, 2, 3), (False, True), (True, False), (True, False))
    ],
    ids=str,
)
def test_values(case: Case) -> None:
    check_against_onnx(case)
