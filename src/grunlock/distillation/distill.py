"""The whole of a distillation: answers of the teachers to all training texts, then the student.

In the folder: `lesson.json` what was asked, `teachers/` runs of an ensemble of one's own kind,
`answers.jsonl` what teachers said, `student/` the run that is wanted. What is finished is not done again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.data.sources import InMemory, read_texts
from grunlock.data.splits import SplitName
from grunlock.data.teacher import TeacherAnswers
from grunlock.data.texts import Given, LabelledTexts, labelled_splits
from grunlock.distillation.answer_files import read_answers, write_answers
from grunlock.distillation.cross_fit import cross_fit, joined
from grunlock.distillation.synthesis import nearest_words, synthesize
from grunlock.distillation.teachers import ModelTeacher, Teacher, mean_answers
from grunlock.errors import DataError, RunError
from grunlock.files import write_atomically
from grunlock.recipe import Recipe
from grunlock.recipe.text_options import TextDataOptions
from grunlock.seeding import generator
from grunlock.training.events import DataProgress
from grunlock.training.run import RunOptions, complete
from grunlock.training.run_folder import RunFolder

ABOUT, ANSWERS, STUDENT, TEACHERS = "lesson.json", "answers.jsonl", "student", "teachers"


@dataclass(frozen=True)
class Lesson:
    """Who teaches what.

    teachers:        whose mean answer counts
    folds:           of an ensemble of the student's own kind, 0 for none
    models_per_fold: of that ensemble
    transfer:        a file of texts without labels that the student learns from as well
    synthetic:       new texts made of each training text that it learns from as well; see synthesis.py
    min_confidence:  of the most probable label of such texts, for them to be used
    """

    teachers: tuple[Teacher, ...] = ()
    folds: int = 0
    models_per_fold: int = 1
    transfer: str | None = None
    synthetic: int = 0
    min_confidence: float = 0.0


@dataclass(frozen=True)
class Notices:
    """Whom to tell: of each training of the ensemble, and of what was used in the end."""

    training: Callable[[int, int], None] = lambda index, count: None
    note: Callable[[str], None] = lambda sentence: None


def distill(
    source: Given,
    recipe: Recipe,
    folder: str | Path,
    lesson: Lesson,
    *,
    valid: Given | None = None,
    test: Given | None = None,
    notices: Notices | None = None,
    options: RunOptions | None = None,
) -> RunFolder:
    """Train a student in folder/student.

    recipe: the student's, with its section distillation. The ensemble has the same without it.
    A transfer text that stands in train, valid or test is left out. Its label is the teachers' most probable.

    Raises DataError for a lesson without teacher and as `data.prepare`, and what `train` raises.
    """
    folder, notices = Path(folder), notices or Notices()
    if recipe.distillation is None or bool(lesson.teachers) == bool(lesson.folds):
        raise DataError(
            "A student learns from teachers or from an ensemble of its own kind.",
            got=f"{len(lesson.teachers)} teachers and {lesson.folds} folds",
            expected="either of the two, and a recipe with the section distillation",
            cure="grunlock distill DATA --teacher MODEL, or --folds 5",
        )
    assert isinstance(recipe.data, TextDataOptions)  # the recipe refuses distillation of series
    splits = labelled_splits(source, valid, test, recipe.data)
    extra = transfer_texts(lesson.transfer, recipe.data, splits, notices.note)
    extra += synthetic_texts(lesson.synthetic, recipe, splits, extra, notices.note)
    _check_same(folder, lesson, recipe, splits, extra)
    kept = folder / ANSWERS
    if not kept.is_file():
        write_answers(_ask(lesson, recipe, folder / TEACHERS, splits, extra, notices, options), kept)
    answers = read_answers(kept)
    labels = sorted(set(splits["train"].labels))
    train = with_transfer(splits["train"], extra, answers, labels, lesson.min_confidence, notices.note)
    apart = _in_memory(splits)
    return complete(
        train,
        recipe,
        folder / STUDENT,
        valid=apart["valid"],
        test=apart.get("test"),
        teacher=answers,
        options=options,
    )


def transfer_texts(
    path: str | None,
    options: TextDataOptions,
    splits: Mapping[SplitName, LabelledTexts],
    note: Callable[[str], None],
) -> list[str]:
    """The distinct texts of a file that stand in no split, empty ones left out."""
    if path is None:
        return []
    known = {text for part in splits.values() for text in part.texts}
    source = read_texts(path, options.model_copy(update={"label_column": None}), labels="ignored")
    found = dict.fromkeys(text for chunk in source.chunks() for text in chunk.texts if text and text.strip())
    new = [text for text in found if text not in known]
    note(f"{len(new):,} of {len(found):,} distinct texts of {path} stand in no split")
    return new


def synthetic_texts(
    count: int,
    recipe: Recipe,
    splits: Mapping[SplitName, LabelledTexts],
    extra: Sequence[str],
    note: Callable[[str], None],
) -> list[str]:
    """New texts made of the training texts, none of which stands elsewhere."""
    if not count:
        return []
    vectors = None if recipe.embedding is None else recipe.embedding.vectors
    if vectors is None:
        raise DataError(
            "New texts are made by replacing words by like ones, and there are no vectors to tell.",
            where="embedding.vectors",
            cure="--set embedding.vectors=FILE --set embedding.size=SIZE",
        )
    texts = splits["train"].texts
    candidates = nearest_words((word.lower() for text in texts for word in text.split()), vectors)
    new = synthesize(texts, count, candidates, generator(recipe.seed, "synthesis"))
    known = {text for part in splits.values() for text in part.texts} | set(extra)
    new = [text for text in new if text not in known]
    note(f"{len(new):,} texts were made of {len(texts):,}; {len(candidates):,} words have like ones")
    return new


def with_transfer(
    train: LabelledTexts,
    extra: Sequence[str],
    answers: TeacherAnswers,
    labels: Sequence[str],
    min_confidence: float,
    note: Callable[[str], None],
) -> InMemory:
    """Training examples and the transfer texts that the teacher is sure of, with its most probable label."""
    texts, chosen = list(train.texts), list(train.labels)
    if extra:
        probs = answers.to_texts(extra, labels)
        sure = np.flatnonzero(probs.max(axis=1) >= min_confidence).tolist()
        note(f"{len(sure):,} of {len(extra):,} texts without label are learned from as well")
        texts += [extra[i] for i in sure]
        chosen += [labels[k] for k in probs[sure].argmax(axis=1).tolist()]
    return InMemory(texts, chosen, "train")


def _ask(
    lesson: Lesson,
    recipe: Recipe,
    folder: Path,
    splits: Mapping[SplitName, LabelledTexts],
    extra: Sequence[str],
    notices: Notices,
    options: RunOptions | None,
) -> TeacherAnswers:
    """The teachers' answers to training and transfer texts."""
    train = splits["train"]

    def answered(done: int) -> None:
        for listen in () if options is None else options.listeners:
            listen(DataProgress("answers of teachers:", done))

    if lesson.teachers:
        return mean_answers(lesson.teachers, [*train.texts, *extra], answered)
    untaught = recipe.model_copy(update={"distillation": None})
    fit = cross_fit(
        train.texts,
        train.labels,
        untaught,
        folder,
        valid=_in_memory(splits)["valid"],
        num_folds=lesson.folds,
        models_per_fold=lesson.models_per_fold,
        options=options,
        tell=notices.training,
    )
    if not extra:
        return fit.answers
    return joined([fit.answers, mean_answers([ModelTeacher(path) for path in fit.models], extra, answered)])


def _in_memory(splits: Mapping[SplitName, LabelledTexts]) -> dict[str, InMemory]:
    """valid and test. What was set aside for calibration goes back: the student's own run sets it aside."""
    valid, aside = splits["valid"], splits.get("calibration", LabelledTexts([], []))
    found = {"valid": InMemory([*valid.texts, *aside.texts], [*valid.labels, *aside.labels], "valid")}
    if "test" in splits:
        found["test"] = InMemory(splits["test"].texts, splits["test"].labels, "test")
    return found


def _check_same(
    folder: Path,
    lesson: Lesson,
    recipe: Recipe,
    splits: Mapping[SplitName, LabelledTexts],
    extra: Sequence[str],
) -> None:
    """Raises RunError if the folder was begun with another lesson. Writes down what this one is."""
    digest = hashlib.sha256()
    for text in (*splits["train"].texts, *splits["train"].labels, *extra):
        digest.update(text.encode() + b"\0")
    about = {
        "teachers": [teacher.name for teacher in lesson.teachers],
        "folds": lesson.folds,
        "models_per_fold": lesson.models_per_fold,
        "min_confidence": lesson.min_confidence,
        "recipe": recipe.model_dump(mode="json"),
        "texts": digest.hexdigest(),
    }
    path = folder / ABOUT
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    elif (found := json.loads(path.read_text(encoding="utf-8"))) != about:
        differing = [name for name, value in about.items() if found.get(name) != value]
        raise RunError(
            "The folder was begun with another lesson.",
            where=folder,
            got=f"another value of {', '.join(differing)}",
            expected="the same, to go on with it",
            cure="choose another folder with -o",
        )
