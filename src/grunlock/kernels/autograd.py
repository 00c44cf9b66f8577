"""The compiled GRU layer as a differentiable function of torch tensors. Its oracle is reference.gru_layer."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grunlock.kernels.direction import GruDirection
from grunlock.kernels.native import Precision, gru_backward, gru_forward
from grunlock.kernels.torch_calls import (
    Saved,
    Settings,
    address,
    dense,
    direction_calls,
    direction_tensors,
    layer_call,
    new_rows,
    new_saved,
    shared_library,
    zoneout_call,
)

NUM_GATES = 3
SAVED_SLOTS = 4  # of a row: see Slot in native/src/isa/gru_backward.hpp


def gru_layer(
    rows: Tensor,
    index: Tensor | None,
    batch_sizes: Sequence[int],
    directions: Sequence[GruDirection],
    *,
    input_mask: Tensor | None = None,
    reset_after: bool = True,
    precision: Precision = "float32",
) -> tuple[Tensor, Tensor]:  # output [N, directions * H], final [directions, B, H]
    """See reference.gru_layer. float32 on the CPU; no gradients of gradients, and none for masks."""
    settings = Settings(
        shared_library(),
        array("q", batch_sizes),
        len(rows) if index is None else len(index),
        reset_after,
        precision,
        tuple([zoneout_call(direction.zoneout) for direction in directions]),
    )
    tensors: list[Tensor | None] = []
    for direction in directions:
        tensors += direction_tensors(direction)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (rows, *tensors)):
        apply = _GruLayer.apply
        output, final = apply(settings, rows, index, input_mask, *tensors)  # type: ignore[no-untyped-call]
        return output, final
    given = [dense(tensor) for tensor in tensors]
    output, final, _ = _forward(settings, dense(rows), dense(index, torch.int64), dense(input_mask), given)
    return output, final


class _GruLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        settings: Settings,
        rows: Tensor,
        index: Tensor | None,
        input_mask: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        rows, index, input_mask = dense(rows), dense(index, torch.int64), dense(input_mask)
        given = [dense(tensor) for tensor in tensors]
        output, final, saved = _forward(settings, rows, index, input_mask, given, train=True)
        ctx.settings, ctx.saved_rows = settings, saved
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output, rows, index, input_mask, *given)
        return output, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, doutput: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
        output, rows, index, input_mask, *tensors = ctx.saved_tensors
        settings: Settings = ctx.settings
        if ctx.saved_rows is None:  # a second backward through the same graph: the first used them up
            *_, ctx.saved_rows = _forward(settings, rows, index, input_mask, tensors, train=True)
        doutput = torch.zeros_like(output) if doutput is None else doutput.contiguous()
        dfinal = None if dfinal is None else dfinal.contiguous()
        drows = new_rows(settings, *rows.shape) if ctx.needs_input_grad[1] else None
        wanted = ctx.needs_input_grad[4:]
        gradients = [
            torch.empty_like(tensor) if tensor is not None and want else None
            for tensor, want in zip(tensors, wanted, strict=True)
        ]
        directions = direction_calls(settings, tensors, None, ctx.saved_rows, dfinal, gradients)
        layer = layer_call(settings, rows, index, input_mask, output, len(directions), tensors[1].shape[1])
        gru_backward(
            settings.library, layer._replace(doutput=doutput.data_ptr(), drows=address(drows)), directions
        )
        ctx.saved_rows = None
        return (None, drows, None, None, *gradients)


def _forward(
    settings: Settings,
    rows: Tensor,
    index: Tensor | None,
    input_mask: Tensor | None,
    tensors: Sequence[Tensor | None],
    *,
    train: bool = False,
) -> tuple[Tensor, Tensor, Saved | None]:
    num_directions = len(settings.zoneouts)
    assert tensors[1] is not None
    hidden_size = tensors[1].shape[1]
    output = new_rows(settings, settings.num_rows, num_directions * hidden_size)
    final = rows.new_empty(num_directions, settings.sizes[0], hidden_size)
    saved = None
    if train:
        vectors = len(rows) if input_mask is None else settings.num_rows
        saved = new_saved(settings, tensors, vectors, NUM_GATES, SAVED_SLOTS)
    directions = direction_calls(settings, tensors, final, saved, None, None)
    layer = layer_call(settings, rows, index, input_mask, output, num_directions, hidden_size)
    gru_forward(settings.library, layer, directions)
    return output, final, saved
