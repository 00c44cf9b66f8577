"""The gradients of all processes, summed: dense ones in one piece, those of tables by row.

A table's row gradients (layers/embedding.py) are never made dense: ids and values are gathered and added up
in the order of ranks, so that the sum does not depend on who comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from grunlock.parallel.group import Group


@dataclass(frozen=True)
class Exchanged:
    """What the ranks tell each other beside gradients. loss: the sum of theirs. stop: one wants to."""

    loss: float
    stop: bool


@final
class GradientExchange:
    """One all-reduce and, with tables, one all-gather a step.

    The buffer that is summed, float32:

        loss | stop | gradients there, [P + Q] | rows of each rank's tables, [N, Q] | dense gradients

    with P dense parameters and Q tables. A gradient that no rank has stays away.

    Args:
        dense: parameters with ordinary gradients.
        tables: those [V, D] with gradients of distinct, rising rows.
    """

    def __init__(self, group: Group, dense: Sequence[nn.Parameter], tables: Sequence[nn.Parameter]) -> None:
        self._group = group
        self._dense, self._tables = tuple(dense), tuple(tables)
        num_tables, num_gradients = len(tables), len(dense) + len(tables)
        sizes = [2, num_gradients, group.size * num_tables, *(p.numel() for p in dense)]
        self._buffer = torch.zeros(sum(sizes))
        self._told, self._there, counts, *flat = torch.split(self._buffer, sizes)
        self._counts = counts.view(group.size, num_tables)
        self._views = [view.view_as(p) for view, p in zip(flat, dense, strict=True)]

    @torch.no_grad()
    def __call__(self, loss: float, stop: bool) -> Exchanged:
        """Replace every gradient by its sum over all ranks."""
        self._buffer.zero_()
        self._told.copy_(torch.tensor([loss, float(stop)]))
        parameters = (*self._dense, *self._tables)
        self._there.copy_(torch.tensor([float(p.grad is not None) for p in parameters]))
        rows = [_rows_of(table) for table in self._tables]
        self._counts[self._group.rank].copy_(torch.tensor([float(len(ids)) for ids, _ in rows]))
        for view, parameter in zip(self._views, self._dense, strict=True):
            if parameter.grad is not None:
                view.copy_(parameter.grad)
        self._group.sum_(self._buffer, "gradients")
        there = (self._there > 0).tolist()
        for view, parameter, anywhere in zip(self._views, self._dense, there, strict=False):
            parameter.grad = view.clone() if anywhere else None
        if self._tables:
            self._exchange_rows(rows, there[len(self._dense) :])
        loss, stops = self._told.tolist()
        return Exchanged(loss, stops > 0)

    def _exchange_rows(self, rows: list[tuple[Tensor, Tensor]], there: list[bool]) -> None:
        """rows: this rank's ids [U] and values [U, D] of each table. there: some rank has a gradient."""
        counts = self._counts.to(torch.int64)  # [N, Q], exact: batches read less than 2^24 rows
        widths = torch.tensor([1 + table.shape[1] for table in self._tables])
        largest = int((counts * widths).sum(dim=1).max())
        # Ids and the bits of values in one array, completed with zeros to the largest rank's.
        own = torch.zeros(largest, dtype=torch.int32)
        parts = [part for ids, values in rows for part in (ids.int(), values.contiguous().view(torch.int32))]
        flat = torch.cat([part.flatten() for part in parts])
        own[: len(flat)] = flat
        gathered = self._group.gather(own, "rows")
        starts = [0] * len(gathered)
        for index, (table, anywhere) in enumerate(zip(self._tables, there, strict=True)):
            found = []
            for rank, values in enumerate(gathered):
                count, start = int(counts[rank, index]), starts[rank]
                starts[rank] = end = start + count * int(widths[index])
                found.append((values[start : start + count].long(), values[start + count : end]))
            table.grad = _summed(found, table) if anywhere else None


def _rows_of(table: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Ids [U] and values [U, D] of a table's gradient, none if it has none."""
    if table.grad is None:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, table.shape[1])
    assert table.grad.is_sparse  # a table that is also used as a matrix belongs to the dense parameters
    return table.grad.indices()[0], table.grad.values()


def _summed(found: list[tuple[Tensor, Tensor]], table: nn.Parameter) -> Tensor:
    """The row gradient of ids [U] and bits of values [U * D] of each rank, added in the order of ranks."""
    ids, places = torch.unique(torch.cat([ids for ids, _ in found]), return_inverse=True)
    total = torch.zeros(len(ids), table.shape[1])
    for (_, bits), place in zip(found, torch.split(places, [len(ids) for ids, _ in found]), strict=True):
        total.index_add_(0, place, bits.view(torch.float32).view(-1, table.shape[1]))
    return torch.sparse_coo_tensor(ids[None], total, table.shape, is_coalesced=True, check_invariants=False)
