"""What one recipe has that another lacks, cut into tricks that can be taken out or put in one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grunlock.errors import RecipeError
from grunlock.recipe import Recipe
from grunlock.recipe.merging import Settings, copy_tables, put
from grunlock.recipe.validation import validate

# Sections that are one trick as a whole: their options mean nothing without each other.
WHOLE = ("optim", "sam", "schedule", "clip", "stem", "chunks", "attention", "wide", "loss")
# What says how long, on which data, or only under which name; and calibration, which changes no answer.
NEVER = (
    "name",
    "seed",
    "data",
    "calibration",
    "training.epochs",
    "training.refit",
    "training.metric",
    "training.keep",
)
NEVER_PREFIX = "training.checkpoint"


@dataclass(frozen=True)
class Trick:
    """name: its key. with_it, without: settings by dotted key in the one recipe and in the other."""

    name: str
    with_it: Mapping[str, Any]
    without: Mapping[str, Any]


def tricks_between(full: Recipe, plain: Recipe) -> tuple[Trick, ...]:
    """Where the recipes differ, in schema order. A section of another kind (another encoder) is one trick."""
    ours, theirs = full.model_dump(mode="json"), plain.model_dump(mode="json")
    found = []
    for section, mine in ours.items():
        other = theirs[section]
        if section in NEVER or mine == other:
            continue
        whole = section in WHOLE or not isinstance(mine, dict) or not isinstance(other, dict)
        if whole or mine.get("kind") != other.get("kind"):
            found.append(Trick(section, {section: mine}, {section: other}))
            continue
        for name, value in mine.items():
            key = f"{section}.{name}"
            if value != other[name] and key not in NEVER and not key.startswith(NEVER_PREFIX):
                found.append(Trick(key, {key: value}, {key: other[name]}))
    return tuple(found)


def apply(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with sections or options replaced. Raises RecipeError for a combination that contradicts
    itself."""
    settings: Settings = copy_tables(recipe.model_dump(mode="json"))
    for key, value in values.items():
        put(settings, key, value)
    return validate(settings)


def one_out(full: Recipe, trick: Trick) -> Recipe:
    """All tricks but this one."""
    return apply(full, trick.without)


def one_in(plain: Recipe, trick: Trick) -> Recipe:
    """This trick alone."""
    return apply(plain, trick.with_it)


def check_comparable(full: Recipe, plain: Recipe) -> None:
    """Raises RecipeError unless the recipes read the same kind of data and differ in something."""
    if full.data.kind != plain.data.kind:
        raise RecipeError(
            "The recipes read different kinds of data.", got=f"{full.data.kind} and {plain.data.kind}"
        )
    if not tricks_between(full, plain):
        raise RecipeError("The recipes are the same: there is no trick to measure.", got=full.name)
