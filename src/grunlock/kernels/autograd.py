"""The compiled GRU layer as a differentiable function of torch tensors. Its oracle is reference.gru_layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grunlock.kernels.direction import DrawnZoneout, GruDirection
from grunlock.kernels.library import NativeLibrary, native_library
from grunlock.kernels.native import (
    NORM_EXTRA,
    PRECISIONS,
    Buffer,
    DirectionCall,
    LayerCall,
    Precision,
    Zoneout,
    gru_backward,
    gru_forward,
    padded,
)

TENSORS_PER_DIRECTION = 9  # _tensors
ABSENT = (0,) * (len(DirectionCall._fields) - TENSORS_PER_DIRECTION - 3)  # fields behind zoneout_seed
LARGE_FLOATS = 1 << 18  # a megabyte; below that the allocator keeps pages itself


class Settings(NamedTuple):
    """What a layer's call needs besides tensors."""

    library: NativeLibrary
    sizes: np.ndarray[Any, np.dtype[np.int64]]  # batch_sizes [T]
    num_rows: int
    reset_after: bool
    precision: Precision
    zoneouts: tuple[tuple[int, float, int], ...]  # kind, rate, seed of each direction


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
    library = native_library()
    assert library is not None, "dispatch chooses this module only if there is a library"
    settings = Settings(
        library,
        np.asarray(batch_sizes, dtype=np.int64),
        len(rows) if index is None else len(index),
        reset_after,
        precision,
        tuple(_zoneout(direction.zoneout) for direction in directions),
    )
    tensors: list[Tensor | None] = []
    for direction in directions:
        tensors += _tensors(direction)
    if torch.is_grad_enabled() and (
        rows.requires_grad or any(t is not None and t.requires_grad for t in tensors)
    ):
        output, final = _GruLayer.apply(settings, rows, index, input_mask, *tensors)  # type: ignore[no-untyped-call]
        return output, final
    given = [_maybe_dense(tensor) for tensor in (index, input_mask, *tensors)]
    output, final, _ = _forward(settings, _dense(rows), given[0], given[1], given[2:])
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
        vectors = _dense(rows)
        given = [_maybe_dense(tensor) for tensor in (index, input_mask, *tensors)]
        output, final, saved = _forward(settings, vectors, given[0], given[1], given[2:], train=True)
        ctx.settings, ctx.saved_rows = settings, saved
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output, vectors, *given)
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
        drows = _new(settings, *rows.shape) if ctx.needs_input_grad[1] else None
        wanted = ctx.needs_input_grad[4:]
        gradients = [
            torch.empty_like(tensor) if tensor is not None and want else None
            for tensor, want in zip(tensors, wanted, strict=True)
        ]
        directions = _direction_calls(settings, tensors, None, ctx.saved_rows, dfinal, gradients)
        layer = _layer_call(settings, rows, index, input_mask, output, len(directions), tensors[1].shape[1])
        gru_backward(
            settings.library, layer._replace(doutput=doutput.data_ptr(), drows=_at(drows)), directions
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
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor | None]] | None]:
    num_directions = len(settings.zoneouts)
    weight_hh, norm_weight = tensors[1], tensors[5]
    assert weight_hh is not None
    hidden_size = weight_hh.shape[1]
    width = padded(hidden_size)
    output = _new(settings, settings.num_rows, num_directions * hidden_size)
    final = rows.new_empty(num_directions, int(settings.sizes[0]), hidden_size)
    saved = None
    if train:
        vectors = len(rows) if input_mask is None else settings.num_rows
        norm_floats = settings.num_rows * (6 * width + NORM_EXTRA) + vectors * (3 * width + NORM_EXTRA)
        saved = [
            (
                _new(settings, settings.num_rows, 4 * width),
                None if norm_weight is None else _new(settings, 1, norm_floats),
            )
            for _ in range(num_directions)
        ]
    directions = _direction_calls(settings, tensors, final, saved, None, None)
    layer = _layer_call(settings, rows, index, input_mask, output, num_directions, hidden_size)
    gru_forward(settings.library, layer, directions)
    return output, final, saved


def _new(settings: Settings, rows: int, columns: int) -> Tensor:
    """[rows, columns], uninitialised; large ones from the library's store, whose pages are there already."""
    if rows * columns < LARGE_FLOATS:
        return torch.empty(rows, columns)
    return torch.from_numpy(np.asarray(Buffer(settings.library, rows, columns)))


def _layer_call(
    settings: Settings,
    rows: Tensor,
    index: Tensor | None,
    input_mask: Tensor | None,
    output: Tensor,
    num_directions: int,
    hidden_size: int,
) -> LayerCall:
    return LayerCall(
        len(settings.sizes),
        settings.num_rows,
        len(rows),
        rows.shape[1],
        hidden_size,
        num_directions,
        settings.reset_after,
        PRECISIONS[settings.precision],
        settings.sizes.ctypes.data,
        rows.data_ptr(),
        _at(index),
        _at(input_mask),
        output.data_ptr(),
    )


def _direction_calls(
    settings: Settings,
    tensors: Sequence[Tensor | None],
    final: Tensor | None,
    saved: list[tuple[Tensor, Tensor | None]] | None,
    dfinal: Tensor | None,
    gradients: Sequence[Tensor | None] | None,
) -> tuple[DirectionCall, ...]:
    calls = []
    for i, zoneout in enumerate(settings.zoneouts):
        given = slice(i * TENSORS_PER_DIRECTION, (i + 1) * TENSORS_PER_DIRECTION)
        call = DirectionCall._make((*map(_at, tensors[given]), *zoneout, *ABSENT))._replace(
            final=0 if final is None else final[i].data_ptr(),
            saved=0 if saved is None else saved[i][0].data_ptr(),
            saved_norm=0 if saved is None else _at(saved[i][1]),
            dfinal=0 if dfinal is None else dfinal[i].data_ptr(),
        )
        if gradients is not None:
            weight_ih, weight_hh, bias_ih, bias_hh, norm_ih, norm_hh, h0, *_ = map(_at, gradients[given])
            call = call._replace(
                dweight_ih=weight_ih,
                dweight_hh=weight_hh,
                dbias_ih=bias_ih,
                dbias_hh=bias_hh,
                dnorm_weight_ih=norm_ih,
                dnorm_weight_hh=norm_hh,
                dh0=h0,
            )
        calls.append(call)
    return tuple(calls)


def _tensors(direction: GruDirection) -> tuple[Tensor | None, ...]:
    mask = direction.zoneout if isinstance(direction.zoneout, Tensor) else None
    return (
        direction.weight_ih,
        direction.weight_hh,
        direction.bias_ih,
        direction.bias_hh,
        direction.norm_weight_ih,
        direction.norm_weight_hh,
        direction.h0,
        direction.state_mask,
        mask,
    )


def _zoneout(zoneout: Tensor | float | DrawnZoneout | None) -> tuple[int, float, int]:
    match zoneout:
        case None:
            return Zoneout.OFF, 0.0, 0
        case DrawnZoneout():
            return Zoneout.DRAWN, zoneout.rate, zoneout.seed
        case Tensor():
            return Zoneout.MASK, 0.0, 0
        case _:
            return Zoneout.RATE, zoneout, 0


def _dense(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous()


def _maybe_dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else _dense(tensor)


def _at(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
