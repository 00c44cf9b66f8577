"""Values that follow from a recipe and its data: computed here, once, and written to the run."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from grunlock.recipe.optimization_options import MilestonesSchedule
from grunlock.recipe.schema import Recipe

# How long `training.epochs = "auto"` trains, measured in benchmarks/LOG.md.
MOST_EPOCHS, FEWEST_EPOCHS = 8, 3
EXAMPLES_SEEN = 100_000  # in all epochs together, between these two bounds
MOST_REFIT_STEPS = 4_000_000  # of all training sequences


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
    train_steps: int = 0  # of all training sequences; older artifacts do not say
    valid_from_train: bool = False  # the validation examples were cut from the training source
    batches_per_epoch: int
    inputs: Annotated[TextFacts | SeriesFacts, Field(discriminator="kind")]


class Derived(BaseModel):
    """The derived values, with the facts they came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    facts: DataFacts
    epochs: int = 0  # older artifacts do not say
    refit: bool = False
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    milestone_steps: tuple[int, ...]
    chrono_steps: int


def derive(recipe: Recipe, facts: DataFacts) -> Derived:
    """Everything computed from recipe and data. One optimiser step per batch; for gd per epoch."""
    steps_per_epoch = 1 if recipe.optim.kind == "gd" else facts.batches_per_epoch
    epochs = derived_epochs(recipe, facts.num_train_examples)
    total_steps = steps_per_epoch * epochs
    return Derived(
        facts=facts,
        epochs=epochs,
        refit=recipe.training.refit and _can_refit(recipe, facts),
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        warmup_steps=round(recipe.schedule.warmup_fraction * total_steps),
        milestone_steps=milestone_steps(recipe.schedule, facts.num_train_examples, total_steps)
        if isinstance(recipe.schedule, MilestonesSchedule)
        else (),
        chrono_steps=max(2, facts.longest_steps),
    )


def derived_epochs(recipe: Recipe, num_train_examples: int) -> int:
    """training.epochs; if it is auto, as many as show EXAMPLES_SEEN examples: small sets need many passes,
    large ones are learned by heart after a few."""
    if recipe.training.epochs != "auto":
        return recipe.training.epochs
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(EXAMPLES_SEEN / num_train_examples)))


def most_epochs(recipe: Recipe) -> int:
    """training.epochs before the data is known: the most that auto can be."""
    return MOST_EPOCHS if recipe.training.epochs == "auto" else recipe.training.epochs


def _can_refit(recipe: Recipe, facts: DataFacts) -> bool:
    """A tenth more examples is worth something to small data only. A teacher has not answered the validation
    examples; a plateau is seen on examples that are not learned from."""
    small = facts.train_steps <= MOST_REFIT_STEPS
    alone = recipe.distillation is None and recipe.schedule.kind != "plateau"
    return facts.valid_from_train and small and alone


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
