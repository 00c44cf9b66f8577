"""What happens during a run, as plain values. Listeners show or write them; the loop knows none."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class DataProgress:
    """Sent while the data is prepared, before the run starts. Not part of the history."""

    activity: str  # such as "tokenising"
    rows: int  # done so far


@dataclass(frozen=True)
class RunStarted:
    """Sent again when a run is resumed, then with step > 0."""

    epochs: int
    total_steps: int
    step: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StepDone:
    epoch: int
    step: int  # optimiser steps so far, this one included
    train_loss: float  # nats per sequence, of this step's sequences
    lr: float
    grad_norm: float  # global, before clipping; of SAM's second gradients where only these are not finite
    clipped: bool
    skipped: bool  # gradients were not finite: weights untouched


@dataclass(frozen=True)
class EpochDone:
    epoch: int  # epochs finished
    step: int
    train_loss: float  # mean over the epoch's sequences, regularisers on
    valid_loss: float  # nats per sequence, no smoothing
    valid_accuracy: float
    valid_macro_f1: float
    best: bool
    skipped_steps: int  # so far
    clipped_steps: int  # so far
    seconds: float  # spent in this epoch since it was started or resumed


@dataclass(frozen=True)
class PretrainEpochDone:
    """The end of an epoch of a language model."""

    epoch: int  # epochs finished
    step: int
    train_loss: float  # nats per predicted token, by sampled softmax, regularisers on
    valid_loss: float  # nats per predicted token, over the whole vocabulary
    valid_perplexity: float
    best: bool
    skipped_steps: int  # so far
    seconds: float  # spent in this epoch since it was started or resumed


@dataclass(frozen=True)
class CheckpointWritten:
    step: int


@dataclass(frozen=True)
class RunDone:
    step: int
    best_epoch: int
    stopped_early: bool


@dataclass(frozen=True)
class WideFitted:
    """Sent after the run, when a wide path that learns apart has been added. Not part of the history."""

    weights: tuple[float, ...]  # of each linear model's logits beside the network's
    strengths: tuple[float, ...]
    linear_accuracy: float  # on validation, of their sum and of the network alone
    network_accuracy: float


Event = (
    DataProgress
    | RunStarted
    | StepDone
    | EpochDone
    | PretrainEpochDone
    | CheckpointWritten
    | RunDone
    | WideFitted
)
Listener = Callable[[Event], None]
EVENT_NAMES: dict[type[Event], str] = {
    RunStarted: "run_started",
    StepDone: "step",
    EpochDone: "epoch",
    PretrainEpochDone: "pretrain_epoch",
    CheckpointWritten: "checkpoint",
    RunDone: "run_done",
}
