"""The gated recurrence as a differentiable function of torch tensors.

Compiled for float32 on the CPU, the oracle scan_reference.py for everything else. Equations and cells are in
scan.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
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
from grunlock.kernels.torch_calls import compiled_for, dense, shared_library, stored_rows, with_rows
from grunlock.shapes import check_batch_sizes, check_shape


def linear_scan(
    keep: Tensor,  # [N, H] from 0 to 1: 1 keeps the old state
    candidate: Tensor,  # [N, H]
    batch_sizes: Sequence[int],  # [T]
    h0: Tensor | None = None,  # [B, H]
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:  # state after every step [N, H], after the last [B, H]
    """h = keep * h_prev + (1 - keep) * candidate in one direction.

    Compiled, it has no gradients of gradients. Raises ShapeError.
    """
    sizes = array("q", batch_sizes)
    check_shape("keep", tuple(keep.shape), (None, None), "[N, H]")
    check_shape("candidate", tuple(candidate.shape), tuple(keep.shape), "[N, H]")
    check_batch_sizes(sizes, len(keep))
    if h0 is not None:
        check_shape("h0", tuple(h0.shape), (sizes[0], keep.shape[1]), "[B, H]")
    if not compiled_for(keep):
        return scan_reference.linear_scan(keep, candidate, sizes, h0, reverse=reverse)
    first = None if h0 is None else h0[None]
    apply = _Scan.apply
    output, final = apply("given", sizes, (reverse,), first, keep, candidate)  # type: ignore[no-untyped-call]
    return output, final[0]


def gated_scan(
    gates: Tensor,  # [N, directions * gH] before activation, of each direction in turn, as SCAN_GATES has it
    batch_sizes: Sequence[int],  # [T]
    cell: Cell,
    h0: Tensor | None = None,  # [directions, B, H]
    *,
    num_directions: int = 1,  # forward in time, then backward if there are two
) -> tuple[Tensor, Tensor]:  # [N, directions * H], [directions, B, H]
    """The recurrence with its activations, on one product of all gates. Otherwise as linear_scan."""
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
    output, final = apply(cell, sizes, (False, True)[:num_directions], h0, gates)  # type: ignore[no-untyped-call]
    return output, final


class _Scan(torch.autograd.Function):
    """arrays: one [N, directions * gH], or the gates of one direction, each [N, H]."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        sizes: array[int],
        directions: tuple[bool, ...],  # whether backward in time
        h0: Tensor | None,  # [directions, B, H]
        *arrays: Tensor,
    ) -> tuple[Tensor, Tensor]:
        h0, arrays = dense(h0), tuple(with_rows(values) for values in arrays)
        size = _hidden_size(cell, directions, arrays)
        output = stored_rows(shared_library(), len(arrays[0]), len(directions) * size)
        final = arrays[0].new_empty(len(directions), sizes[0], size)
        for place, call in enumerate(_calls(cell, sizes, directions, h0, arrays, output)):
            native_forward(shared_library(), call._replace(final=final[place].data_ptr()))
        ctx.cell, ctx.sizes, ctx.directions = cell, sizes, directions
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h0, output, *arrays)
        return output, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, doutput: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
        h0, output, *arrays = ctx.saved_tensors
        size = _hidden_size(ctx.cell, ctx.directions, arrays)
        doutput = None if doutput is None else with_rows(doutput)
        dfinal = None if dfinal is None else dfinal.contiguous()
        darrays = [stored_rows(shared_library(), *values.shape) for values in arrays]
        dh0 = None if h0 is None or not ctx.needs_input_grad[3] else torch.empty_like(h0)
        for place, call in enumerate(_calls(ctx.cell, ctx.sizes, ctx.directions, h0, arrays, output)):
            native_backward(
                shared_library(),
                call._replace(
                    doutput=Rows() if doutput is None else _columns(doutput, place, size),
                    dfinal=0 if dfinal is None else dfinal[place].data_ptr(),
                    dgates=_gate_rows(ctx.cell, darrays, place, size),
                    dh0=0 if dh0 is None else dh0[place].data_ptr(),
                ),
            )
        return (None, None, None, dh0, *darrays)


def _calls(
    cell: Cell,
    sizes: array[int],
    directions: tuple[bool, ...],
    h0: Tensor | None,
    arrays: Sequence[Tensor],
    output: Tensor,
) -> list[ScanCall]:
    """One for each direction, with what the forward and the backward have in common."""
    size = _hidden_size(cell, directions, arrays)
    return [
        ScanCall(
            cell=cell,
            sizes=sizes,
            num_rows=len(output),
            hidden_size=size,
            reverse=reverse,
            gates=_gate_rows(cell, arrays, place, size),
            h0=0 if h0 is None else h0[place].data_ptr(),
            output=_columns(output, place, size),
        )
        for place, reverse in enumerate(directions)
    ]


def _hidden_size(cell: Cell, directions: tuple[bool, ...], arrays: Sequence[Tensor]) -> int:
    columns = sum(values.shape[1] for values in arrays)
    return columns // (len(directions) * len(SCAN_GATES[cell]))


def _gate_rows(cell: Cell, arrays: Sequence[Tensor], place: int, size: int) -> list[Rows]:
    if len(arrays) > 1:
        return [_columns(values, 0, size) for values in arrays]
    num_gates = len(SCAN_GATES[cell])
    return [_columns(arrays[0], place * num_gates + gate, size) for gate in range(num_gates)]


def _columns(values: Tensor, block: int, size: int) -> Rows:
    """Columns [block * size, (block + 1) * size) of values."""
    return Rows(values.data_ptr() + block * size * values.element_size(), values.stride(0))
