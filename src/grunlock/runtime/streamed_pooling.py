"""Pooling over the states of one sequence that come some at a time: what would be pooled after each of them.

The same numbers as network.pool gives for every beginning of the sequence, from sums and maxima so far. The
weighted sum of attention is one over exp(score - reference), whose reference moves along with the largest
score (online softmax, Milakov & Gimelshein 2018, arXiv:1805.02867).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grunlock.recipe.model_options import PoolingPart
from grunlock.runtime.network import attention_scores
from grunlock.runtime.norms import Weights
from grunlock.shapes import FloatArray

MOST_SPREAD = (
    500.0  # of scores that are summed with one reference: exp(-500) is far from 0 in double precision
)

Doubles = NDArray[np.float64]


class Attended(NamedTuple):
    """R hops: the largest score [R] so far, the sums of weights [R] and of weighted states [R, E]."""

    reference: Doubles
    weights: Doubles
    sums: Doubles


class PooledSoFar(NamedTuple):
    """After some steps of a sequence; of what no part needs, nothing is kept."""

    steps: int
    highest: FloatArray | None  # [E]
    total: Doubles | None  # [E]
    attended: dict[PoolingPart, Attended]


class StreamedPooling:
    """Holds weights only: what has been read is in the PooledSoFar that it takes and gives."""

    def __init__(self, weights: Weights, parts: tuple[PoolingPart, ...]) -> None:
        self._weights = weights
        self._parts = parts

    def start(self) -> PooledSoFar:
        """Before the first step."""
        return PooledSoFar(0, None, None, {})

    def advance(self, rows: FloatArray, before: PooledSoFar) -> tuple[FloatArray, PooledSoFar]:
        """The next states [n, E]: what is pooled after each, [n, parts * E], and for the next call."""
        highest, total = None, None
        attended: dict[PoolingPart, Attended] = {}
        found: list[FloatArray] = []
        for part in self._parts:
            if part == "last":
                found.append(rows)
            elif part == "max":
                steps = rows if before.highest is None else np.maximum(rows, before.highest)
                steps = np.maximum.accumulate(steps, axis=0)
                highest = steps[-1].copy()
                found.append(steps)
            elif part == "mean":
                sums = np.cumsum(rows, axis=0, dtype=np.float64)
                sums += 0.0 if before.total is None else before.total
                total = sums[-1].copy()
                found.append(
                    _single(sums / np.arange(before.steps + 1, before.steps + len(rows) + 1)[:, None])
                )
            else:
                scores = attention_scores(self._weights, f"pooling.{part}.", rows).astype(np.float64)
                pooled, attended[part] = _attend(rows, scores, before.attended.get(part))
                found.append(pooled)
        after = PooledSoFar(before.steps + len(rows), highest, total, attended)
        return np.concatenate(found, axis=1), after


def _attend(rows: FloatArray, scores: Doubles, before: Attended | None) -> tuple[FloatArray, Attended]:
    """[n, R * E], hop after hop. scores: [n, R]"""
    known = scores if before is None else np.concatenate([before.reference[None], scores])
    if len(rows) > 1 and np.ptp(known, axis=0).max() > MOST_SPREAD:
        half = len(rows) // 2
        first, before = _attend(rows[:half], scores[:half], before)
        second, before = _attend(rows[half:], scores[half:], before)
        return np.concatenate([first, second]), before
    reference = known.max(axis=0)
    shares = np.exp(scores - reference)  # [n, R]
    weights, sums = np.cumsum(shares, axis=0), np.cumsum(shares[:, :, None] * rows[:, None], axis=0)
    if before is not None:
        kept = np.exp(before.reference - reference)
        weights += kept * before.weights
        sums += kept[:, None] * before.sums
    pooled = _single((sums / weights[:, :, None]).reshape(len(rows), -1))
    return pooled, Attended(reference, weights[-1].copy(), sums[-1].copy())


def _single(values: Doubles) -> FloatArray:
    return values.astype(np.float32)
