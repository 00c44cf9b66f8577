"""One process's part in the steps of a group: its share of each batch, and the sum of all gradients.

A batch is planned as for one process and cut afterwards. Each share counts by its own weight over that of the
whole step, so the sum of gradients over the group is the gradient of the whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from torch import nn

from grunlock.data.batches import ExampleStore
from grunlock.layers.norm import synchronize_norms, without_rows
from grunlock.optim.parameters import group_parameters
from grunlock.parallel import Group
from grunlock.parallel.gradients import Exchanged, GradientExchange
from grunlock.parallel.shares import shares
from grunlock.shapes import IntArray


@final
class Sharing:
    """Of one model. Alone, a share is the whole batch and nothing is exchanged."""

    def __init__(self, group: Group, model: nn.Module) -> None:
        self.group = group
        self._model = model
        groups = group_parameters(model)
        self._parameters = [named.parameter for named in groups.all]
        tables = [named.parameter for named in groups.row_tables]
        by_row = {id(table) for table in tables}
        dense = [parameter for parameter in self._parameters if id(parameter) not in by_row]
        self._exchange = GradientExchange(group, dense, tables) if group.size > 1 else None
        synchronize_norms(model, group)

    @property
    def purpose(self) -> tuple[int, ...]:
        """What distinguishes this process's random draws from the others'; nothing for one process."""
        return () if self.group.size == 1 else (self.group.rank,)

    def own(self, examples: IntArray, store: ExampleStore) -> IntArray:
        """This process's share of a batch's examples; perhaps none."""
        if self.group.size == 1:
            return examples
        return examples[shares(store.lengths_of(examples), self.group.size)[self.group.rank]]

    @contextmanager
    def only_taking_part(self) -> Iterator[None]:
        """Inside, a process without a share computes something else for the sake of the others, whose norms
        wait for it. Nothing of it reaches gradients or statistics."""
        gradients = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        with without_rows(self._model):
            yield
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    def exchange(self, loss: float, stop: bool) -> Exchanged:
        """Sum gradients and losses over the group. stop: this process wants to end after this step."""
        return Exchanged(loss, stop) if self._exchange is None else self._exchange(loss, stop)
