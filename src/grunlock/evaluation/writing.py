"""Answers as lines of CSV and JSONL."""

import csv
import json
from collections.abc import Iterable
from typing import TextIO

from grunlock.evaluation.files import Answer
from grunlock.evaluation.texts import Prediction


def example_of(answer: Answer) -> str:
    """The text, or the id of the series, that an answer is about."""
    return answer.text if isinstance(answer, Prediction) else answer.series


def write_csv(file: TextIO, answers: Iterable[Answer]) -> None:
    """A header, then text or series, label, probability and label_set if there are sets."""
    writer = csv.writer(file)
    for row, answer in enumerate(answers):
        if row == 0:
            kind = "text" if isinstance(answer, Prediction) else "series"
            extra = [] if answer.label_set is None else ["label_set"]
            writer.writerow([kind, "label", "probability", *extra])
        cells = [example_of(answer), answer.label, f"{answer.probability:.6f}"]
        if answer.label_set is not None:  # as JSON: a label may hold any separator
            cells.append(json.dumps(answer.label_set, ensure_ascii=False))
        writer.writerow(cells)


def write_jsonl(file: TextIO, answers: Iterable[Answer]) -> None:
    """The fields of Prediction or SeriesPrediction, without label_set if there are no sets."""
    for answer in answers:
        fields = {name: value for name, value in vars(answer).items() if value is not None}
        file.write(json.dumps(fields, ensure_ascii=False) + "\n")
