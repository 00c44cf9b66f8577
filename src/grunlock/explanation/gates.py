"""What each step of a gated encoder wrote and kept, recomputed from its states. No torch.

For a GRU (kernels/reference.py, equation 5)

    h_t = z_t * h_(t-1) + (1 - z_t) * n_t,   so   h_T = sum over t of (z_T * ... * z_(t+1)) * (1 - z_t) * n_t

with products by unit. The states are known, so all gates come of one product with the states before, in
float64; nothing is run again step by step. Zoneout's expectation (6) makes of z the gate z + k (1 - z).
minGRU, minLSTM and QRNN have the same sum with a gate that reads inputs only (kernels/scan.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grunlock.kernels.portable import normalize_gates, sigmoid
from grunlock.kernels.scan_portable import activated
from grunlock.kernels.stack import DirectionWeights, LayerWeights

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Written:
    """One direction of one layer over a sequence of T steps, in the order of the sequence.

    keep:    [T, H] how much of the state before a step is kept at it
    written: [T, H] what a step adds to the state
    gain:    [T, H] what the state is multiplied with before it leaves the layer: QRNN's output gate
    reset:   [T, H] the reset gate, None where there is none
    reverse: whether the direction reads from the last step to the first
    """

    keep: Doubles
    written: Doubles
    gain: Doubles | None
    reset: Doubles | None
    reverse: bool


def gru_written(
    layer: LayerWeights,
    direction: DirectionWeights,
    inputs: Doubles,  # [T, D] what the layer reads
    states: Doubles,  # [T, H] after each step, of this direction
    *,
    reverse: bool,
) -> Written:
    """All gates of a direction, from what it read and its states."""
    size = layer.hidden_size
    of_inputs = inputs @ _double(direction.weight_ih).T
    if direction.norm_weight_ih is not None:
        of_inputs = _normalized(of_inputs, direction.norm_weight_ih, size)
    x = of_inputs + direction.bias_ih
    before = states_before(states, reverse=reverse)
    first = 3 * size if layer.reset_after else 2 * size
    a = _recurrent(direction, before, slice(0, first), size)
    gates = sigmoid_of(x[:, : 2 * size] + a[:, : 2 * size])
    r, z = gates[:, :size], gates[:, size:]
    past = (
        r * a[:, 2 * size :]
        if layer.reset_after
        else _recurrent(direction, r * before, slice(2 * size, 3 * size), size)
    )
    n = np.tanh(x[:, 2 * size :] + past)
    new = (1.0 - layer.zoneout) * (1.0 - z)
    return Written(1.0 - new, new * n, None, r, reverse)


def scan_written(gates: list[Any], cell: str, *, reverse: bool) -> Written:
    """gates: each [T, H], as kernels.scan.SCAN_GATES has them"""
    doubles: list[Any] = [_double(gate) for gate in gates]
    keep, candidate = activated(doubles, cell)
    gain = sigmoid_of(doubles[2]) if cell == "qrnn" else None
    return Written(_double(keep), _double((1.0 - keep) * candidate), gain, None, reverse)


def states_before(states: Doubles, *, reverse: bool) -> Doubles:
    """[T, H] the state that each step found; zeros at the first that is read."""
    before = np.zeros_like(states)
    if reverse:
        before[:-1] = states[1:]
    else:
        before[1:] = states[:-1]
    return before


def sigmoid_of(a: Any) -> Doubles:
    """In float64."""
    result: Doubles = np.asarray(sigmoid(a), np.float64)
    return result


def _recurrent(direction: DirectionWeights, states: Doubles, rows: slice, size: int) -> Doubles:
    product = states @ _double(direction.weight_hh[rows]).T
    if direction.norm_weight_hh is not None:
        product = _normalized(product, direction.norm_weight_hh[rows], size)
    result: Doubles = product + direction.bias_hh[rows]
    return result


def _normalized(gates: Any, gain: Any, size: int) -> Doubles:
    return _double(normalize_gates(gates, gain, size))


def _double(array: Any) -> Doubles:
    return np.asarray(array, np.float64)
