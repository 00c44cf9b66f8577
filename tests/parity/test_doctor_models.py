"""The doctor's twin against what Keras, torch and ONNX Runtime compute, pads and their mistakes included.

benchmarks/doctor_models.py wrote the files and recorded the numbers.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from grunlock.doctor import Told, read_patient
from grunlock.doctor.experiment import agrees, as_probabilities, drawn_texts
from grunlock.doctor.foreign import ForeignModel, Padding, Texts
from grunlock.doctor.patient import patient_of_module
from grunlock.doctor.reference import TorchReference
from grunlock.doctor.twin import logits
from grunlock.runtime.probabilities import probabilities
from tests.workflows.doctor_models import TorchNet, sequence_graph

GOLDEN = Path(__file__).parent / "golden"
KERAS = ["reset_after", "reset_before", "pooled", "unmasked"]
SAME = 1e-6  # float32 probabilities after a dozen steps


def recorded(name: str, side: Literal["pre", "post"]) -> tuple[Texts, np.ndarray]:
    with np.load(GOLDEN / "doctor_outputs.npz") as arrays:
        return Texts(arrays[side], arrays["lengths"], side), arrays[f"{name}/{side}"]


def difference(model: ForeignModel, texts: Texts, expected: np.ndarray) -> float:
    found = probabilities(logits(model, texts), 1.0)
    return float(np.abs(found - as_probabilities(expected, model.head[-1].activation)).max())


@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize("name", KERAS)
def test_the_twin_gives_what_keras_gave(name: str, side: Literal["pre", "post"]) -> None:
    model = read_patient(GOLDEN / f"doctor_{name}.keras", Told()).model
    assert difference(model, *recorded(name, side)) < SAME


def test_another_form_or_mask_would_be_seen() -> None:
    model = read_patient(GOLDEN / "doctor_reset_after.keras", Told()).model
    texts, expected = recorded("reset_after", "post")
    other = replace(model, layers=tuple(replace(layer, reset_after=False) for layer in model.layers))
    assert difference(other, texts, expected) > 1e-3
    unmasked = replace(model, padding=Padding(gru=True, pooling=True))
    assert difference(unmasked, texts, expected) > 1e-3


def test_the_twin_gives_what_torch_gave_before_its_export() -> None:
    model = read_patient(GOLDEN / "doctor_torch.onnx", Told()).model
    texts, expected = recorded("torch", "post")
    assert np.abs(logits(model, texts) - expected).max() < SAME


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
def test_onnx_graphs_are_understood_by_running_them(lengths: bool, two: bool, tmp_path: Path) -> None:
    patient = read_patient(sequence_graph(tmp_path / "m.onnx", lengths=lengths, two=two), Told())
    assert patient.model.pooling == ("last",)
    assert patient.model.padding.gru is not lengths
    assert patient.original is not None
    assert patient.model.embedding is not None
    texts = drawn_texts(patient.model.embedding, 7, 11, seed=5)
    assert agrees(patient.model, texts, patient.original.outputs(texts.ids, texts.lengths))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}])
def test_the_reference_of_torch_weights_is_the_module(options: dict[str, int]) -> None:
    patient = patient_of_module(TorchNet(**options), Told())
    model = patient.model
    assert model.embedding is not None
    assert patient.original is not None
    texts = drawn_texts(model.embedding, 9, 12, seed=3)
    expected = patient.original.outputs(texts.ids, texts.lengths)
    assert np.abs(TorchReference(model).outputs(texts.ids, texts.lengths) - expected).max() < SAME
    assert np.abs(logits(model, texts) - expected).max() < SAME


def test_a_module_keeps_its_mode_and_its_weights() -> None:
    module = TorchNet()
    module.train()
    before = [value.clone() for value in module.parameters()]
    patient_of_module(module, Told())
    assert module.training
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
