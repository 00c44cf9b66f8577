"""One cell: an encoder learns a task from fresh sequences that grow to one length, then is scored on others.

Everything random is drawn by name from (seed, task, length), the weights from the encoder's kind as well; so
all kinds see the same sequences, and a cell has the same result whichever ran before it.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from grunlock.benchmark.long.model import LongClassifier, encoder_sections
from grunlock.benchmark.long.tasks import TASKS
from grunlock.recipe.schema import TrainingOptions
from grunlock.seeding import derive_seed, generator

TEST_BATCH = 100  # sequences scored at once


@dataclass(frozen=True)
class Cell:
    """What is trained and scored once."""

    task: str
    encoder: str
    num_steps: int  # T, its length
    seed: int

    def __str__(self) -> str:
        return f"{self.task} {self.encoder} T={self.num_steps} seed {self.seed}"


@dataclass(frozen=True)
class Effort:
    """How every cell is trained. An update is one optimiser step; `steps` are those of sequences here."""

    num_updates: int = 2000
    batch_size: int = 64
    hidden_size: int = 64
    lr: float = 2e-3
    max_grad_norm: float = 1.0
    growing_fraction: float = 0.5  # of the updates, in which sequences grow to their length
    right_batches: int = 50  # answered without error one after another, at full length: it is learned
    num_test: int = 1000

    def settings(self) -> dict[str, Any]:
        """All that a cell's result depends on besides the cell itself, plain as in JSON."""
        sections = encoder_sections(self.hidden_size)
        return {**asdict(self), "encoders": {kind: s.model_dump(mode="json") for kind, s in sections.items()}}


@dataclass(frozen=True)
class Score:
    """What a cell came to."""

    accuracy: float | None  # None: gradients stayed non-finite
    seconds: float
    updates: int  # until it was learned, or all there were


def run_cell(cell: Cell, effort: Effort, tell: Callable[[int], None] = lambda updates: None) -> Score:
    """Train and score. `tell` hears the number of updates done, after each."""
    started = time.perf_counter()
    model = build_model(cell, effort)
    finite, updates = _train(model, cell, effort, tell)
    accuracy = score(model, cell, effort) if finite else None
    return Score(accuracy, time.perf_counter() - started, updates)


def build_model(cell: Cell, effort: Effort) -> LongClassifier:
    task = TASKS[cell.task]
    options = encoder_sections(effort.hidden_size)[cell.encoder]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(cell.seed, "init", cell.task, cell.num_steps, cell.encoder))
        return LongClassifier(task.input_size, task.num_classes, options, cell.num_steps)


def _train(
    model: LongClassifier, cell: Cell, effort: Effort, tell: Callable[[int], None]
) -> tuple[bool, int]:
    """Whether it did not end in non-finite gradients, and the number of updates. A step with such gradients
    is left out, as in any training of ours."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=effort.lr)
    in_a_row = nonfinite = 0
    for update in range(effort.num_updates):
        num_steps = training_steps(cell, effort, update)
        values, targets = _draw(cell.task, num_steps, effort.batch_size, cell.seed, "train", update)
        optimizer.zero_grad()
        logits = model(values)
        cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), effort.max_grad_norm)
        if torch.isfinite(norm):
            nonfinite = 0
            optimizer.step()
        else:
            nonfinite += 1
            if nonfinite >= TrainingOptions().max_nonfinite_steps:
                return False, update + 1
        tell(update + 1)
        right = num_steps == cell.num_steps and bool((logits.argmax(dim=1) == targets).all())
        in_a_row = in_a_row + 1 if right else 0
        if in_a_row == effort.right_batches:
            return True, update + 1
    return True, effort.num_updates


@torch.no_grad()
def score(model: LongClassifier, cell: Cell, effort: Effort) -> float:
    """The share of fresh sequences that are answered rightly."""
    model.eval()
    values, targets = _draw(cell.task, cell.num_steps, effort.num_test, cell.seed, "test")
    right = 0
    for first in range(0, len(targets), TEST_BATCH):
        some = slice(first, first + TEST_BATCH)
        right += int((model(values[:, some]).argmax(dim=1) == targets[some]).sum())
    return right / len(targets)


def training_steps(cell: Cell, effort: Effort, update: int) -> int:
    """T of an update: from the task's shortest, by a constant factor, to the cell's own length.

    Without shorter strings first there is no gradient that leads to parity: GRU and LSTM did not find it at
    8 steps in 2000 updates, and with them they did at 32.
    """
    shortest, growing = TASKS[cell.task].min_steps, effort.growing_fraction * effort.num_updates
    if update >= growing:
        return cell.num_steps
    share: float = update / growing
    return round(float(shortest * (cell.num_steps / shortest) ** share))


def _draw(
    task: str, num_steps: int, batch_size: int, seed: int, *purpose: str | int
) -> tuple[Tensor, Tensor]:
    random = generator(seed, *purpose, task, num_steps)
    problems = TASKS[task].draw(random, batch_size, num_steps)
    return torch.from_numpy(problems.values), torch.from_numpy(problems.targets)
