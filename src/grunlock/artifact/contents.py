"""What the members of `model.grunlock` mean, and the way from a file to a classifier.

The bytes, hashes and limits are format.py's.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.numpy
from safetensors import SafetensorError

from grunlock._version import __version__
from grunlock.artifact.checks import check_parts, check_weights, read_labels, read_temperature
from grunlock.artifact.format import read_members, write_members
from grunlock.artifact.int8_storage import packed, unpacked
from grunlock.errors import ArtifactError
from grunlock.kernels.stack import InferencePrecision
from grunlock.recipe import Derived, Recipe, SeriesFacts, TextFacts, to_toml
from grunlock.recipe.validation import validate
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.guarantees import Guarantees
from grunlock.runtime.network import Network
from grunlock.runtime.series_classifier import SeriesClassifier
from grunlock.series import SeriesFrontEnd
from grunlock.shapes import FloatArray
from grunlock.text.front_end import TextFrontEnd

ARTIFACT_NAME = "model.grunlock"
BEFORE_REFIT_NAME = "before_refit.grunlock"  # beside a model that has learned its validation examples too

# What reading members raises where they are not what `save` wrote; SafetensorError is none of them.
UNREADABLE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    SafetensorError,
)

Storage = Literal["float32", "int8"]


@dataclass(frozen=True)
class Artifact:
    """Everything a trained model is."""

    recipe: Recipe
    derived: Derived
    front_end: TextFrontEnd | SeriesFrontEnd
    labels: tuple[str, ...]
    weights: dict[str, FloatArray]
    temperature: float
    metrics: dict[str, Any]
    data_fingerprint: str
    guarantees: Guarantees | None = None
    step_temperatures: tuple[float, ...] = ()  # of beginnings, see runtime/early.py
    storage: Storage = "float32"  # of the weights in the file; in memory they are float32

    def network(self, precision: InferencePrecision = "float32") -> Network:
        """Raises KernelError for a precision that the layers or this machine cannot have."""
        network = Network(self.recipe, self.weights, precision)
        _ = network.encoder  # made ready now, so that the first prediction is as quick as the others
        return network

    def classifier(self, precision: InferencePrecision = "float32") -> TextClassifier | SeriesClassifier:
        """As network."""
        calibration = self.temperature, self.guarantees, self.step_temperatures
        rest = (self.network(precision), self.labels, *calibration)
        if isinstance(self.front_end, TextFrontEnd):
            return TextClassifier(self.front_end, *rest)
        return SeriesClassifier(self.front_end, *rest)


def save(artifact: Artifact, path: Path) -> str:
    """Write the artifact atomically. Returns the sha256 of the file."""
    small = artifact.storage == "int8"
    members = {
        "recipe.toml": to_toml(artifact.recipe).encode(),
        _front_end_member(artifact.recipe): artifact.front_end.to_json().encode(),
        "labels.json": _json(list(artifact.labels)),
        "weights.safetensors": safetensors.numpy.save(
            packed(artifact.weights) if small else artifact.weights
        ),
        "calibration.json": _json(_calibration(artifact)),
        "metrics.json": _json(artifact.metrics),
        "card.md": card(artifact).encode(),
    }
    about = {
        "library_version": __version__,
        "data_fingerprint": artifact.data_fingerprint,
        "derived": artifact.derived.model_dump(mode="json"),
        "storage": artifact.storage,
    }
    return write_members(path, members, about, deflated=small)


def read(path: str | Path) -> Artifact:
    """Read and verify an artifact, given as file or run folder.

    Raises ArtifactError for anything damaged, altered, unsafe or of an unknown version.
    """
    path = Path(path)
    path = path / ARTIFACT_NAME if path.is_dir() else path
    members, manifest = read_members(path)
    try:
        recipe = validate(tomllib.loads(members["recipe.toml"].decode()))
        derived = Derived.model_validate(manifest["derived"])
        version = int(manifest["format_version"])
        front_end = _read_front_end(members[_front_end_member(recipe)].decode(), recipe, derived, version)
        storage: Storage = "int8" if manifest.get("storage") == "int8" else "float32"
        weights = safetensors.numpy.load(members["weights.safetensors"])
        weights = unpacked(weights) if storage == "int8" else weights
        labels = read_labels(members["labels.json"])
        calibration = json.loads(members["calibration.json"])
        temperature, promises = read_temperature(calibration["temperature"]), calibration.get("guarantees")
        guarantees = None if promises is None else Guarantees.from_dict(promises)
        begun = tuple(read_temperature(each) for each in calibration.get("step_temperatures", ()))
        metrics = dict(json.loads(members["metrics.json"]))
    except UNREADABLE as error:
        raise ArtifactError("A member of the model file cannot be read.", where=path, got=error) from error
    artifact = Artifact(
        recipe=recipe,
        derived=derived,
        front_end=front_end,
        labels=labels,
        weights=weights,
        temperature=temperature,
        metrics=metrics,
        data_fingerprint=str(manifest.get("data_fingerprint")),
        guarantees=guarantees,
        step_temperatures=begun,
        storage=storage,
    )
    check_parts(path, derived, front_end, labels)
    check_weights(path, recipe, derived, weights)
    return artifact


def load(path: str | Path, precision: InferencePrecision = "float32") -> TextClassifier | SeriesClassifier:
    """The classifier in an artifact file or run folder, ready to predict. Imports no torch.

    precision: of the products in recurrent layers; bfloat16 and int8 are faster and change numbers slightly.
    Raises ArtifactError as `read`, and KernelError for a precision that the layers or machine cannot have.
    """
    return read(path).classifier(precision)


def _front_end_member(recipe: Recipe) -> str:
    return "tokenizer.json" if recipe.data.kind == "text" else "series.json"


def _read_front_end(
    stored: str, recipe: Recipe, derived: Derived, version: int
) -> TextFrontEnd | SeriesFrontEnd:
    inputs, text = derived.facts.inputs, recipe.text
    if isinstance(inputs, TextFacts) and text is not None:
        ngrams = recipe.ngrams_of(inputs.tokens)
        if version <= 3 and recipe.embedding is not None:
            ngrams = recipe.embedding.ngrams_of(inputs.tokens) or ngrams
        return TextFrontEnd.from_json(stored, inputs.tokens, text.max_tokens, ngrams, text.cut)
    if isinstance(inputs, SeriesFacts) and recipe.series is not None:
        return SeriesFrontEnd.from_json(stored, recipe.series)
    raise ValueError(f"the manifest says {inputs.kind}, the recipe {recipe.data.kind}")


def card(artifact: Artifact) -> str:
    """A page for people: what the model is, what it was trained on, how good it was on validation."""
    facts, recipe = artifact.derived.facts, artifact.recipe
    read, described = _described(facts.inputs)
    parameters = sum(value.size for value in artifact.weights.values() if value.dtype.kind == "f")
    rows = [
        f"| {name} | {value:.4f} |" for name, value in artifact.metrics.items() if isinstance(value, float)
    ]
    return "\n".join(
        [
            f"# {recipe.name}: a {recipe.encoder.kind} classifier of {read}",
            "",
            f"- classes: {facts.num_classes}",
            f"- trained on {facts.num_train_examples} {read}, validated on {facts.num_valid_examples}",
            *_calibrated(artifact.guarantees),
            f"- {described}",
            f"- parameters: {parameters}",
            f"- data fingerprint: {artifact.data_fingerprint}",
            f"- made by grunlock {__version__}",
            "",
            "| on the validation split | |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _calibrated(guarantees: Guarantees | None) -> list[str]:
    if guarantees is None:
        return []
    rates = f"error rates it can keep by abstaining: {_kept(guarantees.thresholds)}"
    early = "" if guarantees.early is None else f"; by deciding early: {_kept(guarantees.early)}"
    return [f"- calibrated on {guarantees.num_examples} further examples; {rates}{early}"]


def _kept(thresholds: Mapping[float, float | None]) -> str:
    kept = [f"{rate:.0%}" for rate, threshold in thresholds.items() if threshold is not None]
    return ", ".join(kept) or "none"


def _described(inputs: TextFacts | SeriesFacts) -> tuple[str, str]:
    """What the model reads, and how."""
    if isinstance(inputs, TextFacts):
        size, script = inputs.vocab_size, inputs.script
        return "texts", f"tokens: {inputs.tokens}, vocabulary of {size}, writing system {script}"
    return "series", f"channels, in this order: {', '.join(inputs.channels)}"


def _calibration(artifact: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = {"temperature": artifact.temperature}
    if artifact.step_temperatures:
        found["step_temperatures"] = list(artifact.step_temperatures)
    if artifact.guarantees is not None:
        found["guarantees"] = artifact.guarantees.to_dict()
    return found


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
