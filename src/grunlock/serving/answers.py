"""Answers as JSON, put together by hand: labels are escaped once per model, not once per request."""

import json
from collections.abc import Sequence

from grunlock.runtime.guarantees import answers_or_none, label_sets, promised
from grunlock.serving.questions import Promises
from grunlock.serving.served import ServedModel
from grunlock.shapes import FloatArray


def prediction(served: ServedModel, logits: FloatArray, promises: Promises) -> bytes:
    """Of one example, logits [1, K].

    Raises CalibrationError for a coverage or error rate that the model was not calibrated for.
    """
    (row,) = _rows(served, logits, promises)
    return f"{{{row}, {served.signature}}}".encode()


def predictions(served: ServedModel, logits: FloatArray, promises: Promises) -> bytes:
    """Of several, logits [B, K], all of one version. Raises as `prediction`."""
    rows = ", ".join(f"{{{row}}}" for row in _rows(served, logits, promises))
    return f'{{"predictions": [{rows}], {served.signature}}}'.encode()


def _rows(served: ServedModel, logits: FloatArray, promises: Promises) -> Sequence[str]:
    rows = served.rows(logits)
    if not promises.any:
        return rows
    guarantees = promised(served.classifier.guarantees)
    if promises.coverage is not None:
        members = guarantees.sets(logits, promises.coverage, promises.method)
        sets = label_sets(served.labels, logits, members)
        rows = [f'{row}, "label_set": {json.dumps(each)}' for row, each in zip(rows, sets, strict=True)]
    if promises.max_error is not None:
        sure = guarantees.answered(logits, promises.max_error)
        found = answers_or_none(served.labels, logits, sure)
        rows = [f'{row}, "answer": {json.dumps(each)}' for row, each in zip(rows, found, strict=True)]
    return rows
