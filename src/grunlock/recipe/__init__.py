"""Recipes: reading, checking, deriving. Knows nothing of torch, data or training."""

from grunlock.recipe.derived import DataFacts, Derived, SeriesFacts, TextFacts, derive, most_epochs
from grunlock.recipe.ranges import Choices, Range, SearchSpace
from grunlock.recipe.read import (
    builtin_names,
    override,
    read_recipe,
    read_recipe_or_space,
    recipe_from_settings,
    space_from_toml,
    space_to_toml,
    to_toml,
)
from grunlock.recipe.schema import Recipe
from grunlock.recipe.validation import all_keys

__all__ = [
    "Choices",
    "DataFacts",
    "Derived",
    "Range",
    "Recipe",
    "SearchSpace",
    "SeriesFacts",
    "TextFacts",
    "all_keys",
    "builtin_names",
    "derive",
    "most_epochs",
    "override",
    "read_recipe",
    "read_recipe_or_space",
    "recipe_from_settings",
    "space_from_toml",
    "space_to_toml",
    "to_toml",
]
