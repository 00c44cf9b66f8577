"""How long an epoch of a recipe takes here, from a few of its steps, so that it is known what fits."""

import time
from pathlib import Path

import numpy as np
import torch

from grunlock.data.batches import BatchPlan
from grunlock.data.prepared import open_prepared
from grunlock.recipe import Recipe
from grunlock.shapes import IntArray
from grunlock.training.loop import Trainer
from grunlock.training.start import build_start, derive_for

WARM_UP_STEPS = 2
SAMPLED_STEPS = 8
MOST_EXAMPLES = 400_000  # of an epoch, in whose batches the steps are sought; of shards they are one window
PASSES = 2  # a step counts with its quicker pass
VALID_SHARE = 1 / 3  # a validation step has no gradients


def seconds_per_epoch(recipe: Recipe, prepared: Path) -> float:
    """Estimated from SAMPLED_STEPS steps at evenly spaced ranks of size, and the size of the validation
    split. Nothing is kept."""
    data = open_prepared(prepared)
    derived = derive_for(recipe, data)
    trainer = Trainer(recipe, derived, data, build_start(recipe, derived, data, None).model)
    plan = data.train.plan(recipe.batches, recipe.seed, epoch=0)
    batches = first_batches(plan)
    order = np.argsort([int(data.train.lengths_of(batch).sum()) for batch in batches], kind="stable")
    ranks = (2 * np.arange(SAMPLED_STEPS) + 1) * len(batches) // (2 * SAMPLED_STEPS)
    sample = [batches[i] for i in order[ranks]]
    for batch in sample[-WARM_UP_STEPS:]:
        trainer.train_step([batch])
    seconds = np.full(len(sample), np.inf)
    for _ in range(PASSES):
        for i, batch in enumerate(sample):
            started = time.perf_counter()
            trainer.train_step([batch])
            seconds[i] = min(seconds[i], time.perf_counter() - started)
    training = float(seconds.mean()) * len(plan)
    share = data.valid.num_steps / data.train.num_steps
    return training * (1 + VALID_SHARE * share)


def first_batches(plan: BatchPlan) -> list[IntArray]:
    """As many as MOST_EXAMPLES fill, or all; they are in random order."""
    found: list[IntArray] = []
    examples = 0
    for batch in plan.batches():
        if examples >= MOST_EXAMPLES:
            break
        found.append(batch)
        examples += len(batch)
    return found


def use_quickest_threads(recipe: Recipe, prepared: Path, most: int) -> float:
    """Have torch and the kernels work on `most` threads or on one, whichever is quicker now, and return the
    seconds of an epoch. The caller sets torch's number of threads back.

    Threads meet many times in a step, so beside other busy processes several are slower than one.
    """
    seconds = {}
    for count in dict.fromkeys((most, 1)):
        torch.set_num_threads(count)
        seconds[count] = seconds_per_epoch(recipe, prepared)
    best = min(seconds, key=lambda count: seconds[count])
    torch.set_num_threads(best)
    return seconds[best]
