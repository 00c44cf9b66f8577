"""Learning-rate schedules: pure functions of the step. They touch no optimiser and hold no state.

Every schedule gives the multiplier of the peak learning rate, optim.lr, for one optimiser step.
Steps and epochs count from 0. Below, u runs from 0 to 1 over the steps after the warm-up:

    u = (step - warmup_steps) / (total_steps - warmup_steps), held within [0, 1]

so schedules made from u have their final value from total_steps on. Schedules made from epochs or
milestones count from the first step of training, warm-up included, and keep the value of the last step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from grunlock.recipe.derived import Derived
from grunlock.recipe.optimization_options import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    MilestonesSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    ScheduleOptions,
    StepSchedule,
    WarmupStableDecaySchedule,
)


class Schedule(Protocol):
    """Multiplier of the peak learning rate at optimiser step `step`.

    valid_losses: one per finished epoch; only the plateau schedule reads them.
    """

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float: ...


def build_schedule(options: ScheduleOptions, derived: Derived) -> Schedule:
    """The schedule of a recipe, with linear warm-up in front where the recipe asks for it."""
    schedule = _without_warmup(options, derived)
    return Warmup(derived.warmup_steps, schedule) if derived.warmup_steps else schedule


def _without_warmup(options: ScheduleOptions, derived: Derived) -> Schedule:
    progress = Progress(derived.warmup_steps, derived.total_steps)
    epochs = Epochs(derived.steps_per_epoch, derived.total_steps)
    match options:
        case StepSchedule():
            return Step(epochs, options.every_epochs, options.factor)
        case ExponentialSchedule():
            return Exponential(epochs, options.factor)
        case MilestonesSchedule():
            return Milestones(derived.milestone_steps, derived.total_steps, options.factor)
        case LinearSchedule():
            return Linear(progress, options.final_lr_fraction)
        case CosineSchedule():
            return Cosine(progress, options.final_lr_fraction)
        case OneCycleSchedule():
            return OneCycle(
                progress, options.start_lr_fraction, options.peak_at_fraction, options.final_lr_fraction
            )
        case WarmupStableDecaySchedule():
            return WarmupStableDecay(progress, options.decay_fraction, options.final_lr_fraction)
        case PlateauSchedule():
            return Plateau(options.factor, options.patience_epochs)
        case ConstantSchedule():
            return Constant()


@dataclass(frozen=True)
class Progress:
    """The share u of the steps after the warm-up that lies behind a step."""

    warmup_steps: int
    total_steps: int

    def at(self, step: int) -> float:
        num_steps = self.total_steps - self.warmup_steps
        if num_steps <= 0:  # all warm-up
            return 0.0 if step < self.total_steps else 1.0
        return min(max(step - self.warmup_steps, 0) / num_steps, 1.0)


@dataclass(frozen=True)
class Epochs:
    """The epoch of a step; beyond the last step, the last epoch."""

    steps_per_epoch: int
    total_steps: int

    def at(self, step: int) -> int:
        return min(step, self.total_steps - 1) // self.steps_per_epoch


@dataclass(frozen=True)
class Warmup:
    """min(1, (step + 1) / warmup_steps) times the schedule behind it."""

    warmup_steps: int
    behind: Schedule

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        return min(1.0, (step + 1) / self.warmup_steps) * self.behind(step, valid_losses)


@dataclass(frozen=True)
class Constant:
    """1."""

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        return 1.0


@dataclass(frozen=True)
class Step:
    """factor ** (epoch // every_epochs)."""

    epochs: Epochs
    every_epochs: int
    factor: float

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        return float(self.factor ** (self.epochs.at(step) // self.every_epochs))


@dataclass(frozen=True)
class Exponential:
    """factor ** epoch, in whole epochs."""

    epochs: Epochs
    factor: float

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        return float(self.factor ** self.epochs.at(step))


@dataclass(frozen=True)
class Milestones:
    """factor ** m, m the number of milestones at or before the step."""

    steps: tuple[int, ...]
    total_steps: int
    factor: float

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        now = min(step, self.total_steps - 1)
        return float(self.factor ** sum(milestone <= now for milestone in self.steps))


@dataclass(frozen=True)
class Linear:
    """1 - (1 - final) * u."""

    progress: Progress
    final: float

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        return 1.0 - (1.0 - self.final) * self.progress.at(step)


@dataclass(frozen=True)
class Cosine:
    """final + (1 - final) * (1 + cos(pi * u)) / 2."""

    progress: Progress
    final: float

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        return _half_cosine(1.0, self.final, self.progress.at(step))


@dataclass(frozen=True)
class OneCycle:
    """Two half cosines: from start to 1 while u < peak_at, then from 1 to final (Smith 2018)."""

    progress: Progress
    start: float
    peak_at: float
    final: float

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        u = self.progress.at(step)
        if u < self.peak_at:
            return _half_cosine(self.start, 1.0, u / self.peak_at)
        return _half_cosine(1.0, self.final, (u - self.peak_at) / (1.0 - self.peak_at))


@dataclass(frozen=True)
class WarmupStableDecay:
    """1 until u = 1 - decay, then linear to final. With decay = 0 it never falls."""

    progress: Progress
    decay: float
    final: float

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        into_decay = self.progress.at(step) - (1.0 - self.decay)
        if into_decay <= 0.0:
            return 1.0
        return 1.0 - (1.0 - self.final) * (into_decay / self.decay)


@dataclass(frozen=True)
class Plateau:
    """factor ** cuts. A cut follows more than patience_epochs epochs in a row without a new lowest loss.

    Counting starts again after each cut; the lowest loss stays. NaN is never a new lowest loss.
    """

    factor: float
    patience_epochs: int

    def __call__(self, step: int, valid_losses: Sequence[float]) -> float:
        lowest, epochs_without, cuts = math.inf, 0, 0
        for loss in valid_losses:
            epochs_without += 1
            if loss < lowest:
                lowest, epochs_without = loss, 0
            elif epochs_without > self.patience_epochs:
                cuts, epochs_without = cuts + 1, 0
        return float(self.factor**cuts)


def _half_cosine(start: float, end: float, u: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * u)) / 2.0
