"""The validation examples of a run as a user would give them: texts, or measured values."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from grunlock.data.prepared import is_prepared, open_prepared
from grunlock.data.series.store import SeriesStore
from grunlock.data.texts import labelled_splits
from grunlock.errors import ExportError
from grunlock.recipe.text_options import TextDataOptions
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.run import MEMORY
from grunlock.training.run_folder import RunFolder, open_run


@dataclass(frozen=True)
class Examples:
    """inputs: texts, or series [steps, C] with NaN where a value is missing. targets: [n] class indices."""

    inputs: Sequence[str] | Sequence[FloatArray]
    targets: IntArray


def validation_examples(folder: Path, source: str | None = None, valid: str | None = None) -> Examples:
    """Those of a run's validation split.

    source: where the run's texts are now, if not where they were; a folder or file as for training
    valid:  its validation file, if that was given apart

    Raises ExportError where there is no run, or where its texts are not what it was trained on.
    """
    run = RunFolder(folder)
    if not is_prepared(run.data):
        raise ExportError(
            "An export is certified on the validation examples of its run, and there is no run.",
            where=folder,
            expected="a run folder with its data",
            cure="give the folder that grunlock train wrote",
        )
    data = open_prepared(run.data)
    targets = np.asarray(data.valid.targets, np.int64)
    if isinstance(data.valid, SeriesStore):
        values, offsets = np.asarray(data.valid.values), data.valid.offsets
        return Examples([values[start:end] for start, end in pairwise(offsets)], targets)
    return Examples(_texts(run, data.valid.fingerprint, source, valid), targets)


def _texts(run: RunFolder, fingerprint: str, source: str | None, valid: str | None) -> list[str]:
    _, recipe, request = open_run(run.path)
    assert isinstance(recipe.data, TextDataOptions)
    if source is None and request.source == MEMORY:
        raise ExportError(
            "The run was trained on texts in memory, so what to certify its export on must be named.",
            where=run.path,
            expected="--data FILE with the same texts",
        )
    source, valid = source or request.source, valid or request.valid
    found = labelled_splits(source, valid, request.test, recipe.data)["valid"]
    if found.fingerprint() != fingerprint:
        raise ExportError(
            "The texts are not those that the run was trained on.",
            where=valid or source,
            got=f"{len(found.texts):,} validation texts, not the same",
            expected=f"the validation texts of {run.path}, in their order",
            cure="--data FILE, where the run's texts are now; --valid FILE, if its validation file was apart",
        )
    return found.texts
