"""The oracle: GRU and LSTM over packed sequences in plain torch, one readable line per equation.

Every faster kernel must agree with this one: gru_layer and lstm_layer are what layers call, the scans
below them hold the equations. It draws no random numbers of its own: dropout comes as masks, zoneout as
a mask or as the seed of one. Gradients are autograd's.

Packed rows and the letters B, T, N, U, D, H are explained in grunlock/shapes.py.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from grunlock.kernels import NORM_EPS
from grunlock.kernels.counter_random import zoneout_bits
from grunlock.kernels.direction import DrawnZoneout, GruDirection, LstmDirection


def gru_layer(
    rows: Tensor,  # [U, D] input vectors
    index: Tensor | None,  # [N] int64: packed row n reads rows[index[n]]; None: row n reads rows[n]
    batch_sizes: Sequence[int],  # [T]
    directions: Sequence[GruDirection],  # forward in time, then backward if there are two
    *,
    input_mask: Tensor | None = None,  # [B, D] 0 or 1 / (1 - p): on every input of a sequence
    reset_after: bool = True,
    precision: Literal["float32", "bfloat16"] = "float32",  # a permission; this kernel makes no use of it
) -> tuple[Tensor, Tensor]:  # [N, directions * H] states after every step, [directions, B, H] after the last
    """One GRU layer, all its directions: inputs projected, then gru_scan.

    What is projected is each of the U vectors, and the results are spread over the rows that read them;
    with an input_mask every row is a vector of its own and is projected by itself.
    """
    if input_mask is not None:
        rows, index = mask_inputs(rows, index, batch_sizes, input_mask), None
    outputs, finals = [], []
    for place, direction in enumerate(directions):
        gates, size = input_gates(rows, index, direction), direction.weight_hh.shape[1]
        output, final = gru_scan(
            gates,
            batch_sizes,
            direction.weight_hh,
            direction.bias_hh,
            initial_state(direction.h0, gates, batch_sizes, size),
            reverse=bool(place),
            reset_after=reset_after,
            state_mask=direction.state_mask,
            zoneout=drawn(direction.zoneout, gates, size),
            norm_weight=direction.norm_weight_hh,
        )
        outputs.append(output)
        finals.append(final)
    return torch.cat(outputs, dim=1), torch.stack(finals)


def lstm_layer(
    rows: Tensor,  # [U, D]
    index: Tensor | None,  # [N] int64
    batch_sizes: Sequence[int],  # [T]
    directions: Sequence[LstmDirection],
    *,
    input_mask: Tensor | None = None,  # [B, D]
    precision: Literal["float32", "bfloat16"] = "float32",  # see gru_layer
) -> tuple[Tensor, Tensor, Tensor]:  # [N, directions * H], final h and final c [directions, B, H]
    """One LSTM layer, all its directions; see gru_layer."""
    if input_mask is not None:
        rows, index = mask_inputs(rows, index, batch_sizes, input_mask), None
    outputs, hidden, cells = [], [], []
    for place, direction in enumerate(directions):
        gates, size = input_gates(rows, index, direction), direction.weight_hh.shape[1]
        output, h, c = lstm_scan(
            gates,
            batch_sizes,
            direction.weight_hh,
            direction.bias_hh,
            initial_state(direction.h0, gates, batch_sizes, size),
            initial_state(direction.c0, gates, batch_sizes, size),
            reverse=bool(place),
            state_mask=direction.state_mask,
            zoneout=drawn(direction.zoneout, gates, size),
            cell_zoneout=drawn(direction.cell_zoneout, gates, size),
            norm_weight=direction.norm_weight_hh,
        )
        outputs.append(output)
        hidden.append(h)
        cells.append(c)
    return torch.cat(outputs, dim=1), torch.stack(hidden), torch.stack(cells)


def mask_inputs(rows: Tensor, index: Tensor | None, batch_sizes: Sequence[int], mask: Tensor) -> Tensor:
    """[N, D]: the vector that each packed row reads, times the mask [B, D] of the row's sequence."""
    spread = rows if index is None else rows.index_select(0, index)
    return spread * torch.cat([mask[:active] for active in batch_sizes])


def input_gates(rows: Tensor, index: Tensor | None, direction: GruDirection | LstmDirection) -> Tensor:
    """[N, gH]: weight_ih @ x + bias_ih, the product layer-normalised per gate if norm_weight_ih is given."""
    weight, bias = direction.weight_ih, direction.bias_ih
    if direction.norm_weight_ih is None:
        gates = functional.linear(rows, weight, bias)
    else:
        hidden_size = direction.weight_hh.shape[1]
        gates = normalize_gates(functional.linear(rows, weight), direction.norm_weight_ih, hidden_size)
        gates = gates if bias is None else gates + bias
    return gates if index is None else gates.index_select(0, index)


def initial_state(given: Tensor | None, gates: Tensor, batch_sizes: Sequence[int], size: int) -> Tensor:
    """[B, H]: as given, or zeros."""
    return gates.new_zeros(batch_sizes[0], size) if given is None else given


def drawn(zoneout: Tensor | float | DrawnZoneout | None, gates: Tensor, size: int) -> Tensor | float | None:
    """Zoneout as the scans take it: a seed becomes its mask [N, H]."""
    if not isinstance(zoneout, DrawnZoneout):
        return zoneout
    bits = zoneout_bits(zoneout.seed, len(gates), size, zoneout.rate)
    return torch.from_numpy(bits).to(gates)


def gru_scan(
    input_gates: Tensor,  # [N, 3H]  weight_ih @ x + bias_ih for every packed row
    batch_sizes: Sequence[int],  # [T]  sequences still running at each step
    weight_hh: Tensor,  # [3H, H]
    bias_hh: Tensor | None,  # [3H]
    h0: Tensor,  # [B, H]  state before the first step, longest sequence first
    *,
    reverse: bool = False,
    reset_after: bool = True,
    state_mask: Tensor | None = None,  # [B, H]  0 or 1 / (1 - p), one mask per sequence
    zoneout: Tensor | float | None = None,  # [N, H] of 0 / 1 in training, the rate at inference
    norm_weight: Tensor | None = None,  # [3H]  gain of the layer norm on weight_hh @ h
) -> tuple[Tensor, Tensor]:  # [N, H] state after every step, [B, H] state after the last
    """Run one GRU layer in one direction.

    One step of one sequence (`*` is elementwise; blocks follow GATE_ORDER; m is state_mask):

        (1)  a = weight_hh @ (m * h_prev) + bias_hh     splits into a_r, a_z, a_n
        (2)  r = sigmoid(x_r + a_r)                     reset: 0 hides the past from the candidate
        (3)  z = sigmoid(x_z + a_z)                     update: 1 keeps the old state
        (4)  n = tanh(x_n + r * a_n)                    reset_after=True: torch, cuDNN, Keras default
             n = tanh(x_n + weight_hn @ (r * m * h_prev) + bias_hn)   reset_after=False: Cho 2014
        (5)  h = n + z * (h_prev - n)                   same as (1 - z) * n + z * h_prev
        (6)  h = h + k * (h_prev - h)                   zoneout k: 1 keeps the old unit

    With norm_weight each gate's block of (1) is layer-normalised before its bias (Ba 2016):
    a_g = norm_weight_g * (u - mean(u)) / sqrt(var(u) + eps) + bias_g, with u = weight_hg @ (m * h_prev).
    """
    hidden_size = weight_hh.shape[1]

    def product(state: Tensor, first: int, last: int) -> Tensor:  # (1) for gates first..last-1
        rows = slice(first * hidden_size, last * hidden_size)
        return recurrent_product(
            state,
            weight_hh[rows],
            None if bias_hh is None else bias_hh[rows],
            None if norm_weight is None else norm_weight[rows],
        )

    def step(x: Tensor, states: tuple[Tensor, ...], rows: slice) -> tuple[Tensor, ...]:
        (h_prev,) = states
        x_r, x_z, x_n = x.chunk(3, dim=1)
        masked = h_prev if state_mask is None else h_prev * state_mask[: len(h_prev)]
        a_r, a_z, *a_n = product(masked, 0, 3 if reset_after else 2).chunk(3 if reset_after else 2, dim=1)
        r = torch.sigmoid(x_r + a_r)  # (2)
        z = torch.sigmoid(x_z + a_z)  # (3)
        n = torch.tanh(x_n + (r * a_n[0] if reset_after else product(r * masked, 2, 3)))  # (4)
        h = n + z * (h_prev - n)  # (5)
        return (zone_out(h, h_prev, zoneout, rows),)  # (6)

    output, (final,) = scan(step, input_gates, batch_sizes, (h0,), reverse)
    return output, final


def lstm_scan(
    input_gates: Tensor,  # [N, 4H]
    batch_sizes: Sequence[int],  # [T]
    weight_hh: Tensor,  # [4H, H]
    bias_hh: Tensor | None,  # [4H]
    h0: Tensor,  # [B, H]
    c0: Tensor,  # [B, H]
    *,
    reverse: bool = False,
    state_mask: Tensor | None = None,  # [B, H]
    zoneout: Tensor | float | None = None,  # [N, H]: on the hidden state
    cell_zoneout: Tensor | float | None = None,  # [N, H]: on the cell state
    norm_weight: Tensor | None = None,  # [4H]
) -> tuple[Tensor, Tensor, Tensor]:  # [N, H], final h [B, H], final c [B, H]
    """Run one LSTM layer in one direction (blocks follow LSTM_GATE_ORDER, as in torch.nn.LSTM).

        (1)  a = x + weight_hh @ (m * h_prev) + bias_hh
        (2)  i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
        (3)  g = tanh(a_g)
        (4)  c = f * c_prev + i * g          then zoneout against c_prev
        (5)  h = o * tanh(c)                 then zoneout against h_prev

    norm_weight acts as in gru_scan, on each gate's block of the recurrent product.
    """

    def step(x: Tensor, states: tuple[Tensor, ...], rows: slice) -> tuple[Tensor, ...]:
        h_prev, c_prev = states
        masked = h_prev if state_mask is None else h_prev * state_mask[: len(h_prev)]
        a = x + recurrent_product(masked, weight_hh, bias_hh, norm_weight)  # (1)
        a_i, a_f, a_g, a_o = a.chunk(4, dim=1)
        i, f, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)  # (2)
        g = torch.tanh(a_g)  # (3)
        c = zone_out(f * c_prev + i * g, c_prev, cell_zoneout, rows)  # (4)
        h = zone_out(o * torch.tanh(c), h_prev, zoneout, rows)  # (5)
        return h, c

    output, (h, c) = scan(step, input_gates, batch_sizes, (h0, c0), reverse)
    return output, h, c


def recurrent_product(
    state: Tensor, weight: Tensor, bias: Tensor | None, norm_weight: Tensor | None
) -> Tensor:
    """[b, H] -> [b, gH]: weight @ state, layer-normalised per gate if norm_weight is given, plus bias."""
    if norm_weight is None:
        return functional.linear(state, weight, bias)
    product = normalize_gates(functional.linear(state, weight), norm_weight, weight.shape[1])
    return product if bias is None else product + bias


def normalize_gates(gates: Tensor, norm_weight: Tensor, hidden_size: int) -> Tensor:
    """Layer norm over each gate's H values, gates [n, gH], gain norm_weight [gH], no shift."""
    blocks = gates.reshape(len(gates), -1, hidden_size)  # [n, g, H]
    blocks = functional.layer_norm(blocks, (hidden_size,), eps=NORM_EPS)
    return blocks.flatten(1) * norm_weight


def zone_out(new: Tensor, old: Tensor, keep: Tensor | float | None, rows: slice) -> Tensor:
    """new + k * (old - new), with k a packed mask [N, H] or one rate."""
    if keep is None:
        return new
    return new + (keep if isinstance(keep, float) else keep[rows]) * (old - new)


def scan(
    step: Callable[[Tensor, tuple[Tensor, ...], slice], tuple[Tensor, ...]],
    inputs: Tensor,  # [N, gH]
    batch_sizes: Sequence[int],
    initial: tuple[Tensor, ...],  # each [B, H]
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Apply `step` to every time step's rows; the first state is the output.

    Forward in time, sequences leave at the bottom as they end. Backward in time, they join at the
    bottom, each with its own initial state.
    """
    ends = [0]
    for size in batch_sizes:
        ends.append(ends[-1] + size)
    outputs: list[Tensor] = []
    finished: list[tuple[Tensor, ...]] = []
    states = tuple(state[:0] for state in initial) if reverse else initial
    for t in reversed(range(len(batch_sizes))) if reverse else range(len(batch_sizes)):
        active, running = batch_sizes[t], len(states[0])
        if active > running:  # reverse only
            states = tuple(
                torch.cat([state, first[running:active]])
                for state, first in zip(states, initial, strict=True)
            )
        elif active < running:  # forward only
            finished.append(tuple(state[active:] for state in states))
            states = tuple(state[:active] for state in states)
        rows = slice(ends[t], ends[t + 1])
        states = step(inputs[rows], states, rows)
        outputs.append(states[0])
    finished.append(states)
    final = tuple(torch.cat(parts[::-1]) for parts in zip(*finished, strict=True))
    return torch.cat(outputs[::-1] if reverse else outputs), final
