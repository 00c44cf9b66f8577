"""The whole of an export: write it aside, certify it on the run's validation examples, put it in its place.

Nothing appears under the export's own name before it has answered as the model does.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grunlock.artifact import read
from grunlock.errors import ExportError
from grunlock.export.certificate import (
    CERTIFICATE,
    Certificate,
    ExportedModel,
    Precision,
    certify,
    check,
    write_certificate,
)
from grunlock.export.examples import validation_examples
from grunlock.export.portable import PortableModel, portable
from grunlock.export.reference import torch_classifier
from grunlock.files import storage_guard, sync_folder

LEAST_AGREEMENT: dict[Precision, float] = {"float32": 1.0, "int8": 0.98}


class Target(Protocol):
    """Where a model can go."""

    @property
    def name(self) -> str: ...

    def write(self, model: PortableModel, folder: Path) -> ExportedModel:
        """Write a folder and open it again. Raises ExportError for what the target cannot compute."""
        ...


@dataclass(frozen=True)
class Exported:
    folder: Path
    certificate: Certificate


def export(
    model: str | Path,
    folder: str | Path,
    target: Target,
    precision: Precision,
    *,
    source: str | None = None,
    valid: str | None = None,
    least_agreement: float | None = None,
) -> Exported:
    """Write a trained model for a target, with a certificate.

    model:           a run folder, or a model file in one
    folder:          to write; must not exist, or be an export
    source:          where the run's texts are now, if not where they were
    valid:           its validation file, if that was given apart
    least_agreement: share of validation examples with the model's label; None: all for float32, 98 % for int8

    Raises ExportError for a model that the target cannot have and for an export that answers otherwise,
    before anything stands at `folder`.
    """
    model, folder = Path(model), Path(folder)
    run = model if model.is_dir() else model.parent
    artifact = read(model)
    form = portable(artifact, model)
    examples = validation_examples(run, source, valid)
    _check_free(folder)
    with storage_guard(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent)
    with aside as name:
        made = Path(name) / "export"
        made.mkdir()
        written = target.write(form, made)
        found = certify(
            target.name,
            precision,
            written,
            torch_classifier(artifact).predict_proba,
            examples,
            has_learned_examples=artifact.derived.refit,
        )
        least = LEAST_AGREEMENT[precision] if least_agreement is None else least_agreement
        check(found, least, folder)
        write_certificate(found, made)
        _put(made, folder, Path(name) / "before")
    return Exported(folder, found)


def _check_free(folder: Path) -> None:
    if folder.exists() and not (folder / CERTIFICATE).is_file() and not _is_empty(folder):
        raise ExportError(
            "There is something else where the export should go.",
            where=folder,
            expected="a folder that does not exist, is empty, or holds an export",
            cure="-o with another folder",
        )


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _put(made: Path, folder: Path, before: Path) -> None:
    """An export that stood there is replaced whole."""
    with storage_guard(folder):
        if folder.exists():
            folder.rename(before)
        try:
            made.rename(folder)
        except OSError:
            if before.exists():
                before.rename(folder)
            raise
        sync_folder(folder.parent)
