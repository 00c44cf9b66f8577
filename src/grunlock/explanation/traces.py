"""Gate traces: how much of a state each step rewrote, and how long what it wrote was remembered. No torch."""

import numpy as np

from grunlock.explanation.gates import Doubles, Written
from grunlock.explanation.results import Gate

SMALLEST_KEEP = 1e-300  # a gate of 0 has no logarithm


def gate_traces(layer: int, written: Written) -> list[Gate]:
    """Of each step, in the order of the sequence."""
    keep, amount, reset = written.keep, np.abs(written.written), written.reset
    if written.reverse:
        keep, amount = keep[::-1], amount[::-1]
    survived, half_lives = remembered(keep, amount)
    if written.reverse:
        keep, amount, survived, half_lives = keep[::-1], amount[::-1], survived[::-1], half_lives[::-1]
    lengths = np.linalg.norm(written.written, axis=1)
    return [
        Gate(
            layer=layer,
            direction="backward" if written.reverse else "forward",
            rewrote=float(1.0 - keep[step].mean()),
            reset=None if reset is None else float(reset[step].mean()),
            wrote=float(lengths[step]),
            survived=float(survived[step]),
            half_life_steps=_finite(weighted_median(half_lives[step], amount[step])),
        )
        for step in range(len(keep))
    ]


def remembered(keep: Doubles, amount: Doubles) -> tuple[Doubles, Doubles]:
    """Of what each step wrote, amount [T, H] >= 0, in the order of reading: which part [T] of it is left
    after the last step, and after how many steps [T, H] half of it is lost in a unit, infinity if never."""
    logs = np.log(np.maximum(keep, SMALLEST_KEEP)).cumsum(axis=0)
    left = np.exp(logs[-1] - logs)
    total = amount.sum(axis=1)
    survived = np.divide((amount * left).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
    steps = np.arange(len(keep))
    half_lives = np.empty_like(keep)
    for unit in range(keep.shape[1]):
        falling = -logs[:, unit]  # rises
        reached = falling.searchsorted(falling + np.log(2.0))
        half_lives[:, unit] = np.where(reached < len(keep), reached - steps, np.inf)
    return survived, half_lives


def weighted_median(values: Doubles, weights: Doubles) -> float:
    """The smallest value up to which half of the weight lies; the plain one where all weights are 0."""
    order = values.argsort(kind="stable")
    weights = weights[order] if weights.sum() > 0 else np.ones(len(values))
    reached = weights.cumsum()
    return float(values[order][reached.searchsorted(reached[-1] / 2)])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
