"""Forward GRU and LSTM in numpy: inference on any machine that has no compiled kernel and no torch.

The equations are those of reference.py, to whose numbers in parentheses the comments refer. No
gradients, no random masks; zoneout is its expectation.
"""

from collections.abc import Callable, Sequence

import numpy as np

from grunlock.kernels import NORM_EPS
from grunlock.shapes import FloatArray


def gru_scan(
    input_gates: FloatArray,  # [N, 3H]
    batch_sizes: Sequence[int],  # [T]
    weight_hh: FloatArray,  # [3H, H]
    bias_hh: FloatArray,  # [3H]
    h0: FloatArray,  # [B, H]
    *,
    reverse: bool = False,
    reset_after: bool = True,
    zoneout: float | None = None,
    norm_weight: FloatArray | None = None,  # [3H]
) -> tuple[FloatArray, FloatArray]:  # [N, H], [B, H]
    """See reference.gru_scan."""
    H = weight_hh.shape[1]
    first = 3 * H if reset_after else 2 * H  # gates whose product does not wait for r
    weight = np.ascontiguousarray(weight_hh.T)  # [H, 3H]

    def product(state: FloatArray, rows: slice) -> FloatArray:
        norm = None if norm_weight is None else norm_weight[rows]
        return _recurrent_product(state, weight[:, rows], bias_hh[rows], norm)

    def step(x: FloatArray, states: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        (h_prev,) = states
        a = product(h_prev, slice(0, first))  # (1)
        gates = sigmoid(x[:, : 2 * H] + a[:, : 2 * H])
        r, z = gates[:, :H], gates[:, H:]  # (2), (3)
        a_n = r * a[:, 2 * H :] if reset_after else product(r * h_prev, slice(2 * H, 3 * H))
        n = np.tanh(x[:, 2 * H :] + a_n)  # (4)
        h = n + z * (h_prev - n)  # (5)
        return (_zone_out(h, h_prev, zoneout),)  # (6)

    output, (final,) = _scan(step, input_gates, batch_sizes, (h0,), reverse)
    return output, final


def lstm_scan(
    input_gates: FloatArray,  # [N, 4H]
    batch_sizes: Sequence[int],  # [T]
    weight_hh: FloatArray,  # [4H, H]
    bias_hh: FloatArray,  # [4H]
    h0: FloatArray,  # [B, H]
    c0: FloatArray,  # [B, H]
    *,
    reverse: bool = False,
    zoneout: float | None = None,
    norm_weight: FloatArray | None = None,  # [4H]
) -> tuple[FloatArray, FloatArray, FloatArray]:  # [N, H], [B, H], [B, H]
    """See reference.lstm_scan; `zoneout` is the rate on both states."""
    H = weight_hh.shape[1]
    weight = np.ascontiguousarray(weight_hh.T)

    def step(x: FloatArray, states: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        h_prev, c_prev = states
        a = x + _recurrent_product(h_prev, weight, bias_hh, norm_weight)  # (1)
        i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 3 * H :])  # (2)
        g = np.tanh(a[:, 2 * H : 3 * H])  # (3)
        c = _zone_out(f * c_prev + i * g, c_prev, zoneout)  # (4)
        h = _zone_out(o * np.tanh(c), h_prev, zoneout)  # (5)
        return h, c

    output, (h, c) = _scan(step, input_gates, batch_sizes, (h0, c0), reverse)
    return output, h, c


def sigmoid(a: FloatArray) -> FloatArray:
    """1 / (1 + exp(-a)) through tanh, which saturates instead of overflowing."""
    result: FloatArray = 0.5 * np.tanh(0.5 * a) + 0.5
    return result


def normalize_gates(gates: FloatArray, norm_weight: FloatArray, hidden_size: int) -> FloatArray:
    """See reference.normalize_gates."""
    blocks = gates.reshape(len(gates), -1, hidden_size)  # [n, g, H]
    centred = blocks - blocks.mean(axis=2, keepdims=True)
    variance = np.square(centred).mean(axis=2, keepdims=True)
    normalized: FloatArray = (centred / np.sqrt(variance + NORM_EPS)).reshape(gates.shape)
    return normalized * norm_weight


def _recurrent_product(
    state: FloatArray, weight: FloatArray, bias: FloatArray, norm_weight: FloatArray | None
) -> FloatArray:
    product: FloatArray = state @ weight
    if norm_weight is not None:
        product = normalize_gates(product, norm_weight, weight.shape[0])
    return product + bias


def _zone_out(new: FloatArray, old: FloatArray, rate: float | None) -> FloatArray:
    return new if rate is None else new + new.dtype.type(rate) * (old - new)


def _scan(
    step: Callable[[FloatArray, tuple[FloatArray, ...]], tuple[FloatArray, ...]],
    inputs: FloatArray,
    batch_sizes: Sequence[int],
    initial: tuple[FloatArray, ...],
    reverse: bool,
) -> tuple[FloatArray, tuple[FloatArray, ...]]:
    """Write each step's state into place; rows past a sequence's end are never touched."""
    ends = np.concatenate(([0], np.cumsum(batch_sizes)))
    output = np.empty((int(ends[-1]), initial[0].shape[1]), dtype=inputs.dtype)
    states = [state.copy() for state in initial]  # the last real state of every sequence, [B, H]
    for t in reversed(range(len(batch_sizes))) if reverse else range(len(batch_sizes)):
        active = batch_sizes[t]
        new = step(inputs[ends[t] : ends[t + 1]], tuple(state[:active] for state in states))
        for state, value in zip(states, new, strict=True):
            state[:active] = value
        output[ends[t] : ends[t + 1]] = new[0]
    return output, tuple(states)
