"""Optimiser steps of only those rows of a table that the batch read. Every rule is that of torch.optim.

A row that is not in the gradient keeps its weight and its states: no momentum moves it, no average fades.
With gd, sgd and adagrad that is the dense step, because there a zero gradient changes nothing. With momentum,
rmsprop and Adam it is another one, called lazy (torch.optim.SparseAdam, TensorFlow's LazyAdam): a word's
moments are those of the batches that had it. Bias correction counts the steps of the table, not of the row.

There is no weight decay: tables are in no decayed group (parameters.py).
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from grunlock.kernels.rows import AdagradRule, AdamRule, RmspropRule, Rule, SgdRule, row_kernel
from grunlock.recipe.optimization_options import (
    AdagradOptions,
    AdamOptions,
    AdamwOptions,
    GdOptions,
    MomentumOptions,
    NesterovOptions,
    RmspropOptions,
    SgdOptions,
)

RowOptions = (
    GdOptions
    | SgdOptions
    | MomentumOptions
    | NesterovOptions
    | RmspropOptions
    | AdagradOptions
    | AdamOptions
    | AdamwOptions
)
RowWatcher = Callable[[nn.Parameter, Tensor], None]  # told a table and the ids [U] of rows about to change


@final
class RowOptimizer:
    """Stands beside torch's optimisers in the parts of an Optimizer, for tables with row gradients."""

    def __init__(self, tables: Sequence[nn.Parameter], options: RowOptions) -> None:
        self.tables = tuple(tables)  # each [V, D]
        self.param_groups: list[dict[str, Any]] = [{"params": [table], "lr": options.lr} for table in tables]
        self.watcher: RowWatcher | None = None
        self._options = options
        self._num_steps = [0] * len(tables)
        # Zeros that nobody touches take no memory: the system gives a page when it is written.
        self._states = [
            [torch.zeros_like(table) for _ in range(num_states(options))] for table in self.tables
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Step every table that has a gradient, which must be settled (row_gradients.py)."""
        for index, (table, states) in enumerate(zip(self.tables, self._states, strict=True)):
            gradient = table.grad
            if gradient is None:
                continue
            self._num_steps[index] += 1
            if gradient.is_sparse:
                ids, values = gradient.indices()[0], gradient.values()
            else:  # of a table that is also used as a matrix
                ids, values = torch.arange(len(table)), gradient
            if self.watcher is not None:
                self.watcher(table, ids)
            rule = row_rule(self._options, self.param_groups[index]["lr"], self._num_steps[index])
            row_kernel(table).step(table, states, ids, values, rule)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and live tensors."""
        return {
            "lr": [group["lr"] for group in self.param_groups],
            "num_steps": list(self._num_steps),
            "states": [list(states) for states in self._states],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for group, lr in zip(self.param_groups, state["lr"], strict=True):
            group["lr"] = lr
        self._num_steps = list(state["num_steps"])
        for own, loaded in zip(self._states, state["states"], strict=True):
            for tensor, value in zip(own, loaded, strict=True):
                tensor.copy_(value)


def num_states(options: RowOptions) -> int:
    """How many tensors [V, D] a kind keeps for a table."""
    match options:
        case AdamOptions() | AdamwOptions():
            return 2
        case GdOptions() | SgdOptions():
            return 0
        case MomentumOptions() | NesterovOptions() | RmspropOptions() | AdagradOptions():
            return 1


def row_rule(options: RowOptions, lr: float, num_steps: int) -> Rule:
    """The rule of a step. num_steps: of the table, this one included."""
    match options:
        case GdOptions() | SgdOptions():
            return SgdRule(lr)
        case MomentumOptions():
            return SgdRule(lr, options.momentum)
        case NesterovOptions():
            return SgdRule(lr, options.momentum, nesterov=True)
        case RmspropOptions():
            return RmspropRule(lr, options.alpha, options.eps)
        case AdagradOptions():
            return AdagradRule(lr, options.eps)
        case AdamOptions() | AdamwOptions():  # they differ in weight decay only
            return AdamRule(lr, options.beta1, options.beta2, options.eps, num_steps)
