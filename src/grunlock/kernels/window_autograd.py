"""The window product as a differentiable function of torch tensors.

Compiled for float32 on the CPU, the oracle window_reference.py for everything else. Equations are in
window.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grunlock.kernels import window_reference
from grunlock.kernels.torch_calls import address, compiled_for, dense, shared_library, stored_rows, with_rows
from grunlock.kernels.window import WindowCall, check_sizes, native_backward, native_forward
from grunlock.shapes import check_batch_sizes


def window_product(
    vectors: Tensor,  # [U, D]
    index: Tensor,  # [N] int64, each in [0, U)
    batch_sizes: Sequence[int],  # [T]
    offsets: Sequence[int],  # [K]
    weight: Tensor,  # [K * O, D], W_k one below the other
    bias: Tensor,  # [O]
) -> Tensor:  # [N, O]
    """(1). Compiled, it has no gradients of gradients. Raises ShapeError."""
    check_sizes(vectors.shape, weight.shape, bias.shape, offsets)
    check_batch_sizes(batch_sizes, len(index))
    if not compiled_for(vectors):
        return window_reference.window_product(vectors, index, batch_sizes, offsets, weight, bias)
    apply = _WindowProduct.apply
    sizes = array("q", batch_sizes), array("q", offsets)
    result: Tensor = apply(*sizes, index, vectors, weight, bias)  # type: ignore[no-untyped-call]
    return result


class _WindowProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        sizes: array[int],
        offsets: array[int],
        index: Tensor,
        vectors: Tensor,
        weight: Tensor,
        bias: Tensor,
    ) -> Tensor:
        index = dense(index, torch.int64)
        vectors, weight, bias = dense(vectors), dense(weight), dense(bias)
        output = stored_rows(shared_library(), len(index), len(bias))
        call = _call(sizes, offsets, index, vectors, weight, bias)
        native_forward(shared_library(), call._replace(output=output.data_ptr()))
        ctx.sizes, ctx.offsets = sizes, offsets
        ctx.save_for_backward(index, vectors, weight, bias)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, doutput: Tensor) -> tuple[Tensor | None, ...]:
        index, vectors, weight, bias = ctx.saved_tensors
        doutput = with_rows(doutput)
        wanted = ctx.needs_input_grad[3:]
        dvectors = stored_rows(shared_library(), *vectors.shape) if wanted[0] else None
        dweight, dbias = (
            torch.empty_like(values) if want else None
            for values, want in zip((weight, bias), wanted[1:], strict=True)
        )
        native_backward(
            shared_library(),
            _call(ctx.sizes, ctx.offsets, index, vectors, weight, bias)._replace(
                doutput=doutput.data_ptr(),
                doutput_stride=doutput.stride(0),
                dvectors=address(dvectors),
                dweight=address(dweight),
                dbias=address(dbias),
            ),
        )
        return (None, None, None, dvectors, dweight, dbias)


def _call(
    sizes: array[int], offsets: array[int], index: Tensor, vectors: Tensor, weight: Tensor, bias: Tensor
) -> WindowCall:
    return WindowCall(
        sizes=sizes,
        offsets=offsets,
        num_rows=len(index),
        num_vectors=len(vectors),
        input_size=vectors.shape[1],
        output_size=len(bias),
        vectors=vectors.data_ptr(),
        row_index=index.data_ptr(),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
    )
