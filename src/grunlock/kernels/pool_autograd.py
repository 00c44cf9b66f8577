"""Pooling as a differentiable function of torch tensors.

Compiled for float32 on the CPU, the oracle pool_reference.py for everything else. Equations are in pool.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grunlock.kernels import pool_reference
from grunlock.kernels.pool import PoolCall, PooledPart, native_backward, native_forward
from grunlock.kernels.torch_calls import address, compiled_for, shared_library, stored_rows, with_rows
from grunlock.shapes import check_batch_sizes, check_shape


def pool_rows(
    rows: Tensor,  # [N, E]
    batch_sizes: Sequence[int],  # [T]
    parts: Sequence[PooledPart],
) -> tuple[Tensor, ...]:  # of each part [B, E]
    """(1) and (2). Compiled, they have no gradients of gradients. Raises ShapeError."""
    check_shape("rows", tuple(rows.shape), (None, None), "[N, E]")
    check_batch_sizes(batch_sizes, len(rows))
    if not compiled_for(rows):
        return pool_reference.pool_rows(rows, batch_sizes, parts)
    with_max, with_mean = "max" in parts, "mean" in parts
    highest, mean = _Pool.apply(array("q", batch_sizes), with_max, with_mean, rows)  # type: ignore[no-untyped-call]
    return tuple(highest if part == "max" else mean for part in parts)


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sizes: array[int], with_max: bool, with_mean: bool, rows: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        rows = with_rows(rows)
        highest, ties, mean = (
            rows.new_empty(sizes[0], rows.shape[1]) if wanted else None
            for wanted in (with_max, with_max, with_mean)
        )
        call = _call(sizes, rows.shape, rows, highest, ties)
        native_forward(shared_library(), call._replace(mean=address(mean)))
        ctx.sizes, ctx.shape = sizes, rows.shape
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(rows if with_max else None, highest, ties)
        return highest, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dmax: Tensor | None, dmean: Tensor | None) -> tuple[Tensor | None, ...]:
        dmax, dmean = (None if grad is None else with_rows(grad) for grad in (dmax, dmean))
        drows = stored_rows(shared_library(), *ctx.shape)
        native_backward(
            shared_library(),
            _call(ctx.sizes, ctx.shape, *ctx.saved_tensors)._replace(
                dmax=address(dmax),
                dmax_stride=0 if dmax is None else dmax.stride(0),
                dmean=address(dmean),
                dmean_stride=0 if dmean is None else dmean.stride(0),
                drows=drows.data_ptr(),
            ),
        )
        return (None, None, None, drows)


def _call(
    sizes: array[int], shape: torch.Size, rows: Tensor | None, highest: Tensor | None, ties: Tensor | None
) -> PoolCall:
    """rows: None for the backward of a mean alone, which does not read them."""
    return PoolCall(
        sizes=sizes,
        num_rows=shape[0],
        size=shape[1],
        rows=address(rows),
        rows_stride=0 if rows is None else rows.stride(0),
        max=address(highest),
        ties=address(ties),
    )
