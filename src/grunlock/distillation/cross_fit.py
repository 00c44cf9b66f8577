"""An ensemble of one's own kind as teacher: each text is answered by models that have not learned from it.

The training split is cut into folds, and models learn from all folds but one. What they answer to the fold
that they have not seen is as unsure as it should be, where a model that has seen a text is sure of its label
and teaches nothing else (Breiman 1996, stacked regressions, for the same reason).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.data.sources import InMemory
from grunlock.data.splits import stratified_folds
from grunlock.data.teacher import TeacherAnswers
from grunlock.distillation.teachers import ModelTeacher, mean_answers
from grunlock.errors import DataError
from grunlock.recipe import Recipe
from grunlock.seeding import derive_seed, generator
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.run import RunOptions, complete


@dataclass(frozen=True)
class CrossFit:
    """answers: to the training texts, by models that have not seen them. models: run folders of all."""

    answers: TeacherAnswers
    models: tuple[Path, ...]


def text_folds(texts: Sequence[str], labels: Sequence[str], num_folds: int, seed: int) -> IntArray:
    """[n] fold of each text. Classes are dealt out evenly in random order; copies of a text share a fold."""
    first_of: dict[str, int] = {}
    firsts = np.array([first_of.setdefault(text, i) for i, text in enumerate(texts)])
    _, targets = np.unique(labels, return_inverse=True)
    folds: IntArray = stratified_folds(targets, num_folds, generator(seed, "folds"))[firsts]
    return folds


def cross_fit(
    texts: Sequence[str],
    labels: Sequence[str],
    recipe: Recipe,
    folder: Path,
    *,
    valid: InMemory,
    num_folds: int,
    models_per_fold: int = 1,
    options: RunOptions | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> CrossFit:
    """Train num_folds * models_per_fold models in folder/FOLD-SEED; finished ones are not trained again.

    tell: called before each training with its number from 0 and the number of all.

    Raises DataError for fewer than two folds or more folds than texts.
    """
    if not 2 <= num_folds <= len(texts):
        raise DataError(
            "The training split cannot be cut into so many folds.",
            got=num_folds,
            expected=f"2 to {len(texts)}",
        )
    folds = text_folds(texts, labels, num_folds, recipe.data.split_seed)
    models, answers = [], []
    for fold in range(num_folds):
        learned, unseen = (np.flatnonzero(members).tolist() for members in (folds != fold, folds == fold))
        part = InMemory([texts[i] for i in learned], [labels[i] for i in learned], f"all but fold {fold}")
        trained = []
        for index in range(models_per_fold):
            if tell is not None:
                tell(fold * models_per_fold + index, num_folds * models_per_fold)
            seed = derive_seed(recipe.seed, "fold", fold, index) % 2**31
            path = folder / f"{fold}-{index}"
            complete(part, recipe.model_copy(update={"seed": seed}), path, valid=valid, options=options)
            trained.append(ModelTeacher(path))
            models.append(path)
        answers.append(mean_answers(trained, [texts[i] for i in unseen]))
    return CrossFit(joined(answers), tuple(models))


def joined(parts: Sequence[TeacherAnswers]) -> TeacherAnswers:
    """Answers to different texts in one."""
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    rows: dict[str, int] = {}
    probs: list[FloatArray] = []
    for part in parts:
        columns = [labels.index(label) for label in part.labels]
        block = np.zeros((len(part.probs), len(labels)), np.float32)
        block[:, columns] = part.probs
        start = sum(len(each) for each in probs)
        rows.update({text: start + row for text, row in part.rows.items()})
        probs.append(block)
    return TeacherAnswers(labels, rows, np.concatenate(probs), f"{len(parts)} folds")
