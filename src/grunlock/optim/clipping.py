"""Gradient norms: measuring, clipping, and stopping a training whose gradients stay non-finite.

Nothing here skips a step: the training loop does, when `finite` is False.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from grunlock.errors import TrainingError
from grunlock.optim.row_gradients import gradient_values
from grunlock.recipe.optimization_options import ClipOptions, NormClip, PercentileClip, ValueClip

SHOWN_NORMS = 20  # recent finite norms from which the guard tells a trend
GROWTH_WORTH_TELLING = 3.0
MIN_NORM = 1e-6  # added to the norm before dividing by it, as in torch


@dataclass(frozen=True)
class ClipResult:
    """grad_norm: global 2-norm before clipping. clipped: gradients were changed."""

    grad_norm: float
    clipped: bool
    finite: bool


@final
class Clipper:
    """Clips gradients in place. Made by `build_clipper`.

    off         only measures
    norm        g <- g * max_norm / |g|          if |g| > max_norm, |g| the norm over all parameters
    value       each entry of g cut to [-max_value, max_value]
    percentile  as norm; max_norm is the percentile of the last window_steps finite norms, this
                step's included (AutoClip, Seetharaman 2020), so the first step is never clipped
    """

    def __init__(self, options: ClipOptions | None) -> None:
        self._options = options
        window = options.window_steps if isinstance(options, PercentileClip) else 0
        self._recent: deque[float] = deque(maxlen=window)

    def clip(self, parameters: Iterable[nn.Parameter]) -> ClipResult:
        """Measure, then clip. Gradients whose norm is not finite are left alone and not remembered.

        Of a table with a row gradient, the rows are measured and clipped; the others are zero.
        """
        held = gradient_values(parameters)
        norm = get_total_norm(held)
        grad_norm = float(norm)
        if not math.isfinite(grad_norm):
            return ClipResult(grad_norm, clipped=False, finite=False)
        self._recent.append(grad_norm)
        match self._options:
            case None:
                clipped = False
            case ValueClip():
                clipped = _clip_values(held, self._options.max_value)
            case NormClip():
                clipped = _clip_norm(held, norm, self._options.max_norm)
            case PercentileClip():
                limit = float(np.percentile(np.array(self._recent), self._options.percentile))
                clipped = _clip_norm(held, norm, limit)
        return ClipResult(grad_norm, clipped, finite=True)

    def state_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"recent_norms": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._recent.clear()
        self._recent.extend(state["recent_norms"])


def build_clipper(options: ClipOptions | None) -> Clipper:
    """The clipper of a recipe; without options it only measures."""
    return Clipper(options)


def _clip_norm(gradients: list[Tensor], norm: Tensor, max_norm: float) -> bool:
    if float(norm) <= max_norm:
        return False
    scale = torch.clamp(max_norm / (norm + MIN_NORM), max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)
    return True


def _clip_values(gradients: list[Tensor], max_value: float) -> bool:
    if not any(bool((gradient.abs() > max_value).any()) for gradient in gradients):
        return False
    for gradient in gradients:
        gradient.clamp_(-max_value, max_value)
    return True


@dataclass(frozen=True)
class NonFiniteFacts:
    """What is known when training is given up. recent_norms: the last finite ones, oldest first."""

    loss: float
    grad_norm: float
    lr: float
    clip: ClipOptions | None
    recent_norms: tuple[float, ...]


@final
class NonFiniteGuard:
    """Counts steps in a row whose loss or gradients are not finite, and gives up after too many."""

    def __init__(self, max_nonfinite_steps: int) -> None:
        self._max_steps = max_nonfinite_steps
        self._in_a_row = 0
        self._recent: deque[float] = deque(maxlen=SHOWN_NORMS)

    def check(self, *, loss: float, grad_norm: float, lr: float, clip: ClipOptions | None) -> bool:
        """Take note of one step. Returns whether it is sound, that is, all finite.

        lr: as used in this step. clip: the recipe's, for the message.

        Raises TrainingError, with the likely causes, at the max_nonfinite_steps-th unsound step in a row.
        """
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self._in_a_row = 0
            self._recent.append(grad_norm)
            return True
        self._in_a_row += 1
        if self._in_a_row < self._max_steps:
            return False
        causes = likely_causes(NonFiniteFacts(loss, grad_norm, lr, clip, tuple(self._recent)))
        steps = "1 step" if self._in_a_row == 1 else f"{self._in_a_row} steps"
        raise TrainingError(
            f"Training stopped: {steps} in a row gave no finite loss and gradient. Likely causes:\n"
            + "\n".join(f"- {cause}" for cause in causes),
            got=f"loss {loss:g}, gradient norm {grad_norm:g}",
            cure="change one thing above and train again; "
            "training.max_nonfinite_steps says how many such steps are allowed",
        )

    def state_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"in_a_row": self._in_a_row, "recent_norms": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._in_a_row = state["in_a_row"]
        self._recent.clear()
        self._recent.extend(state["recent_norms"])


def likely_causes(facts: NonFiniteFacts) -> tuple[str, ...]:
    """Why gradients may have become non-finite, each with what to change, most telling first."""
    causes = []
    norms = facts.recent_norms
    lower_lr = f"lower optim.lr (this step used {facts.lr:g})"
    if not norms:
        causes.append(
            "no step before was finite either: look for non-finite weights or inputs, "
            f"such as pretrained vectors; or {lower_lr}"
        )
    elif norms[-1] > GROWTH_WORTH_TELLING * norms[0]:
        causes.append(
            f"the gradient norm grew from {norms[0]:.3g} to {norms[-1]:.3g} over the last "
            f"{len(norms)} finite steps: {lower_lr}{_or_clip(facts.clip)}"
        )
    else:
        causes.append(
            f"the gradient norm was {norms[-1]:.3g} and then not finite at once, which may be one bad "
            f"batch that spoilt the weights: {lower_lr}{_or_clip(facts.clip)}"
        )
    if not math.isfinite(facts.loss):
        causes.append(
            f"the loss itself is not finite ({facts.loss:g}): the weights or the inputs are at fault"
        )
    else:
        causes.append(f"the loss is still finite ({facts.loss:g}): only the gradient overflows")
    return tuple(causes)


def _or_clip(clip: ClipOptions | None) -> str:
    match clip:
        case None:
            return ', or set clip.kind = "norm" (clip is off)'
        case NormClip():
            return f", or lower clip.max_norm (now {clip.max_norm:g})"
        case ValueClip():
            return f', or set clip.kind = "norm" (now "value", max_value {clip.max_value:g})'
        case PercentileClip():
            return f", or lower clip.percentile (now {clip.percentile:g})"
