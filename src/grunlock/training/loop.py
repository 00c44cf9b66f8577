"""The training loop: fit, epoch, step, validation, as named steps.

It draws every random number from (recipe.seed, purpose, step), so it holds no generator's state, and
a checkpoint between any two steps continues bit for bit. It writes no file and shows nothing: it sends
events and asks its caller after each step whether to go on.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, field
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, NonNegativeInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from grunlock.data.augmentation import training_batches
from grunlock.data.batches import Batch, EndlessBatches, ExampleStore
from grunlock.data.prepared import UNLABELLED, PreparedData
from grunlock.errors import TrainingError
from grunlock.evaluation.splits import split_logits
from grunlock.layers.norm import frozen_statistics
from grunlock.models import SequenceClassifier, network_inputs
from grunlock.objectives.losses import class_weights
from grunlock.objectives.metrics import evaluate
from grunlock.optim.averaging import WeightAverage
from grunlock.optim.clipping import NonFiniteGuard, build_clipper
from grunlock.optim.optimizers import build_optimizer
from grunlock.optim.schedules import build_schedule
from grunlock.parallel import ALONE, Group
from grunlock.recipe import Derived, Recipe
from grunlock.runtime.probabilities import probabilities
from grunlock.seeding import derive_seed
from grunlock.shapes import FloatArray, IntArray
from grunlock.training.batch_gradients import BatchGradients
from grunlock.training.events import EpochDone, Listener, StepDone
from grunlock.training.fine_tuning import PartRates
from grunlock.training.sharing import Sharing

Weights = dict[str, Tensor]


@dataclass(config=ConfigDict(strict=True, extra="forbid"))  # checkpoints may hold anything
class Progress:
    """How far the run is. With the tensors of model and optimiser this is the whole state."""

    epoch: NonNegativeInt = 0
    steps_in_epoch: NonNegativeInt = 0
    step: NonNegativeInt = 0
    loss_sum: float = 0.0  # of this epoch
    num_examples: NonNegativeInt = 0  # of this epoch
    skipped_steps: NonNegativeInt = 0
    clipped_steps: NonNegativeInt = 0
    valid_losses: list[float] = field(default_factory=list)
    best_epoch: NonNegativeInt = 0
    best_metric: tuple[float, float] | None = None  # and minus the loss, which decides between equals


class Trainer:
    """One training of one recipe on prepared data, in one process or in a group of them.

    The processes of a group hold the same weights and state after every step, so each may write a checkpoint,
    and a group of another size may go on from it.

    Attributes:
        wants_to_stop: asked in every step; the group agrees with what its gradients bring.
        stop_agreed: a process of the group wanted to stop before the last step ended.
    """

    def __init__(
        self,
        recipe: Recipe,
        derived: Derived,
        data: PreparedData,
        model: SequenceClassifier,
        last_epoch: int | None = None,  # stop there, although the schedule goes on
        group: Group = ALONE,
    ) -> None:
        self.recipe = recipe
        self.derived = derived
        self.data = data
        self.model = model
        self.rates = None if recipe.pretrained is None else PartRates(recipe.pretrained)
        self.optimizer = build_optimizer(
            model, recipe.optim, recipe.sam, derived.warmup_steps, by_part=self.rates is not None
        )
        self.schedule = build_schedule(recipe.schedule, derived)
        self.clipper = build_clipper(recipe.clip)
        self.guard = NonFiniteGuard(recipe.training.max_nonfinite_steps)
        decay = recipe.training.ema_decay
        self.average = None if decay is None else WeightAverage(model, decay, self.optimizer.row_tables)
        if self.average is not None:
            self.optimizer.watch_rows(self.average.before_rows_change)
        self.class_weights = class_weights(recipe.loss.class_weights, data.label_counts, data.labels)
        self.gradients = BatchGradients(recipe, model, self.class_weights)
        self.sharing = Sharing(group, model)
        self.wants_to_stop: Callable[[], bool] = lambda: False
        self.stop_agreed = False
        self.training_batch = training_batches(data.train, recipe.augmentation, data.front_end)
        self.unlabelled = None
        if data.unlabelled is not None:
            self.unlabelled = EndlessBatches(data.unlabelled.lengths, recipe.batches, recipe.seed)
        self.last_epoch = derived.epochs if last_epoch is None else last_epoch
        self.progress = Progress()
        self.best_weights: Weights | None = None

    # ---- the run -------------------------------------------------------------------------------

    def fit(self, listen: Listener, after_step: Callable[[], None]) -> None:
        """Train until the last epoch or until patience ends. `after_step` may raise to stop."""
        with torch.random.fork_rng(devices=[]):
            try:
                while not self.finished:
                    self.run_epoch(listen, after_step)
            except TrainingError as error:
                error.shared = True  # it follows from sums over the group
                raise

    @property
    def finished(self) -> bool:
        return self.progress.epoch >= self.last_epoch or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        patience = self.recipe.training.patience_epochs
        return patience is not None and self.progress.epoch - self.progress.best_epoch >= patience

    def run_epoch(self, listen: Listener, after_step: Callable[[], None]) -> None:
        started = time.monotonic()
        for batches in self.plan_epoch(self.progress.epoch, self.progress.steps_in_epoch):
            done = self.train_step(batches)
            listen(done)
            self.guard.check(
                loss=done.train_loss, grad_norm=done.grad_norm, lr=done.lr, clip=self.recipe.clip
            )
            after_step()
        listen(self.end_epoch(started))

    def plan_epoch(self, epoch: int, first_step: int = 0) -> Iterator[list[IntArray]]:
        """The batches of each optimiser step from the first one: one, or with gd all of them for a single
        step."""
        plan = self.data.train.plan(self.recipe.batches, self.recipe.seed, epoch)
        if self.recipe.optim.kind != "gd":
            yield from ([batch] for batch in plan.batches(first_step))
        elif first_step == 0:
            yield list(plan.batches())

    # ---- one step ------------------------------------------------------------------------------

    def train_step(self, batches: Sequence[IntArray]) -> StepDone:
        """Gradients, clipping, update. A step whose loss or gradients are not finite changes nothing."""
        progress, factor = self.progress, self.schedule(self.progress.step, self.progress.valid_losses)
        self.model.train()
        self.optimizer.train_mode()
        self.optimizer.set_lr_factor(factor, None if self.rates is None else self.rates(progress.epoch))
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        loss = self.compute_gradients(batches)
        clip = last = self.clipper.clip(self.model.parameters())

        def climb() -> None:
            """SAM's second gradients, at the climbed weights, clipped like the first."""
            nonlocal last
            with frozen_statistics(self.model):
                self.compute_gradients(batches)
            last = self.clipper.clip(self.model.parameters())

        applied = math.isfinite(loss) and clip.finite and self.optimizer.step(climb)
        if not applied:
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)
        if applied and self.average is not None:
            self.average.update()
        done = StepDone(
            epoch=progress.epoch,
            step=progress.step + 1,
            train_loss=loss,
            lr=self.recipe.optim.lr * factor,
            grad_norm=clip.grad_norm if last.finite else last.grad_norm,
            clipped=clip.clipped or last.clipped,
            skipped=not applied,
        )
        return self._count(batches, done)

    def compute_gradients(self, batches: Sequence[IntArray]) -> float:
        """Mean loss of the step's sequences, its gradients left in the parameters.

        Dropout depends on (seed, step, batch) and the rank in a group, so computing twice gives the same
        gradients.
        """
        self.optimizer.zero_grad()
        total = sum(self.batch_weight(examples) for examples in batches)
        loss_sum = 0.0
        for index, examples in enumerate(batches):
            loss_sum += self._add_share(examples, total, self._dropout_seed(index))
        if self.unlabelled is not None and self.data.unlabelled is not None:
            examples = self.unlabelled[self.progress.step]
            loss_sum += self._add_unlabelled(self.data.unlabelled, examples, self._dropout_seed(UNLABELLED))
        exchanged = self.sharing.exchange(loss_sum, self.wants_to_stop())
        self.stop_agreed = self.stop_agreed or exchanged.stop
        return exchanged.loss

    def _dropout_seed(self, batch: int | str) -> int:
        return derive_seed(self.recipe.seed, "dropout", self.progress.step, batch, *self.sharing.purpose)

    def _add_share(self, examples: IntArray, total: float, seed: int) -> float:
        """Add the gradients of this process's share of a batch, in a step of `total` weight. Returns its part
        of the loss."""
        own = self.sharing.own(examples, self.data.train)
        if len(own):
            return self.gradients.add(self.training_batch(own, seed), self.batch_weight(own) / total, seed)
        with self.sharing.only_taking_part():
            self.gradients.add(self.data.train.batch(examples[:1]), 0.0, seed)
        return 0.0

    def _add_unlabelled(self, store: ExampleStore, examples: IntArray, seed: int) -> float:
        """As _add_share, of a batch without labels."""
        own = self.sharing.own(examples, store)
        if len(own):
            return self.gradients.add_unlabelled(store.batch(own), len(own) / len(examples), seed)
        with self.sharing.only_taking_part():
            self.gradients.add_unlabelled(store.batch(examples[:1]), 0.0, seed)
        return 0.0

    def batch_weight(self, examples: IntArray) -> float:
        """By how much a batch's mean loss counts: its sequences, each by the weight of its class."""
        if self.class_weights is None:
            return float(len(examples))
        return float(self.class_weights[torch.from_numpy(self.data.train.targets_of(examples))].sum())

    def _count(self, batches: Sequence[IntArray], done: StepDone) -> StepDone:
        progress = self.progress
        progress.step += 1
        progress.steps_in_epoch += 1
        progress.skipped_steps += done.skipped
        progress.clipped_steps += done.clipped
        if not done.skipped:
            examples = sum(len(batch) for batch in batches)
            progress.loss_sum += done.train_loss * examples
            progress.num_examples += examples
        return done

    # ---- end of an epoch -----------------------------------------------------------------------

    def end_epoch(self, started: float) -> EpochDone:
        """Validate with the weights that would be kept, and keep them if they are the best so far."""
        progress = self.progress
        with self.optimizer.evaluation_weights(), self._averaged():
            data = self.data
            group = self.sharing.group
            share = (group.rank, group.size)
            logits, targets = split_logits(self.forward, data.valid, len(data.labels), share)
            group.sum_(torch.from_numpy(logits), "answers")
            self._check_finite(logits)
            scores = evaluate(probabilities(logits, 1.0), targets, data.labels, resamples=0)
            metric = {"accuracy": scores.accuracy, "macro_f1": scores.macro_f1, "nll": -scores.nll}
            current = metric[self.recipe.training.metric], -scores.nll
            best = progress.best_metric is None or current > progress.best_metric
            if best or self.recipe.training.keep == "last":
                self.best_weights = {k: v.clone() for k, v in self.model.state_dict().items()}
        progress.epoch += 1
        progress.valid_losses.append(scores.nll)
        if best:
            progress.best_metric, progress.best_epoch = current, progress.epoch
        train_loss = progress.loss_sum / max(1, progress.num_examples)
        progress.steps_in_epoch, progress.loss_sum, progress.num_examples = 0, 0.0, 0
        return EpochDone(
            epoch=progress.epoch,
            step=progress.step,
            train_loss=train_loss,
            valid_loss=scores.nll,
            valid_accuracy=scores.accuracy,
            valid_macro_f1=scores.macro_f1,
            best=best,
            skipped_steps=progress.skipped_steps,
            clipped_steps=progress.clipped_steps,
            seconds=time.monotonic() - started,
        )

    @torch.no_grad()
    def forward(self, batch: Batch) -> FloatArray:
        """Logits [B, K], longest sequence first, nothing dropped."""
        self.model.eval()
        logits: FloatArray = self.model(network_inputs(batch.inputs, batch.layout)).numpy()
        return logits

    def _check_finite(self, logits: FloatArray) -> None:
        if not np.isfinite(logits).all():
            raise TrainingError(
                "Training stopped: the model's answers on the validation split are not finite.",
                where=f"end of epoch {self.progress.epoch + 1}, step {self.progress.step}",
                got=f"{self.progress.skipped_steps} of {self.progress.step} steps were skipped",
                cure='lower optim.lr, or clip gradients with clip.kind = "norm"',
            )

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.average is None else self.average.averaged_weights()

    # ---- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "clipper": self.clipper.state_dict(),
            "guard": self.guard.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.clipper.load_state_dict(state["clipper"])
        self.guard.load_state_dict(state["guard"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        best, own = state["best_weights"], self.model.state_dict()
        if best is not None and {n: tuple(v.shape) for n, v in best.items()} != {
            name: tuple(value.shape) for name, value in own.items()
        }:
            raise ValueError("the best weights are those of another network")
        self.best_weights = best
