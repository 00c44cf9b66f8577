"""A run's model on one of its splits, as far as its folder allows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grunlock.data.prepared import open_prepared
from grunlock.data.texts import labelled_splits
from grunlock.errors import DataError, RunError
from grunlock.evaluation import evaluate_run, run_answers
from grunlock.recipe.text_options import TextDataOptions
from grunlock.report.results import read_results
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.run import MEMORY
from grunlock.training.run_folder import RunFolder, open_run

Split = Literal["valid", "test"]
SPLIT_NAMES = {"valid": "validation", "test": "test"}


@dataclass(frozen=True)
class Answers:
    """probs: [n, K] calibrated; targets: [n]"""

    probs: FloatArray
    targets: IntArray


@dataclass(frozen=True)
class Evaluated:
    """scores: of objectives.metrics.EvaluationResult.to_dict(). answers: None where the data are gone; then
    `gone` says why, and the scores are those that training wrote."""

    run: Path
    split: Split
    scores: dict[str, Any]
    answers: Answers | None
    gone: str | None

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(row["label"] for row in self.scores["classes"])

    @property
    def name(self) -> str:
        """Of the split, in sentences."""
        return SPLIT_NAMES[self.split]


@dataclass(frozen=True)
class RawTexts:
    """texts: of the split, in its order; None where they cannot be had, then `gone` says why."""

    texts: list[str] | None
    gone: str | None


def evaluated(run: Path, split: Split) -> Evaluated:
    """The run on its split; of validation what training wrote, if the data are gone.

    Raises RunError where there is no such split, and what evaluate_run raises for test.
    """
    try:
        scores = evaluate_run(run, split).to_dict()
        return Evaluated(run, split, scores, Answers(*run_answers(run, split)), None)
    except (RunError, DataError) as error:
        if split == "test":
            raise
        metrics = read_results(RunFolder(run).metrics, ("num_examples", "intervals", "classes", "confusion"))
        return Evaluated(run, split, metrics, None, f"{error.what} ({error.where})")


def raw_texts(run: Path, split: Split) -> RawTexts:
    """The texts of a split as they stood in the source, if they are still there and the same."""
    _, recipe, request = open_run(run)
    if not isinstance(recipe.data, TextDataOptions):
        return RawTexts(None, "series have no text to show")
    if request.source == MEMORY:
        return RawTexts(None, "the run was trained on texts in memory")
    prepared = open_prepared(RunFolder(run).data)
    store = prepared.valid if split == "valid" else prepared.test
    try:
        found = labelled_splits(request.source, request.valid, request.test, recipe.data)[split]
    except DataError as error:
        return RawTexts(None, f"{error.what} ({error.where})")
    if store is None or found.fingerprint() != store.fingerprint:
        return RawTexts(None, "the texts are not those that the run was trained on")
    return RawTexts(found.texts, None)
