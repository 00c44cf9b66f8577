"""Sharpness-aware minimisation around any optimiser of ours, by pytorch_optimizer's SAM.

    w' = w + rho * s * g / norm,   g the gradient at w          (1)
    step from w with the gradient at w'                         (2)

    s = 1,   norm = |g|;     adaptive: s = w^2,   norm = |abs(w) * g|       (2010.01412, 2102.11600)

It knows nothing of what takes step (2).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import nn

from grunlock.recipe.optimization_options import SamOptions


@final
class SharpnessAware:
    """The library's SAM, with `apply` for its base optimiser. Holds nothing from step to step."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], options: SamOptions, apply: Callable[[], None]
    ) -> None:
        import pytorch_optimizer  # here, because it takes seconds and few recipes need it

        self._base = _Base(list(parameters), apply)
        self._sam = pytorch_optimizer.SAM(
            self._base.parameters,
            self._base.take_groups,  # type: ignore[arg-type]  # a class by its annotation, any callable will do
            rho=options.rho,
            adaptive=options.adaptive,
        )

    def step(self, closure: Callable[[], None]) -> bool:
        """Climb, recompute gradients with `closure`, return to the old weights, and apply.

        Returns False, with the weights as before, if the second gradients are not finite. If the closure
        raises, the weights are put back before the error goes on.
        """
        try:
            self._sam.step(closure)  # type: ignore[arg-type]  # the loss it may return is not used
        finally:
            self._base.put_back()
        return self._base.applied


@final
class _Base:
    """What pytorch_optimizer.SAM takes for an optimiser: it reads groups and state and calls step.

    SAM makes its base optimiser itself, from a class and one list of groups. Ours may be several
    optimisers over views of parameters, so it is handed in ready-made instead.
    """

    def __init__(self, parameters: list[nn.Parameter], apply: Callable[[], None]) -> None:
        self.parameters = parameters
        self.param_groups: list[dict[str, Any]] = []
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.applied = False
        self._apply = apply

    def take_groups(self, param_groups: list[dict[str, Any]]) -> "_Base":
        self.param_groups = param_groups
        return self

    def step(self) -> None:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.applied = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        if self.applied:
            self._apply()

    def put_back(self) -> None:
        """Undo a climb that was not undone, because the closure raised."""
        with torch.no_grad():
            for parameter, state in self.state.items():
                if "old_p" in state:
                    parameter.copy_(state.pop("old_p"))
