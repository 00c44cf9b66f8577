"""Which examples a model gets wrong although it is sure: the first ones to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from grunlock.errors import ShapeError
from grunlock.objectives.metrics import confident_answers


@dataclass(frozen=True)
class WrongAnswer:
    """One example that is wrong.

    example:      its place in the split, from 0
    label:        the right one; predicted: the model's
    probability:  calibrated, of the predicted label; of_label: of the right one
    """

    example: int
    label: str
    predicted: str
    probability: float
    of_label: float


def worst_errors(
    probs: ArrayLike,  # [n, K]
    targets: ArrayLike,  # [n] class indices
    labels: Sequence[str],  # K names
    most: int,
) -> tuple[WrongAnswer, ...]:
    """Up to `most` wrong examples, those with the highest loss, -log p[target], first.

    A high loss on a sure answer is either the model's gravest error or a wrong label. Equal ones stay in the
    split's order. Raises ShapeError and DataError as `evaluate`.
    """
    values, classes = np.asarray(probs, dtype=np.float64), np.asarray(targets)
    confidence, correct = confident_answers(values, classes)
    if len(labels) != values.shape[1]:
        raise ShapeError(
            "Every class needs a name.", got=f"{len(labels)} labels", expected=f"{values.shape[1]}"
        )
    of_target = values[np.arange(len(classes)), classes]
    wrong = np.flatnonzero(~correct)
    wrong = wrong[np.argsort(of_target[wrong], kind="stable")][:most]
    return tuple(
        WrongAnswer(
            example=int(i),
            label=labels[classes[i]],
            predicted=labels[int(values[i].argmax())],
            probability=float(confidence[i]),
            of_label=float(of_target[i]),
        )
        for i in wrong
    )
