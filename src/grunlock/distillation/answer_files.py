"""A teacher's answers from a file: a table with a text column and a column for each label, JSONL, or .npz.

Numbers are probabilities if no row has a negative one and each row's sum is 1; else they are logits.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grunlock.data.columns import TEXT_NAMES, Cell
from grunlock.data.json_lines import json_records
from grunlock.data.npz_files import NPZ_ERRORS, check_npz
from grunlock.data.tables import open_table, table_format
from grunlock.data.teacher import TeacherAnswers
from grunlock.errors import DataError
from grunlock.files import atomic_file
from grunlock.runtime.probabilities import probabilities
from grunlock.shapes import FloatArray

SUM_TOLERANCE = 0.01  # of a row of probabilities that was written with few digits
RECORD_KEYS = ("probs", "logits")
EXPECTED = "a text column and a column of numbers for each label"


def read_answers(path: str | Path, encoding: str = "utf-8", text_column: str | None = None) -> TeacherAnswers:
    """Read a file of answers.

    .csv, .tsv, .parquet: a column of texts, every other column is a label. .jsonl: objects with "text" and
    "probs" or "logits", which map labels to numbers, as `grunlock predict -o FILE.jsonl` writes them. .npz:
    arrays texts [n], labels [K], and probs or logits [n, K]. Of a text that stands twice the mean counts.

    Raises DataError for anything else, with the line.
    """
    path = Path(path)
    if path.suffix == ".npz":
        texts, labels, numbers = _from_npz(path)
    elif table_format(path) == "jsonl":
        texts, labels, numbers = _from_records(path, encoding, text_column or "text")
    else:
        texts, labels, numbers = _from_table(path, encoding, text_column)
    finite = np.isfinite(numbers).all(axis=1)
    if not finite.all():
        first = int(np.flatnonzero(~finite)[0])
        raise DataError(
            "An answer is not a finite number.",
            where=f"{path}, answer {first + 1}",
            got=numbers[first].tolist(),
        )
    return _by_text(texts, labels, _as_probabilities(numbers), path)


def write_answers(answers: TeacherAnswers, path: Path) -> None:
    """Write a .jsonl file of answers, whole or not at all."""
    with atomic_file(path) as file:
        for text, row in answers.rows.items():
            probs = dict(zip(answers.labels, answers.probs[row].tolist(), strict=True))
            file.write(json.dumps({"text": text, "probs": probs}, ensure_ascii=False).encode() + b"\n")


def _as_probabilities(numbers: FloatArray) -> FloatArray:
    sums = numbers.sum(axis=1, keepdims=True)
    if (numbers >= 0).all() and (np.abs(sums - 1) < SUM_TOLERANCE).all():
        found: FloatArray = numbers / sums
        return found
    return probabilities(numbers, 1.0)


def _by_text(texts: Sequence[str], labels: tuple[str, ...], probs: FloatArray, path: Path) -> TeacherAnswers:
    rows: dict[str, int] = {}
    of = np.array([rows.setdefault(text, len(rows)) for text in texts])
    means: FloatArray = np.zeros((len(rows), len(labels)), np.float32)
    np.add.at(means, of, probs)
    means /= np.bincount(of)[:, None].astype(np.float32)
    return TeacherAnswers(labels, rows, means, str(path))


Answers = tuple[list[str], tuple[str, ...], FloatArray]


def _from_table(path: Path, encoding: str, text_column: str | None) -> Answers:
    table = open_table(path, encoding, (text_column,))
    usual = [name for name in table.names if name.strip().lower() in TEXT_NAMES]
    column = text_column or (usual[0] if len(usual) == 1 else None)
    labels = tuple(name for name in table.names if name != column)
    if column not in table.names or not table.has_header or not labels:
        raise DataError(
            "It is not clear which columns hold a teacher's answers.",
            where=path,
            got=f"columns {', '.join(table.names)}" + ("" if table.has_header else ", without a header"),
            expected=EXPECTED,
            cure="call the text column text, or name it: --text-column NAME",
        )
    texts, numbers = [], []
    for row, cells in enumerate(table.rows((column, *labels)), start=1):
        texts.append(cells[0] or "")
        numbers.append(
            [
                _number(cell, f"{path}, row {row}, {name}")
                for cell, name in zip(cells[1:], labels, strict=True)
            ]
        )
    return texts, labels, np.array(numbers, np.float32)


def _number(cell: Cell | Any, where: str) -> float:
    try:
        return float(cell if cell is not None else "")
    except (TypeError, ValueError) as error:
        raise DataError(
            "An answer is no number.", where=where, got=repr(cell), expected="a probability or a logit"
        ) from error


def _from_records(path: Path, encoding: str, text_key: str) -> Answers:
    texts: list[str] = []
    by_label: list[list[float]] = []
    labels: dict[str, None] = {}
    for line, text, found in _records(path, encoding, text_key):
        if by_label and set(found) != set(labels):
            raise DataError(
                "An answer has other labels than those before.",
                where=f"{path}, line {line}",
                got=", ".join(found),
                expected=", ".join(labels),
            )
        labels.update(dict.fromkeys(found))
        texts.append(text)
        by_label.append([_number(found[label], f"{path}, line {line}, {label}") for label in labels])
    if not texts:
        raise DataError("The file is empty.", where=path)
    return texts, tuple(labels), np.array(by_label, np.float32)


def _records(path: Path, encoding: str, text_key: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for line, record in json_records(path, encoding):
        found = [record[key] for key in RECORD_KEYS if isinstance(record.get(key), dict)]
        if len(found) != 1 or not found[0] or not isinstance(record.get(text_key), str):
            raise DataError(
                "A line holds no answer.",
                where=f"{path}, line {line}",
                got=f"keys {', '.join(record)}",
                expected=f'{{"{text_key}": "...", "probs": {{"LABEL": 0.9, ...}}}}, or "logits"',
            )
        yield line, record[text_key], found[0]


def _from_npz(path: Path) -> Answers:
    try:
        check_npz(path)
        with np.load(path, allow_pickle=False) as arrays:
            keys = [key for key in RECORD_KEYS if key in arrays.files]
            if len(keys) != 1 or not {"texts", "labels"} <= set(arrays.files):
                raise DataError(
                    "The arrays of a file of answers are missing.",
                    where=path,
                    got=", ".join(arrays.files),
                    expected="texts [n], labels [K], and probs or logits [n, K]",
                )
            texts = [str(text) for text in arrays["texts"]]
            labels = tuple(str(label) for label in arrays["labels"])
            numbers = np.asarray(arrays[keys[0]], np.float32)
    except DataError:
        raise
    except NPZ_ERRORS as error:
        raise DataError("The file of answers cannot be read.", where=path, got=error) from error
    if numbers.shape != (len(texts), len(labels)) or not texts:
        raise DataError(
            "The arrays of a file of answers do not fit each other.",
            where=path,
            got=f"{keys[0]} {list(numbers.shape)}, {len(texts)} texts, {len(labels)} labels",
            expected="[n, K], n at least 1",
        )
    return texts, labels, numbers
