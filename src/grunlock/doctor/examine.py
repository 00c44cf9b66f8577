"""The examination: read, try, look, measure, report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grunlock.data.prepared import is_prepared
from grunlock.doctor import data_checks, weight_checks
from grunlock.doctor.compare import compare, comparison_findings
from grunlock.doctor.encoded import LabelledIds, read_labelled
from grunlock.doctor.findings import Finding, Report, Unknown, by_severity
from grunlock.doctor.foreign import ForeignModel
from grunlock.doctor.gates import DirectionActivity, Doubles, measure
from grunlock.doctor.options import Encoding, Told, still_unknown
from grunlock.doctor.own_data import own_data_findings, valid_vectors
from grunlock.doctor.patient import Patient, patient_of_module, read_patient
from grunlock.doctor.run_checks import history_findings
from grunlock.doctor.structure_checks import CHECKS
from grunlock.doctor.twin import hindrances
from grunlock.errors import DoctorError
from grunlock.training.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Examples:
    """Labelled examples for measuring: a file of texts with their encoding, or ids in an .npz.

    labels: names of the model's classes, in its order; by default those of the file, sorted
    """

    path: Path
    encoding: Encoding = field(default_factory=Encoding)
    labels: tuple[str, ...] = ()


def examine(
    path: str | Path,
    *,
    told: Told | None = None,
    data: Examples | None = None,
    export: str | Path | None = None,
) -> Report:
    """Examine a model in a file (torch weights, safetensors, Keras 3, ONNX, ours) or a run folder of ours.

    told:   what the file does not say
    data:   labelled examples, on which the cost of each fault is measured
    export: another file that should compute the same

    Raises DoctorError for files that cannot be read or understood, and for examples that do not fit.
    """
    patient = read_patient(Path(path), told or Told())
    other = None if export is None else read_patient(Path(export), Told())
    return examine_patient(patient, data, other)


def examine_module(module: "nn.Module", *, told: Told | None = None, data: Examples | None = None) -> Report:
    """Examine a torch module that reads ids [batch, steps], or ids and lengths, and gives [batch, classes].

    It is run in evaluation mode, and its mode put back. Raises as `examine`.
    """
    return examine_patient(patient_of_module(module, told or Told()), data)


def examine_patient(patient: Patient, data: Examples | None = None, export: Patient | None = None) -> Report:
    """All checks."""
    model = patient.model
    findings = [*weight_checks.non_finite(model)]
    measures: dict[str, Any] = {}
    broken = bool(findings)
    findings += weight_checks.lstm_initialisation(model) + weight_checks.vocabulary(model)
    findings += weight_checks.rounding(model)
    if patient.artifact is None or not model.other:
        findings += [] if broken else weight_checks.unreachable_classes(model)
    inputs = None if patient.artifact is None else own_inputs(patient)
    of_series = patient.artifact is not None and model.embedding is None
    if not broken and not _odd_gru(model) and not (of_series and inputs is None):
        activity = measure(model, inputs)
        findings += weight_checks.units(activity) + weight_checks.growth(model, activity)
        measures["gates"] = [_gates(each) for each in activity]
    for check in CHECKS:
        findings += check(model, patient.seen)
    if patient.artifact is not None:
        own, more = _own(patient, data)
        findings, measures = findings + own, measures | more
    elif data is not None:
        findings, more = _measured(model, findings, data)
        measures |= more
    if export is not None:
        forms = compare(model, export.model)
        findings += comparison_findings(forms, export.model)
        measures["forms"] = {form.name: form.difference for form in forms}
    return Report(
        f"{model.kind}: {model.where}",
        tuple(parts_of(model)),
        by_severity(findings),
        _unknown(patient),
        measures,
    )


def own_inputs(patient: Patient) -> Doubles | None:
    """What the GRU of a run of ours reads of its validation split; None where that is not at hand."""
    assert patient.artifact is not None
    if patient.path is None or not is_prepared(patient.path / "data"):
        return None
    return valid_vectors(patient.artifact, patient.path)


def _odd_gru(model: ForeignModel) -> bool:
    """Whether gates are not those of a plain GRU on plain vectors, so that gates.py cannot measure them."""
    if not model.facts.get("plain_gru", True):
        return True
    return any((layer.activation, layer.gate_activation) != ("tanh", "sigmoid") for layer in model.layers)


def _unknown(patient: Patient) -> tuple[Unknown, ...]:
    found = list(patient.model.unknown)
    if patient.model.other and patient.artifact is None:
        shown = ", ".join(patient.model.other[:6])
        found.append(Unknown(f"What these parts do: {shown}.", "they are left out of the examination"))
    if patient.seen is not None and patient.seen.form is None and not patient.seen.depends_on_batch:
        found = [each for each in found if each not in still_unknown(patient.model)]
        found.append(
            Unknown(
                "How states become the answer: no known form gives the model's numbers.",
                "it has attention or a head of its own; checks of weights hold, those of padding were "
                "left out",
            )
        )
    return tuple(found)


def _gates(each: DirectionActivity) -> dict[str, Any]:
    mean = float(np.mean(each.update))
    return {
        "layer": each.layer,
        "reverse": each.reverse,
        "update": mean,
        "reset": float(np.mean(each.reset)),
        "half_life_steps": float(np.median(half_life(each.update))),
        "growth_per_step": each.growth,
    }


def half_life(update: Any) -> Any:
    """Steps after which half of a state is left, if the update gate stood at its mean: log(1/2) / log(z)."""
    kept = np.clip(update, 1e-9, 1 - 1e-9)
    return np.log(0.5) / np.log(kept)


def _measured(
    model: ForeignModel, findings: list[Finding], data: Examples
) -> tuple[list[Finding], dict[str, Any]]:
    wrong = hindrances(model)
    if wrong:
        tell = "; ".join(each.tell for each in still_unknown(model))
        raise DoctorError(
            "Costs cannot be measured: the model cannot be computed.",
            where=model.where,
            got="; ".join(wrong),
            cure=tell or "leave out --data",
        )
    examples = read_labelled(data.path, model, data.encoding, data.labels)
    _check_targets(model, examples, data.path)
    if any(finding.check == "non_finite_weights" for finding in findings):
        return findings, {}
    findings, measures, found = data_checks.with_costs(findings, model, examples)
    findings += data_checks.answers(model, found, examples)
    findings += data_checks.calibration(model, found, examples)
    return findings + data_checks.reading(model, examples), measures


def _check_targets(model: ForeignModel, examples: LabelledIds, path: Path) -> None:
    if model.num_classes is not None and examples.targets.max() >= model.num_classes:
        raise DoctorError(
            "A label is no class of the model.",
            where=path,
            got=int(examples.targets.max()),
            expected=f"0 to {model.num_classes - 1}",
        )


def _own(patient: Patient, data: Examples | None) -> tuple[list[Finding], dict[str, Any]]:
    """What a run of ours says beside its weights."""
    assert patient.path is not None
    assert patient.artifact is not None
    findings: list[Finding] = []
    measures: dict[str, Any] = {}
    if patient.path.is_dir():
        findings, measures = history_findings(RunFolder(patient.path))
    more, scores = own_data_findings(patient.artifact, patient.path, None if data is None else data.path)
    return findings + more, measures | scores


def parts_of(model: ForeignModel) -> list[str]:
    """The road of a text through the model, a line for each part."""
    lines = []
    if model.embedding is not None:
        V, D = model.embedding.weight.shape
        lines.append(f"embedding {model.embedding.name}: {V:,} words of {D} numbers")
    lines += [f"norm over batches {norm.name}" for norm in model.norms if norm.place == "embedding"]
    for layer in model.layers:
        form = "after" if layer.reset_after else "before"
        both = "two directions" if len(layer.directions) > 1 else "one direction"
        lines.append(
            f"GRU {layer.name}: {layer.input_size} to {layer.hidden_size} units, {both}, reset {form} the "
            "product"
        )
    pooled = "not known" if model.pooling is None else " beside ".join(model.pooling)
    reads = {True: "pads are read", False: "ends are known", None: "pads not known"}
    lines.append(f"vector of a text: {pooled}; {reads[model.padding.gru]}")
    lines += [f"norm over batches {norm.name}" for norm in model.norms if norm.place == "pooled"]
    for dense in model.head:
        out, size = dense.weight.shape
        lines.append(
            f"dense {dense.name}: {size} to "
            f"{out}{'' if dense.activation == 'linear' else ', ' + dense.activation}"
        )
    if model.other:
        lines.append(f"and {', '.join(model.other[:6])}{', ...' if len(model.other) > 6 else ''}")
    return lines
