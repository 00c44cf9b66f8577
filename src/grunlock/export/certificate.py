"""Whether an export answers as the model does: measured on the validation examples, and written beside it."""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from grunlock.errors import ExportError
from grunlock.evaluation.latency import quickest_seconds
from grunlock.export.examples import Examples
from grunlock.files import write_atomically
from grunlock.machine import machine
from grunlock.shapes import FloatArray

CERTIFICATE = "certificate.json"
LARGEST_DIFFERENCE = 1e-5  # of float32 probabilities
TIMED_EXAMPLES = 200

Precision = Literal["float32", "int8"]


class ExportedModel(Protocol):
    """What was written, run as a user would run it."""

    @property
    def size_bytes(self) -> int:
        """Of all that has to be where the model is used, the library that runs it left out."""
        ...

    def probabilities(self, inputs: Sequence[Any]) -> FloatArray:
        """[n, K] of texts or series"""
        ...


@dataclass(frozen=True)
class Latency:
    """Milliseconds from one text or series to its probabilities, on this machine, one at a time."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Certificate:
    """largest_difference: between two probabilities of a class. agreement: share of examples with the same
    label. accuracy, accuracy_of_model: on the validation examples, of the export and of the model through
    torch; a model that has learned these examples too is right more often than it will be."""

    target: str
    precision: Precision
    num_examples: int
    largest_difference: float
    agreement: float
    accuracy: float
    accuracy_of_model: float
    size_bytes: int
    latency: Latency
    latency_of_model: Latency
    has_learned_examples: bool
    torch: str
    processor: str
    system: str


def certify(
    target: str,
    precision: Precision,
    exported: ExportedModel,
    model: Callable[[Sequence[Any]], FloatArray],
    examples: Examples,
    *,
    has_learned_examples: bool,
) -> Certificate:
    """Run both on the examples. model: through torch."""
    found, expected = exported.probabilities(examples.inputs), model(examples.inputs)
    labels, model_labels = found.argmax(axis=1), expected.argmax(axis=1)
    about = machine()
    return Certificate(
        target=target,
        precision=precision,
        num_examples=len(examples.targets),
        largest_difference=float(np.abs(found - expected).max()),
        agreement=float((labels == model_labels).mean()),
        accuracy=float((labels == examples.targets).mean()),
        accuracy_of_model=float((model_labels == examples.targets).mean()),
        size_bytes=exported.size_bytes,
        latency=latency_of(exported.probabilities, examples),
        latency_of_model=latency_of(model, examples),
        has_learned_examples=has_learned_examples,
        torch=torch.__version__,
        processor=str(about["processor"]),
        system=platform.platform(),
    )


def check(found: Certificate, least_agreement: float, where: Path) -> None:
    """Raises ExportError for an export that answers otherwise than the model."""
    faults = []
    if found.agreement < least_agreement:
        faults.append(f"labels agree on {found.agreement:.2%}, expected {least_agreement:.2%}")
    if found.precision == "float32" and found.largest_difference > LARGEST_DIFFERENCE:
        faults.append(f"probabilities differ by {found.largest_difference:.1e}, at most {LARGEST_DIFFERENCE}")
    if faults:
        raise ExportError(
            "The export does not answer as the model does, so it was not kept.",
            where=where,
            got=f"on {found.num_examples:,} validation examples {'; '.join(faults)}",
            cure="export without --int8, or allow more with --min-agreement"
            if found.precision == "int8"
            else "please report this: a float32 export should be exact",
        )


def write_certificate(found: Certificate, folder: Path) -> None:
    text = json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / CERTIFICATE, text.encode())


def latency_of(predict: Callable[[Sequence[Any]], FloatArray], examples: Examples) -> Latency:
    """Of the first examples."""
    quickest = quickest_seconds(predict, examples.inputs[:TIMED_EXAMPLES])
    return Latency(*(1000 * np.quantile(quickest, [0.5, 0.99])).tolist())
