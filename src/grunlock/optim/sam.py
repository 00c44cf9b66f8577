"""Sharpness-aware minimisation around any optimiser of ours.

    w' = w + rho * s * g / norm,   g the gradient at w          (1)
    step from w with the gradient at w'                         (2)

    s = 1,   norm = |g|;     adaptive: s = w^2,   norm = |abs(w) * g|       (2010.01412, 2102.11600)

It knows nothing of what takes step (2). Of a table with a row gradient only these rows climb: a library's SAM
would copy the whole table twice a step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from grunlock.optim.row_gradients import gradient_values
from grunlock.recipe.optimization_options import SamOptions

MIN_NORM = 1e-12  # added to the norm, so that no gradient at all climbs nowhere


@final
class SharpnessAware:
    """Equations (1) and (2). Holds nothing from step to step.

    apply: takes step (2) with the gradients that the parameters then have.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], options: SamOptions, apply: Callable[[], None]
    ) -> None:
        self._parameters = tuple(parameters)
        self._options = options
        self._apply = apply

    def step(self, closure: Callable[[], None]) -> bool:
        """Climb, recompute gradients with `closure`, return to the old weights, and apply.

        Returns False, with the weights as before, if the second gradients are not finite. If the closure
        raises, the weights are put back before the error goes on.
        """
        moved = [_moved(parameter) for parameter in self._parameters if parameter.grad is not None]
        try:
            self._climb(moved)
            closure()
        finally:
            for part in moved:
                part.write(part.old)
        if not all(bool(torch.isfinite(values).all()) for values in gradient_values(self._parameters)):
            return False
        self._apply()
        return True

    @torch.no_grad()
    def _climb(self, moved: "Sequence[_Moved]") -> None:
        adaptive = self._options.adaptive
        scaled = [part.old.abs() * part.gradient if adaptive else part.gradient for part in moved]
        norm = torch.nn.utils.get_total_norm(scaled) + MIN_NORM
        for part in moved:
            scale = part.old.square() if adaptive else 1.0
            part.write(part.old + scale * part.gradient * (self._options.rho / norm))


@dataclass(frozen=True)
class _Moved:
    """What of a parameter climbs: all of it, or the rows of its gradient."""

    parameter: nn.Parameter
    ids: Tensor | None  # [U]
    old: Tensor  # a copy, [U, D] of rows
    gradient: Tensor  # shaped as old

    @torch.no_grad()
    def write(self, weights: Tensor) -> None:
        if self.ids is None:
            self.parameter.copy_(weights)
        else:
            self.parameter.index_copy_(0, self.ids, weights)


def _moved(parameter: nn.Parameter) -> _Moved:
    (gradient,) = gradient_values([parameter])
    assert parameter.grad is not None
    weight = parameter.detach()
    if not parameter.grad.is_sparse:
        return _Moved(parameter, None, weight.clone(), gradient)
    ids = parameter.grad.indices()[0]
    return _Moved(parameter, ids, weight.index_select(0, ids), gradient)
