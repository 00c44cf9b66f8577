"""Values that follow from a recipe and its data: computed here, once, and written to the run."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from grunlock.recipe.optimization_options import MilestonesSchedule
from grunlock.recipe.schema import Recipe


class TextFacts(BaseModel):
    """What a network has to know about the tokens it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["text"] = "text"
    vocab_size: int
    tokens: str  # the kind of token in use; never "auto"
    script: str  # the writing system found, see text/script.py


class SeriesFacts(BaseModel):
    """What a network has to know about the steps it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["series"] = "series"
    channels: tuple[str, ...]
    num_features: int  # columns made of the channels: values, missing or not, changes


class DataFacts(BaseModel):
    """What the recipe needs to know about the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_train_examples: int
    num_valid_examples: int
    num_classes: int
    longest_steps: int  # of a training sequence; for texts after cutting to max_tokens
    batches_per_epoch: int
    inputs: Annotated[TextFacts | SeriesFacts, Field(discriminator="kind")]


class Derived(BaseModel):
    """The derived values, with the facts they came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    facts: DataFacts
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    milestone_steps: tuple[int, ...]
    chrono_steps: int


def derive(recipe: Recipe, facts: DataFacts) -> Derived:
    """Everything computed from recipe and data. One optimiser step per batch; for gd per epoch."""
    steps_per_epoch = 1 if recipe.optim.kind == "gd" else facts.batches_per_epoch
    total_steps = steps_per_epoch * recipe.training.epochs
    return Derived(
        facts=facts,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        warmup_steps=round(recipe.schedule.warmup_fraction * total_steps),
        milestone_steps=milestone_steps(recipe.schedule, facts.num_train_examples, total_steps)
        if isinstance(recipe.schedule, MilestonesSchedule)
        else (),
        chrono_steps=max(2, facts.longest_steps),
    )


def milestone_steps(
    schedule: MilestonesSchedule, num_train_examples: int, total_steps: int
) -> tuple[int, ...]:
    """Steps at which the learning rate is halved, from the number of training examples N.

    The noise that SGD leaves in the weights is proportional to the final learning rate; the
    error that a finite sample leaves falls as 1 / N. Keeping the two in proportion asks for one
    halving per doubling of the data:

        halvings = max(1, round(log2(N / examples_without_halving)))

    spread evenly between start_fraction and the end of training (the end itself is no milestone).
    """
    doublings = math.log2(num_train_examples / schedule.examples_without_halving)
    halvings = max(1, round(doublings))
    start = schedule.start_fraction * total_steps
    spacing = (total_steps - start) / halvings
    return tuple(round(start + i * spacing) for i in range(halvings))
