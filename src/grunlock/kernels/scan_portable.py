"""The gated recurrence in numpy, forward only: for machines without a compiled kernel.

Equations, cells and their numbers are in scan.py, which checks what comes here. Any floating type.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from grunlock.kernels.portable import sigmoid
from grunlock.shapes import FloatArray

VANISHED = -80.0  # arguments of minLSTM's gates end here: two gates of 0 would leave 0 / 0


def forward(
    gates: Sequence[FloatArray],  # each [N, H]
    batch_sizes: Sequence[int],  # [T]
    h0: FloatArray | None,  # [B, H]
    cell: str,
    reverse: bool,
) -> tuple[FloatArray, FloatArray]:  # output [N, H], final [B, H]
    keep, candidate = activated(gates, cell)
    state = np.zeros_like(keep[: batch_sizes[0]]) if h0 is None else h0.copy()  # [B, H]
    states = np.empty_like(keep)
    for rows in _steps(batch_sizes, reverse):
        k, n, h = keep[rows], candidate[rows], state[: rows.stop - rows.start]
        h[:] = states[rows] = n + k * (h - n)  # (1)
    return states * sigmoid(gates[2]) if cell == "qrnn" else states, state  # (2)


def activated(gates: Sequence[FloatArray], cell: str) -> tuple[FloatArray, FloatArray]:
    """k and n, each [N, H]."""
    keep, candidate, *third = gates
    match cell:
        case "mingru":
            return sigmoid(keep), candidate
        case "qrnn":
            return sigmoid(keep), np.tanh(candidate)
        case _:
            f, i = _divisible_sigmoid(keep), _divisible_sigmoid(third[0])
            return f / (f + i), candidate


def _divisible_sigmoid(a: FloatArray) -> FloatArray:
    """Through exp: sigmoid through tanh has no small results, and here two are divided by each other."""
    above: FloatArray = np.maximum(a, a.dtype.type(VANISHED))
    result: FloatArray = np.reciprocal(1.0 + np.exp(-above))
    return result


def _steps(batch_sizes: Sequence[int], from_last: bool) -> Iterator[slice]:
    """The packed rows of every step."""
    ends = [0]
    for size in batch_sizes:
        ends.append(ends[-1] + size)
    steps = range(len(batch_sizes))
    for t in reversed(steps) if from_last else steps:
        yield slice(ends[t], ends[t + 1])
