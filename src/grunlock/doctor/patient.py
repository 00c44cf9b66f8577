"""From a file, a module or a run to the description, and the original that can be run, if there is one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grunlock.artifact import ARTIFACT_NAME, Artifact, read
from grunlock.doctor.experiment import Seen, observe
from grunlock.doctor.foreign import ForeignModel, Original
from grunlock.doctor.options import Told, nearest, still_unknown
from grunlock.errors import DoctorError

if TYPE_CHECKING:
    from torch import nn

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
READABLE = (*TORCH_SUFFIXES, ".safetensors", ".keras", ".onnx", ".grunlock")
OTHER_FORMATS = {
    ".h5": "save it as model.keras with Keras 3",
    ".hdf5": "save it as model.keras with Keras 3",
    ".pb": "save it as model.keras with Keras 3",
    ".tflite": "give the .keras file that it was made of",
    ".pkl": "save weights: torch.save(model.state_dict(), 'weights.pt')",
    ".pickle": "save weights: torch.save(model.state_dict(), 'weights.pt')",
    ".joblib": "save weights: torch.save(model.state_dict(), 'weights.pt')",
    ".pt2": "export to ONNX, or save weights: torch.save(model.state_dict(), 'weights.pt')",
    ".npz": "give a model; examples go with --data",
}


@dataclass(frozen=True)
class Patient:
    """What is examined.

    original: the model as its own library runs it; None where only the description is there
    seen:     what running it showed
    artifact: of our own models
    steps:    the only length of text that the original takes, if it is fixed
    """

    model: ForeignModel
    path: Path | None = None
    original: Original | None = None
    seen: Seen | None = None
    artifact: Artifact | None = None
    steps: int | None = None


def read_patient(path: Path, told: Told) -> Patient:
    """Raises DoctorError for what cannot be read, ArtifactError for damaged models of ours."""
    if path.is_dir():
        return _own(path / ARTIFACT_NAME if (path / ARTIFACT_NAME).is_file() else path, path)
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
        raise DoctorError(
            "There is no such file.", where=path, cure=f"did you mean {path.parent / near}?" if near else None
        )
    suffix = path.suffix.lower()
    if told.factory is not None:
        from grunlock.doctor.torch_modules import module_of

        return replace(patient_of_module(module_of(told, path), told), path=path)
    readers: dict[str, Callable[[Path, Told], Patient]] = {
        **dict.fromkeys((*TORCH_SUFFIXES, ".safetensors"), _torch),
        ".keras": _keras,
        ".onnx": _onnx,
        ".grunlock": lambda found, _: _own(found, found),
    }
    if suffix not in readers:
        raise DoctorError(
            "Models of this kind are not read.",
            where=path,
            got=suffix or "a name without an ending",
            expected=", ".join(READABLE) + ", or a run folder",
            cure=OTHER_FORMATS.get(suffix),
        )
    return readers[suffix](path, told)


def patient_of_module(module: "nn.Module", told: Told) -> Patient:
    """Raises DoctorError if it holds no nn.GRU, or cannot be run on ids."""
    from grunlock.doctor.torch_modules import describe_module

    model, original = describe_module(module, told)
    if model.embedding is None:
        return Patient(model, original=original)
    return _observed(Patient(model, original=original))


def _torch(path: Path, told: Told) -> Patient:
    from grunlock.doctor.torch_files import read_safetensors, read_torch_file
    from grunlock.doctor.torch_states import StateDict, describe

    reader = read_safetensors if path.suffix.lower() == ".safetensors" else read_torch_file
    arrays, narrow = reader(path)
    return Patient(describe(StateDict("torch weights", str(path), arrays, narrow), told), path)


def _keras(path: Path, told: Told) -> Patient:
    from grunlock.doctor.keras_models import describe_keras

    _refuse_told(path, told, "A Keras file says itself how its states are pooled and masked.")
    return Patient(describe_keras(path), path)


def _onnx(path: Path, told: Told) -> Patient:
    from grunlock.doctor.onnx_models import describe_onnx

    if told.lengths is not None:
        _refuse_told(path, Told(lengths=told.lengths), "Whether a graph reads pads is seen by running it.")
    model, original, steps = describe_onnx(path, told)
    found = Patient(model, path, original, steps=steps)
    return found if original is None else _observed(found)


def _own(path: Path, where: Path) -> Patient:
    from grunlock.doctor.run_checks import describe_artifact

    artifact = read(path)
    return Patient(describe_artifact(artifact, where), where, artifact=artifact)


def _refuse_told(path: Path, told: Told, what: str) -> None:
    given: list[Any] = [
        name for name, value in (("--pooling", told.pooling), ("--lengths", told.lengths)) if value
    ]
    if given:
        raise DoctorError(what, where=path, got=" and ".join(given), cure=f"leave out {' and '.join(given)}")


def _observed(patient: Patient) -> Patient:
    assert patient.original is not None
    seen = observe(patient.model, patient.original, patient.steps)
    if seen.form is None:
        return replace(patient, seen=seen)
    model = replace(seen.form, unknown=())
    return replace(patient, seen=seen, model=replace(model, unknown=still_unknown(model), other=()))
