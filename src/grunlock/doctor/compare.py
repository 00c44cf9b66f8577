"""An original and its export: whether they compute the same, and if not, which GRU the export took."""

from dataclasses import dataclass, replace

import numpy as np

from grunlock.doctor.experiment import drawn_texts
from grunlock.doctor.findings import Finding
from grunlock.doctor.foreign import ForeignModel, GruLayer, Texts
from grunlock.doctor.twin import hindrances, logits
from grunlock.errors import DoctorError
from grunlock.kernels.stack import DirectionWeights
from grunlock.runtime.probabilities import probabilities

SAME_PROBABILITY = 1e-4
NUM_TEXTS, LONGEST = 64, 24


@dataclass(frozen=True)
class Form:
    """One way to compute the export. difference: largest of a probability, from the original."""

    name: str
    difference: float


def compare(original: ForeignModel, export: ForeignModel, texts: Texts | None = None) -> tuple[Form, ...]:
    """The export as it is first, then with one thing changed; on random texts, and the given ones.

    Where one of the two files does not say how states become a vector, the other's way is taken for both.
    Raises DoctorError if one of them cannot be computed.
    """
    original, export = _same_reading(original, export), _same_reading(export, original)
    for model in (original, export):
        wrong = hindrances(model)
        if wrong:
            raise DoctorError("The two cannot be compared.", where=model.where, got="; ".join(wrong))
    assert original.embedding is not None
    assert export.embedding is not None
    if (
        len(original.embedding.weight) != len(export.embedding.weight)
        or original.num_classes != export.num_classes
    ):
        raise DoctorError(
            "These are two different models.",
            where=export.where,
            got=f"{len(export.embedding.weight)} words, {export.num_classes} classes",
            expected=f"{len(original.embedding.weight)} words, {original.num_classes} classes",
        )
    given = [drawn_texts(original.embedding, NUM_TEXTS, LONGEST), *([texts] if texts is not None else [])]
    expected = [probabilities(logits(original, each), 1.0) for each in given]
    found = []
    for name, form in _forms(export):
        pairs = zip(given, expected, strict=True)
        worst = max(float(np.abs(probabilities(logits(form, t), 1.0) - e).max()) for t, e in pairs)
        found.append(Form(name, worst))
    return tuple(found)


def _same_reading(model: ForeignModel, other: ForeignModel) -> ForeignModel:
    padding = model.padding
    if padding.gru is None or padding.pooling is None:
        padding = other.padding
    return replace(model, pooling=model.pooling or other.pooling, padding=padding)


def _forms(export: ForeignModel) -> list[tuple[str, ForeignModel]]:
    after = export.layers[0].reset_after
    other_form = tuple(replace(layer, reset_after=not layer.reset_after) for layer in export.layers)
    swapped = tuple(_swapped(layer) for layer in export.layers)
    return [
        (f"as it is, reset {'after' if after else 'before'} the product", export),
        (f"reset {'before' if after else 'after'} the product", replace(export, layers=other_form)),
        ("reset and update gates swapped", replace(export, layers=swapped)),
    ]


def _swapped(layer: GruLayer) -> GruLayer:
    def swap(direction: DirectionWeights) -> DirectionWeights:
        values = {}
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            reset, update, candidate = np.split(getattr(direction, name), 3)
            values[name] = np.concatenate([update, reset, candidate])
        return DirectionWeights(**values)

    return replace(layer, directions=tuple(swap(each) for each in layer.directions))


def comparison_findings(forms: tuple[Form, ...], export: ForeignModel) -> list[Finding]:
    """Nothing if the export gives what the original gives."""
    as_it_is, *others = forms
    if as_it_is.difference <= SAME_PROBABILITY:
        return []
    agreeing = next((form for form in others if form.difference <= SAME_PROBABILITY), None)
    shown = "; ".join(f"{form.name}: {form.difference:.2g}" for form in forms)
    what = "The export computes another function than the original."
    cure = "export again, and compare again; the weights differ, or parts that are not a GRU's"
    if agreeing is not None:
        what = f"The export lost the form of the GRU: with {agreeing.name} it agrees."
        cure = f"set linear_before_reset to {int(not export.layers[0].reset_after)} in its GRU nodes"
        if "swapped" in agreeing.name:
            cure = "the converter mixed up r z n and z r n: swap the first two blocks of weights and biases"
    return [
        Finding(
            "export_differs",
            "fault",
            what,
            export.where,
            f"largest difference of a probability: {shown}",
            "Outputs are off and nothing warns.",
            cure,
            "onnxscript#2852; gates are stacked r z n in torch, z r h in Keras and ONNX",
        )
    ]
