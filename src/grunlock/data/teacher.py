"""What a teacher answers to texts: probabilities to learn from beside the labels, looked up by text."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grunlock.errors import DataError
from grunlock.shapes import FloatArray


@dataclass(frozen=True)
class TeacherAnswers:
    """A teacher's answers to the texts that a student will read.

    labels: that it chooses from
    rows:   where each text's answer stands
    probs:  [answers, K] float32, rows of sum 1
    name:   for messages
    """

    labels: tuple[str, ...]
    rows: Mapping[str, int]
    probs: FloatArray
    name: str

    def to_texts(self, texts: Sequence[str], labels: Sequence[str]) -> FloatArray:
        """[B, K] float32: the answers to `texts`, its columns in the order of `labels`.

        A label that the teacher does not know has probability 0.

        Raises DataError for a label of the teacher that is not in `labels`, and for a text without an answer.
        """
        missing = next((text for text in texts if text not in self.rows), None)
        if missing is not None:
            raise DataError(
                "The teacher has no answer for a training text.",
                where=self.name,
                got=repr(missing[:80]),
                expected="one answer for each training text",
                cure="let the teacher answer the whole training file, just as it is",
            )
        answers = np.zeros((len(texts), len(labels)), np.float32)
        answers[:, self._columns(labels)] = self.probs[[self.rows[text] for text in texts]]
        return answers

    def _columns(self, labels: Sequence[str]) -> list[int]:
        unknown = next((label for label in self.labels if label not in labels), None)
        if unknown is not None:
            near = difflib.get_close_matches(unknown, labels, n=1, cutoff=0.0)
            raise DataError(
                "The teacher knows a label that the data has not.",
                where=self.name,
                got=repr(unknown),
                expected="labels of the data: " + ", ".join(labels[:10]),
                cure=f"rename it, perhaps to {near[0]!r}" if near else None,
            )
        return [list(labels).index(label) for label in self.labels]
