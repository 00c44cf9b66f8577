"""The compiled LSTM layer as a function of torch tensors. reference.lstm_layer is its oracle."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grunlock.kernels.direction import LstmDirection
from grunlock.kernels.lstm_native import CellCall, lstm_backward, lstm_forward
from grunlock.kernels.native import Precision
from grunlock.kernels.torch_calls import (
    TENSORS_PER_DIRECTION,
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

NUM_GATES = 4
SAVED_SLOTS = 5  # of a row: see LstmSlot in native/src/isa/lstm.hpp
TENSORS_PER_CELL = 2  # c0 and a zoneout mask


class LstmSettings(NamedTuple):
    """What a layer's call needs besides tensors."""

    layer: Settings
    cell_zoneouts: tuple[tuple[int, float, int], ...]  # kind, rate, seed of each direction


class Given(NamedTuple):
    """Tensors of a call, dense. Those of all directions first, then those of all cells."""

    rows: Tensor
    row_index: Tensor | None
    mask: Tensor | None
    of_directions: Sequence[Tensor | None]
    of_cells: Sequence[Tensor | None]


Finals = tuple[Tensor, Tensor]  # h and c, each [directions, B, H]


def lstm_layer(
    rows: Tensor,
    index: Tensor | None,
    batch_sizes: Sequence[int],
    directions: Sequence[LstmDirection],
    *,
    input_mask: Tensor | None = None,
    precision: Precision = "float32",
) -> tuple[Tensor, Tensor, Tensor]:  # output [N, directions * H], final h and final c [directions, B, H]
    """See reference.lstm_layer. float32 on the CPU; no gradients of gradients, and none for masks."""
    settings = LstmSettings(
        Settings(
            shared_library(),
            array("q", batch_sizes),
            len(rows) if index is None else len(index),
            True,
            precision,
            tuple([zoneout_call(direction.zoneout) for direction in directions]),
        ),
        tuple([zoneout_call(direction.cell_zoneout) for direction in directions]),
    )
    tensors: list[Tensor | None] = []
    for direction in directions:
        tensors += direction_tensors(direction)
    for direction in directions:
        mask = direction.cell_zoneout if isinstance(direction.cell_zoneout, Tensor) else None
        tensors += direction.c0, mask
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (rows, *tensors)):
        apply = _LstmLayer.apply
        output, h, c = apply(settings, rows, index, input_mask, *tensors)  # type: ignore[no-untyped-call]
        return output, h, c
    output, (h, c), _ = _forward(settings, _inputs(rows, index, input_mask, tensors))
    return output, h, c


class _LstmLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        settings: LstmSettings,
        rows: Tensor,
        index: Tensor | None,
        input_mask: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = _inputs(rows, index, input_mask, tensors)
        output, (h, c), saved = _forward(settings, inputs, train=True)
        ctx.settings, ctx.saved_rows = settings, saved
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(
            output, inputs.rows, inputs.row_index, inputs.mask, *inputs.of_directions, *inputs.of_cells
        )
        return output, h, c

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, doutput: Tensor | None, dh: Tensor | None, dc: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        output, rows, index, input_mask, *tensors = ctx.saved_tensors
        settings: LstmSettings = ctx.settings
        inputs = _inputs(rows, index, input_mask, tensors)
        if ctx.saved_rows is None:  # a second backward through the same graph: the first used them up
            *_, ctx.saved_rows = _forward(settings, inputs, train=True)
        doutput = torch.zeros_like(output) if doutput is None else doutput.contiguous()
        drows = new_rows(settings.layer, *rows.shape) if ctx.needs_input_grad[1] else None
        gradients = [
            torch.empty_like(tensor) if tensor is not None and wanted else None
            for tensor, wanted in zip(tensors, ctx.needs_input_grad[4:], strict=True)
        ]
        dh, dc = (None if gradient is None else gradient.contiguous() for gradient in (dh, dc))
        split = len(inputs.of_directions)
        of_directions, of_cells = gradients[:split], gradients[split:]
        directions = direction_calls(
            settings.layer, inputs.of_directions, None, ctx.saved_rows, dh, of_directions
        )
        layer = layer_call(
            settings.layer, rows, index, input_mask, output, len(directions), tensors[1].shape[1]
        )
        lstm_backward(
            settings.layer.library,
            layer._replace(doutput=doutput.data_ptr(), drows=address(drows)),
            directions,
            _cell_calls(settings, inputs.of_cells, None, dc, of_cells),
        )
        ctx.saved_rows = None
        return (None, drows, None, None, *gradients)


def _inputs(
    rows: Tensor, index: Tensor | None, input_mask: Tensor | None, tensors: Sequence[Tensor | None]
) -> Given:
    given = [dense(tensor) for tensor in tensors]
    split = len(given) // (TENSORS_PER_DIRECTION + TENSORS_PER_CELL) * TENSORS_PER_DIRECTION
    return Given(dense(rows), dense(index, torch.int64), dense(input_mask), given[:split], given[split:])


def _forward(
    settings: LstmSettings, inputs: Given, *, train: bool = False
) -> tuple[Tensor, Finals, Saved | None]:
    rows, layer, weight_hh = inputs.rows, settings.layer, inputs.of_directions[1]
    assert weight_hh is not None
    num_directions, hidden_size = len(layer.zoneouts), weight_hh.shape[1]
    output = new_rows(layer, layer.num_rows, num_directions * hidden_size)
    h = rows.new_empty(num_directions, layer.sizes[0], hidden_size)
    c = torch.empty_like(h)
    saved = None
    if train:
        vectors = len(rows) if inputs.mask is None else layer.num_rows
        saved = new_saved(layer, inputs.of_directions, vectors, NUM_GATES, SAVED_SLOTS)
    lstm_forward(
        layer.library,
        layer_call(layer, rows, inputs.row_index, inputs.mask, output, num_directions, hidden_size),
        direction_calls(layer, inputs.of_directions, h, saved, None, None),
        _cell_calls(settings, inputs.of_cells, c, None, None),
    )
    return output, (h, c), saved


def _cell_calls(
    settings: LstmSettings,
    tensors: Sequence[Tensor | None],
    final: Tensor | None,
    dfinal: Tensor | None,
    gradients: Sequence[Tensor | None] | None,
) -> tuple[CellCall, ...]:
    return tuple(
        CellCall(
            address(tensors[TENSORS_PER_CELL * i]),
            address(tensors[TENSORS_PER_CELL * i + 1]),
            *zoneout,
            final=0 if final is None else final[i].data_ptr(),
            dfinal=0 if dfinal is None else dfinal[i].data_ptr(),
            dc0=0 if gradients is None else address(gradients[TENSORS_PER_CELL * i]),
        )
        for i, zoneout in enumerate(settings.cell_zoneouts)
    )
