"""The benchmark's contenders compute the same thing, and a wrong one would be caught."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grunlock.benchmark.arrays import Array, disagreement, draw_batches, draw_weights, sample
from grunlock.benchmark.cases import Case, Contender, to_json
from grunlock.benchmark.peers import onnx_gru, own, torch_gru
from grunlock.benchmark.timing import UnsupportedError
from grunlock.benchmark.worker import Worker as WorkerSide

OWN = Contender("grunlock")
CASE = Case("training", 4, 6, 5, 3)
CASES = [CASE, replace(CASE, num_layers=2), replace(CASE, lengths=((6, 6, 3, 1), (4, 2)))]


def checked(module: object, case: Case, contender: Contender) -> Mapping[str, Array]:
    return module.prepare(case, contender).check()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("form", ["padded", "packed"])
def test_torch_contenders_agree_with_values_and_gradients(case: Case, form: str) -> None:
    reference = sample(checked(torch_gru, case, Contender("torch")))
    assert {"output", "grad_input", "grad_weight_ih_l0", "grad_bias_hh_l0"} <= reference.keys()
    for module in (torch_gru, own):
        found = sample(checked(module, case, Contender("any", form)))  # type: ignore[arg-type]
        assert found.keys() == reference.keys()
        assert disagreement(found, reference) < 1e-5


def test_masks_are_off_while_outputs_are_compared() -> None:
    masked = replace(OWN, state_dropout=0.5, weight_dropout=0.5)
    assert disagreement(sample(checked(own, CASE, masked)), sample(checked(own, CASE, OWN))) < 1e-6


def test_onnxruntime_agrees() -> None:
    case = replace(CASE, mode="forward", num_layers=2)
    found = sample(checked(onnx_gru, case, Contender("onnxruntime")))
    assert disagreement(found, sample(checked(torch_gru, case, Contender("torch")))) < 1e-5


def test_a_wrong_gate_order_would_be_caught() -> None:
    right = checked(torch_gru, CASE, Contender("torch"))
    weights = draw_weights(CASE)
    weights["weight_hh_l0"] = np.roll(weights["weight_hh_l0"], CASE.hidden_size, axis=0)
    module = torch.nn.GRU(CASE.input_size, CASE.hidden_size)
    module.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    inputs = torch.from_numpy(draw_batches(CASE)[0].inputs)
    wrong = {"output": module(inputs)[0].detach().numpy().reshape(-1, CASE.hidden_size)}
    assert disagreement(sample(wrong), sample(right)) > 0.01


def test_disagreement_of_what_cannot_be_compared_is_infinite() -> None:
    assert disagreement({"a": [1.0]}, {"b": [1.0]}) == float("inf")
    assert disagreement({"a": [float("nan")]}, {"a": [1.0]}) == float("inf")
    assert disagreement({"a": [1.0, 2.0]}, {"a": [1.0]}) == float("inf")
    assert disagreement({"a": [0.0]}, {"a": [0.0]}) == 0.0


def test_latency_has_a_road_in_float32_and_says_so_elsewhere() -> None:
    case = Case("forward", 1, 5, 4, 4, num_layers=2)
    found = sample(checked(own, case, Contender("grunlock", "latency")))
    assert disagreement(found, sample(checked(torch_gru, case, Contender("torch")))) < 1e-5
    with pytest.raises(UnsupportedError, match="float32 only"):
        torch_gru.prepare(case, Contender("torch", precision="bfloat16"))


@pytest.mark.parametrize("form", ["linear", "linear_after_torch", "linear_after_own"])
def test_torch_steps_beside_our_kernel_run(form: str) -> None:
    prepared = own.prepare(replace(CASE, num_steps=2), Contender("grunlock", form))  # type: ignore[arg-type]
    assert prepared.before_each is not None
    prepared.before_each()
    prepared.call()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell")
def test_peak_bytes_see_what_is_allocated() -> None:
    """In a process of its own, as a worker is: this one may hold that much memory ready already."""
    size = 64_000_000
    script = (
        "import numpy as np; from grunlock.benchmark.timing import peak_bytes_of; "
        f"print(peak_bytes_of(lambda: np.ones({size}, np.uint8).sum()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    ).stdout
    peak = int(printed)
    assert 0.9 * size < peak < 3 * size


def test_failures_of_a_library_are_replies() -> None:
    worker = WorkerSide(torch_gru)
    request = {"do": "prepare", "id": 0, "case": to_json(replace(CASE, batch_size=-1))}
    reply = worker.answer({**request, "contender": to_json(Contender("torch"))})
    assert reply.keys() == {"failed"}
