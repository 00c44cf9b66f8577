"""Gate traces: how much of a state each step rewrote, and how long what it wrote was remembered. No torch."""

import numpy as np

from grunlock.explanation.gates import Doubles, Written
from grunlock.explanation.results import Gate

SMALLEST_KEEP = 1e-300  # a gate of 0 has no logarithm


def gate_traces(layer: int, written: Written) -> list[Gate]:
    """Of each step, in the order of the sequence."""
    keep, amount = written.keep, np.abs(written.written)
    if written.reverse:
        keep, amount = keep[::-1], amount[::-1]
    survived, half_lives = remembered(keep, amount)
    if written.reverse:
        keep, amount, survived, half_lives = keep[::-1], amount[::-1], survived[::-1], half_lives[::-1]
    reset = None if written.reset is None else written.reset.mean(axis=1)
    return [
        Gate(layer, "backward" if written.reverse else "forward", *numbers)
        for numbers in zip(
            (1.0 - keep.mean(axis=1)).tolist(),
            [None] * len(keep) if reset is None else reset.tolist(),
            np.linalg.norm(written.written, axis=1).tolist(),
            survived.tolist(),
            map(_finite, weighted_medians(half_lives, amount).tolist()),
            strict=True,
        )
    ]


def remembered(keep: Doubles, amount: Doubles) -> tuple[Doubles, Doubles]:
    """Of what each step wrote, amount [T, H] >= 0, in the order of reading: which part [T] of it is left
    after the last step, and after how many steps [T, H] half of it is lost in a unit, infinity if never."""
    logs = np.log(np.maximum(keep, SMALLEST_KEEP)).cumsum(axis=0)
    left = np.exp(logs[-1] - logs)
    total = amount.sum(axis=1)
    survived = np.divide((amount * left).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
    lost = np.ascontiguousarray(-logs.T)  # [H, T], rising
    reached = np.stack([unit.searchsorted(unit + np.log(2.0)) for unit in lost])
    half_lives = np.where(reached < len(keep), reached - np.arange(len(keep)), np.inf)
    return survived, half_lives.T


def weighted_medians(values: Doubles, weights: Doubles) -> Doubles:
    """[T] of rows [T, H]: the smallest value up to which half of the weight lies; the plain one where all
    weights are 0."""
    order = values.argsort(axis=1, kind="stable")
    weights = np.where(weights.sum(axis=1, keepdims=True) > 0, weights, 1.0)
    reached = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    place = (reached >= reached[:, -1:] / 2).argmax(axis=1)
    result: Doubles = values[np.arange(len(values)), order[np.arange(len(values)), place]]
    return result


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
