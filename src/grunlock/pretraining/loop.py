"""The loop of a language model: as training/loop.py, for a model that has no labels."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, NonNegativeInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from grunlock.data.batches import evaluation_batches, plan_batches
from grunlock.data.store import TokenStore
from grunlock.models.inputs import TokenInputs, network_inputs
from grunlock.models.language_model import LanguageModel
from grunlock.optim.clipping import NonFiniteGuard, build_clipper
from grunlock.optim.optimizers import build_optimizer
from grunlock.optim.schedules import build_schedule
from grunlock.pretraining.prepare import UnlabelledTexts
from grunlock.recipe import DataFacts, Recipe, TextFacts, derive
from grunlock.seeding import derive_seed
from grunlock.shapes import IntArray
from grunlock.training.events import Listener, PretrainEpochDone, StepDone

VALID_BATCH_TOKENS = 4096


@dataclass(config=ConfigDict(strict=True, extra="forbid"))  # checkpoints may hold anything
class Progress:
    """How far it is. With the tensors of model and optimiser this is the whole state."""

    epoch: NonNegativeInt = 0
    steps_in_epoch: NonNegativeInt = 0
    step: NonNegativeInt = 0
    loss_sum: float = 0.0  # of this epoch's steps
    num_steps: NonNegativeInt = 0  # of this epoch that had a loss
    skipped_steps: NonNegativeInt = 0
    best_loss: float | None = None  # on valid, nats per token


class Pretrainer:
    """One pretraining of one recipe on stored texts."""

    def __init__(self, recipe: Recipe, data: UnlabelledTexts) -> None:
        self.recipe = recipe
        self.data = data
        longest = int(data.train.lengths.max())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(recipe.seed, "init"))
            self.model = LanguageModel(recipe, torch.from_numpy(data.counts + 1), longest)
        batches = plan_batches(data.train.lengths, recipe.batches, recipe.seed, epoch=0)
        facts = DataFacts(
            num_train_examples=data.train.num_examples,
            num_valid_examples=data.valid.num_examples,
            num_classes=data.front_end.vocab_size,
            longest_steps=longest,
            batches_per_epoch=len(batches),
            inputs=TextFacts(
                vocab_size=data.front_end.vocab_size, tokens=data.front_end.tokens, script="unknown"
            ),
        )
        self.derived = derive(recipe, facts)
        self.optimizer = build_optimizer(self.model, recipe.optim, None, self.derived.warmup_steps)
        self.schedule = build_schedule(recipe.schedule, self.derived)
        self.clipper = build_clipper(recipe.clip)
        self.guard = NonFiniteGuard(recipe.training.max_nonfinite_steps)
        self.progress = Progress()
        self.best_weights: dict[str, Tensor] | None = None

    def fit(self, listen: Listener, after_step: Callable[[], None]) -> None:
        """Train until the last epoch. `after_step` may raise to stop."""
        with torch.random.fork_rng(devices=[]):
            while self.progress.epoch < self.derived.epochs:
                started = time.monotonic()
                batches = plan_batches(
                    self.data.train.lengths, self.recipe.batches, self.recipe.seed, self.progress.epoch
                )
                for examples in batches[self.progress.steps_in_epoch :]:
                    done = self.train_step(examples)
                    listen(done)
                    self.guard.check(
                        loss=done.train_loss, grad_norm=done.grad_norm, lr=done.lr, clip=self.recipe.clip
                    )
                    after_step()
                listen(self.end_epoch(started))

    def train_step(self, examples: IntArray) -> StepDone:
        """Gradients, clipping, update. A step that is not finite changes nothing."""
        progress, factor = self.progress, self.schedule(self.progress.step, [])
        seed = derive_seed(self.recipe.seed, "dropout", progress.step)
        self.model.train()
        self.optimizer.train_mode()
        self.optimizer.set_lr_factor(factor)
        self.optimizer.zero_grad()
        torch.default_generator.manual_seed(seed)
        loss = self.model.loss(_inputs(self.data.train, examples), seed)
        value, grad_norm, clipped, applied = 0.0, 0.0, False, loss is not None
        if loss is not None:
            loss.backward()  # type: ignore[no-untyped-call]
            value = loss.item()
            clip = self.clipper.clip(self.model.parameters())
            grad_norm, clipped = clip.grad_norm, clip.clipped
            applied = math.isfinite(value) and clip.finite and self.optimizer.step()
            progress.skipped_steps += not applied
        if applied:
            progress.loss_sum += value
            progress.num_steps += 1
        progress.step += 1
        progress.steps_in_epoch += 1
        return StepDone(
            epoch=progress.epoch,
            step=progress.step,
            train_loss=value,
            lr=self.recipe.optim.lr * factor,
            grad_norm=grad_norm,
            clipped=clipped,
            skipped=loss is not None and not applied,
        )

    def end_epoch(self, started: float) -> PretrainEpochDone:
        """Measure on valid, and keep the weights if they are the best so far."""
        progress = self.progress
        with self.optimizer.evaluation_weights():
            loss = self.valid_loss()
            best = progress.best_loss is None or loss < progress.best_loss
            if best:
                self.best_weights = {k: v.clone() for k, v in self.model.state_dict().items()}
                progress.best_loss = loss
        progress.epoch += 1
        train_loss = progress.loss_sum / max(1, progress.num_steps)
        progress.steps_in_epoch, progress.loss_sum, progress.num_steps = 0, 0.0, 0
        return PretrainEpochDone(
            epoch=progress.epoch,
            step=progress.step,
            train_loss=train_loss,
            valid_loss=loss,
            valid_perplexity=math.exp(min(loss, 100.0)),
            best=best,
            skipped_steps=progress.skipped_steps,
            seconds=time.monotonic() - started,
        )

    def valid_loss(self) -> float:
        """Exact, nats per predicted token of both directions; infinite where nothing can be predicted."""
        self.model.eval()
        store, found = self.data.valid, []
        for examples in evaluation_batches(store.lengths, VALID_BATCH_TOKENS):
            found.append(self.model.exact_losses(_inputs(store, examples)).numpy())
        losses = np.concatenate(found)
        return float(losses.mean()) if len(losses) else math.inf

    def state_dict(self) -> dict[str, Any]:
        return {
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "clipper": self.clipper.state_dict(),
            "guard": self.guard.state_dict(),
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.clipper.load_state_dict(state["clipper"])
        self.guard.load_state_dict(state["guard"])
        self.best_weights = state["best_weights"]


def _inputs(store: TokenStore, examples: IntArray) -> TokenInputs:
    batch = store.batch(examples)
    inputs = network_inputs(batch.inputs, batch.layout)
    assert isinstance(inputs, TokenInputs)
    return inputs
