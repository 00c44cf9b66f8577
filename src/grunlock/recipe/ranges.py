"""Search spaces: recipes in which some values are ranges. Sampling is the tuner's business."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grunlock.errors import RecipeError
from grunlock.recipe.merging import Settings, copy_tables, known_to_kind, merge, put
from grunlock.recipe.validation import validate

NEVER_A_RANGE = {"loss.class_weights"}  # a table by label, and a label may be called "low"


@dataclass(frozen=True)
class Range:
    """All numbers from low to high. `step` makes it discrete, `log` searches magnitudes."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def examples(self) -> tuple[Any, ...]:
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """One of the listed values."""

    choices: tuple[Any, ...]

    @property
    def examples(self) -> tuple[Any, ...]:
        return self.choices


@dataclass(frozen=True)
class SearchSpace:
    """Fixed settings plus ranges by dotted key."""

    settings: Settings
    ranges: Mapping[str, Range | Choices]

    def at(self, values: Mapping[str, Any]) -> Settings:
        """Settings with every range replaced by its value in `values` (keys as in `ranges`).

        Kinds are chosen first. A range over an option that the chosen kind does not have is left out.
        """
        if missing := set(self.ranges) - set(values):
            raise RecipeError("A value is missing for a range.", where=", ".join(sorted(missing)))
        settings = copy_tables(self.settings)
        for key in sorted(values, key=lambda key: not key.endswith(".kind")):
            if key.endswith(".kind"):
                section = key.removesuffix(".kind")
                settings = merge(settings, {section: {"kind": values[key]}})
            elif known_to_kind(settings, key):
                put(settings, key, values[key])
        return settings


def find_ranges(settings: Settings) -> dict[str, Range | Choices]:
    """Every range in the settings, by dotted key. Raises RecipeError listing every malformed one."""
    ranges: dict[str, Range | Choices] = {}
    problems = []
    for key, table in _range_tables(settings):
        try:
            ranges[key] = _parse(key, table)
        except RecipeError as problem:
            problems.append(problem)
    if problems:
        raise RecipeError("The search space has malformed ranges.", problems=tuple(problems))
    return ranges


def check_examples(space: SearchSpace) -> None:
    """Validate both ends of every range and each choice, one at a time, the others at their first."""
    first = {key: found.examples[0] for key, found in space.ranges.items()}
    for key, found in space.ranges.items():
        for example in found.examples:
            validate(space.at({**first, key: example}))


def _range_tables(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Settings]]:
    for name, value in settings.items():
        key = prefix + name
        if not isinstance(value, dict) or key in NEVER_A_RANGE:
            continue
        if {"low", "high"} & set(value) or "choices" in value:
            yield key, value
        else:
            yield from _range_tables(value, key + ".")


def _parse(key: str, table: Settings) -> Range | Choices:
    expected = "{low=.., high=.., log=true|false, step=..} with low < high, or {choices=[..]}"
    if set(table) == {"choices"}:
        if isinstance(table["choices"], list) and table["choices"]:
            return Choices(tuple(table["choices"]))
    elif {"low", "high"} <= set(table) <= {"low", "high", "log", "step"}:
        numbers = [table[k] for k in ("low", "high", "step") if k in table]
        plain = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
        log = table.get("log", False)
        if plain and isinstance(log, bool) and table["low"] < table["high"] and (not log or table["low"] > 0):
            return Range(table["low"], table["high"], log, table.get("step"))
    raise RecipeError("Not a range.", where=key, got=table, expected=expected)
