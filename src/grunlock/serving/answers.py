"""Answers as JSON, put together by hand: labels are escaped once per model, not once per request."""

import json
from collections.abc import Sequence

from grunlock.runtime.guarantees import answers_or_none, label_sets, promised
from grunlock.serving.batcher import Answered
from grunlock.serving.questions import Promises
from grunlock.serving.served import ServedModel


def prediction(served: ServedModel, found: Answered, promises: Promises) -> bytes:
    """Of one example.

    Raises CalibrationError for a coverage or error rate that the model was not calibrated for.
    """
    (row,) = _rows(served, found, promises)
    return f"{{{row}, {served.signature}}}".encode()


def predictions(served: ServedModel, found: Answered, promises: Promises) -> bytes:
    """Of several, all of one version. Raises as `prediction`."""
    rows = ", ".join(f"{{{row}}}" for row in _rows(served, found, promises))
    return f'{{"predictions": [{rows}], {served.signature}}}'.encode()


def _rows(served: ServedModel, found: Answered, promises: Promises) -> Sequence[str]:
    rows, logits = found.rows, found.logits
    if not promises.any:
        return rows
    guarantees = promised(served.classifier.guarantees)
    if promises.coverage is not None:
        members = guarantees.sets(logits, promises.coverage, promises.method)
        sets = label_sets(served.labels, logits, members)
        rows = [f'{row}, "label_set": {json.dumps(each)}' for row, each in zip(rows, sets, strict=True)]
    if promises.max_error is not None:
        sure = guarantees.answered(logits, promises.max_error)
        answers = answers_or_none(served.labels, logits, sure)
        rows = [f'{row}, "answer": {json.dumps(each)}' for row, each in zip(rows, answers, strict=True)]
    return rows
