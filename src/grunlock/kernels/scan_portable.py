"""The gated recurrence in numpy, forward and backward: for machines without a compiled kernel.

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
    state = _initial(keep, batch_sizes, h0)
    output = np.empty_like(keep)
    for rows in _steps(batch_sizes, reverse):
        k, n, h = keep[rows], candidate[rows], state[: rows.stop - rows.start]
        h[:] = output[rows] = n + k * (h - n)  # (1)
    return output, state


def backward(
    gates: Sequence[FloatArray],  # each [N, H]
    output: FloatArray,  # [N, H]
    doutput: FloatArray,  # [N, H]
    batch_sizes: Sequence[int],  # [T]
    h0: FloatArray | None,  # [B, H]
    dfinal: FloatArray | None,  # [B, H]
    cell: str,
    reverse: bool,
) -> tuple[tuple[FloatArray, ...], FloatArray]:  # gradients of gates, each [N, H], and of h0 [B, H]
    keep, candidate = activated(gates, cell)
    before = _states_before(output, batch_sizes, _initial(keep, batch_sizes, h0), reverse)
    dh = np.empty_like(keep)
    carry = _initial(keep, batch_sizes, dfinal)
    for rows in _steps(batch_sizes, not reverse):
        running = carry[: rows.stop - rows.start]
        dh[rows] = doutput[rows] + running
        running[:] = dh[rows] * keep[rows]  # (2)
    dkeep, dcandidate = dh * (before - candidate), dh * (1 - keep)  # (2)
    return _through_gates(gates, keep, candidate, dkeep, dcandidate, cell), carry


def activated(gates: Sequence[FloatArray], cell: str) -> tuple[FloatArray, FloatArray]:
    """k and n, each [N, H]."""
    keep, *entry, candidate = gates
    match cell:
        case "given":
            return np.ascontiguousarray(keep), candidate
        case "mingru":
            return sigmoid(keep), candidate
        case "qrnn":
            return sigmoid(keep), np.tanh(candidate)
        case _:
            f, i = _divisible_sigmoid(keep), _divisible_sigmoid(entry[0])
            return f / (f + i), candidate


def _divisible_sigmoid(a: FloatArray) -> FloatArray:
    """Through exp: sigmoid through tanh has no small results, and here two are divided by each other."""
    above: FloatArray = np.maximum(a, a.dtype.type(VANISHED))
    result: FloatArray = np.reciprocal(1.0 + np.exp(-above))
    return result


def _through_gates(
    gates: Sequence[FloatArray],
    k: FloatArray,  # [N, H]
    n: FloatArray,  # [N, H]
    dk: FloatArray,  # [N, H]
    dn: FloatArray,  # [N, H]
    cell: str,
) -> tuple[FloatArray, ...]:
    """(3)"""
    match cell:
        case "given":
            return dk, dn
        case "mingru":
            return dk * (k * (1 - k)), dn
        case "qrnn":
            return dk * (k * (1 - k)), dn * (1 - n * n)
        case _:
            f, i = _divisible_sigmoid(gates[0]), _divisible_sigmoid(gates[1])
            slope = dk * (k * (1 - k))
            return slope * (1 - f), slope * (i - 1), dn


def _states_before(
    output: FloatArray, batch_sizes: Sequence[int], initial: FloatArray, reverse: bool
) -> FloatArray:
    """h_prev of every packed row [N, H]."""
    before = np.empty_like(output)
    state = initial  # [B, H] before the next step
    for rows in _steps(batch_sizes, reverse):
        running = state[: rows.stop - rows.start]
        before[rows] = running
        running[:] = output[rows]
    return before


def _initial(like: FloatArray, batch_sizes: Sequence[int], given: FloatArray | None) -> FloatArray:
    """A fresh [B, H]: as given, or zeros."""
    return np.zeros_like(like[: batch_sizes[0]]) if given is None else given.copy()


def _steps(batch_sizes: Sequence[int], from_last: bool) -> Iterator[slice]:
    """The packed rows of every step."""
    ends = [0]
    for size in batch_sizes:
        ends.append(ends[-1] + size)
    steps = range(len(batch_sizes))
    for t in reversed(steps) if from_last else steps:
        yield slice(ends[t], ends[t + 1])
