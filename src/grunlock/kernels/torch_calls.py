"""Torch tensors as the addresses of a compiled call: what the GRU and the LSTM have in common.

Nothing here computes. Tensors are float32 on the CPU; whoever makes a call keeps them alive until it returns.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from grunlock.errors import ShapeError
from grunlock.kernels.direction import DrawnZoneout, GruDirection, LstmDirection
from grunlock.kernels.library import NativeLibrary, native_library
from grunlock.kernels.native import (
    NORM_EXTRA,
    PRECISIONS,
    Buffer,
    DirectionCall,
    LayerCall,
    Precision,
    Zoneout,
    padded,
)

TENSORS_PER_DIRECTION = 9  # direction_tensors
ABSENT = (0,) * (len(DirectionCall._fields) - TENSORS_PER_DIRECTION - 3)  # fields behind zoneout_seed
LARGE_FLOATS = 1 << 18  # a megabyte; below that the allocator keeps pages itself

Saved = list[tuple[Tensor, Tensor | None]]  # of each direction: activations, and normalised products


class Settings(NamedTuple):
    """What a layer's call needs besides tensors. reset_after: True for an LSTM."""

    library: NativeLibrary
    sizes: array[int]  # batch_sizes [T]
    num_rows: int
    reset_after: bool
    precision: Precision
    zoneouts: tuple[tuple[int, float, int], ...]  # kind, rate, seed of each direction


def compiled_for(tensor: Tensor) -> bool:
    return tensor.is_cpu and tensor.dtype is torch.float32 and native_library() is not None


@cache
def shared_library() -> NativeLibrary:
    """The library, set up to work on torch's own threads: see grunlock_use_openmp."""
    library = native_library()
    assert library is not None, "dispatch chooses this module only if there is a library"
    for path in (Path(torch.__file__).parent / "lib").glob("libgomp*"):
        runtime = ctypes.CDLL(str(path))
        functions = runtime.GOMP_parallel, runtime.omp_get_thread_num, runtime.omp_get_num_threads
        library.handle.grunlock_use_openmp(
            *(ctypes.cast(function, ctypes.c_void_p) for function in functions)
        )
    return library


def new_rows(settings: Settings, rows: int, columns: int) -> Tensor:
    """See stored_rows."""
    return stored_rows(settings.library, rows, columns)


def stored_rows(library: NativeLibrary, rows: int, columns: int) -> Tensor:
    """[rows, columns], uninitialised; large ones from the library's store, whose pages are there already."""
    if rows * columns < LARGE_FLOATS:
        return torch.empty(rows, columns)
    return torch.from_numpy(np.asarray(Buffer(library, rows, columns)))


def new_saved(
    settings: Settings, tensors: Sequence[Tensor | None], num_vectors: int, num_gates: int, num_slots: int
) -> Saved:
    """Room for what a forward leaves to its backward. num_vectors: rows of input gates that norms keep."""
    weight_hh, norm_weight = tensors[1], tensors[5]
    assert weight_hh is not None
    rows, width = settings.num_rows, padded(weight_hh.shape[1])
    floats = (rows + num_vectors) * (num_gates * width + NORM_EXTRA)
    return [
        (
            new_rows(settings, rows, num_slots * width),
            None if norm_weight is None else new_rows(settings, 1, floats),
        )
        for _ in settings.zoneouts
    ]


def layer_call(
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
        settings.sizes.buffer_info()[0],
        rows.data_ptr(),
        address(index),
        address(input_mask),
        output.data_ptr(),
    )


def direction_calls(
    settings: Settings,
    tensors: Sequence[Tensor | None],
    final: Tensor | None,
    saved: Saved | None,
    dfinal: Tensor | None,
    gradients: Sequence[Tensor | None] | None,
) -> tuple[DirectionCall, ...]:
    """tensors and gradients: TENSORS_PER_DIRECTION of each direction, one direction behind the other."""
    calls = []
    for i, zoneout in enumerate(settings.zoneouts):
        given = slice(i * TENSORS_PER_DIRECTION, (i + 1) * TENSORS_PER_DIRECTION)
        call = DirectionCall._make((*map(address, tensors[given]), *zoneout, *ABSENT))._replace(
            final=0 if final is None else final[i].data_ptr(),
            saved=0 if saved is None else saved[i][0].data_ptr(),
            saved_norm=0 if saved is None else address(saved[i][1]),
            dfinal=0 if dfinal is None else dfinal[i].data_ptr(),
        )
        if gradients is not None:
            weight_ih, weight_hh, bias_ih, bias_hh, norm_ih, norm_hh, h0, *_ = map(address, gradients[given])
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


def direction_tensors(direction: GruDirection | LstmDirection) -> tuple[Tensor | None, ...]:
    """What DirectionCall begins with, in its order."""
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


def zoneout_call(zoneout: Tensor | float | DrawnZoneout | None) -> tuple[int, float, int]:
    """Kind, rate and seed, as calls hold them; a mask goes with the tensors."""
    match zoneout:
        case None:
            return Zoneout.OFF, 0.0, 0
        case DrawnZoneout():
            return Zoneout.DRAWN, zoneout.rate, zoneout.seed
        case Tensor():
            return Zoneout.MASK, 0.0, 0
        case _:
            return Zoneout.RATE, zoneout, 0


@overload
def dense(tensor: Tensor, dtype: torch.dtype = ...) -> Tensor: ...
@overload
def dense(tensor: None, dtype: torch.dtype = ...) -> None: ...
def dense(tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> Tensor | None:
    """Row-major. Raises ShapeError for another type or device: the kernels would misread its memory."""
    if tensor is None:
        return None
    if tensor.dtype is not dtype or not tensor.is_cpu:
        raise ShapeError(
            "Tensors of one layer differ in type or device.",
            got=f"{tensor.dtype} on {tensor.device}",
            expected=f"{dtype} on cpu, as the layer's inputs",
            cure="convert the model and its inputs alike",
        )
    return tensor if tensor.is_contiguous() else tensor.contiguous()


def address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def with_rows(values: Tensor) -> Tensor:
    """As it is if units lie side by side, else copied. Raises ShapeError for another type or device."""
    if values.dtype is torch.float32 and values.is_cpu and values.stride(1) == 1 and values.stride(0) > 0:
        return values
    return dense(values)
