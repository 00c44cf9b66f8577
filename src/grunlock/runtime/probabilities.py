"""From logits to probabilities."""

import numpy as np

from grunlock.errors import ArtifactError, DataError
from grunlock.shapes import FloatArray

LARGEST_LOGIT = 1e30  # far above all that a sound model gives, far below what no longer is a float32


def probabilities(logits: FloatArray, temperature: float | FloatArray) -> FloatArray:
    """softmax(logits / temperature), row by row, [B, K]. Moves no decision (Guo 2017).

    temperature: one, or [B, 1] one for each row
    """
    scaled = logits / np.asarray(temperature, np.float32)
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
    result: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def sound(logits: FloatArray, *, of_series: bool = False) -> FloatArray:
    """The logits [n, K] as they came.

    Raises ArtifactError where they are no numbers, which of texts only a model can be at fault for; of series
    DataError, because a value may be.
    """
    if not np.abs(logits).max(initial=0) < LARGEST_LOGIT:
        error = DataError if of_series else ArtifactError
        raise error(
            "The model has no finite answer.",
            got="numbers that are too large, or none",
            cure="check the unit of each channel; if it is right, train again with a smaller optim.lr"
            if of_series
            else "train again, with a smaller optim.lr",
        )
    return logits
