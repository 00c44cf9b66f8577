"""Our GRU against numbers that Keras computed: values and gradients, both forms of reset.

benchmarks/keras_golden.py recorded them and describes the file's keys.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from grunlock.layers import GRU
from tests.parity.agreement import assert_agrees, with_gradients
from tests.parity.conversions import from_keras
from tests.parity.test_gru_torch import unspoilt

GOLDEN = Path(__file__).parent / "golden" / "keras_gru.npz"
FORMS = {"reset_after": True, "reset_before": False}
SUFFIXES = {"unidirectional": ("",), "bidirectional": ("", "_reverse")}


@dataclass(frozen=True)
class Case:
    form: str = "reset_after"
    direction: str = "bidirectional"
    num_layers: int = 1
    dtype: str = "float64"

    def __str__(self) -> str:
        return f"{self.form}-{self.direction}-{self.num_layers}l-{self.dtype}"

    @property
    def suffixes(self) -> list[str]:
        """Of every layer and direction, in the order of the states."""
        return [f"_l{k}{direction}" for k in range(self.num_layers) for direction in SUFFIXES[self.direction]]


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def under(prefix: str, dtype: str) -> dict[str, np.ndarray]:
    """The golden arrays whose key is `prefix` and one more name, by that name, as `dtype`."""
    return {
        key.removeprefix(prefix): value.astype(dtype)
        for key, value in golden().items()
        if key.startswith(prefix) and "/" not in key.removeprefix(prefix)
    }


def keras_weights(case: Case) -> dict[str, Tensor]:
    layers = under(f"{case.form}/{case.direction}/", case.dtype)
    return {name: w for suffix in case.suffixes for name, w in from_keras(layers, suffix).items()}


def keras_results(case: Case) -> dict[str, Tensor]:
    """Keras's numbers, named and laid out as ours."""
    recorded = under(f"{case.form}/{case.direction}/{case.num_layers}_layers/{case.dtype}/", case.dtype)
    expected = {name: torch.from_numpy(recorded[name]) for name in ("output", "final")}
    gradients = {key.removeprefix("grad_"): g for key, g in recorded.items() if key.startswith("grad_")}
    expected |= {f"grad_{name}": torch.from_numpy(gradients[name]) for name in ("input", "h0")}
    for suffix in case.suffixes:
        ours = from_keras(gradients, suffix, gradients=True)
        expected |= {f"grad_{name}": gradient for name, gradient in ours.items()}
    return expected


def keras_inputs(case: Case) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Input [B, T, D], h0 [L * directions, B, H] and the cotangents of output and final state."""
    num_states = len(case.suffixes)
    given = under(f"{case.direction}/", case.dtype)
    inputs = torch.from_numpy(golden()["input"].astype(case.dtype)).requires_grad_()
    h0 = torch.from_numpy(given["h0"][:num_states]).requires_grad_()
    cotangents = [given["cotangent_output"], given["cotangent_final"][:num_states]]
    return inputs, h0, [torch.from_numpy(cotangent) for cotangent in cotangents]


def check_against_keras(case: Case, spoil: Callable[[GRU], GRU] = unspoilt) -> None:
    """Raise DisagreementError unless our layer, after `spoil`, gives Keras's numbers."""
    inputs, h0, cotangents = keras_inputs(case)
    ours = GRU(
        inputs.shape[2],
        h0.shape[2],
        case.num_layers,
        batch_first=True,
        bidirectional=case.direction == "bidirectional",
        dtype=inputs.dtype,
        reset_after=FORMS[case.form],
    )
    ours.load_state_dict(keras_weights(case))
    ours = spoil(ours)
    output, final = ours(inputs, h0, torch.from_numpy(golden()["lengths"]))
    leaves = {"input": inputs, "h0": h0, **dict(ours.named_parameters())}
    found = with_gradients({"output": output, "final": final}, leaves, cotangents)
    assert_agrees(found, keras_results(case))


@pytest.mark.parametrize(
    "case",
    [Case(*parts) for parts in itertools.product(FORMS, SUFFIXES, (1, 2, 3), ("float32", "float64"))],
    ids=str,
)
def test_values_and_gradients(case: Case) -> None:
    check_against_keras(case)


def test_the_recording_is_what_it_claims() -> None:
    """Ragged in no order, odd sizes, no bias left at zero, and versions named."""
    about = json.loads(str(golden()["about"]))
    assert {"keras", "tensorflow", "seed"} <= about.keys()
    lengths = golden()["lengths"].tolist()
    assert len(set(lengths)) > 2
    assert lengths != sorted(lengths, reverse=True)
    assert about["input_size"] != about["hidden_size"]
    biases = [value for key, value in golden().items() if "/bias_l" in key]
    assert biases
    assert all(np.count_nonzero(bias) > 0.9 * bias.size for bias in biases)
