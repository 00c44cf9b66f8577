"""Examples to explain: those of a file, or of a run's validation split as a user would give them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from grunlock.artifact import Artifact
from grunlock.artifact import read as read_artifact
from grunlock.data.prepared import is_prepared, open_prepared
from grunlock.data.series.store import SeriesStore
from grunlock.errors import ExplanationError
from grunlock.evaluation import series_of_file, texts_of_file, validated_model
from grunlock.recipe.text_options import TextDataOptions
from grunlock.seeding import generator
from grunlock.shapes import FloatArray
from grunlock.training.run_folder import RunFolder, open_run


@dataclass(frozen=True)
class Examples:
    """inputs: texts, or series [steps, C]. targets: their classes, None where they have none.

    artifact: the model to explain on them: of a validation split the one that has not learned it
    source: where they are from, in words; places: of each the number of its row there, from 1
    """

    artifact: Artifact
    inputs: Sequence[str | FloatArray]
    targets: tuple[int | None, ...]
    source: str
    places: tuple[int, ...]

    def some(self, limit: int | None, seed: int) -> "Examples":
        """At most so many of them, drawn without replacement, in their order."""
        if limit is None or len(self.inputs) <= limit:
            return self
        drawn = generator(seed, "examples to explain").permutation(len(self.inputs))[:limit]
        kept = np.sort(drawn).tolist()
        return Examples(
            self.artifact,
            [self.inputs[i] for i in kept],
            tuple(self.targets[i] for i in kept),
            f"{self.source}, {limit:,} of {len(self.inputs):,} drawn",
            tuple(self.places[i] for i in kept),
        )


def examples_of_file(model: str | Path, source: str | Path, overrides: Iterable[str] = ()) -> Examples:
    """Raises DataError for what cannot be read or has labels that the model does not know."""
    artifact = read_artifact(model)
    if artifact.recipe.data.kind == "series":
        series, classes = series_of_file(artifact, source, overrides)
        return _numbered(artifact, series, classes, str(source))
    texts: list[str] = []
    targets: list[int | None] = []
    for some, found in texts_of_file(artifact, source, overrides):
        texts += some
        targets += found
    return _numbered(artifact, texts, targets, str(source))


def validation_examples(folder: str | Path) -> Examples:
    """Of a run folder with its data, whose texts are still where they were.

    Raises ExplanationError where they are not, RunError without the model that has not learned them.
    """
    run = RunFolder(Path(folder))
    if not is_prepared(run.data):
        raise ExplanationError(
            "This is no run with its data, so what to explain the model on must be named.",
            where=folder,
            expected="a run folder, or a file of examples",
            cure="name a file behind the model",
        )
    artifact, data = validated_model(folder), open_prepared(run.data)
    targets = np.asarray(data.valid.targets, np.int64).tolist()
    source = f"the validation split of {folder}"
    if isinstance(data.valid, SeriesStore):
        values = np.asarray(data.valid.values)
        series = [values[start:end] for start, end in pairwise(data.valid.offsets)]
        return _numbered(artifact, series, targets, source)
    return _numbered(artifact, _texts(run, data.valid.fingerprint), targets, source)


def _texts(run: RunFolder, fingerprint: str) -> list[str]:
    from grunlock.data.texts import labelled_splits
    from grunlock.training.run import MEMORY

    _, recipe, request = open_run(run.path)
    assert isinstance(recipe.data, TextDataOptions)
    if request.source == MEMORY:
        raise ExplanationError(
            "The run was trained on texts in memory, so what to explain it on must be named.",
            where=run.path,
            expected="a file of texts",
            cure="name a file behind the model",
        )
    found = labelled_splits(request.source, request.valid, request.test, recipe.data)["valid"]
    if found.fingerprint() != fingerprint:
        raise ExplanationError(
            "The texts are not those that the run was trained on.",
            where=request.valid or request.source,
            got=f"{len(found.texts):,} validation texts, not the same",
            expected=f"the validation texts of {run.path}, in their order",
            cure="name a file behind the model",
        )
    return found.texts


def _numbered(
    artifact: Artifact,
    inputs: Sequence[str | FloatArray],
    targets: Sequence[int | None],
    source: str,
) -> Examples:
    return Examples(artifact, inputs, tuple(targets), source, tuple(range(1, len(inputs) + 1)))
