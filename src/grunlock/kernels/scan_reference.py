"""The oracle of scan.py in plain torch, for any dtype: one line per equation, gradients are autograd's.

Equations, cells and their numbers are in scan.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from grunlock.kernels.reference import initial_state, scan
from grunlock.kernels.scan import SCAN_GATES, Cell


def gated_scan(
    gates: Tensor,  # [N, directions * gH] of each direction in turn, as SCAN_GATES has it
    batch_sizes: Sequence[int],  # [T]
    cell: Cell,
    h0: Tensor | None = None,  # [directions, B, H]
    *,
    num_directions: int = 1,
) -> tuple[Tensor, Tensor]:  # output [N, directions * H], state after the last step [directions, B, H]
    """One or both directions, activations included."""
    outputs, finals = [], []
    for place, columns in enumerate(gates.chunk(num_directions, dim=1)):
        parts = columns.chunk(len(SCAN_GATES[cell]), dim=1)
        keep, candidate = activated(parts, cell)
        first = None if h0 is None else h0[place]
        states, final = _linear_scan(keep, candidate, batch_sizes, first, reverse=place == 1)
        outputs.append(states * torch.sigmoid(parts[2]) if cell == "qrnn" else states)  # (2)
        finals.append(final)
    return torch.cat(outputs, dim=1), torch.stack(finals)


def activated(gates: Sequence[Tensor], cell: Cell) -> tuple[Tensor, Tensor]:
    """k and n, each [N, H], of gates likewise."""
    keep, candidate, *third = gates
    match cell:
        case "mingru":
            return torch.sigmoid(keep), candidate
        case "qrnn":
            return torch.sigmoid(keep), torch.tanh(candidate)
        case "minlstm":
            # f / (f + i) through logarithms: quotients of two gates that vanish have a value, too.
            ratio = functional.logsigmoid(keep) - functional.logsigmoid(third[0])
            return torch.sigmoid(ratio), candidate


def _linear_scan(
    keep: Tensor,  # [N, H] from 0 to 1
    candidate: Tensor,  # [N, H]
    batch_sizes: Sequence[int],  # [T]
    h0: Tensor | None,  # [B, H]
    *,
    reverse: bool,
) -> tuple[Tensor, Tensor]:  # state after every step [N, H], after the last [B, H]
    def step(x: Tensor, states: tuple[Tensor, ...], rows: slice) -> tuple[Tensor, ...]:
        k, n = x.chunk(2, dim=1)
        (h_prev,) = states
        return (n + k * (h_prev - n),)  # (1)

    inputs = torch.cat([keep, candidate], dim=1)
    first = initial_state(h0, keep, batch_sizes, keep.shape[1])
    output, (final,) = scan(step, inputs, batch_sizes, (first,), reverse)
    return output, final
