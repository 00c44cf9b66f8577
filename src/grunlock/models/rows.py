"""What stands in front of an encoder's layers: norms and dropout on packed rows."""

from dataclasses import replace
from typing import Literal, TypeVar

from torch import nn
from torch.nn.utils.rnn import PackedSequence

from grunlock.kernels import NORM_EPS
from grunlock.layers.dropout import drop_variational
from grunlock.layers.norm import PackedBatchNorm
from grunlock.layers.packing import IndexedRows

Rows = TypeVar("Rows", bound=IndexedRows | PackedSequence)


def build_norm(kind: Literal["batch", "layer"], size: int) -> nn.Module:
    return PackedBatchNorm(size) if kind == "batch" else nn.LayerNorm(size, eps=NORM_EPS)


def normalize(norm: nn.Module, rows: Rows) -> Rows:
    """Norm in front of a layer. Equal rows are normalised once; their number counts in statistics."""
    if isinstance(rows, PackedSequence):
        return rows._replace(data=norm(rows.data))
    counts = (rows.counts(),) if isinstance(norm, PackedBatchNorm) else ()
    return replace(rows, vectors=norm(rows.vectors, *counts))


def drop_inputs(rows: IndexedRows, rate: float, *, training: bool) -> IndexedRows:
    """One variational mask per sequence: equal vectors then differ, so each row stands for itself."""
    if not training or rate == 0.0:
        return rows
    dropped = drop_variational(rows.spread(), rows.batch_sizes.tolist(), rate, training)
    return IndexedRows.of_rows(dropped, rows.batch_sizes)
