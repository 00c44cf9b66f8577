"""The optimiser of a training: one object over one or more library optimisers.

It decides neither the learning rate of a step (schedules.py) nor whether a step is taken
(clipping.py); update rules are the libraries' (library.py) and, for rows, row_optimizer.py's.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

from torch import nn

from grunlock.errors import RunError, TrainingError
from grunlock.optim.library import LibraryParts, build_library_parts
from grunlock.optim.parameters import ParameterGroups, group_parameters
from grunlock.optim.row_gradients import densify, settle
from grunlock.optim.row_optimizer import RowWatcher
from grunlock.optim.sam import SharpnessAware
from grunlock.optim.weight_swap import restored_afterwards
from grunlock.recipe.optimization_options import OptimizerOptions, SamOptions

PART = "part"  # key of a parameter group: the model's attribute that the parameters belong to


@final
class Optimizer:
    """What the training loop drives. Made by `build_optimizer`.

    A step leaves the gradients in an undefined state: some libraries use them as scratch space.
    Row gradients of the model's tables are settled (row_gradients.py) after every backward pass.
    """

    def __init__(
        self, parts: LibraryParts, groups: ParameterGroups, peak_lr: float, sam: SamOptions | None
    ) -> None:
        self._parts = parts
        self._names = [named.name for named in groups.all]
        self._parameters = [named.parameter for named in groups.all]
        self._peak_lr = peak_lr
        self._sam = None if sam is None else SharpnessAware(self._parameters, sam, self._apply)
        by_rows = {id(table) for table in self.row_tables}
        tables = [named.parameter for named in groups.row_tables]
        self._densified = [table for table in tables if id(table) not in by_rows]
        for table in tables:
            table.register_post_accumulate_grad_hook(settle)  # type: ignore[no-untyped-call]

    @property
    def row_tables(self) -> tuple[nn.Parameter, ...]:
        """The tables of which a step changes only the rows in their gradients."""
        return () if self._parts.rows is None else self._parts.rows.tables

    def watch_rows(self, watcher: RowWatcher) -> None:
        """Call `watcher` with a table and the ids [U] of its rows, just before a step changes them."""
        if self._parts.rows is not None:
            self._parts.rows.watcher = watcher

    def set_lr_factor(self, factor: float, of_parts: Mapping[str, float] | None = None) -> None:
        """From now on the learning rate is `factor` times optim.lr.

        of_parts: a factor besides for the parameters of some of the model's parts, such as "encoder"; only of
            an optimiser that was built with by_part.
        """
        of_parts = of_parts or {}
        for optimizer in self._parts.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._peak_lr * factor * of_parts.get(group.get(PART, ""), 1.0)

    def zero_grad(self) -> None:
        """Free the gradients of the trained parameters."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(self, closure: Callable[[], None] | None = None) -> bool:
        """Update the weights with the present gradients; with SAM, with those of the climbed point.

        closure: zero, forward and backward again at the present weights. Called with SAM only. What clips
            the gradients must clip inside it, for its gradients are the ones applied.

        Returns True, or False if SAM's second gradients were not finite: the weights are unchanged then.
        """
        if self._sam is None:
            self._apply()
            return True
        if closure is None:
            raise TrainingError(
                "SAM computes every gradient twice, and the step got nothing to compute it with.",
                expected="step(closure)",
            )
        return self._sam.step(closure)

    def train_mode(self) -> None:
        """Get ready for steps. Call before the first one; more calls change nothing."""
        if self._parts.two_weights is not None:
            self._parts.two_weights.train()

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """The weights to validate and keep are in the model inside; the training ones, bit for bit, after.

        Only schedule-free has two: it trains at y and evaluates at the average x. BatchNorm statistics
        are those gathered at y; recompute them at x where that matters.
        """
        two_weights = self._parts.two_weights
        if two_weights is None:
            yield
            return
        modes = [group["train_mode"] for group in two_weights.param_groups]
        with restored_afterwards(self._parameters):
            two_weights.eval()
            try:
                yield
            finally:
                for group, mode in zip(two_weights.param_groups, modes, strict=True):
                    group["train_mode"] = mode

    def state_dict(self) -> dict[str, Any]:
        """Plain values and live tensors: write or copy them before the next step."""
        return {
            "parameters": list(self._names),
            "parts": [optimizer.state_dict() for optimizer in self._parts.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on bit for bit from a state of the same model and recipe.

        Raises RunError if it is another model's.
        """
        if state["parameters"] != self._names or len(state["parts"]) != len(self._parts.optimizers):
            raise RunError(
                "The optimiser state in the checkpoint is another model's.",
                got=f"{len(state['parameters'])} parameters in {len(state['parts'])} parts",
                expected=f"{len(self._names)} parameters in {len(self._parts.optimizers)} parts, same names",
            )
        for optimizer, part in zip(self._parts.optimizers, state["parts"], strict=True):
            optimizer.load_state_dict(part)

    def _apply(self) -> None:
        for table in self._densified:
            densify(table)
        for view in self._parts.views:
            view.bind()
        for optimizer in self._parts.optimizers:
            optimizer.step()
        for view in self._parts.views:
            view.release()


def _by_part(groups: list[dict[str, Any]], part_of: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """The groups, each of parameters of one part of the model."""
    for group in groups:
        members: dict[str, list[Any]] = {}
        for parameter in group["params"]:
            members.setdefault(part_of[id(parameter)], []).append(parameter)
        yield from ({**group, "params": found, PART: part} for part, found in members.items())


def build_optimizer(
    model: nn.Module,
    options: OptimizerOptions,
    sam: SamOptions | None,
    warmup_steps: int,
    by_part: bool = False,
) -> Optimizer:
    """The optimiser of a recipe over a model's trainable parameters, at learning rate optim.lr.

    warmup_steps: of the schedule, which applies them through set_lr_factor. Prodigy alone needs to know
        whether there are any, to keep the small learning rates out of its distance estimate.
    by_part: the model's parts (attributes) may learn at different rates, see Optimizer.set_lr_factor. Not for
        kinds that join parameters or have one rate: muon, soap, prodigy, schedule_free_adamw.
    """
    groups = group_parameters(model)
    parts = build_library_parts(options, groups, warmup_steps)
    if by_part:
        part_of = {id(named.parameter): named.name.partition(".")[0] for named in groups.all}
        for optimizer in parts.optimizers:
            optimizer.param_groups = list(_by_part(optimizer.param_groups, part_of))
    return Optimizer(parts, groups, options.lr, sam)
