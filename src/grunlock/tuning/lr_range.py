"""The learning-rate range test (Smith 2017): one short training in which the rate only rises."""

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grunlock.data.prepare import Examples, prepare
from grunlock.errors import StudyError
from grunlock.recipe import Recipe
from grunlock.shapes import IntArray
from grunlock.training.loop import Trainer
from grunlock.training.start import build_start, derive_for

SMOOTHING = 0.9  # of the moving average of losses
DIVERGED = 4.0  # times the best smoothed loss
FEWEST_STEPS = 20


@dataclass(frozen=True)
class LrRange:
    """What the test saw.

    lrs:       [steps] ascending by one factor
    losses:    [steps] nats per sequence, each step's batch; nan where it was not finite
    smoothed:  [steps] bias-corrected moving average
    steepest:  the rate at which the smoothed loss falls fastest with log lr; None if it never falls
    best:      the rate with the lowest smoothed loss
    diverged:  the rate at which the test ended because the loss had grown DIVERGED-fold; None if it did not
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None
    best: float
    diverged: float | None

    @property
    def suggested(self) -> tuple[float, float]:
        """A range to search: from a third of the steepest rate to the best one, where noise still lets the
        loss fall. Only a start: the best rate of a whole training is searched by `tune`."""
        low = (self.steepest or self.best / 10) / 3
        return low, max(self.best, 3 * low)


def lr_range(
    source: Examples,
    recipe: Recipe,
    *,
    low: float = 1e-5,
    high: float = 1.0,
    num_steps: int = 200,
    progress: Callable[[int, int], None] | None = None,
) -> LrRange:
    """Train `recipe` for num_steps optimiser steps at rates from low to high. Nothing is kept.

    progress: called with steps done and num_steps.

    Raises StudyError for an empty range, and what reading the data raises.
    """
    if not 0 < low < high or num_steps < FEWEST_STEPS:
        raise StudyError(
            "A range test needs rates that rise over some steps.",
            got=f"{low:g} to {high:g} in {num_steps} steps",
            expected=f"0 < low < high and at least {FEWEST_STEPS} steps",
        )
    lrs = np.geomspace(low, high, num_steps)
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(source, recipe, Path(folder))
        trainer.schedule = lambda step, _: float(lrs[step]) / recipe.optim.lr
        for batches in _batches(trainer, num_steps):
            done = trainer.train_step(batches)
            losses.append(done.train_loss if math.isfinite(done.train_loss) else math.nan)
            if progress is not None:
                progress(len(losses), num_steps)
            if _has_diverged(losses):
                break
    return judge(lrs[: len(losses)], np.array(losses))


def judge(lrs: np.ndarray, losses: np.ndarray) -> LrRange:
    """The result, from rates and losses [steps]."""
    smoothed = smooth(losses)
    slopes = np.gradient(smoothed, np.log(lrs))
    best = int(np.nanargmin(smoothed))
    falling = slopes[: best + 1]
    steepest = int(np.nanargmin(falling)) if len(falling) > 1 else best
    diverged = _has_diverged(list(losses))
    return LrRange(
        lrs=tuple(float(lr) for lr in lrs),
        losses=tuple(float(loss) for loss in losses),
        smoothed=tuple(float(loss) for loss in smoothed),
        steepest=float(lrs[steepest]) if falling[steepest] < 0 else None,
        best=float(lrs[best]),
        diverged=float(lrs[-1]) if diverged else None,
    )


def smooth(losses: np.ndarray) -> np.ndarray:
    """[steps] moving average, corrected for its start at 0; a loss that is not finite leaves it as it was."""
    average, weight, result = 0.0, 0.0, np.empty(len(losses))
    for i, loss in enumerate(losses):
        if math.isfinite(loss):
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            weight = SMOOTHING * weight + (1 - SMOOTHING)
        result[i] = average / weight if weight else math.nan
    return result


def _has_diverged(losses: list[float]) -> bool:
    if len(losses) < FEWEST_STEPS:
        return False
    smoothed = smooth(np.array(losses))
    return math.isnan(losses[-1]) or bool(smoothed[-1] > DIVERGED * np.nanmin(smoothed))


def _trainer(source: Examples, recipe: Recipe, folder: Path) -> Trainer:
    data = prepare(source, recipe, folder)
    derived = derive_for(recipe, data)
    return Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)


def _batches(trainer: Trainer, num_steps: int) -> Iterator[list[IntArray]]:
    """Of as many epochs as are needed."""
    epoch = 0
    while True:
        for group in trainer.plan_epoch(epoch):
            yield group
            num_steps -= 1
            if num_steps == 0:
                return
        epoch += 1
