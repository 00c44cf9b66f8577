"""A table of vectors whose gradient has only the rows that were read. Which rows to read is the caller's.

A batch reads a few thousand of a table's many rows. torch.nn.Embedding would give a gradient [V, D], nearly
all zeros, and every consumer would go through all of it. Here each backward pass gives a sparse tensor whose
ids [U] are distinct and rising, so that sums, norms and steps are those of its values [U, D].
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from grunlock.kernels.rows import row_kernel


class RowTable(nn.Module):
    """V vectors of size D, read by row or as means of rows. torch.nn.Embedding and EmbeddingBag in one.

    Entries start as N(0, 1), drawn as torch.nn.Embedding draws them. `sparse` says, as it does in torch's
    tables, that the gradient is one of rows; optim/parameters.py reads it.

    Attributes:
        weight: [V, D].
    """

    sparse = True

    def __init__(self, num_rows: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_rows, size))
        nn.init.normal_(self.weight)

    def forward(self, ids: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Rows ids [U] as they come, [U, D]; with offsets [U] the means of bags of ids [M].

        offsets: where each bag begins in ids, the first at 0; a bag ends where the next begins. An empty
            bag's mean is zero. Ids may repeat; distinct rising ones make the gradient cheapest.
        """
        if offsets is None:
            rows: Tensor = _Rows.apply(self.weight, ids)  # type: ignore[no-untyped-call]
            return rows
        ends = torch.cat([offsets, offsets.new_tensor([len(ids)])])
        means: Tensor = _BagMeans.apply(self.weight, ids, ends)  # type: ignore[no-untyped-call]
        return means

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class _Rows(torch.autograd.Function):
    """table[ids]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.num_rows = len(table)
        return table.index_select(0, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        if bool((ids.diff() > 0).all()):
            # A copy, because autograd may have handed the same tensor to others, and clipping works in place.
            return row_gradient(ids, grad.clone(), ctx.num_rows), None
        single = torch.arange(len(ids) + 1)
        return _bag_gradient(ids, single, grad, ctx.num_rows), None


class _BagMeans(torch.autograd.Function):
    """The mean of table[ids] over each bag."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(ids, offsets)
        ctx.num_rows = len(table)
        return functional.embedding_bag(ids, table, offsets, mode="mean", include_last_offset=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        ids, offsets = ctx.saved_tensors
        return _bag_gradient(ids, offsets, grad, ctx.num_rows), None, None


def row_gradient(ids: Tensor, values: Tensor, num_rows: int) -> Tensor:
    """A table's gradient [V, D]: `values` [U, D] in the rows `ids` [U], distinct and rising, else zeros."""
    return torch.sparse_coo_tensor(
        ids[None], values, (num_rows, values.shape[1]), is_coalesced=True, check_invariants=False
    )


def _bag_gradient(ids: Tensor, offsets: Tensor, grad: Tensor, num_rows: int) -> Tensor:
    distinct, slots = _distinct(ids, num_rows)
    grad = grad.contiguous()
    return row_gradient(
        distinct, row_kernel(grad).scatter_bags(grad, slots, offsets, len(distinct)), num_rows
    )


def _distinct(ids: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """The distinct ids, rising, and which of them stands at each place of ids [M].

    Flags instead of sorting, and numpy because it is quicker than torch at single numbers.
    """
    present = np.zeros(num_rows, dtype=np.bool_)
    present[ids.numpy()] = True
    distinct = np.flatnonzero(present)
    place = np.empty(num_rows, dtype=np.int64)
    place[distinct] = np.arange(len(distinct))
    return torch.from_numpy(distinct), torch.from_numpy(place[ids.numpy()])
