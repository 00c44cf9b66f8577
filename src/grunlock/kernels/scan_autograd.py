"""The gated recurrence as a differentiable function of torch tensors.

Compiled for float32 on the CPU, the oracle scan_reference.py for everything else. Equations and cells are in
scan.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grunlock.errors import ShapeError
from grunlock.kernels import scan_reference
from grunlock.kernels.scan import (
    SCAN_GATES,
    Cell,
    Rows,
    ScanCall,
    native_backward,
    native_forward,
)
from grunlock.kernels.torch_calls import (
    address,
    compiled_for,
    dense,
    shared_library,
    stored_rows,
    with_rows,
)
from grunlock.shapes import check_batch_sizes, check_shape


def gated_scan(
    gates: Tensor,  # [N, directions * gH] before activation, of each direction in turn, as SCAN_GATES has it
    batch_sizes: Sequence[int],  # [T]
    cell: Cell,
    h0: Tensor | None = None,  # [directions, B, H]
    *,
    num_directions: int = 1,  # forward in time, then backward if there are two
) -> tuple[Tensor, Tensor]:  # output [N, directions * H], state after the last step [directions, B, H]
    """The recurrence on one product of all gates.

    Compiled, it has no gradients of gradients. Raises ShapeError.
    """
    sizes = array("q", batch_sizes)
    check_shape("gates", tuple(gates.shape), (None, None), "[N, directions * gH]")
    check_batch_sizes(sizes, len(gates))
    num_blocks = num_directions * len(SCAN_GATES[cell])
    if num_directions not in (1, 2) or gates.shape[1] % num_blocks != 0:
        raise ShapeError(
            f"`gates` cannot be those of the cell {cell} in one or two directions.",
            got=f"{gates.shape[1]} columns for {num_directions} directions",
            expected=f"{', '.join(SCAN_GATES[cell])} of each direction",
        )
    if h0 is not None:
        shape = (num_directions, sizes[0], gates.shape[1] // num_blocks)
        check_shape("h0", tuple(h0.shape), shape, "[directions, B, H]")
    if not compiled_for(gates):
        return scan_reference.gated_scan(gates, sizes, cell, h0, num_directions=num_directions)
    apply = _Scan.apply
    output, final = apply(cell, sizes, num_directions, h0, gates)  # type: ignore[no-untyped-call]
    return output, final


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        sizes: array[int],
        num_directions: int,
        h0: Tensor | None,  # [directions, B, H]
        gates: Tensor,  # [N, directions * gH]
    ) -> tuple[Tensor, Tensor]:
        h0, gates = dense(h0), with_rows(gates)
        size = gates.shape[1] // (num_directions * len(SCAN_GATES[cell]))
        state = stored_rows(shared_library(), len(gates), num_directions * size)
        output = stored_rows(shared_library(), *state.shape) if cell == "qrnn" else state
        final = gates.new_empty(num_directions, sizes[0], size)
        for place, call in enumerate(_calls(cell, sizes, h0, gates, state, final)):
            shown = _columns(output, place, size) if cell == "qrnn" else Rows()
            native_forward(shared_library(), call._replace(output=shown, final=final[place].data_ptr()))
        ctx.cell, ctx.sizes = cell, sizes
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h0, gates, state, final)
        return output, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, doutput: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
        h0, gates, state, final = ctx.saved_tensors
        size = final.shape[2]
        doutput = None if doutput is None else with_rows(doutput)
        dfinal = None if dfinal is None else dfinal.contiguous()
        dgates = stored_rows(shared_library(), *gates.shape)
        dh0 = None if h0 is None or not ctx.needs_input_grad[3] else torch.empty_like(h0)
        for place, call in enumerate(_calls(ctx.cell, ctx.sizes, h0, gates, state, final)):
            native_backward(
                shared_library(),
                call._replace(
                    doutput=Rows() if doutput is None else _columns(doutput, place, size),
                    dfinal=address(None if dfinal is None else dfinal[place]),
                    dgates=_gate_rows(ctx.cell, dgates, place, size),
                    dh0=address(None if dh0 is None else dh0[place]),
                ),
            )
        return (None, None, None, dh0, dgates)


def _calls(
    cell: Cell, sizes: array[int], h0: Tensor | None, gates: Tensor, state: Tensor, final: Tensor
) -> Iterator[ScanCall]:
    """One for each direction, with what the forward and the backward have in common."""
    num_directions, _, size = final.shape
    for place in range(num_directions):
        yield ScanCall(
            cell=cell,
            sizes=sizes,
            num_rows=len(gates),
            hidden_size=size,
            reverse=place == 1,
            gates=_gate_rows(cell, gates, place, size),
            h0=address(None if h0 is None else h0[place]),
            state=_columns(state, place, size),
        )


def _gate_rows(cell: Cell, gates: Tensor, place: int, size: int) -> list[Rows]:
    num_gates = len(SCAN_GATES[cell])
    return [_columns(gates, place * num_gates + gate, size) for gate in range(num_gates)]


def _columns(values: Tensor, block: int, size: int) -> Rows:
    """Columns [block * size, (block + 1) * size) of values."""
    return Rows(values.data_ptr() + block * size * values.element_size(), values.stride(0))
