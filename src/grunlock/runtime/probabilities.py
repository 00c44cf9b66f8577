"""From logits to probabilities."""

import numpy as np

from grunlock.shapes import FloatArray


def probabilities(logits: FloatArray, temperature: float | FloatArray) -> FloatArray:
    """softmax(logits / temperature), row by row, [B, K]. Moves no decision (Guo 2017).

    temperature: one, or [B, 1] one for each row
    """
    scaled = logits / np.asarray(temperature, np.float32)
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
    result: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result
