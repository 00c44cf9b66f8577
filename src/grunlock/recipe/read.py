"""Recipes from files, built-in names and --set, and back to TOML."""

import difflib
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from grunlock.errors import RecipeError
from grunlock.recipe.fields import OFF
from grunlock.recipe.merging import Settings, merge, put
from grunlock.recipe.ranges import (
    FIRST,
    SearchSpace,
    check_examples,
    check_first,
    find_ranges,
    flat,
    holds,
    take_first,
)
from grunlock.recipe.schema import Recipe
from grunlock.recipe.validation import validate


def builtin_names() -> tuple[str, ...]:
    """Names of the recipes and search spaces that ship with the package."""
    files = resources.files("grunlock.recipe").joinpath("builtin").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def read_recipe(source: str | Path = "default", overrides: Iterable[str] = ()) -> Recipe:
    """A recipe from a built-in name or a TOML file, with `a.b=c` overrides applied.

    Raises RecipeError for faults (all at once) and for search spaces, which only `tune` can run.
    """
    return _without_ranges(_laid_over(read_settings(source), overrides_to_settings(overrides)))


def read_recipe_or_space(
    source: str | Path = "default", overrides: Iterable[str] = ()
) -> Recipe | SearchSpace:
    """Like read_recipe, but a recipe with ranges is returned as a SearchSpace."""
    settings = _laid_over(read_settings(source), overrides_to_settings(overrides))
    ranges = find_ranges(settings)
    if not ranges:
        return validate(settings)
    settings, first = take_first(settings, ranges)
    space = SearchSpace(settings, ranges, first)
    check_examples(space)
    check_first(space)
    return space


def override(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """The recipe with `a.b=c` overrides applied."""
    return _without_ranges(merge(tomllib.loads(to_toml(recipe)), overrides_to_settings(overrides)))


def recipe_from_settings(settings: Settings, base: str | Path = "default") -> Recipe:
    """A recipe from nested settings laid over a base, for callers that hold no file."""
    return _without_ranges(merge(read_settings(base), settings))


def read_settings(source: str | Path) -> Settings:
    """Plain settings of a built-in or file, laid over the `base` that a file may name."""
    if str(source) in builtin_names():
        text = resources.files("grunlock.recipe").joinpath(f"builtin/{source}.toml").read_text()
        settings = tomllib.loads(text)
        base = settings.pop("base", None)
        return settings if base is None else _laid_over(read_settings(base), settings)
    path = Path(source)
    if path.is_dir():
        path = path / "recipe.toml"
    if not path.is_file():
        near = difflib.get_close_matches(str(source), builtin_names(), n=1)
        raise RecipeError(
            "There is no such recipe.",
            where=source,
            expected=f"a TOML file, a run folder, or one of: {', '.join(builtin_names())}",
            cure=f'did you mean "{near[0]}"?' if near else None,
        )
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError("The recipe is not valid TOML.", where=path, got=error) from error
    base = settings.pop("base", "default")
    if base not in builtin_names() and not Path(base).is_absolute():
        base = path.parent / base
    return _laid_over(read_settings(base), settings)


def _laid_over(base: Settings, own: Settings) -> Settings:
    """`own` merged over `base`; of what the base would try first, what is still searched and in its range."""
    merged = merge(base, own)
    if FIRST in base and FIRST not in own:
        ranges = find_ranges(merged)
        if not ranges:
            del merged[FIRST]
            return merged
        given = {key for key, _ in flat(own, ranges)}
        _, first = take_first(base, ranges)
        merged[FIRST] = [
            {k: v for k, v in table.items() if k not in given or (k in ranges and holds(ranges[k], v))}
            for table in first
        ]
    return merged


def overrides_to_settings(overrides: Iterable[str]) -> Settings:
    """Parse `a.b=c` strings. A value is TOML (0.1, true, ["max"], {low=..}); else a plain string."""
    settings: Settings = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise RecipeError(
                "An override has no key or no value.",
                got=override,
                expected="key=value, for example --set optim.lr=2e-3",
            )
        put(settings, key.strip(), _toml_value(value.strip()))
    return settings


def _without_ranges(settings: Settings) -> Recipe:
    if ranges := find_ranges(settings):
        raise RecipeError(
            "This recipe is a search space: some of its values are ranges.",
            where=", ".join(ranges),
            expected="one value for each key",
            cure="`grunlock tune` searches ranges; or give values with --set",
        )
    return validate(settings)


def to_toml(recipe: Recipe) -> str:
    """The whole recipe as TOML: every option written out, None as "off"."""
    return tomli_w.dumps(_as_written(recipe.model_dump(mode="json")))


def space_to_toml(space: SearchSpace) -> str:
    """The settings with their ranges, and what is to be tried first."""
    first = [dict(table) for table in space.first]
    return tomli_w.dumps(space.settings | ({FIRST: first} if first else {}))


def space_from_toml(text: str) -> SearchSpace:
    """What `space_to_toml` wrote. Raises RecipeError, and TOMLDecodeError for what is no TOML."""
    settings = tomllib.loads(text)
    ranges = find_ranges(settings)
    fixed, first = take_first(settings, ranges)
    return SearchSpace(fixed, ranges, first)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _as_written(value: Any) -> Any:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name != "kind")  # a section's kind first
        return {name: _as_written(value[name]) for name in names}
    return OFF if value is None else value
