"""Exponential moving average of the weights. Decides nothing about when to use it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from grunlock.errors import RunError
from grunlock.kernels.rows import row_kernel
from grunlock.optim.weight_swap import restored_afterwards


@final
class WeightAverage:
    """average <- d * average + (1 - d) * weights, after each step.

        d = min(decay, (1 + t) / (10 + t)),   t the number of earlier updates

    so that a short training is not dominated by its first weights. The first update copies the weights.
    Parameters only: buffers, such as BatchNorm's statistics, stay the model's own. Frozen parameters are
    their own average.

    Of a table stepped by rows, only the rows of the step are visited. That is exact: a row whose weight w
    did not change since update i has, after update k,

        average_k = w + d_(i+1) * ... * d_k * (average_i - w)

    so its average is caught up when the row is about to change (`before_rows_change`) or the average is read.

    Args:
        row_tables: the model's parameters that change by rows, each change told to before_rows_change.
    """

    def __init__(self, model: nn.Module, decay: float, row_tables: Sequence[nn.Parameter] = ()) -> None:
        self._decay = decay
        self._num_updates = 0
        self._log_product = 0.0  # of d over all updates but the first
        by_rows = {id(table) for table in row_tables}
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._averages = {name: p.detach().clone() for name, p in trained.items()}
        self._dense = {name: p for name, p in trained.items() if id(p) not in by_rows}
        self._tables = {
            name: _RowMarks(p, self._averages[name]) for name, p in trained.items() if id(p) in by_rows
        }

    def before_rows_change(self, table: nn.Parameter, ids: Tensor) -> None:
        """Catch up rows ids [U] of a table while they still have their old weights."""
        for marks in self._tables.values():
            if marks.table is table:
                marks.catch_up(ids, self._log_product)

    @torch.no_grad()
    def update(self) -> None:
        """Take the model's present weights into the average. Call after each optimiser step."""
        updates = self._num_updates
        decay = min(self._decay, (1 + updates) / (10 + updates)) if updates else 0.0
        self._num_updates += 1
        if updates:
            self._log_product += math.log(decay)
        averages = [self._averages[name] for name in self._dense]
        if averages:
            torch._foreach_lerp_(averages, list(self._dense.values()), 1.0 - decay)
        for marks in self._tables.values():
            marks.update(decay, self._log_product)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The model has the averaged weights inside; its own, bit for bit, again afterwards.

        Before the first update the average is what the weights were when this object was made.
        """
        tables = {name: marks.table for name, marks in self._tables.items()}
        with restored_afterwards([*self._dense.values(), *tables.values()]):
            with torch.no_grad():
                for name, parameter in self._dense.items():
                    parameter.copy_(self._averages[name])
                for marks in self._tables.values():
                    marks.table.copy_(marks.caught_up(self._log_product))
            yield

    def state_dict(self) -> dict[str, Any]:
        """Live tensors by parameter name, and how far they are."""
        return {
            "num_updates": self._num_updates,
            "log_product": self._log_product,
            "parameters": dict(self._averages),
            "row_marks": {name: marks.log_products for name, marks in self._tables.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on bit for bit from a state of the same model."""
        for own, loaded in (
            (self._averages, state["parameters"]),
            ({name: marks.log_products for name, marks in self._tables.items()}, state["row_marks"]),
        ):
            if own.keys() != loaded.keys():
                raise RunError(
                    "The averaged weights in the checkpoint are another model's.",
                    got=sorted(loaded.keys() ^ own.keys()),
                    expected="the same parameter names",
                )
            for name, tensor in own.items():
                tensor.copy_(loaded[name])
        self._num_updates = state["num_updates"]
        self._log_product = state["log_product"]


@final
class _RowMarks:
    """How far the average of each row of a table is: log_products [V], the product at its last visit."""

    def __init__(self, table: nn.Parameter, average: Tensor) -> None:
        self.table = table  # [V, D]
        self.average = average  # [V, D]
        self.log_products = torch.zeros(len(table), dtype=torch.float64)
        self._changed: Tensor | None = None  # [U], rows of the step that update() has not seen yet

    def catch_up(self, ids: Tensor, log_product: float) -> None:
        take = -torch.expm1(log_product - self.log_products[ids])
        row_kernel(self.table).move_average(self.average, self.table.detach(), ids, take.float())
        self._changed = ids

    def update(self, decay: float, log_product: float) -> None:
        ids, self._changed = self._changed, None
        if ids is None:
            return
        take = torch.full((len(ids),), 1.0 - decay)
        row_kernel(self.table).move_average(self.average, self.table.detach(), ids, take)
        self.log_products[ids] = log_product

    def caught_up(self, log_product: float) -> Tensor:
        """The average [V, D] of now. Changes nothing, so reading it more often gives the same training."""
        take = -torch.expm1(log_product - self.log_products).float()
        return self.average.lerp(self.table.detach(), take[:, None].to(self.average.dtype))
