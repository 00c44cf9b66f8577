"""Whoever answers texts with probabilities can teach; several teachers teach their mean."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from grunlock import artifact
from grunlock.data.teacher import TeacherAnswers
from grunlock.errors import DataError
from grunlock.runtime.classifier import TextClassifier
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray

ANSWERED_TEXTS = 1024  # at a time


class Teacher(Protocol):
    """What a student learns from."""

    @property
    def name(self) -> str: ...  # for messages
    @property
    def labels(self) -> tuple[str, ...]: ...
    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """[B, K], its columns in the order of `labels`."""
        ...


class ModelTeacher:
    """A model of ours, as a file or run folder, its probabilities calibrated as they are."""

    def __init__(self, path: str | Path) -> None:
        classifier = artifact.load(path)
        if not isinstance(classifier, TextClassifier):
            raise DataError(
                "The teacher reads numeric series, and the student texts.",
                where=path,
                expected="a model that was trained on texts",
            )
        self._classifier = classifier
        self.name = str(path)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._classifier.labels

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """[B, K]"""
        return probabilities(self._classifier.logits(texts), self._classifier.temperature)


class FileTeacher:
    """Answers that stand in a file, see answer_files.py."""

    def __init__(self, answers: TeacherAnswers) -> None:
        self._answers = answers
        self.name = answers.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self._answers.labels

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """[B, K]. Raises DataError for a text without an answer."""
        return self._answers.to_texts(texts, self.labels)


def mean_answers(
    teachers: Sequence[Teacher], texts: Sequence[str], progress: Callable[[int], None] | None = None
) -> TeacherAnswers:
    """What the teachers answer on average. The labels are those of all of them, the first one's in front.

    progress: called with the answers given so far, all teachers' together.
    """
    distinct = list(dict.fromkeys(texts))
    labels = tuple(dict.fromkeys(label for teacher in teachers for label in teacher.labels))
    total, done = np.zeros((len(distinct), len(labels)), np.float32), 0
    for teacher in teachers:
        columns = [labels.index(label) for label in teacher.labels]
        for start in range(0, len(distinct), ANSWERED_TEXTS):
            part = distinct[start : start + ANSWERED_TEXTS]
            total[start : start + len(part), columns] += teacher.probabilities(part)
            done += len(part)
            if progress is not None:
                progress(done)
    name = teachers[0].name if len(teachers) == 1 else f"{len(teachers)} teachers, {teachers[0].name} first"
    rows = {text: row for row, text in enumerate(distinct)}
    return TeacherAnswers(labels, rows, total / np.float32(len(teachers)), name)
